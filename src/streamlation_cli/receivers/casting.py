"""What becomes of media on a device: started, watched over, started again after a break, ended; told in `status` records."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .. import stdio
from ..errors import Unavailable
from ..records import State, Status
from ..render import clock
from . import Media, Playback, Receiver, Refused
from .preparing import with_start

logger = logging.getLogger("streamlation.cast")

STAGE = "cast"
TICK_S = 0.1
"""How soon a key or a signal is noticed."""
REPORT_S = 1.0
"""How often there is a `status` while nothing changes."""
PATIENCE_S = 20.0
"""How long a lost device is waited for: one that changes its Wi-Fi channel or restarts its receiver is back by then."""
_MOST_RELOADS = 3
_SETTLE_S = 5.0
"""A device may say that it is idle for so long after it has taken something to play."""


@contextlib.contextmanager
def or_else(way_out: str) -> Iterator[None]:
    """Adds to what says that a device is not available what else there is to do."""
    try:
        yield
    except Unavailable as error:
        joint = " " if error.message.endswith("?") else "; "
        raise type(error)(f"{error.message}{joint}{way_out}") from error


Command = Callable[[Receiver, Playback], None]
"""What a key asks for."""


@dataclass
class Casting:
    """Media on a device, from `start` to the end; see `watch`."""

    session: str
    receiver: Receiver
    media: Media
    way_out: str
    """What else there is to do where the device fails."""
    patience_s: float = PATIENCE_S
    latency_ms: Callable[[Playback], int | None] = lambda _: None
    """Of live media: how far behind what happens is what is seen."""
    targets: Mapping[str, int] = field(default_factory=dict)
    """What is aimed at, as counters."""
    commands: Callable[[], list[Command]] = list
    show: Callable[[Playback], None] = lambda _: None
    """Told of each new state, for a line on a terminal."""
    _counters: dict[str, int | float] = field(default_factory=lambda: {"stalls": 0, "buffering_ms": 0, "restarts": 0})
    _state: str = "loading"
    _position_ms: int = 0
    _started_s: float = 0.0
    _buffering_since_s: float | None = None
    _lost_since_s: float | None = None
    _stopped: bool = False
    _reported_s: float = 0.0
    _last: Playback = field(default_factory=lambda: Playback(state="loading"))

    def start(self, volume: float | None = None) -> None:
        """Has the device play; raises what `Receiver.load` raises."""
        with or_else(self.way_out):
            self.receiver.load(self.media, volume)
        self._started_s = time.monotonic()
        self._position_ms = self.media.start_ms

    def watch(self, until: Callable[[Playback], bool] = lambda _: False) -> Iterator[Status]:
        """Statuses until playback ends, somebody ends it, or `until` says so.

        Raises Unavailable where the device fails or is lost for too long, Interrupted where a signal came.
        """
        yield self.status("running")
        while True:
            playback, changed = self.look()
            if changed or time.monotonic() - self._reported_s >= REPORT_S:
                yield self.status("running")
            if playback.state in ("ended", "stopped", "replaced") or self._stopped or until(playback):
                break
            if (code := stdio.interrupt_requested()) is not None:
                raise stdio.Interrupted(code)
            for command in self.commands():
                command(self.receiver, playback)
            time.sleep(TICK_S)
        yield self.status("completed")

    def stop(self) -> None:
        """Ends playback on the device."""
        if self._stopped or self._state in ("ended", "stopped", "replaced", "lost"):
            return  # there is nothing to end, or nobody to tell
        self._stopped = True
        self._state = "stopped"
        self.receiver.stop()

    def abandon(self) -> None:
        """Ends playback where it can; what led here is already being reported."""
        try:
            self.stop()
        except Unavailable as error:
            logger.info("%s", error.message)

    def look(self) -> tuple[Playback, bool]:
        """How the device is, and whether its state is another than before; raises Unavailable where there is no hope."""
        playback = self._judged(self.receiver.playback())
        changed = playback.state != self._state
        self._count(playback)
        self._state = playback.state
        self._last = playback
        if playback.position_ms and playback.state in ("playing", "paused", "buffering"):
            self._position_ms = playback.position_ms
        if playback.state == "ended" and not self.media.live:
            self._position_ms = playback.duration_ms or self.media.duration_ms or self._position_ms
        if playback.state == "failed":
            raise Unavailable(
                self._gave_up(f"gave up with an error{f' ({playback.detail})' if playback.detail else ''}")
            )
        playback = self._mind_loss(playback)
        self.show(playback)
        return playback, changed

    def _judged(self, playback: Playback) -> Playback:
        """Idle is what a device is before it begins, and after it has ended without saying so."""
        if playback.state != "idle":
            return playback
        early = time.monotonic() - self._started_s < _SETTLE_S and self._state in ("loading", "lost")
        return Playback(
            state="loading" if early else "stopped", position_ms=playback.position_ms, duration_ms=playback.duration_ms,
            volume=playback.volume, counters=playback.counters,
        )  # fmt: skip

    def _mind_loss(self, playback: Playback) -> Playback:
        """How it is then. A lost device is waited for; one that is back without our media gets them again, from where it was."""
        now = time.monotonic()
        if playback.state == "lost":
            self._lost_since_s = self._lost_since_s or now
            if now - self._lost_since_s > self.patience_s:
                raise Unavailable(self._gave_up(f"has not answered for {self.patience_s:.0f} s"))
            return playback
        was_lost, self._lost_since_s = self._lost_since_s is not None, None
        if was_lost and playback.state in ("stopped", "loading"):
            if self._counters["restarts"] == _MOST_RELOADS:
                raise Unavailable(self._gave_up(f"broke off {_MOST_RELOADS + 1} times, the last time"))
            self._counters["restarts"] += 1
            if not self.media.live:
                self.media = with_start(self.media, self._position_ms)
            try:
                self.start()
            except Refused:
                raise
            except Unavailable:  # it answers, but is not ready yet
                self._lost_since_s = now
                return replace(playback, state="lost")
            self._state = "loading"
            self._last = Playback(state="loading", position_ms=self._position_ms, duration_ms=playback.duration_ms)
            return self._last
        return playback

    def _count(self, playback: Playback) -> None:
        now = time.monotonic()
        if self._buffering_since_s is not None:
            self._counters["buffering_ms"] += round((now - self._buffering_since_s) * 1000)
            self._buffering_since_s = None
        if playback.state == "buffering":
            self._buffering_since_s = now
            if self._state in ("playing", "paused"):
                self._counters["stalls"] += 1

    def _gave_up(self, what: str) -> str:
        where = f" at {clock(self._position_ms)}" if self._position_ms else ""
        again = f"; go on with --start {self._position_ms // 1000}" if self._position_ms and not self.media.live else ""
        return f"{self.receiver.device.name} {what}{where}{again}; {self.way_out}"

    def status(self, state: State) -> Status:
        """A record of how it is."""
        self._reported_s = time.monotonic()
        playback = self._last
        counters: dict[str, int | float] = {"position_ms": self._position_ms}
        if playback.duration_ms is not None:
            counters["duration_ms"] = playback.duration_ms
        if playback.volume is not None:
            counters["volume"] = round(playback.volume, 3)
        counters |= self.targets
        counters |= self._counters
        counters |= dict(playback.counters)
        latency_ms = self.latency_ms(playback)
        if latency_ms is not None:
            counters["latency_ms"] = latency_ms
        duration_ms = playback.duration_ms or self.media.duration_ms
        progress = min(1.0, self._position_ms / duration_ms) if duration_ms else None
        device = self.receiver.device
        return Status(
            self.session, stage=STAGE, state=state, progress=None if progress is None else round(progress, 4),
            lag_ms=latency_ms, counters=counters, detail=f"{self._state} on {device.name} ({device.kind})",
        )  # fmt: skip
