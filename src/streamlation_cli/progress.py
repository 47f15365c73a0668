"""How far each stage of `run` has come: for a person at a terminal, and as `status` records for `--events`."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Self

from .filter import Observer
from .records import Eos, Error, Header, Packet, Status, StreamRecord, ends_session
from .render import clock

_EVENT_INTERVAL_S = 1.0
_MARKS = {"pending": "·", "running": "▸", "completed": "✓", "failed": "✗"}


def position_ms(record: StreamRecord) -> int | None:
    """The media time up to which a record takes its stage, where it says one.

    >>> from streamlation_cli.records import Pcm
    >>> position_ms(Pcm("a", seq=0, start_ms=0, end_ms=500, rms_dbfs=-20, peak_dbfs=-3, data=b""))
    500
    """
    if isinstance(record, Packet):
        if record.pts is None:
            return None
        numerator, denominator = record.time_base
        return (record.pts + record.duration) * 1000 * numerator // denominator
    if isinstance(record, Eos):
        return record.duration_ms
    return getattr(record, "end_ms", None)


class _Track:
    """One session's way through the stages."""

    def __init__(self, stages: Sequence[str]) -> None:
        self.duration_ms: int | None = None
        self.started = time.monotonic()
        self.reached = dict.fromkeys(stages, 0)
        self.state = dict.fromkeys(stages, "pending")

    def lag_ms(self, stage: str) -> int:
        """How far the stage is behind the source, in media time."""
        return max(0, max(self.reached.values()) - self.reached[stage])

    def progress(self, stage: str) -> float | None:
        """Share of the session the stage has done."""
        return min(1.0, self.reached[stage] / self.duration_ms) if self.duration_ms else None


class Progress:
    """Observes the stages; every method may be called from any stage's thread."""

    def __init__(self, stages: Sequence[str], events: Observer, *, show: bool) -> None:
        self._stages = list(stages)
        self._events = events
        self._tracks: dict[str, _Track] = {}
        self._lock = threading.Lock()
        self._last_event: dict[tuple[str, str], float] = {}
        self._display = _Display(self) if show else None

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.stop()

    def __call__(self, stage: str, record: StreamRecord) -> None:
        """Takes note of a record that `stage` yielded."""
        self._events(stage, record)
        with self._lock:
            track = self._tracks.get(record.session)
            if track is None:
                if not isinstance(record, Header | Error):
                    return
                track = self._tracks[record.session] = _Track(self._stages)
            status = self._note(track, stage, record)
        if status is not None:
            self._events(stage, status)

    def _note(self, track: _Track, stage: str, record: StreamRecord) -> Status | None:
        if isinstance(record, Header):
            track.duration_ms = record.duration_ms
            track.state[stage] = "running"
        elif ends_session(record):
            track.state[stage] = "failed" if isinstance(record, Error) else "completed"
        reached = position_ms(record)
        if reached is None or reached <= track.reached[stage]:
            return None
        track.reached[stage] = reached
        now = time.monotonic()
        key = (record.session, stage)
        if now - self._last_event.get(key, 0.0) < _EVENT_INTERVAL_S:
            return None
        self._last_event[key] = now
        return Status(
            record.session,
            stage=stage,
            state="running",
            progress=track.progress(stage),
            lag_ms=track.lag_ms(stage),
            emitted_at=time.time(),
        )

    def lines(self) -> list[str]:
        """One line a session: states of the stages, time done, speed, and which stage is furthest behind."""
        with self._lock:
            return [self._line(session, track) for session, track in self._tracks.items()]

    def _line(self, session: str, track: _Track) -> str:
        marks = " ".join(f"{_MARKS[track.state[stage]]} {stage}" for stage in self._stages)
        done = min(track.reached[stage] for stage in self._stages)
        speed = done / 1000 / max(0.001, time.monotonic() - track.started)
        slowest = min(self._stages, key=lambda stage: track.reached[stage])
        whole = f" of {clock(track.duration_ms)}" if track.duration_ms else ""
        lag = track.lag_ms(slowest)
        behind = f", {slowest} {clock(lag)} behind" if lag else ""
        return f"{session}: {marks}  {clock(done)}{whole}, {speed:.1f}× real time{behind}"


class _Display:
    """The lines of a Progress, kept current on standard error."""

    def __init__(self, progress: Progress) -> None:
        from rich.console import Console, ConsoleOptions, RenderResult
        from rich.live import Live
        from rich.text import Text

        class Lines:
            def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
                yield from (Text(line, no_wrap=True, overflow="ellipsis") for line in progress.lines())

        self._live = Live(Lines(), console=Console(stderr=True), refresh_per_second=4)

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._live.stop()
