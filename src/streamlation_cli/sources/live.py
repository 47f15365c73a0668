"""A live source as a session: what its reader reads, on one timeline, with a heartbeat.

reader's thread ─► Buffer ─► LiveMedia.records() ─► ingest
                              ├ gathers the first packets of a connection, to know where its live edge is
                              ├ puts each on the timeline (`livetime.py`), a discontinuity before it where there is one
                              └ says a `status` each second, so that what is downstream wakes although nothing comes
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from .. import stdio
from ..errors import DataError
from ..records import PROTO, Discontinuity, Header, Packet, Status, StreamRecord
from . import Request
from .backoff import Backoff
from .feeds import Break, Connector
from .livetime import LiveTime, Timed
from .reading import Arrived, Connected, Disconnected, Ended, Reader

_STAGE = "ingest"
STATUS_EVERY_S = 1.0
GATHER_S = 0.25
"""How long the first packets of a connection are gathered: they come in a burst, and its last one is the live edge."""
_MOST_SILENT = 500
"""Video packets kept while there is no sound yet."""
_TICK_S = 0.25
"""How soon a signal is noticed."""


class LiveMedia:
    """A live input; raises what a `Connector` raises where the source never came about."""

    def __init__(
        self,
        request: Request,
        connector: Connector,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._request = request
        self._connector = connector
        self._clock = clock
        self._time = LiveTime(keeps=connector.keeps)
        self._reader = Reader(connector, retry=request.retry, backoff=Backoff(request.retry_max_s), clock=clock)
        self._connections = 0
        self._packets = 0
        self._bytes = 0
        self._down = ""
        self._next_status_s = 0.0
        self._sequence = 0
        self._ready: deque[Arrived] = deque()
        """Taken from the buffer, gathered, and now to be dealt with."""
        self._gathered: _Gathered | None = None
        self._reader.start()
        try:
            self.header = self._open(wall_clock)
        except BaseException:
            self.close()
            raise

    @property
    def end_ms(self) -> int | None:
        """Media time at which the audio so far ends."""
        return round(self._time.end_s * 1000)

    def _open(self, wall_clock: Callable[[], float]) -> Header:
        """The header, once the first packets are there."""
        while True:
            gathered = self._first_packets()
            if gathered.has_audio:
                break
        first = gathered.timed()
        zero_s, kept = self._time.begin(gathered.connected.audio, first)
        self._time.counted = gathered.connected.counted
        self._packets += len(first) - len(kept)
        kept_packets = {id(t.packet) for t in kept}
        self._ready.extend(a for a in gathered.items if not isinstance(a.item, Packet) or id(a.item) in kept_packets)
        now_s = self._clock()
        self._next_status_s = now_s + STATUS_EVERY_S
        return Header(
            self._request.session,
            proto=PROTO,
            source=self._connector.name,
            live=True,
            started_at=round(wall_clock() - (now_s - zero_s), 3),
            audio=gathered.connected.audio,
            video=gathered.connected.video,
            language=self._request.language,
        )

    def _first_packets(self) -> _Gathered:
        """What comes first of the first connection that gives something."""
        gathered: _Gathered | None = None
        while True:
            now_s = self._clock()
            if gathered is not None and gathered.done(now_s):
                return gathered
            arrived = self._take(float("inf") if gathered is None else gathered.until_s - now_s)
            if arrived is None:
                continue
            if isinstance(arrived.item, Ended) and (gathered is None or not gathered.has_audio):
                self._raise(arrived.item)
                raise DataError(f"{self._connector.name}: there is no audio in it")
            if isinstance(arrived.item, Connected):
                self._connections += 1
                gathered = _Gathered(arrived.item)
            elif gathered is not None:
                gathered.add(arrived)

    def records(self) -> Iterator[StreamRecord]:
        """Packets, discontinuities and heartbeats until the source ends; raises StreamlationError where it was given up."""
        while True:
            arrived = self._ready.popleft() if self._ready else self._next()
            if arrived is not None:
                if isinstance(arrived.item, Ended):
                    yield from self._out(self._time.flush())
                    self._raise(arrived.item)
                    return
                yield from self._deal(arrived)
            elif self._gathered is None:
                yield from self._out(self._time.flush())
            if self._clock() >= self._next_status_s:
                self._next_status_s = self._clock() + STATUS_EVERY_S
                yield self._status()

    def _next(self) -> Arrived | None:
        """What comes next, None where a heartbeat is due; the first packets of a connection are gathered first."""
        gathered = self._gathered
        if gathered is None:
            return self._take(self._next_status_s - self._clock())
        arrived = self._take(min(gathered.until_s, self._next_status_s) - self._clock())
        if arrived is not None:
            gathered.add(arrived)
        if gathered.done(self._clock()):
            self._gathered = None
            self._time.reconnect(gathered.connected.audio, gathered.timed())
            self._down = ""
            self._ready.extend(gathered.items)
        return None

    def metrics(self) -> dict[str, int | float]:
        """What the source did so far."""
        return {
            "packets": self._packets,
            "bytes": self._bytes,
            "reconnects": max(0, self._connections - 1),
            "dropped": self._time.dropped + self._reader.buffer.dropped,
            "discontinuities": self._time.discontinuities,
            "jitter_ms": round(self._time.jitter_s * 1000, 1),
        }

    def close(self) -> None:
        """Lets go of the source; what still cannot be interrupted is left to its thread."""
        self._reader.close()

    def _deal(self, arrived: Arrived) -> Iterator[StreamRecord]:
        item = arrived.item
        if isinstance(item, Packet):
            self._packets += 1
            self._bytes += len(item.data)
            yield from self._out(self._time.place(Timed(arrived.at_s, item)))
        elif isinstance(item, Break):
            yield from self._out(self._time.flush())
            self._time.interrupt(item)
        elif isinstance(item, Disconnected):
            yield from self._out(self._time.flush())
            self._down = item.reason
            yield self._status()
        elif isinstance(item, Connected):
            self._connections += 1
            self._time.counted = item.counted
            if self._connector.keeps:
                self._time.reconnect(item.audio, ())
                self._down = ""
            else:
                self._gathered = _Gathered(item)

    def _out(self, records: Iterator[Packet | Discontinuity]) -> Iterator[StreamRecord]:
        for record in records:
            if isinstance(record, Packet):
                yield msgspec.structs.replace(record, session=self._request.session, seq=self._sequence)
                self._sequence += 1
            else:
                yield msgspec.structs.replace(record, session=self._request.session)

    def _status(self) -> Status:
        return Status(
            self._request.session,
            stage=_STAGE,
            state="running",
            lag_ms=round(self._time.lag_s(self._clock()) * 1000),
            counters=self.metrics(),
            detail=f"reconnecting: {self._down}" if self._down else "",
        )

    def _take(self, timeout_s: float) -> Arrived | None:
        """What comes next, or None after `timeout_s`; a signal that asks for the end ends the wait with Interrupted."""
        until_s = self._clock() + timeout_s
        while True:
            if code := stdio.interrupt_requested():
                raise stdio.Interrupted(code)
            arrived = self._reader.buffer.take(max(0.0, min(until_s - self._clock(), _TICK_S)))
            if arrived is not None or self._clock() >= until_s:
                return arrived

    @staticmethod
    def _raise(ended: Ended) -> None:
        if ended.error is not None:
            raise ended.error


class _Gathered:
    """A connection and what came first on it, until its live edge is known or something else happens."""

    def __init__(self, connected: Connected) -> None:
        self.connected = connected
        self.items: list[Arrived] = []
        self.until_s = float("inf")
        self.has_audio = False

    def add(self, arrived: Arrived) -> None:
        """Takes what came next; of the video before the first sound, the last moments are kept."""
        self.items.append(arrived)
        if not isinstance(arrived.item, Packet):
            self.until_s = arrived.at_s
        elif arrived.item.stream == "audio" and not self.has_audio:
            self.has_audio = True
            self.until_s = arrived.at_s + GATHER_S
        elif not self.has_audio:
            del self.items[:-_MOST_SILENT]

    def done(self, now_s: float) -> bool:
        """Whether the gathering is over."""
        return now_s >= self.until_s

    def timed(self) -> list[Timed]:
        """The packets among it."""
        return [Timed(one.at_s, one.item) for one in self.items if isinstance(one.item, Packet)]
