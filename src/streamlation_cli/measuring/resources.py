"""Memory, open handles and processor time of the processes under test, sampled while they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Unavailable


@dataclass(frozen=True)
class Sample:
    """All processes under test at one moment."""

    at_s: float
    """The bench's clock."""
    media_ms: float
    """How much of the recording had been fed."""
    rss_bytes: int
    """Resident memory of all together; pages that processes share count in each."""
    largest_bytes: int
    """Resident memory of the largest."""
    handles: int
    """Open file descriptors of all together."""
    processes: int
    cpu_s: float


class Sampler(threading.Thread):
    """Takes a sample every `interval_s` until `stop`."""

    def __init__(self, pids: Sequence[int], media_ms: Callable[[], float], interval_s: float) -> None:
        """Raises Unavailable where psutil is not installed."""
        super().__init__(name="resources", daemon=True)
        self._psutil = _psutil()
        self._pids = pids
        self._media_ms = media_ms
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self.samples: list[Sample] = []

    def run(self) -> None:
        """Samples at once and then at intervals."""
        while True:
            self.samples.append(self.take())
            if self._stopping.wait(self._interval_s):
                return

    def stop(self) -> None:
        """Takes no further sample; returns when none is being taken."""
        self._stopping.set()
        self.join()

    def take(self) -> Sample:
        """One sample now; processes that have ended count nothing."""
        rss: list[int] = []
        handles = 0
        cpu = 0.0
        for process in self._family():
            try:
                with process.oneshot():
                    memory = process.memory_info().rss
                    times = process.cpu_times()
                    handles += process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
            except self._psutil.Error:
                continue
            rss.append(memory)
            cpu += times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
        return Sample(
            at_s=time.monotonic(),
            media_ms=self._media_ms(),
            rss_bytes=sum(rss),
            largest_bytes=max(rss, default=0),
            handles=handles,
            processes=len(rss),
            cpu_s=cpu,
        )

    def _family(self) -> list[Any]:
        found = []
        for pid in self._pids:
            try:
                process = self._psutil.Process(pid)
                found += [process, *process.children(recursive=True)]
            except self._psutil.Error:
                continue
        return found


def _psutil() -> Any:
    try:
        import psutil
    except ImportError:
        raise Unavailable("memory and handles are read with psutil: pip install 'streamlation[bench]'") from None
    return psutil
