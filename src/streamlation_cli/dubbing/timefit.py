"""Fitting speech of one length into the time that another took: where each phrase starts and how fast it is spoken.

A phrase is what is spoken in one breath: a sentence, or a clause of a long one. Phrases of an utterance share one
tempo, so that the voice does not lurch. Order of preference when the dub is longer than the source:

    1. the pause after the utterance is borrowed, up to the next one
    2. it is spoken faster, up to `MAX_TEMPO`
    3. a shorter translation is spoken, the longest of them that fits
    4. it ends late, and the next one starts late; later pauses take that back

Everything here is arithmetic on milliseconds; nothing overlaps, and nothing but the very last utterance ever starts before its source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_TEMPO = 0.9
MAX_TEMPO = 1.35
"""Bounds of tempo: slower drags, faster is hard to follow."""

BORROW_MS = 800
"""How much of the following pause may be used at an unhurried tempo; a voice far behind the picture seems to belong to something else."""

EARLY_MS = 1000
"""How much earlier than its source the last utterance may start."""

PAUSE_MS = 80
"""Least silence between two utterances."""


@dataclass(frozen=True)
class Slot:
    """The time a phrase had in the source."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Placed:
    """A phrase on the timeline."""

    start_ms: int
    end_ms: int


def limit_ms(end_ms: int, next_start_ms: int | None) -> int:
    """The time by which an utterance that ends at `end_ms` should be over.

    `next_start_ms` is when the next one starts (or the media ends), None where that is not known.

    >>> limit_ms(4000, 4500), limit_ms(4000, 9000), limit_ms(4000, None)
    (4420, 4800, 4000)
    """
    if next_start_ms is None:
        return end_ms
    return min(end_ms + BORROW_MS, max(next_start_ms - PAUSE_MS, 0))


def wanted_tempo(slots: Sequence[Slot], natural_ms: Sequence[float], free_ms: int, limit_ms: int) -> float:
    """The tempo at which phrases of the lengths `natural_ms`, none before `free_ms` or its slot, end by `limit_ms`.

    Within [MIN_TEMPO, MAX_TEMPO], and 1 or less only as far as the source's own pace is slower.

    >>> wanted_tempo([Slot(0, 3000)], [3000], 0, 4000)
    1.0
    >>> wanted_tempo([Slot(0, 3000)], [4800], 0, 4000)
    1.2
    >>> wanted_tempo([Slot(0, 3000)], [2000], 0, 4000)
    0.9
    """
    needed = needed_tempo(slots, natural_ms, free_ms, limit_ms)
    if needed >= 1:
        return MAX_TEMPO if needed >= MAX_TEMPO else _rounded_up(needed)
    # There is room. The source's end, not the borrowed pause, says how slowly one may speak.
    unhurried = needed_tempo(slots, natural_ms, free_ms, slots[-1].end_ms)
    return 1.0 if unhurried >= 1 else max(MIN_TEMPO, _rounded_up(max(unhurried, needed)))


def _rounded_up(tempo: float) -> float:
    """To hundredths, so that the cache meets the same tempo again."""
    return math.ceil(tempo * 100) / 100


def needed_tempo(slots: Sequence[Slot], natural_ms: Sequence[float], free_ms: int, limit_ms: int) -> float:
    """The least tempo at which the last phrase ends by `limit_ms`; infinite where none is fast enough.

    However the phrases fall, the last one ends when some phrase k started on its slot and all from k on followed
    without a pause, so the answer is the greatest of what each k asks for.
    """
    needed = 0.0
    rest = 0.0
    for slot, natural in zip(reversed(slots), reversed(natural_ms), strict=True):
        rest += natural
        room = limit_ms - max(slot.start_ms, free_ms)
        if rest > 0:
            needed = max(needed, rest / room if room > 0 else math.inf)
    return needed


def lay(slots: Sequence[Slot], lengths_ms: Sequence[float], free_ms: int) -> list[Placed]:
    """Where phrases of the lengths `lengths_ms` go: each on its slot's start, or as soon after as the one before is over.

    >>> lay([Slot(0, 1000), Slot(1000, 2000), Slot(4000, 5000)], [1500, 500, 500], 0)
    [Placed(start_ms=0, end_ms=1500), Placed(start_ms=1500, end_ms=2000), Placed(start_ms=4000, end_ms=4500)]
    """
    placed = []
    for slot, length in zip(slots, lengths_ms, strict=True):
        start = max(slot.start_ms, free_ms)
        free_ms = start + math.ceil(length)
        placed.append(Placed(start, free_ms))
    return placed


def pulled_back(slots: Sequence[Slot], placed: Sequence[Placed], free_ms: int, end_ms: int) -> list[Slot]:
    """The slots of the last utterance, moved to begin earlier where it would outlast the media's end otherwise.

    By `EARLY_MS` at most, and not before `free_ms`: a voice that comes early is a lesser evil than one that is cut off.

    >>> pulled_back([Slot(4000, 5000)], [Placed(4000, 5300)], 3900, 5000)
    [Slot(start_ms=3900, end_ms=5000)]
    """
    early = min(placed[-1].end_ms - end_ms, EARLY_MS, slots[0].start_ms - free_ms)
    if early <= 0:
        return list(slots)
    return [Slot(max(0, slot.start_ms - early), slot.end_ms) for slot in slots]


def drift_ms(slots: Sequence[Slot], placed: Sequence[Placed]) -> int:
    """How late the dub is at worst: at the start of a phrase or at the end of the utterance.

    >>> drift_ms([Slot(0, 1000)], [Placed(200, 1500)])
    500
    """
    starts = (place.start_ms - slot.start_ms for slot, place in zip(slots, placed, strict=True))
    return max(0, placed[-1].end_ms - slots[-1].end_ms, *starts)
