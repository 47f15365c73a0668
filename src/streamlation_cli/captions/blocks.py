"""Whole lines into finished captions: a block of lines, when the next one is known to begin, or that none does for now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..records import Word
from .formats import Caption
from .line_breaks import Unit, ends_sentence, width
from .lines import Lines
from .rolling import PAUSE_MS, Line
from .settings import Limits
from .times import LINGER_MS, Span, place

_LATE_MS = 1000
"""How far a caption may go on after its speech to be read while it is not known when the next one begins: what comes
next is late by no more than this."""


def words_of(units: Sequence[Unit]) -> tuple[Word, ...]:
    """The units as words with their times."""
    return tuple(
        Word(text=unit.text, start_ms=unit.start_ms, end_ms=unit.end_ms, confidence=unit.confidence) for unit in units
    )


class Blocks:
    """The captions of one text, each word in one of them. With `above`, the other language's words go on top."""

    def __init__(self, limits: Limits, lines: int, above_lines: int) -> None:
        self._limits = limits
        self._lines = lines
        self._above_lines = above_lines
        self._open: list[Line] = []
        self._above: list[Unit] = []
        self._above_language = ""
        self._floor_ms = 0
        self.counters: dict[str, int | float] = {"cues": 0, "shorter_than_minimum": 0}

    def above(self, units: Sequence[Unit], language: str) -> None:
        """Words of the other language, in order."""
        self._above += units
        self._above_language = language

    def add(self, line: Line) -> Iterator[Caption]:
        """A line that is whole; yields the caption before it where it begins another."""
        if self._open and not self._goes_on(line):
            yield from self.close(line.start_ms)
        self._open.append(line)

    def _goes_on(self, line: Line) -> bool:
        last = self._open[-1]
        return not (
            line.opens
            or len(self._open) >= self._lines
            or line.speaker != last.speaker
            or line.language != last.language
            or line.start_ms - last.end_ms >= PAUSE_MS
            or line.end_ms - self._open[0].start_ms > self._limits.max_duration_ms
            or ends_sentence(last.units[-1].text, line.units[0].text)
        )

    @property
    def is_full(self) -> bool:
        """Whether the next line begins another caption, whatever it is."""
        return len(self._open) >= self._lines or (bool(self._open) and ends_sentence(self._open[-1].units[-1].text))

    @property
    def is_open(self) -> bool:
        """Whether there are lines that are in no caption yet."""
        return bool(self._open)

    def close(self, next_start_ms: int | None, media_end_ms: int | None = None) -> Iterator[Caption]:
        """The caption that is open; what follows starts at `next_start_ms`, None where that is not known."""
        if not self._open:
            return
        lines, self._open = self._open, []
        units = [unit for line in lines for unit in line.units]
        above = self._above_lines_for(units[-1].end_ms if next_start_ms is None else next_start_ms)
        columns = max(sum(line.columns for line in lines) + len(lines) - 1, width(" ".join(above)))
        start_ms, end_ms = self._place(units, columns, next_start_ms, media_end_ms)
        self._floor_ms = end_ms + self._limits.min_gap_ms
        self.counters["cues"] += 1
        self.counters["shorter_than_minimum"] += end_ms - start_ms < self._limits.min_duration_ms
        yield Caption(
            start_ms=start_ms, end_ms=end_ms, lines=(*above, *(line.text for line in lines)), words=words_of(units),
            speaker=lines[0].speaker, language=lines[0].language, confidence=lines[0].confidence,
        )  # fmt: skip

    def rest(self) -> Iterator[Caption]:
        """What the other language has said alone, at the end."""
        if self._above:
            units = self._above
            above = self._above_lines_for(None)
            start_ms = max(units[0].start_ms, self._floor_ms)
            self.counters["cues"] += 1
            yield Caption(
                start_ms=start_ms, end_ms=max(units[-1].end_ms, start_ms + self._limits.min_duration_ms), lines=above,
                words=words_of(units), language=self._above_language,
            )  # fmt: skip

    def _above_lines_for(self, until_ms: int | None) -> tuple[str, ...]:
        count = len(self._above)
        if until_ms is not None:
            count = sum(unit.start_ms + unit.end_ms < 2 * until_ms for unit in self._above)
        units, self._above = self._above[:count], self._above[count:]
        if not units:
            return ()
        return Lines.of(units, self._above_language, self._limits.max_chars, self._above_lines).text(0, len(units))

    def _place(
        self, units: Sequence[Unit], columns: int, next_start_ms: int | None, media_end_ms: int | None
    ) -> tuple[int, int]:
        span = Span(start_ms=units[0].start_ms, end_ms=units[-1].end_ms, columns=columns)
        if next_start_ms is not None:
            ceiling = next_start_ms - self._limits.min_gap_ms
            return place([span], self._limits, self._floor_ms, ceiling, chain=True)[0]
        start_ms = max(span.start_ms, self._floor_ms)
        readable_ms = min(start_ms + self._limits.needed_ms(columns), span.end_ms + _LATE_MS)
        end_ms = max(span.end_ms + LINGER_MS, readable_ms, start_ms + 1)
        if media_end_ms is not None:
            end_ms = max(start_ms + 1, min(end_ms, media_end_ms))
        return start_ms, end_ms
