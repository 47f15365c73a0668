"""How late a stage of a live session is: from the moment a sample arrived to the moment its text went out.

    media time 0 = started_at     sample at 61 400 ms arrives     its word goes out
    ├──────────────────────────────┤                              │
    started_at                     started_at + 61.4 s ◄── lag ──►│ emitted_at

A stage asks `emitted` for the time to write into a record and `report` for the `status` record that is due now and then.
Media time drives both, so no stage needs a timer and a stream played faster than real time reports as often.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from .records import Header, Pcm, Status, StreamRecord, Transcript, Translation

REPORT_EVERY_MS = 10_000
"""Media time between two reports."""
WINDOW_MS = 60_000
"""Media time that the percentiles look back: long enough for a 95th, short enough to show a recovery."""
_MOST_SAMPLES = 4096
"""Bounds memory where a stage notes more than words."""


class Lag:
    """Latency of one stage in one session. Outside live sessions it notes nothing and has nothing to report."""

    def __init__(self, header: Header, stage: str, clock: Callable[[], float] = time.time) -> None:
        self._session = header.session
        self._stage = stage
        self._started_at = header.started_at if header.live else None
        self._live = header.live
        self._clock = clock
        self._samples: deque[tuple[int, int]] = deque(maxlen=_MOST_SAMPLES)
        """Media time and lag of what went out, both in ms."""
        self._reported_ms: int | None = None

    def emitted(self, *until_ms: int) -> float | None:
        """The Unix time, for `emitted_at`; notes the lag of sound that ended at each of `until_ms`. None unless live."""
        if not self._live:
            return None
        now = self._clock()
        if self._started_at is not None:
            for end_ms in until_ms:
                # A source whose timeline runs ahead of the clock has no negative latency to boast of.
                self._samples.append((end_ms, max(0, round((now - self._started_at) * 1000) - end_ms)))
        return now

    def report(
        self, at_ms: int | None, counters: Mapping[str, int | float] | None = None, detail: str = ""
    ) -> Status | None:
        """The status that is due at media time `at_ms`, about every ten seconds; None where none is, or the time is not known.

        `lag_ms` is the latest lag; `lag_p50_ms` and `lag_p95_ms` among the counters are those of the last minute.
        """
        if not self._live or at_ms is None:
            return None
        if self._reported_ms is None or at_ms < self._reported_ms - REPORT_EVERY_MS:  # the first, or the clock jumped
            self._reported_ms = at_ms
            return None
        if at_ms - self._reported_ms < REPORT_EVERY_MS:
            return None
        self._reported_ms = at_ms
        return Status(
            self._session, stage=self._stage, state="running", counters={**(counters or {}), **self.percentiles()},
            lag_ms=self._samples[-1][1] if self._samples else None, detail=detail, emitted_at=self._clock(),
        )  # fmt: skip

    def percentiles(self) -> dict[str, int]:
        """`lag_p50_ms` and `lag_p95_ms` of the last minute of media; empty where nothing went out."""
        if not self._samples:
            return {}
        newest = self._samples[-1][0]
        while abs(newest - self._samples[0][0]) > WINDOW_MS:
            self._samples.popleft()
        lags = [lag for _, lag in self._samples]
        return {"lag_p50_ms": percentile(lags, 50), "lag_p95_ms": percentile(lags, 95)}


def media_now_ms(record: StreamRecord, header: Header) -> int | None:
    """The media time at which a record was made: by `emitted_at`, else by what it covers; None where it does not say.

    What it covers has been said by then: a stream that is played faster than it was recorded goes by that.
    """
    emitted_at: float | None = getattr(record, "emitted_at", None)
    covered_ms = record.end_ms if isinstance(record, Pcm | Transcript | Translation) else None
    if emitted_at is None or header.started_at is None:
        return covered_ms
    return max(round((emitted_at - header.started_at) * 1000), covered_ms or 0)


def percentile(values: Sequence[int], percent: float) -> int:
    """The least of `values` that at least `percent` of 100 of them do not exceed (nearest rank).

    >>> percentile([5, 1, 4, 2, 3], 50), percentile([5, 1, 4, 2, 3], 95), percentile([7], 50)
    (3, 5, 7)
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
