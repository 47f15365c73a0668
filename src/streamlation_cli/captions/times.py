"""When captions appear and disappear: long enough to read, never two at once, close to the speech.

speech   ├──────────┤     ├────┤├─────────────┤
caption  ├────────────────┤ ├──────┤ ├───────────┤      a gap of `min_gap_ms` between them
          borrows the pause   leads    lingers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .lines import LEAD_MS
from .settings import Limits

LINGER_MS = 500
"""How long a caption stays after its speech where there is room (Netflix: up to half a second past the audio)."""
CHAIN_MS = 500
"""A shorter gap to the next caption looks like a flicker and is closed to the least gap (Netflix: 3 to 11 frames)."""
SHIFT_MS = 200
"""How far a boundary inside unbroken speech may move so that both captions can be read."""
LEAST_MS = 300
"""Captions that crowd each other push the later ones back rather than be seen for less."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The speech that one caption shows."""

    start_ms: int
    end_ms: int
    columns: int
    """Width of the text that must be read in the time."""
    own_times: bool = False
    """The times are a subtitler's: they are kept where they can be."""


def place(
    spans: Sequence[Span], limits: Limits, floor_ms: int, ceiling_ms: int | None, chain: bool = True
) -> list[tuple[int, int]]:
    """Start and end for each caption, in order, none overlapping, none before `floor_ms`.

    With `chain`, another caption follows `min_gap_ms` after the ceiling, and may be pushed back where there is no room before
    it. Without, the ceiling is the end of the media: captions move forward to end before it, as long as there is room at all.
    """
    starts = _starts(spans, limits, floor_ms, ceiling_ms)
    if ceiling_ms is not None and not chain:
        starts = _before(starts, floor_ms, ceiling_ms, limits)
    times = []
    for at, (span, start) in enumerate(zip(spans, starts, strict=True)):
        last = at + 1 == len(spans)
        room_end = ceiling_ms if last else starts[at + 1] - limits.min_gap_ms
        if room_end is not None and last and chain:
            room_end = max(room_end, start + _least(span, limits))
        end = _end(span, limits, start, room_end, chain or not last)
        times.append((start, max(end, start + 1)))
    return times


def _least(span: Span, limits: Limits) -> int:
    return min(LEAST_MS, limits.needed_ms(span.columns))


def _end(span: Span, limits: Limits, start: int, room_end: int | None, chained: bool) -> int:
    end = max(span.end_ms + (0 if span.own_times else LINGER_MS), start + limits.needed_ms(span.columns))
    end = min(end, start + limits.max_duration_ms)
    if room_end is None:
        return end
    if chained and not span.own_times and room_end - end < CHAIN_MS and room_end - start <= limits.max_duration_ms:
        return room_end
    return min(end, room_end)


def _starts(spans: Sequence[Span], limits: Limits, floor_ms: int, ceiling_ms: int | None) -> list[int]:
    gap = limits.min_gap_ms
    starts: list[int] = []
    earliest = floor_ms
    for at, span in enumerate(spans):
        needed = limits.needed_ms(span.columns)
        start = max(span.start_ms, earliest)
        end = spans[at + 1].start_ms - gap if at + 1 < len(spans) else ceiling_ms
        if end is not None and end - start < needed and not span.own_times:
            start -= _lead(spans, at, start, needed - (end - start), starts, limits, floor_ms)
        starts.append(start)
        late = 0
        if at + 1 < len(spans):
            late = _lag(spans, at, needed - (spans[at + 1].start_ms - gap - start), limits, ceiling_ms)
        earliest = max(start + _least(span, limits) + gap, spans[at + 1].start_ms + late if late else 0)
    return starts


def _lead(
    spans: Sequence[Span], at: int, start: int, wanted: int, starts: list[int], limits: Limits, floor_ms: int
) -> int:
    """How much earlier than `start` a caption appears that lacks `wanted` milliseconds."""
    if not at:
        return max(0, min(wanted, LEAD_MS, start - floor_ms))
    before = spans[at - 1]
    silence = spans[at].start_ms - before.end_ms - limits.min_gap_ms
    spare = start - limits.min_gap_ms - (starts[at - 1] + limits.needed_ms(before.columns))
    return max(0, min(wanted, max(SHIFT_MS, min(LEAD_MS, silence)), spare))


def _lag(spans: Sequence[Span], at: int, lacking: int, limits: Limits, ceiling_ms: int | None) -> int:
    """How much later than its speech the next caption appears, out of the time it can spare."""
    following = spans[at + 1]
    end = spans[at + 2].start_ms - limits.min_gap_ms if at + 2 < len(spans) else ceiling_ms
    if end is None:
        end = following.end_ms + LINGER_MS
    spare = end - following.start_ms - limits.needed_ms(following.columns)
    return max(0, min(lacking, SHIFT_MS, spare))


def _before(starts: list[int], floor_ms: int, ceiling_ms: int, limits: Limits) -> list[int]:
    """`starts` moved forward where the last captions would not end before the ceiling."""
    gap = limits.min_gap_ms
    room = max(0, ceiling_ms - floor_ms)
    slot = min(min(LEAST_MS, limits.min_duration_ms) + gap, (room + gap) // len(starts))
    latest = ceiling_ms - max(1, slot - gap)
    for at in range(len(starts) - 1, -1, -1):
        starts[at] = max(min(starts[at], latest), floor_ms)
        latest = starts[at] - max(1, slot)
    # Without room for even that, order matters more than the ceiling.
    for at in range(1, len(starts)):
        starts[at] = max(starts[at], starts[at - 1] + 1)
    return starts
