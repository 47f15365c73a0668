"""Feeds a recording at its own speed, as a microphone or a live source would.

Chunk n goes out when its last sample has been recorded: at the start plus its end on the timeline. If the system does not
take it at once, later chunks keep their times. Latency is counted from when a sample was due, never from when a slow
system got round to reading it, or a system that falls behind would look fast.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..records import SAMPLE_RATE_HZ

BYTES_PER_MS = SAMPLE_RATE_HZ * 2 // 1000


@dataclass(frozen=True)
class Schedule:
    """When each sample is due."""

    zero_s: float
    """The bench's clock at media time 0, the first sample of the recording."""
    chunk_ms: int
    speed: float = 1.0
    """Media seconds a second; infinite where the system sets the pace."""

    def due(self, at_ms: float) -> float:
        """When the chunk that ends at or holds media time `at_ms` is to go out.

        >>> Schedule(100.0, 20).due(20), Schedule(100.0, 20).due(21), Schedule(100.0, 20, speed=2.0).due(40)
        (100.02, 100.04, 100.02)
        """
        chunks = math.ceil(at_ms / self.chunk_ms - 1e-9)
        return self.zero_s + chunks * self.chunk_ms / 1000 / self.speed


class Feeder(threading.Thread):
    """Writes samples to a descriptor on schedule and closes it; `stop` ends it early."""

    def __init__(
        self, descriptor: int, chunks: Iterator[bytes], schedule: Schedule, lead_in_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`chunks` are of `schedule.chunk_ms` each, the first `lead_in_ms` before media time 0."""
        super().__init__(name="feed", daemon=True)
        self._descriptor = descriptor
        self._chunks = chunks
        self._schedule = schedule
        self._clock = clock
        self._stopping = threading.Event()
        self._at_ms = -lead_in_ms
        self.fed_ms = 0
        """Media time up to which the system has taken samples."""
        self.late_s = 0.0
        """The most that a chunk was taken later than it was due."""
        self.refused = False
        """Whether the system stopped reading before the end."""

    def run(self) -> None:
        """Feeds until the end, `stop`, or until the system closes its input."""
        try:
            for chunk in self._chunks:
                self._at_ms += len(chunk) // BYTES_PER_MS
                due = self._schedule.due(self._at_ms)
                if self._stopping.wait(max(0.0, due - self._clock())):
                    return
                _write(self._descriptor, chunk)
                self.fed_ms = self._at_ms
                self.late_s = max(self.late_s, self._clock() - due)
        except BrokenPipeError:
            self.refused = True
        finally:
            os.close(self._descriptor)

    def stop(self) -> None:
        """Feeds no further chunk."""
        self._stopping.set()


def chunked(samples: bytes, chunk_ms: int, lead_in_ms: int, lead_out_ms: int) -> Iterator[bytes]:
    """A recording (16 kHz s16le) with silence before and after, in chunks.

    >>> [len(chunk) // BYTES_PER_MS for chunk in chunked(bytes(50 * BYTES_PER_MS), 20, 20, 40)]
    [20, 20, 20, 20, 20, 10]
    """
    size = chunk_ms * BYTES_PER_MS
    before, after = lead_in_ms // chunk_ms * chunk_ms, lead_out_ms
    whole = bytes(before * BYTES_PER_MS) + samples + bytes(after * BYTES_PER_MS)
    for at in range(0, len(whole), size):
        yield whole[at : at + size]


def repeated(samples: bytes, chunk_ms: int, total_ms: float) -> Iterator[bytes]:
    """A recording over and over in whole chunks until `total_ms` have been given."""
    size = chunk_ms * BYTES_PER_MS
    chunks = [chunk for at in range(0, len(samples), size) if len(chunk := samples[at : at + size]) == size]
    given = 0
    while given < total_ms:
        for chunk in chunks:
            yield chunk
            given += chunk_ms
            if given >= total_ms:
                return


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
