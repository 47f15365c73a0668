"""Words that keep coming into lines that stay as they are.

    window   │ We went to the old house by the        a line that is full scrolls up when the next one begins
             │ river. It was late, and no▒▒▒          ▒ may still change; everything else stays where it is

A line is broken once, when the word that does not fit is known, at the best place among the words that have not been shown
yet. Committed words are shown in order and never change. Words that may change are shown only as far as the budget of
changes allows, so that however the speech is revised, no more than a fifth of what is read is read twice.

Lines wait until the one they push out has had its time to be read. A line that has waited for `CATCH_UP_MS` waits no
longer, and those behind it follow every `HURRY_MS`, so that a burst is shown faster (which is counted) and lateness
cannot grow: no one speaks a line in so short a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from .line_breaks import Unit, break_costs, ends_sentence, width
from .lines import joined
from .settings import Limits

CATCH_UP_MS = 1500
"""Longest time a committed word waits for its line so that the line before can be read."""
HURRY_MS = 500
"""Least time between two lines of a burst."""
CLEAR_MS = 3000
"""After a longer pause the window is empty before the next word."""
PAUSE_MS = 1500
"""A longer pause ends a line: what comes after it is another thought."""
BUDGET = 0.2
"""Words taken back at most, as a share of the committed ones: normalized erasure stays below it."""
_LOOKED_AT = 64
"""Waiting words that are looked at to fill a line: more than fit on it."""
_EMPTY = 25.0
"""What an empty line costs against a bad break, in the units of `break_costs`; less the fuller the line."""
_SENTENCE_FILLS = 0.5
"""A line at least this full ends with the sentence; a shorter one goes on with the next."""


@dataclass
class Line:
    """One line of text, growing."""

    number: int
    units: list[Unit] = field(default_factory=list)
    volatile: list[Unit] = field(default_factory=list)
    """Words after `units` that may still change."""
    speaker: str = ""
    language: str = ""
    confidence: float | None = None
    opens: bool = False
    """Nothing before it belongs to it: it comes after a long pause, or another speaker."""
    read_ms: int = 0
    """Media time by which it has been read."""

    @property
    def text(self) -> str:
        """What it shows now."""
        return joined([*self.units, *self.volatile])

    @property
    def columns(self) -> int:
        """Width of its committed text."""
        return width(joined(self.units))

    @property
    def start_ms(self) -> int:
        """When its first word was said."""
        return (self.units or self.volatile)[0].start_ms

    @property
    def end_ms(self) -> int:
        """When its last committed word was over."""
        return self.units[-1].end_ms if self.units else self.start_ms


@dataclass(frozen=True, kw_only=True)
class Said:
    """Committed words on their way to a line."""

    unit: Unit
    arrived_ms: int
    speaker: str
    language: str
    confidence: float | None


class Rolling:
    """The lines of one text. `window` lines are seen at a time."""

    def __init__(self, limits: Limits, window: int) -> None:
        self._limits = limits
        self._window = window
        self._lines: deque[Line] = deque(maxlen=window + 1)
        self._waiting: deque[Said] = deque()
        self._read_ms = 0
        self._clock_ms = 0
        self._began_ms = 0
        """When the newest line began to be shown."""
        self._closed = False
        """The newest line takes no more words."""
        self._given = False
        """It has been yielded already."""
        self._erased = 0
        self._committed = 0
        self._ends: list[int] = []
        self.counters: dict[str, int | float] = {"lines": 0, "cps_exceeded": 0, "words_taken_back": 0}

    @property
    def is_waiting(self) -> bool:
        """Whether committed words have not been shown yet."""
        return bool(self._waiting)

    @property
    def is_closed(self) -> bool:
        """Whether the newest line takes no more words."""
        return self._closed

    def shown_now(self) -> list[int]:
        """When the committed words were over that have been shown since the last call."""
        ends, self._ends = self._ends, []
        return ends

    @property
    def line(self) -> Line | None:
        """The line that is being filled."""
        return self._lines[-1] if self._lines else None

    def seen(self) -> list[str]:
        """The lines on screen, the oldest first."""
        lines = list(self._lines)[-self._window :]
        start = max((at for at, line in enumerate(lines) if line.opens), default=0)
        return [text for line in lines[start:] if (text := line.text)]

    def commit(self, units: Sequence[Unit], now_ms: int, speaker: str, language: str, confidence: float | None) -> None:
        """Words that will not change; they are shown by `advance`."""
        for unit in units:
            self._waiting.append(
                Said(
                    unit=self._in_order(unit),
                    arrived_ms=now_ms,
                    speaker=speaker,
                    language=language,
                    confidence=confidence,
                )
            )

    def _in_order(self, unit: Unit) -> Unit:
        start_ms = self._clock_ms = max(unit.start_ms, self._clock_ms)
        return Unit(
            text=unit.text, start_ms=start_ms, end_ms=max(unit.end_ms, start_ms), spaced=unit.spaced, forced=unit.forced,
            confidence=unit.confidence,
        )  # fmt: skip

    def advance(self, now_ms: int, *, at_once: bool = False) -> Iterator[Line]:
        """Shows what is due; yields each line that is whole now. `at_once` waits for nobody to read."""
        self._confirm(now_ms)
        while self._waiting:
            line = self.line
            if line is None or self._closed or self._must_break(line):
                if not self._may_begin(now_ms, at_once):
                    return
                if line is not None and line.units and not self._given:
                    yield line
                self._begin(now_ms)
                continue
            take = self._fitting(line)
            if not take:
                self._closed = True
                continue
            for _ in range(take):
                self._put(self._waiting.popleft(), now_ms)

    def show(self, units: Sequence[Unit]) -> None:
        """Words that may change, to be seen after the committed ones: as many as fit the line and the budget."""
        line = self.line
        if line is None or self._closed:
            return
        allowed = int(BUDGET * self._committed) - self._erased
        chosen: list[Unit] = []
        before = self._waiting or not line.units
        for unit in () if before else units[: max(0, allowed)]:
            if width(joined([*line.units, *chosen, unit])) > self._limits.max_chars or self._parts(line, unit):
                break
            chosen.append(unit)
        kept = sum(1 for _ in _same(line.volatile, chosen))
        self._take_back(len(line.volatile) - kept)
        line.volatile = chosen

    def close(self) -> Iterator[Line]:
        """The text ends here: yields the last line if it has words."""
        line = self.line
        if line is not None and not self._given and line.units:
            self._take_back(len(line.volatile))
            line.volatile = []
            self._closed = self._given = True
            yield line

    def _confirm(self, now_ms: int) -> None:
        """Words on screen that are committed now stay where they are."""
        line = self.line
        if line is None or not line.volatile or not self._waiting:
            return
        shown, line.volatile = line.volatile, []
        kept = 0
        for unit in shown:
            if not self._waiting or self._waiting[0].unit.text != unit.text or self._parts(line, self._waiting[0].unit):
                break
            self._put(self._waiting.popleft(), now_ms)
            kept += 1
        if self._waiting:
            self._take_back(len(shown) - kept)
        else:
            line.volatile = shown[kept:]  # `show` says what becomes of them

    def _take_back(self, count: int) -> None:
        self._erased += count
        self.counters["words_taken_back"] = self._erased

    def _must_break(self, line: Line) -> bool:
        said = self._waiting[0]
        if not line.units:
            return False
        return (
            said.speaker != line.speaker
            or said.language != line.language
            or self._parts(line, said.unit)
            or (
                ends_sentence(line.units[-1].text, said.unit.text)
                and line.columns >= _SENTENCE_FILLS * self._limits.max_chars
            )
        )

    def _parts(self, line: Line, unit: Unit) -> bool:
        """Whether time alone puts the unit on another line."""
        return bool(line.units) and (
            unit.start_ms - line.units[-1].end_ms >= PAUSE_MS
            or unit.end_ms - line.start_ms > self._limits.max_duration_ms
        )

    def _fitting(self, line: Line) -> int:
        """How many of the waiting words go on the line; 0 where it is full."""
        waiting = list(islice(self._waiting, _LOOKED_AT))
        units = [*line.units[-1:], *(said.unit for said in waiting)]
        known = len(units) - len(waiting)
        columns = [line.columns]
        fits = 0
        for said in waiting:
            added = columns[-1] + width(said.unit.text) + (said.unit.spaced and columns[-1] > 0)
            if added > self._limits.max_chars and columns[-1] > 0:
                break
            if fits and self._stops_before(units[known + fits - 1], columns[-1], said, line):
                return fits
            columns.append(added)
            fits += 1
        if fits == len(waiting):
            return fits
        costs = break_costs(units, line.language)
        choices = range(0 if line.units else 1, fits + 1)
        return min(
            choices,
            key=lambda at: (costs[known + at] + _EMPTY * (1 - columns[at] / self._limits.max_chars) ** 2, -at),
            default=1,
        )

    def _stops_before(self, last: Unit, columns: int, said: Said, line: Line) -> bool:
        """Whether the line ends after `last`, for what follows is another sentence, speaker or thought."""
        return (
            said.speaker != line.speaker
            or said.language != line.language
            or said.unit.start_ms - last.end_ms >= PAUSE_MS
            or said.unit.end_ms - (line.units[0] if line.units else self._waiting[0].unit).start_ms
            > self._limits.max_duration_ms
            or (ends_sentence(last.text, said.unit.text) and columns >= _SENTENCE_FILLS * self._limits.max_chars)
        )

    def _may_begin(self, now_ms: int, at_once: bool) -> bool:
        """Whether a line may begin: the one that it pushes out has been read, or the wait has been long enough."""
        if len(self._lines) < self._window:
            return True
        leaving = self._lines[-self._window]
        if now_ms >= leaving.read_ms:
            return True
        late = now_ms - self._waiting[0].arrived_ms >= CATCH_UP_MS
        if at_once or (late and now_ms - self._began_ms >= HURRY_MS):
            self.counters["cps_exceeded"] += 1
            return True
        return False

    def _begin(self, now_ms: int) -> None:
        self._began_ms = now_ms
        said, before = self._waiting[0], self.line
        opens = before is None or (
            said.speaker != before.speaker
            or said.language != before.language
            or said.unit.start_ms - before.end_ms >= CLEAR_MS
        )
        if before is not None and before.volatile:
            self._take_back(len(before.volatile))
            before.volatile = []
        self.counters["lines"] += 1
        self._lines.append(
            Line(
                int(self.counters["lines"]), speaker=said.speaker, language=said.language, confidence=said.confidence,
                opens=opens,
            )
        )  # fmt: skip
        self._closed = self._given = False

    def _put(self, said: Said, now_ms: int) -> None:
        line = self._lines[-1]
        self._committed += 1
        columns = width(said.unit.text) + said.unit.spaced
        self._read_ms = max(self._read_ms, now_ms) + round(columns * 1000 / self._limits.max_cps)
        line.units.append(said.unit)
        self._ends.append(said.unit.end_ms)
        line.read_ms = self._read_ms


def _same(one: Sequence[Unit], other: Sequence[Unit]) -> Iterator[Unit]:
    for a, b in zip(one, other, strict=False):
        if a.text != b.text:
            return
        yield a
