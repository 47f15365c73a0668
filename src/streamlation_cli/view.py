"""A live session on a terminal, kept current in place: what is said, its translation, how late it is, what each stage does.

    ● radio                                                        1:23.4  lag 1.4 s
    en  We went to the old house by the river before anybody else was awake. Nobody saw
        us go. It was cold and the
    es  Fuimos a la vieja casa junto al río antes de que nadie más despertara. Nadie nos
        vio ir. Hacía frío
    ▸ ingest 0.1 s  ▸ transcribe 1.1 s (p95 1.8)  ▸ translate 1.2 s (p95 2.2)

Words that may still change are dim. It needs nothing but the records that pass by.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Self

from .lag import media_now_ms
from .records import (
    Cue,
    Discontinuity,
    Eos,
    Error,
    Header,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    Unknown,
    Word,
)
from .render import clock

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

STAGES = ("ingest", "normalize", "transcribe", "translate", "dub", "subtitle")
_MARKS = {"pending": "·", "running": "▸", "completed": "✓", "failed": "✗"}
_ROWS = 3
"""Rows of each text."""
_LONG_AGO_MS = 3_600_000
"""A greater lag says that a log is played, not that a stage is slow."""
_KEPT_CHARS = 1200
"""Text that is kept: more than fills the rows of a wide terminal."""
_SAYS = {Transcript: "transcribe", Translation: "translate", Cue: "subtitle"}


@dataclass
class _Text:
    """One language: sentences that are final, and those that are not, the oldest first."""

    language: str = ""
    final: str = ""
    open: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Id → committed text, text that may change."""

    def hear(self, record: Transcript | Translation, language: str) -> None:
        self.language = language or self.language
        self.open.pop(record.id, None)
        if record.final:
            self.final = f"{self.final} {record.text.strip()}".strip()[-_KEPT_CHARS:]
        else:
            self.open[record.id] = _parts(record.text, record.words[: record.stable_words])


def _parts(text: str, committed: tuple[Word, ...]) -> tuple[str, str]:
    position = 0
    for word in committed:
        found = text.find(word.text, position)
        if found < 0:
            break
        position = found + len(word.text)
    return text[:position], text[position:]


@dataclass
class _Session:
    header: Header
    at_ms: int = 0
    said: _Text = field(default_factory=_Text)
    translated: defaultdict[str, _Text] = field(default_factory=lambda: defaultdict(_Text))
    """By language."""
    states: dict[str, str] = field(default_factory=dict)
    lags_ms: dict[str, int] = field(default_factory=dict)
    p95_ms: dict[str, int] = field(default_factory=dict)
    event: str = ""
    """The last gap or error."""
    over: bool = False

    def see(self, record: StreamRecord) -> None:
        self.at_ms = max(self.at_ms, media_now_ms(record, self.header) or 0)
        match record:
            case Transcript():
                self.said.hear(record, record.language or self.header.language)
                self._note_lag(record)
            case Translation():
                self.translated[record.target_language].hear(record, record.target_language)
                self._note_lag(record)
            case Cue():
                self._note_lag(record)
            case Status():
                self.states[record.stage] = record.state
                if record.lag_ms is not None:
                    self.lags_ms[record.stage] = record.lag_ms
                if "lag_p95_ms" in record.counters:
                    self.p95_ms[record.stage] = round(record.counters["lag_p95_ms"])
            case Discontinuity():
                self.event = f"{clock(record.at_ms)}  gap of {record.gap_ms / 1000:.1f} s ({record.reason})"
            case Error():
                self.event = f"{record.stage}: {record.message}"
                self.over = self.over or record.fatal
            case Eos():
                self.over = True
                self.event = self.event or "the stream has ended"
            case _:
                pass

    def _note_lag(self, record: Transcript | Translation | Cue) -> None:
        """How late the words are that a record commits."""
        if record.emitted_at is None or self.header.started_at is None:
            return
        words = record.words
        if isinstance(record, Transcript | Translation) and not record.final:
            words = words[: record.stable_words]
        if words:
            late_ms = round((record.emitted_at - self.header.started_at) * 1000) - words[-1].end_ms
            self.lags_ms[_SAYS[type(record)]] = max(0, late_ms)

    @property
    def lag_ms(self) -> int | None:
        """How late the text on screen is: that of the last stage which says so."""
        return next((self.lags_ms[stage] for stage in reversed(STAGES) if stage in self.lags_ms), None)

    def lag_of(self, stage: str) -> str:
        """A stage's lag for a person; nothing where there is none, or a log from long ago is played."""
        lag_ms = self.lags_ms.get(stage)
        return "" if lag_ms is None or lag_ms > _LONG_AGO_MS else f" {lag_ms / 1000:.1f} s"


class View:
    """Shows the sessions of a stream on `terminal`. `see` may be called from any thread."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        self._file = io.TextIOWrapper(self._terminal, encoding="utf-8", errors="replace", write_through=True)
        self._console = Console(file=self._file, force_terminal=True)
        self._live = Live(
            self, console=self._console, refresh_per_second=4, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._file.detach()  # the terminal is not ours to close

    def see(self, record: StreamRecord) -> None:
        """Takes note of a record that passes by."""
        if isinstance(record, Unknown):
            return
        with self._lock:
            if isinstance(record, Header):
                self._sessions[record.session] = _Session(record)
            elif record.session in self._sessions:
                self._sessions[record.session].see(record)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The frame, as wide as the terminal is now, or narrower where COLUMNS says so: the console would wrap what is wider."""
        columns, rows = options.max_width, options.max_height
        with contextlib.suppress(OSError, ValueError):
            now = os.get_terminal_size(self._terminal.fileno())
            columns, rows = min(now.columns or columns, columns), min(now.lines or rows, rows)
        with self._lock:
            sessions = list(self._sessions.values())
            # Those that are over make room for the others.
            sessions.sort(key=lambda session: session.over)
            lines = [line for session in sessions for line in _frame(session, columns or 80, console)]
        yield from lines[: max(4, (rows or 24) - 1)]


def _frame(session: _Session, columns: int, console: Console) -> list[Text]:
    from rich.text import Text

    current = session.lag_ms is not None and not session.over and session.lag_ms <= _LONG_AGO_MS
    lag = f"  lag {session.lag_ms / 1000:.1f} s" if current and session.lag_ms is not None else ""
    right = f"{clock(session.at_ms)}{lag}"
    name = session.header.session
    left = f"{'■' if session.over else '●'} {name}"[: max(8, columns - len(right) - 2)]
    frame = [Text.assemble((left, "bold"), " " * max(1, columns - len(left) - len(right)), (right, "cyan"))]
    languages = dict.fromkeys((*session.header.targets, *session.translated))
    for text, style in ((session.said, ""), *((session.translated[language], "bold") for language in languages)):
        frame += _rows(text, style, columns, console)
    frame.append(_stages(session, columns))
    if session.event:
        frame.append(Text(session.event[: columns - 1], style="yellow", no_wrap=True, overflow="ellipsis"))
    return frame


def _rows(text: _Text, style: str, columns: int, console: Console) -> list[Text]:
    """The last rows of a text, its language before the first."""
    from rich.text import Text

    whole = Text(text.final, style=style)
    for committed, volatile in text.open.values():
        whole.append(" " if len(whole) else "").append(committed).append(volatile, style="dim not bold")
    if not whole.plain.strip():
        return []
    label = text.language[:5] or "?"
    margin = max(4, len(label) + 1)
    rows = list(whole.wrap(console, max(10, columns - margin - 1)))[-_ROWS:]
    margins = [label.ljust(margin), *([" " * margin] * (len(rows) - 1))]
    return [Text.assemble((before, "cyan"), row) for before, row in zip(margins, rows, strict=True)]


def _stages(session: _Session, columns: int) -> Text:
    from rich.text import Text

    styles = {"failed": "red", "completed": "green"}
    line = Text(no_wrap=True, overflow="ellipsis", end="")
    known = [stage for stage in STAGES if stage in session.states]
    parts = []
    for stage in known:
        lag = session.lag_of(stage)
        p95 = f" (p95 {session.p95_ms[stage] / 1000:.1f})" if lag and stage in session.p95_ms else ""
        parts.append((f"{_MARKS[session.states[stage]]} {stage}", lag, p95, styles.get(session.states[stage], "dim")))
    # The percentiles go first where the terminal is narrow, then the lags.
    for shown in (3, 2, 1):
        if sum(len("".join(part[:shown])) + 2 for part in parts) <= columns:
            break
    for part in parts:
        line.append("".join(part[:shown]) + "  ", style=part[3])
    line.truncate(columns - 1, overflow="ellipsis")
    return Text.assemble(line)
