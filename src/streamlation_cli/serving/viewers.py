"""Who watches, and what their players say: how far each is, whether it waits, how late it is.

    page ─► WebSocket ─► Viewers.listen: is it a report, are they not too many? ─► Viewers.of(session) ─► `status`, /status

A viewer is who has a page open. What it sends is a JSON object a second, a `Report`; it is believed, for it concerns nobody
but who sent it, and nothing is done on account of it. A line that sends anything else is closed.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from starlette.websockets import WebSocket

from ..records import Status

State = Literal[
    "reading",
    "none",
    "loading",
    "ready",
    "playing",
    "paused",
    "buffering",
    "stalled",
    "reconnecting",
    "ended",
    "failed",
]
"""`reading`: captions without a picture; `ready`: to be started by hand; `stalled`: there is nothing new to play."""
REPORT_S = 1.0
"""How often a page reports while nothing changes, and how often there is a `status`."""
_BURST, _A_SECOND = 30.0, 4.0
"""A page may send so many at once, and so many a second. Ours sends three a second at most; one that slept may have some to
catch up with."""
_NONSENSE = 1008
"""WebSocket close code (RFC 6455): it sent what is against the rules."""
_WAITING = ("loading", "buffering", "stalled", "reconnecting")

_Ms = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page says of its player; times in ms."""

    session: Annotated[str, msgspec.Meta(max_length=400)]
    state: State
    position_ms: _Ms | None = None
    """Media time of what is seen."""
    duration_ms: _Ms | None = None
    loaded_ms: _Ms | None = None
    """How far it is loaded beyond that."""
    latency_ms: _Ms | None = None
    """How long ago what is seen happened, in a live session."""
    stalls: _Count = 0
    """How often it had to wait in the midst of playing."""
    buffering_ms: _Ms = 0
    """How long it waited altogether."""
    volume: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


_decoder = msgspec.json.Decoder(Report)


@dataclass(frozen=True)
class Audience:
    """Those who watch one session."""

    reports: tuple[Report, ...] = ()

    @property
    def words(self) -> str:
        """How they are.

        >>> Audience((Report("s", "playing"), Report("s", "buffering"), Report("s", "playing"))).words
        '2 playing, 1 buffering in 3 browsers'
        >>> Audience((Report("s", "paused"),)).words, Audience().words
        ('paused in a browser', 'nobody watches')
        """
        states = [report.state for report in self.reports]
        if not states:
            return "nobody watches"
        if len(states) == 1:
            return f"{states[0]} in a browser"
        counted = dict.fromkeys(sorted(states, key=_first))
        return f"{', '.join(f'{states.count(state)} {state}' for state in counted)} in {len(states)} browsers"

    @property
    def counters(self) -> dict[str, int | float]:
        """Figures of all of them: medians of position and latency, the worst latency, the shortest stretch that is loaded, sums.

        >>> two = (Report("s", "playing", 4000, latency_ms=900), Report("s", "stalled", 2000, latency_ms=2900, stalls=1))
        >>> list(Audience(two).counters.values())
        [2, 1, 1, 3000, 1900, 2900, 1, 0]
        >>> list(Audience(two).counters)
        ['viewers', 'playing', 'waiting', 'position_ms', 'latency_ms', 'latency_max_ms', 'stalls', 'buffering_ms']
        """
        reports = self.reports
        found: dict[str, int | float] = {"viewers": len(reports)}
        players = [report for report in reports if report.state not in ("reading", "none")]
        if not players:
            return found
        found["playing"] = sum(report.state == "playing" for report in players)
        found["waiting"] = sum(report.state in _WAITING for report in players)
        positions = [report.position_ms for report in players if report.position_ms is not None]
        lates = [report.latency_ms for report in players if report.latency_ms is not None]
        loaded = [report.loaded_ms for report in players if report.loaded_ms is not None]
        durations = [report.duration_ms for report in players if report.duration_ms is not None]
        if positions:
            found["position_ms"] = round(statistics.median(positions))
        if durations:
            found["duration_ms"] = max(durations)
        if lates:
            found["latency_ms"] = round(statistics.median(lates))
            found["latency_max_ms"] = max(lates)
        if loaded:
            found["loaded_ms"] = min(loaded)
        volumes = [report.volume for report in players if report.volume is not None]
        if len(volumes) == 1:
            found["volume"] = round(volumes[0], 3)
        found["stalls"] = sum(report.stalls for report in players)
        found["buffering_ms"] = sum(report.buffering_ms for report in players)
        return found


def _first(state: str) -> tuple[bool, str]:
    return state != "playing", state


class _Allowance:
    """How many messages a line may still send now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = _BURST
        self._at_s = clock()

    def spend(self) -> bool:
        """Whether one more is all right."""
        now = self._clock()
        self._left = min(_BURST, self._left + (now - self._at_s) * _A_SECOND) - 1
        self._at_s = now
        return self._left >= 0


@dataclass
class Viewers:
    """All who watch; thread-safe."""

    clock: Callable[[], float] = time.monotonic
    _reports: dict[int, Report] = field(default_factory=dict)
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def listen(self, socket: WebSocket) -> None:
        """Takes what a page reports until its line ends; ends the line where it sends anything else, or too much."""
        with self._lock:
            self._number += 1
            number = self._number
        allowance = _Allowance(self.clock)
        try:
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                report = _decoded(message.get("text"))
                if report is None or not allowance.spend():
                    await socket.close(
                        _NONSENSE, "too many messages" if report is not None else "no report of a player"
                    )
                    return
                with self._lock:
                    self._reports[number] = report
        finally:
            with self._lock:
                self._reports.pop(number, None)

    def of(self, session: str) -> Audience:
        """Those who watch a session."""
        with self._lock:
            return Audience(tuple(report for report in self._reports.values() if report.session == session))


class Telling:
    """The `status` records of one session's audience: one a second, while somebody watches, and one when the last has gone."""

    def __init__(self, viewers: Viewers, session: str, stage: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._viewers = viewers
        self._session = session
        self._stage = stage
        self._clock = clock
        self._told_s = clock()
        self._watched = False

    def due(self) -> Status | None:
        """The one that is due now, if one is."""
        now = self._clock()
        if now - self._told_s < REPORT_S:
            return None
        self._told_s = now
        audience = self._viewers.of(self._session)
        watched, self._watched = self._watched, bool(audience.reports)
        return status_of(audience, self._session, self._stage) if watched or self._watched else None


def status_of(audience: Audience, session: str, stage: str) -> Status:
    """How those who watch are, as a record."""
    counters = audience.counters
    late = counters.get("latency_ms")
    length = counters.get("duration_ms")
    progress = min(1.0, round(counters.get("position_ms", 0) / length, 4)) if length else None
    return Status(
        session, stage=stage, state="running", progress=progress, lag_ms=None if late is None else round(late),
        counters=counters, detail=audience.words, emitted_at=time.time(),
    )  # fmt: skip


def _decoded(text: str | None) -> Report | None:
    try:
        return _decoder.decode(text) if text is not None else None
    except msgspec.MsgspecError:
        return None


def is_own_page(socket: WebSocket) -> bool:
    """Whether a page of this very server opened the line: no other site's page may read what a viewer sees."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == socket.headers.get("host", "").lower()
