"""A line of samples cut into pcm records."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..records import Pcm
from .pcm import SAMPLES_PER_MS, Samples16, levels


class Chunks:
    """Samples into pcm records, their times in whole milliseconds: of equal length, or, `prompt`, all that is there once it is as long.

    The first sample of a run is seldom on a whole millisecond: up to 15 samples of silence before it keep every sample in
    its place.
    """

    def __init__(self, session: str, chunk_ms: int, *, prompt: bool = False) -> None:
        self._session = session
        self._prompt = prompt
        self._length = chunk_ms * SAMPLES_PER_MS
        self._parts: list[Samples16] = []
        self._held = 0
        self._start = 0
        self._sequence = 0
        self.end_ms = 0

    def add(self, start: int, samples: Samples16) -> Iterator[Pcm]:
        """Takes samples that follow the last ones, unless `flush` came before."""
        if not self._held:
            lead = start % SAMPLES_PER_MS
            self._start = start - lead
            if lead:
                self._parts.append(np.zeros(lead, dtype=np.int16))
                self._held = lead
        self._parts.append(samples)
        self._held += len(samples)
        while self._held >= self._length:
            yield from self.cut() if self._prompt else self._take(self._length)

    def cut(self) -> Iterator[Pcm]:
        """What is held in whole milliseconds; the line of samples goes on."""
        whole = self._held - self._held % SAMPLES_PER_MS
        if whole:
            yield from self._take(whole)

    def flush(self) -> Iterator[Pcm]:
        """What is held, shorter than the others; its `end_ms` is rounded up."""
        if self._held:
            yield self._record(np.concatenate(self._parts))
        self._parts, self._held = [], 0

    def _take(self, count: int) -> Iterator[Pcm]:
        held = np.concatenate(self._parts)
        yield self._record(held[:count])
        self._parts = [held[count:]]
        self._held -= count
        self._start += count

    def _record(self, samples: Samples16) -> Pcm:
        rms, peak = levels(samples)
        self.end_ms = -(-(self._start + len(samples)) // SAMPLES_PER_MS)
        sequence, self._sequence = self._sequence, self._sequence + 1
        return Pcm(
            self._session,
            seq=sequence,
            start_ms=self._start // SAMPLES_PER_MS,
            end_ms=self.end_ms,
            rms_dbfs=rms,
            peak_dbfs=peak,
            data=samples.astype("<i2", copy=False).tobytes(),
        )
