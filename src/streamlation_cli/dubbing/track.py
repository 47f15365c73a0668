"""The dubbed track: voices laid on the media's timeline, alone or with the original.

    replace   voice                                         ─► both channels
    duck      original, levelled, down under the voice + voice ─► Mastering
    keep      original, levelled │ voice, a side each          ─► Mastering

Sound is written as soon as nothing that is still to come can change it, so memory does not grow with the length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .audiofile import SAMPLE_RATE_HZ, Block
from .loudness import Leveller, Mastering
from .waveform import Mono

MIXES = ("replace", "duck", "keep")
SIDES = ("left", "right")

_SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
_BLOCK = SAMPLE_RATE_HZ

ATTACK_MS = 200
"""The original is down by the time the voice starts, having begun this long before."""

RELEASE_MS = 300
"""And it is back up this long after the voice ends."""

AHEAD_S = 15.0
"""How far ahead of what is written the loudness of a file's original and mix is known: 6 MB each."""

_BED_BOUNDS_DB = (6.0, 30.0)
"""The original is turned up by this much at most, for the noise of a silent one is no background, and down by this much."""

_MIX_BOUNDS_DB = (6.0, 12.0)


class Bed(Protocol):
    """The original's sound."""

    def read(self, count: int, *, last: bool) -> Block:
        """The next samples, shape (2, n): `count` of them with `last`, else n ≤ count as far as they are known."""


class Output(Protocol):
    """Where the track goes."""

    def write(self, block: Block) -> None:
        """Appends samples, shape (2, n)."""


class _LevelledBed:
    """The original, turned to the voice's loudness by a gain that moves slowly."""

    def __init__(self, bed: Bed, ahead_s: float) -> None:
        self._bed = bed
        self._ahead = round(ahead_s * SAMPLE_RATE_HZ)
        up, down = _BED_BOUNDS_DB
        self._leveller = Leveller(ahead_s=ahead_s, most_up_db=up, most_down_db=down)
        self._ready: Block = np.zeros((2, 0), np.float32)
        self._read = self._given = 0

    def read(self, count: int, *, last: bool) -> Block:
        """See `Bed`."""
        while self._read < self._given + count + self._ahead + _GRID:
            block = self._bed.read(_BLOCK, last=last)
            self._read += block.shape[1]
            self._ready = np.concatenate((self._ready, self._leveller.push(block)), axis=1)
            if not block.shape[1]:
                break
        out, self._ready = self._ready[:, :count], self._ready[:, count:]
        self._given += out.shape[1]
        return out


_GRID = SAMPLE_RATE_HZ // 10
"""A leveller gives whole tenths of a second."""


@dataclass(frozen=True)
class _Voice:
    start: int
    samples: Mono
    runs: tuple[tuple[int, int], ...]
    """Where it is heard, in samples of the media: the original comes back in its longer pauses."""

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


class DubTrack:
    """One session's dubbed track, written to `files` in blocks of shape (2, n).

    `add` places speech in the order of time; `advance` writes what is settled; `finish` pads to the media's length.
    Times are milliseconds, sound is 48 kHz. What is written is at `loudness.TARGET_LUFS` and below `loudness.CEILING_DBTP`.
    A mix looks `AHEAD_S` ahead for that, so its blocks come later than they are settled, except with `live`.
    """

    def __init__(
        self, files: Sequence[Output], bed: Bed | None = None, duck_db: float = 12.0, *, mix: str = "duck",
        keep_side: str = "left", live: bool = False,
    ) -> None:  # fmt: skip
        """Without `bed` the voice is alone, whatever `mix` of `MIXES` says; with `keep` the original is on `keep_side`."""
        ahead_s = 0.0 if live else AHEAD_S
        self._files = files
        self._bed = None if bed is None else _LevelledBed(bed, ahead_s)
        self._duck_db = 0.0 if mix == "keep" else duck_db
        self._side = None if mix != "keep" else SIDES.index(keep_side)
        self._voices: deque[_Voice] = deque()
        self._written = 0
        up, down = _MIX_BOUNDS_DB
        self._mastering = Mastering(ahead_s=ahead_s, most_up_db=up, most_down_db=down)

    def add(self, start_ms: int, samples: Mono) -> None:
        """Places speech; it must not start before what was settled by `advance`."""
        start = start_ms * _SAMPLES_PER_MS
        assert start >= self._written, "speech would start in what is already written"
        if len(samples):
            self._voices.append(_Voice(start, samples, tuple(_runs(start, samples))))

    def advance(self, until_ms: int) -> None:
        """Settles as far as speech at `until_ms` or later cannot change it."""
        settled = until_ms if self._bed is None else until_ms - ATTACK_MS
        self._write(settled * _SAMPLES_PER_MS, last=False)

    def finish(self, duration_ms: int) -> None:
        """Writes the rest: up to `duration_ms`, or to the end of the last speech where that is later."""
        end = max([duration_ms * _SAMPLES_PER_MS, *(voice.end for voice in self._voices)])
        self._write(end, last=True)
        if self._bed is not None:
            self._give(self._mastering.push(np.zeros((2, 0), np.float32), last=True))

    def _write(self, until: int, *, last: bool) -> None:
        while self._written < until:
            count = min(_BLOCK, until - self._written)
            block = self._block(count, last=last)
            if block.shape[1] == 0:
                return
            self._written += block.shape[1]
            self._give(block if self._bed is None else self._mastering.push(block))
            release = RELEASE_MS * _SAMPLES_PER_MS
            while self._voices and self._voices[0].end + release <= self._written:
                self._voices.popleft()

    def _give(self, block: Block) -> None:
        if block.shape[1]:
            for file in self._files:
                file.write(block)

    def _block(self, count: int, *, last: bool) -> Block:
        if self._bed is None:
            block: Block = np.zeros((2, count), np.float32)
        else:
            block = self._bed.read(count, last=last)
            if self._side is None:
                block = block * self._gain(block.shape[1])
            else:
                kept = block.mean(axis=0)
                block = np.zeros_like(block)
                block[self._side] = kept
        end = self._written + block.shape[1]
        channels = slice(None) if self._side is None else 1 - self._side
        for voice in self._voices:
            start, stop = max(voice.start, self._written), min(voice.end, end)
            if start < stop:
                block[channels, start - self._written : stop - self._written] += voice.samples[
                    start - voice.start : stop - voice.start
                ]
        return block

    def _gain(self, count: int) -> Mono:
        """How loud the original is: 1 in pauses, `duck_db` lower under the voice, straight in dB between."""
        begins, ends = self._written, self._written + count
        times = np.arange(begins, ends)
        depth = np.zeros(count)
        attack, release = ATTACK_MS * _SAMPLES_PER_MS, RELEASE_MS * _SAMPLES_PER_MS
        for begin, end in (run for voice in self._voices for run in voice.runs):
            if begin - attack < ends and end + release > begins:
                depth = np.maximum(
                    depth, np.interp(times, [begin - attack, begin, end, end + release], [0.0, 1.0, 1.0, 0.0])
                )
        gain: Mono = (10 ** (-self._duck_db * depth / 20)).astype(np.float32)
        return gain


_AUDIBLE = 0.003
"""−50 dBFS: softer than this a voice pauses."""

_PAUSE = (ATTACK_MS + RELEASE_MS) * _SAMPLES_PER_MS
"""A shorter pause of the voice would not let the original come all the way back."""


def _runs(start: int, samples: Mono) -> Iterator[tuple[int, int]]:
    """Stretches without a pause of `_PAUSE`, by frames of 10 ms."""
    frame = 10 * _SAMPLES_PER_MS
    peaks = np.abs(np.pad(samples, (0, -len(samples) % frame))).reshape(-1, frame).max(axis=1)
    heard = np.flatnonzero(peaks > _AUDIBLE) * frame
    if not len(heard):
        return
    breaks = np.flatnonzero(np.diff(heard) > _PAUSE + frame)
    begins = [0, *(int(index) + 1 for index in breaks)]
    ends = [*(int(index) for index in breaks), len(heard) - 1]
    for begin, end in zip(begins, ends, strict=True):
        yield start + int(heard[begin]), start + min(len(samples), int(heard[end]) + frame)
