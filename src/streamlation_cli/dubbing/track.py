"""The dubbed track: voices laid on the media's timeline, over silence or over the original turned down.

                      speech placed at t ─► pending voices ─┐
    packets ─► queue ─► decoder ─► bed × gain(t) ───────────┴─► sum ─► 48 kHz blocks ─► files

Sound is written as soon as nothing that is still to come can change it, so memory does not grow with the length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .audiofile import SAMPLE_RATE_HZ, AudioFile, Block
from .growing_wav import GrowingWav
from .waveform import Mono

_SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
_BLOCK = SAMPLE_RATE_HZ

ATTACK_MS = 200
"""The original is down by the time the voice starts, having begun this long before."""

RELEASE_MS = 500
"""And it is back up this long after the voice ends."""

PEAK = 0.7
"""Ceiling of the voice: with the original at most this far below full scale, their sum cannot clip."""


_OVERSHOOT = 0.96
"""Room for what resampling adds to a peak."""


class Bed(Protocol):
    """The sound under the voice."""

    def read(self, count: int, *, last: bool) -> Block:
        """The next samples, shape (2, n): `count` of them with `last`, else n ≤ count as far as they are known."""


@dataclass(frozen=True)
class _Voice:
    start: int
    samples: Mono

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


class DubTrack:
    """One session's dubbed track, written to `files`.

    `add` places speech in the order of time; `advance` writes what is settled; `finish` pads to the media's length.
    Times are milliseconds, sound is 48 kHz.
    """

    def __init__(self, files: Sequence[AudioFile | GrowingWav], bed: Bed | None = None, duck_db: float = 12.0) -> None:
        self._files = files
        self._bed = bed
        self._duck_db = duck_db
        self._voices: deque[_Voice] = deque()
        self._written = 0
        self._ceiling = PEAK if bed is None else min(PEAK, _OVERSHOOT * (1 - 10 ** (-duck_db / 20)))

    @property
    def ceiling(self) -> float:
        """Peak that speech must stay below."""
        return self._ceiling

    def add(self, start_ms: int, samples: Mono) -> None:
        """Places speech; it must not start before what was settled by `advance`."""
        voice = _Voice(start_ms * _SAMPLES_PER_MS, samples)
        assert voice.start >= self._written, "speech would start in what is already written"
        if len(samples):
            self._voices.append(voice)

    def advance(self, until_ms: int) -> None:
        """Writes as far as speech at `until_ms` or later cannot change it."""
        settled = until_ms if self._bed is None else until_ms - ATTACK_MS
        self._write(settled * _SAMPLES_PER_MS, last=False)

    def finish(self, duration_ms: int) -> None:
        """Writes the rest: up to `duration_ms`, or to the end of the last speech where that is later."""
        end = max([duration_ms * _SAMPLES_PER_MS, *(voice.end for voice in self._voices)])
        self._write(end, last=True)

    def _write(self, until: int, *, last: bool) -> None:
        while self._written < until:
            count = min(_BLOCK, until - self._written)
            block = self._block(count, last=last)
            if block.shape[1] == 0:
                return
            for file in self._files:
                file.write(block)
            self._written += block.shape[1]
            release = RELEASE_MS * _SAMPLES_PER_MS
            while self._voices and self._voices[0].end + release <= self._written:
                self._voices.popleft()

    def _block(self, count: int, *, last: bool) -> Block:
        if self._bed is None:
            block: Block = np.zeros((1, count), np.float32)
        else:
            block = self._bed.read(count, last=last)
            block *= self._gain(block.shape[1])
        end = self._written + block.shape[1]
        for voice in self._voices:
            start, stop = max(voice.start, self._written), min(voice.end, end)
            if start < stop:
                block[:, start - self._written : stop - self._written] += voice.samples[
                    start - voice.start : stop - voice.start
                ]
        return block

    def _gain(self, count: int) -> Mono:
        """How loud the original is: 1 in pauses, `duck_db` lower under the voice, straight in dB between."""
        times = np.arange(self._written, self._written + count)
        depth = np.zeros(count)
        attack, release = ATTACK_MS * _SAMPLES_PER_MS, RELEASE_MS * _SAMPLES_PER_MS
        for voice in self._voices:
            if voice.start - attack < times[-1] + 1 and voice.end + release > times[0]:
                ramps = [voice.start - attack, voice.start, voice.end, voice.end + release]
                depth = np.maximum(depth, np.interp(times, ramps, [0.0, 1.0, 1.0, 0.0]))
        gain: Mono = (10 ** (-self._duck_db * depth / 20)).astype(np.float32)
        return gain
