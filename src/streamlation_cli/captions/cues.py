"""Utterances with word times into readable captions.

    utterances ─► units (words) ─► passages ─► segment (which words make a cue) ─► place (when it is shown)

A passage is speech without a long pause, by one speaker. A caption is out as soon as the utterance after its passage is
known, and a passage is cut when it grows long, so memory is bounded and nothing waits for the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..records import Word
from .formats import Caption, clean
from .line_breaks import Unit, ends_sentence, width
from .lines import LEAD_MS, Lines, Second, segment
from .settings import Limits
from .times import SHIFT_MS, Span, place
from .units import Utterance, timed_units, with_next, without_overlap

PAUSE_MS = 1500
"""After a longer silence a new passage begins: no caption spans it."""
LONG_PASSAGE = 120
"""Units after which the finished part of a passage is given out."""
KEPT = 40
"""Units at the end of a long passage whose cues may still change with what follows."""


_DIALOGUE = re.compile(r"(?<=[.!?…]) (?=[-–—] ?[^\W\d_])")
"""Where another speaker's line begins in a caption of dialogue."""


@dataclass
class Layout:
    """The captions of one session; `bilingual` shares the lines between two languages, the larger half to the first."""

    limits: Limits
    bilingual: bool = False
    counters: dict[str, int | float] = field(
        default_factory=lambda: {"cues": 0, "cps_exceeded": 0, "shorter_than_minimum": 0}
    )

    _passage: list[_Part] = field(default_factory=list)
    _clock_ms: int = 0
    """No unit starts before the one before it."""
    _floor_ms: int = 0
    """No caption starts before this."""

    def add(self, utterance: Utterance) -> Iterator[Caption]:
        """The captions that are done now that `utterance` is known; utterances come in the order of their text."""
        part = self._part(utterance)
        if part is None:
            return
        if self._passage and self._begins_passage(part):
            yield from self._close(part.units[0].start_ms)
        self._passage.append(part)
        if sum(len(one.units) for one in self._passage) > LONG_PASSAGE:
            yield from self._close_beginning()

    def finish(self, media_end_ms: int | None = None) -> Iterator[Caption]:
        """The rest; no caption ends after `media_end_ms`."""
        yield from self._close(None, media_end_ms or None)

    def cut(self) -> Iterator[Caption]:
        """The captions of all that is known, where what follows cannot be waited for."""
        yield from self._close(None)

    @property
    def settled_ms(self) -> int:
        """No caption that is still to come starts before this, but for those that the media's end moves forward."""
        first_ms = self._passage[0].units[0].start_ms if self._passage else self._clock_ms
        return max(self._floor_ms, first_ms - max(LEAD_MS, SHIFT_MS))

    @property
    def _own_lines(self) -> int:
        return (self.limits.max_lines + 1) // 2 if self.bilingual else self.limits.max_lines

    def _part(self, utterance: Utterance) -> _Part | None:
        units = timed_units(utterance, self.limits.max_chars)
        second = timed_units(utterance.second, self.limits.max_chars) if utterance.second else []
        if not units:
            units, second = second, []
        if not units:
            return None
        units = [self._in_order(unit) for unit in with_next(units)]
        return _Part(utterance, units, second)

    def _in_order(self, unit: Unit) -> Unit:
        start = self._clock_ms = max(unit.start_ms, self._clock_ms)
        end = max(unit.end_ms, start)
        return unit if (start, end) == (unit.start_ms, unit.end_ms) else replace(unit, start_ms=start, end_ms=end)

    def _begins_passage(self, part: _Part) -> bool:
        before = self._passage[-1]
        now, last = part.utterance, before.utterance
        if now.speaker != last.speaker or now.language != last.language:
            return True
        if part.units[0].start_ms - before.units[-1].end_ms >= PAUSE_MS:
            return True
        # Captions that came with their own times stay apart, unless they overlap and cannot.
        return (self._stands_alone(part) or self._stands_alone(before)) and now.start_ms >= last.end_ms

    def _stands_alone(self, part: _Part) -> bool:
        """Whether the utterance is a caption of its own already, fits the lines and is not too long."""
        said = part.utterance
        if (
            not said.own_times
            or not self.limits.min_gap_ms <= said.end_ms - said.start_ms <= self.limits.max_duration_ms
        ):
            return False
        return all(
            len(lines.text(0, len(lines.units))) <= lines.max_lines
            for lines in self._lines([part])
            if lines is not None
        )

    def _lines(self, parts: Sequence[_Part]) -> tuple[Lines, Lines | None]:
        language = parts[0].utterance.language
        units = without_overlap([unit for part in parts for unit in part.units])
        lines = Lines.of(units, language, self.limits.max_chars, self._own_lines)
        if not self.bilingual:
            return lines, None
        other = parts[0].utterance.second
        second = [unit for part in parts for unit in part.second]
        return lines, Lines.of(
            second,
            other.language if other else "",
            self.limits.max_chars,
            max(1, self.limits.max_lines - self._own_lines),
        )

    def _close(self, next_start_ms: int | None, media_end_ms: int | None = None) -> Iterator[Caption]:
        """The captions of the whole passage; what follows starts at `next_start_ms`."""
        if not self._passage:
            return
        parts, self._passage = self._passage, []
        if len(parts) == 1 and self._stands_alone(parts[0]):
            drafts = [self._as_it_is(parts[0])]
        else:
            drafts = self._drafts(parts)
        yield from self._placed(drafts, next_start_ms, media_end_ms)

    def _close_beginning(self) -> Iterator[Caption]:
        """The captions of the beginning of a passage that has grown long."""
        drafts = self._drafts(self._passage)
        given = _finished(drafts)
        units = sum(len(draft.units) for draft in drafts[:given])
        self._passage = _after(self._passage, units, sum(draft.second_count for draft in drafts[:given]))
        yield from self._placed(drafts[:given], drafts[given].units[0].start_ms if given < len(drafts) else None)

    def _as_it_is(self, part: _Part) -> _Draft:
        said = part.utterance
        own, other = self._lines([part])
        written = tuple(clean(line) for line in _DIALOGUE.sub("\n", said.text).split("\n") if clean(line))
        fits = 1 < len(written) <= own.max_lines and all(width(line) <= own.max_chars for line in written)
        lines = written if fits else own.text(0, len(own.units))
        if other:
            lines = other.text(0, len(other.units)) + lines
        return _Draft(
            span=Span(
                start_ms=max(said.start_ms, part.units[0].start_ms),
                end_ms=max(said.end_ms, part.units[0].start_ms),
                columns=max(own.columns(0, len(own.units)), other.columns(0, len(other.units)) if other else 0),
                own_times=True,
            ),
            lines=lines,
            units=own.units,
            second_count=len(part.second),
            utterance=said,
        )

    def _drafts(self, parts: Sequence[_Part]) -> list[_Draft]:
        lines, other = self._lines(parts)
        second = Second(other, _matching(parts, other)) if other else None
        owners = [part.utterance for part in parts for _ in part.units]
        drafts: list[_Draft] = []
        for first, last in segment(lines, self.limits, second, parts[0].utterance.interpolated):
            drafts.extend(_cue(lines, second, first, last, owners[first]))
        return drafts

    def _placed(
        self, drafts: Sequence[_Draft], next_start_ms: int | None, media_end_ms: int | None = None
    ) -> Iterator[Caption]:
        gap = self.limits.min_gap_ms
        ceiling = media_end_ms if next_start_ms is None else next_start_ms - gap
        spans = [draft.span for draft in drafts]
        times = place(spans, self.limits, self._floor_ms, ceiling, chain=next_start_ms is not None)
        self._floor_ms = times[-1][1] + gap
        for draft, (start, end) in zip(drafts, times, strict=True):
            self._count(draft.span, end - start)
            yield draft.caption(start, end)

    def _count(self, span: Span, duration_ms: int) -> None:
        self.counters["cues"] += 1
        if span.columns * 1000 > self.limits.max_cps * (duration_ms + 1):
            self.counters["cps_exceeded"] += 1
        if duration_ms < self.limits.min_duration_ms:
            self.counters["shorter_than_minimum"] += 1


@dataclass(frozen=True)
class _Part:
    """An utterance, or what is left of it, in units."""

    utterance: Utterance
    units: list[Unit]
    second: list[Unit]


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A caption without its final times."""

    span: Span
    lines: tuple[str, ...]
    units: Sequence[Unit]
    second_count: int
    """Units of the other language that it shows."""
    utterance: Utterance

    def caption(self, start_ms: int, end_ms: int) -> Caption:
        """The caption, shown at these times."""
        words = tuple(
            Word(text=unit.text, start_ms=unit.start_ms, end_ms=unit.end_ms, confidence=unit.confidence)
            for unit in self.units
        )
        return Caption(
            start_ms=start_ms, end_ms=end_ms, lines=self.lines, speaker=self.utterance.speaker,
            words=words, confidence=self.utterance.confidence, language=self.utterance.language,
        )  # fmt: skip


def _cue(lines: Lines, second: Second | None, first: int, last: int, owner: Utterance) -> Iterator[_Draft]:
    """One draft, or more where the other language takes more than its lines."""
    units = lines.units[first:last]
    start, end = units[0].start_ms, units[-1].end_ms
    own_text, own_columns = lines.text(first, last), lines.columns(first, last)
    if second is None:
        shares: list[tuple[str, ...]] = [()]
        columns = [own_columns]
        counts = [0]
    else:
        shares, columns, counts = _second_lines(second, first, last)
    for at, (above, wide, count) in enumerate(zip(shares, columns, counts, strict=True)):
        part_start = start + (end - start) * at // len(shares)
        part_end = start + (end - start) * (at + 1) // len(shares)
        yield _Draft(
            span=Span(start_ms=part_start, end_ms=part_end, columns=wide if at else max(wide, own_columns)),
            lines=above if at else above + own_text,
            units=() if at else units,
            second_count=count,
            utterance=owner,
        )


def _second_lines(second: Second, first: int, last: int) -> tuple[list[tuple[str, ...]], list[int], list[int]]:
    """The other language's lines for a cue, their columns and units, in as many cues as they need."""
    begin, end = second.upto[first], second.upto[last]
    if second.lines.breaks(begin, end) is not None or begin == end:
        return [second.lines.text(begin, end)], [second.lines.columns(begin, end)], [end - begin]
    shares, columns, counts = [], [], []
    while begin < end:
        stop = begin + 1
        while stop < end and second.lines.breaks(begin, stop + 1) is not None:
            stop += 1
        shares.append(second.lines.text(begin, stop))
        columns.append(second.lines.columns(begin, stop))
        counts.append(stop - begin)
        begin = stop
    return shares, columns, counts


def _finished(drafts: Sequence[_Draft]) -> int:
    """How many drafts of a long passage to give out: up to the end of a sentence that is not too near the end."""
    left = sum(len(draft.units) for draft in drafts)
    total = left
    choices: list[tuple[bool, int]] = []
    for at, (draft, following) in enumerate(pairwise(drafts), 1):
        left -= len(draft.units)
        if left < KEPT and choices:
            break
        # A draft without units of its own goes with the one before it.
        if following.units and left < total - KEPT:
            choices.append((ends_sentence(draft.units[-1].text if draft.units else "", following.units[0].text), at))
    return max(choices)[1] if choices else len(drafts)


def _after(parts: Sequence[_Part], units: int, second: int) -> list[_Part]:
    """What is left of a passage after so many units of each language."""
    left = []
    for part in parts:
        kept, kept_second = part.units[units:], part.second[second:]
        units, second = max(0, units - len(part.units)), max(0, second - len(part.second))
        if kept:
            left.append(_Part(part.utterance, kept, kept_second))
    return left


def _matching(parts: Sequence[_Part], other: Lines) -> list[int]:
    """For each break of the first language, where the other one is cut: at the same time, moved to a phrase boundary."""
    upto = [0]
    base = 0
    for part in parts:
        count = len(part.second)
        previous = base
        for at in range(1, len(part.units)):
            ideal = base + sum(unit.start_ms + unit.end_ms <= 2 * part.units[at].start_ms for unit in part.second)
            low, high = max(previous, base + (count > 1), ideal - 2), min(base + count - (count > 1), ideal + 2)
            choices = range(low, max(low, high) + 1)
            previous = min(choices, key=lambda cut: _cut_cost(other, cut, ideal, len(other.units)))
            upto.append(previous)
        base += count
        upto.append(base)
    return upto


def _cut_cost(other: Lines, cut: int, ideal: int, total: int) -> float:
    return (other.costs[cut] if cut < total else 0.0) + 4.0 * abs(cut - ideal)
