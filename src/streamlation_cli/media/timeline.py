"""Decoded frames onto one unbroken line of 16 kHz samples.

    frames:   ├──a──┤├──b──┤        ├──c──┤   ├──d──┤                  ├──e──┤
                                                └ starts before c ends      (far away)
    pieces:   ├──a──────b──┤00000000├──c──┤d──┤ Discontinuity          ├──e──┤

A frame that starts within a tolerance of where the last one ended follows it: containers round their times. The tolerance
is on the sum, so it never adds up to a drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..records import SAMPLE_RATE_HZ
from .pcm import SAMPLES_PER_MS, Channel, Mono, Resampler

if TYPE_CHECKING:
    import av

TOLERANCE_S = 0.05
"""A frame this near to where it is expected follows the last one."""
TOLERANCE_AFTER_LOSS_S = 0.002
"""The same, where frames are known to be missing."""
_SILENCE_BLOCK = SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Piece:
    """Samples that start at `start` (in samples of 16 kHz from media time 0)."""

    start: int
    samples: Mono


@dataclass(frozen=True)
class Jump:
    """The line breaks at `at` (in samples) and goes on `gap` samples later; a negative gap is time that came twice."""

    at: int
    gap: int
    reason: Literal["gap", "overlap", "clock-reset"]


class Timeline:
    """Places the frames of one session between `start_ms` and `end_ms`, in order.

    Pieces come out in the order of time, never overlap, and follow one another without a hole except after a Jump.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        max_gap_ms: int,
        start_ms: int = 0,
        end_ms: int | None = None,
        floats: bool = False,
        prompt: bool = False,
    ) -> None:
        """`prompt`: samples come out as soon as they can, at a little more work."""
        self._channel = channel
        self._floats = floats
        self._prompt = prompt
        self._max_gap = max_gap_ms * SAMPLE_RATE_HZ // 1000
        self._far_s = max(max_gap_ms / 1000, TOLERANCE_S)
        self._position = start_ms * SAMPLE_RATE_HZ // 1000
        self._end = None if end_ms is None else end_ms * SAMPLE_RATE_HZ // 1000
        self._resampler: Resampler | None = None
        self._expected_s = 0.0
        self._offset_s = 0.0
        self._surplus = 0
        """Samples that the resampler still has to give before `_position` is reached."""
        self._overlap = False
        """Whether the surplus is time that came twice, not time before the start."""
        self._begun = False
        self._restarted = False
        self._suspect: tuple[av.AudioFrame, float] | None = None
        """A frame whose time is far from where it is expected, and that time; the next frame decides."""
        self.silence = 0
        """Samples of silence put into gaps."""
        self.dropped = 0
        """Samples left out because their time was already taken."""

    def place(
        self, frame: av.AudioFrame, start_s: float | None, *, after_loss: bool = False, follows: bool = False
    ) -> Iterator[Piece | Jump]:
        """Takes a frame that starts at `start_s` (None: where the last one ended).

        A far jump is believed when the next frame confirms it; a time that stands alone is damage and is not.
        Where the container says that a frame `follows` the last one and that was longer than it says, nothing comes twice:
        its times are too short, and the line is longer.
        """
        if start_s is not None:
            start_s += self._offset_s
        if self._suspect is not None:
            (suspect, suspect_s), self._suspect = self._suspect, None
            end_s = suspect_s + suspect.samples / suspect.sample_rate
            confirmed = start_s is not None and abs(start_s - end_s) <= TOLERANCE_S
            yield from self._put(suspect, suspect_s if confirmed else None, TOLERANCE_S)
            if confirmed:
                start_s = None
        if self._restarted:
            self._offset_s, start_s = 0.0, None if start_s is None else start_s - self._offset_s
        elif start_s is not None and self._begun and abs(start_s - self._expected_s) > self._far_s:
            self._suspect = frame, start_s
            return
        if follows and start_s is not None and start_s < self._expected_s - TOLERANCE_S:
            self._offset_s += self._expected_s - start_s
            start_s = None
        yield from self._put(frame, start_s, TOLERANCE_AFTER_LOSS_S if after_loss else TOLERANCE_S)

    def _put(self, frame: av.AudioFrame, start_s: float | None, tolerance_s: float) -> Iterator[Piece | Jump]:
        rate = frame.sample_rate
        source = (rate, frame.format.name, frame.layout.name)
        if start_s is None:
            start_s = self._expected_s
        if not self._begun or self._restarted or abs(start_s - self._expected_s) > tolerance_s:
            yield from self._move_to(start_s)
        if self._resampler is None or self._resampler.source != source:
            yield from self._drain()
            self._resampler = Resampler(
                *source,
                self._channel,
                floats=self._floats,
                skip=self._to_grid(round(start_s * rate), rate),
                prompt=self._prompt,
            )
        self._expected_s += frame.samples / rate
        for samples in self._resampler.push(frame):
            yield from self._emit(samples)

    def _to_grid(self, start: int, rate: int) -> int:
        """How many of the coming source samples to leave out, so that the first one kept is at a whole 16 kHz sample.

        Then a part of a recording has the very samples that the whole has there. It is done only with samples that
        are to be dropped anyway; `start` is the first one's place in source samples.
        """
        skip = -start % (rate // math.gcd(rate, SAMPLE_RATE_HZ))
        first = (start + skip) * SAMPLE_RATE_HZ // rate
        if not self._surplus or self._overlap or first > self._position:
            return 0
        self._surplus = self._position - first
        return skip

    def restart(self) -> Iterator[Piece | Jump]:
        """What is still held; the next frame is placed where it says that it is, and that is no jump: it was told upstream.

        Only what it says of the time before the end of the last one is left out.
        """
        yield from self.flush()
        self._restarted = True
        # A new run of samples begins at a whole millisecond, after the one in which the last run ended.
        self._position += -self._position % SAMPLES_PER_MS

    def flush(self) -> Iterator[Piece | Jump]:
        """What is still held; nothing may be placed after it."""
        if self._suspect is not None:
            (frame, _), self._suspect = self._suspect, None
            yield from self._put(frame, None, TOLERANCE_S)
        yield from self._drain()

    def _drain(self) -> Iterator[Piece]:
        if self._resampler is not None:
            resampler, self._resampler = self._resampler, None
            for samples in resampler.flush():
                yield from self._emit(samples)

    def _move_to(self, start_s: float) -> Iterator[Piece | Jump]:
        yield from self._drain()
        self._surplus = 0
        gap = round(start_s * SAMPLE_RATE_HZ) - self._position
        first = not self._begun or (self._restarted and -gap <= self._max_gap)
        self._begun, self._restarted = True, False
        self._expected_s = start_s
        if gap > 0:
            if first:
                self._position += gap
            elif gap <= self._max_gap:
                yield from self._silence(gap)
            else:
                yield Jump(self._position, gap, "gap")
                self._position += gap
        elif gap < 0:
            if first or -gap <= self._max_gap:
                if not first:
                    yield Jump(self._position, gap, "overlap")
                self._surplus = -gap
                self._overlap = not first
            else:
                yield Jump(self._position, gap, "clock-reset")
                self._offset_s -= gap / SAMPLE_RATE_HZ
                self._expected_s -= gap / SAMPLE_RATE_HZ

    def _silence(self, samples: int) -> Iterator[Piece]:
        self.silence += samples
        while samples > 0:
            block = min(samples, _SILENCE_BLOCK)
            yield from self._emit(np.zeros(block, np.float32) if self._floats else np.zeros(block, np.int16))
            samples -= block

    def _emit(self, samples: Mono) -> Iterator[Piece]:
        if self._surplus:
            left_out = min(self._surplus, len(samples))
            self._surplus -= left_out
            self.dropped += left_out if self._overlap else 0
            samples = samples[left_out:]
        if self._end is not None:
            samples = samples[: max(0, self._end - self._position)]
        if len(samples):
            yield Piece(self._position, samples)
            self._position += len(samples)
