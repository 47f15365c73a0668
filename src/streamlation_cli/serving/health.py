"""How a session is doing, in figures and in words, from the records that pass by."""

from __future__ import annotations

from typing import Any

from ..lag import media_now_ms
from ..records import Cue, Discontinuity, Eos, Error, Header, Status, StreamRecord, Transcript, Translation
from ..render import clock

STAGES = ("ingest", "normalize", "transcribe", "translate", "dub", "subtitle", "mux", "cast", "serve")
_SAYS = {Transcript: "transcribe", Translation: "translate", Cue: "subtitle"}
"""Which stage a text is of, in the order they come; that of the last is how late the captions are."""
_RECONNECTING = "reconnecting"
_LONG_AGO_MS = 3_600_000
"""A greater lag says that a log is played, not that a stage is slow."""
_MOST_EVENTS = 8


class Health:
    """One session. Times are media time, ms."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.at_ms = 0
        self.over = False
        self.failure = ""
        self._states: dict[str, str] = {}
        self._lags_ms: dict[str, int] = {}
        self._p95_ms: dict[str, int] = {}
        self._details: dict[str, str] = {}
        self._progress: float | None = None
        self._reconnects = 0
        self._dropped = 0
        self._gaps = 0
        self._buffered_ms: int | None = None
        self._events: list[dict[str, Any]] = []
        self._told: dict[str, Any] = {}

    def see(self, record: StreamRecord) -> bool:
        """Takes note of a record; whether anything has changed that a viewer would be told."""
        self.at_ms = max(self.at_ms, media_now_ms(record, self._header) or 0, getattr(record, "end_ms", None) or 0)
        match record:
            case Transcript() | Translation() | Cue():
                self._note_lag(record)
            case Status():
                self._status(record)
            case Discontinuity():
                self._gaps += 1
                length = f"{abs(record.gap_ms) / 1000:.1f} s"
                what = f"{length} are missing" if record.gap_ms >= 0 else f"the source jumped back by {length}"
                self._event("gap", f"{what} ({record.reason})", record.at_ms)
            case Error():
                self._event("error", f"{record.stage}: {record.message}", self.at_ms)
                if record.fatal:
                    self.over, self.failure = True, f"{record.stage}: {record.message}"
            case Eos():
                self.over = True
                self.at_ms = max(self.at_ms, record.duration_ms or 0)
            case _:
                pass
        now = self.summary()
        changed, self._told = now != self._told, now
        return changed

    def _status(self, record: Status) -> None:
        self._states[record.stage] = record.state
        if record.lag_ms is not None:
            self._lags_ms[record.stage] = record.lag_ms
        counters = record.counters
        if "lag_p95_ms" in counters:
            self._p95_ms[record.stage] = round(counters["lag_p95_ms"])
        if "delay_ms" in counters:
            self._buffered_ms = round(counters["delay_ms"])
        if record.stage == "ingest":
            self._progress = record.progress if record.progress is not None else self._progress
            self._reconnects = round(counters.get("reconnects", self._reconnects))
            self._dropped = round(counters.get("dropped", self._dropped))
        if record.detail != self._details.get(record.stage, ""):
            self._details[record.stage] = record.detail
            if record.detail:
                self._event("detail", f"{record.stage}: {record.detail}", self.at_ms)
            elif record.stage == "ingest":
                self._event("detail", "the source is back", self.at_ms)

    def _note_lag(self, record: Transcript | Translation | Cue) -> None:
        """How late the words are that a record commits."""
        if record.emitted_at is None or self._header.started_at is None:
            return
        words = record.words
        if isinstance(record, Transcript | Translation) and not record.final:
            words = words[: record.stable_words]
        if words:
            late_ms = round((record.emitted_at - self._header.started_at) * 1000) - words[-1].end_ms
            self._lags_ms[_SAYS[type(record)]] = max(0, late_ms)

    def _event(self, kind: str, text: str, at_ms: int) -> None:
        if self._events and self._events[-1]["text"] == text:
            return
        self._events.append({"kind": kind, "text": text, "at_ms": at_ms, "at": clock(at_ms)})
        del self._events[:-_MOST_EVENTS]

    def _lag_of(self, stage: str) -> int | None:
        lag_ms = self._lags_ms.get(stage)
        return lag_ms if lag_ms is not None and lag_ms <= _LONG_AGO_MS else None

    def summary(self) -> dict[str, Any]:
        """The session for `/status` and the page. `text` says in words how it is; `trouble`, whether that is bad news."""
        order = {name: at for at, name in enumerate(STAGES)}
        names = sorted(self._states, key=lambda name: order.get(name, len(order)))
        stages = [
            {
                "stage": name, "state": self._states[name], "lag_ms": self._lag_of(name) if self._header.live else None,
                "lag_p95_ms": self._p95_ms.get(name), "detail": self._details.get(name, ""),
            }
            for name in names
        ]  # fmt: skip
        spoken = [lag for name in reversed(tuple(_SAYS.values())) if (lag := self._lag_of(name)) is not None]
        text, trouble = self._words()
        return {
            "session": self._header.session, "source": self._header.source, "live": self._header.live,
            "started_at": self._header.started_at if self._header.live else None,
            "state": "failed" if self.failure else "ended" if self.over else "running",
            "text": text, "trouble": trouble, "at_ms": self.at_ms, "duration_ms": self._header.duration_ms,
            "progress": self._progress, "lag_ms": spoken[0] if spoken and self._header.live else None,
            "buffered_ms": self._buffered_ms, "reconnects": self._reconnects, "gaps": self._gaps,
            "dropped": self._dropped, "stages": stages, "events": list(self._events),
        }  # fmt: skip

    def _words(self) -> tuple[str, bool]:
        if self.failure:
            return f"Stopped: {self.failure}", True
        if self.over:
            return ("The stream has ended." if self._header.live else "Finished."), False
        source = self._details.get("ingest", "")
        if source.startswith(_RECONNECTING):
            why = source.partition(":")[2].strip()
            return f"The source is gone; reconnecting{f' ({why})' if why else ''}.", True
        failed = [name for name, state in self._states.items() if state == "failed"]
        if failed:
            return f"Failed: {', '.join(failed)}.", True
        return ("Live" if self._header.live else "Running"), False
