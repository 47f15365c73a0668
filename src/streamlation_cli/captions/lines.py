"""How units of text fill lines, and which breaks between lines and cues read best.

`segment` looks at every way to cut a passage into cues and takes the cheapest (dynamic programming): a greedy cut
fills cues to the brim and leaves the last word of a sentence alone in one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from .line_breaks import Unit, break_costs, ends_sentence, width
from .settings import Limits


@dataclass(frozen=True)
class Lines:
    """One text's units with what is needed to fit any stretch of them into lines."""

    units: Sequence[Unit]
    costs: Sequence[float]
    """How badly a break before each unit reads."""
    ends: Sequence[int]
    """Columns of all units before each index, spaces included; one more entry than units."""
    max_chars: int
    max_lines: int

    @classmethod
    def of(cls, units: Sequence[Unit], language: str, max_chars: int, max_lines: int) -> Lines:
        """Measures `units`; they are no wider than `max_chars`, save a single wide character."""
        columns = (width(unit.text) + unit.spaced for unit in units)
        return cls(units, break_costs(units, language), list(accumulate(columns, initial=0)), max_chars, max_lines)

    def columns(self, first: int, last: int) -> int:
        """Width of units `first` to `last` (excluded) on one line."""
        return self.ends[last] - self.ends[first] - self.units[first].spaced if last > first else 0

    def breaks(self, first: int, last: int) -> tuple[float, tuple[int, ...]] | None:
        """Cost and places of the line breaks that read best, with as few lines as will do; None where it does not fit."""
        if self.columns(first, last) <= self.max_chars:
            return 0.0, ()
        for lines in range(2, self.max_lines + 1):
            found = self._breaks(first, last, lines)
            if found:
                return found
        return None

    def _breaks(self, first: int, last: int, lines: int) -> tuple[float, tuple[int, ...]] | None:
        total = self.columns(first, last)
        best: tuple[float, tuple[int, ...]] | None = None
        for at in range(first + 1, last):
            top = self.columns(first, at)
            if top > self.max_chars:
                break
            if lines == 2:
                rest = float(self.columns(at, last))
                if rest > self.max_chars:
                    continue
                below: tuple[float, tuple[int, ...]] | None = (0.0, ())
            else:
                rest = (total - top) / (lines - 1)
                below = self._breaks(at, last, lines - 1)
            if below is None:
                continue
            cost = below[0] + LINE * self.costs[at] + _shape_cost(top, rest, self.max_chars)
            if best is None or cost < best[0]:
                best = (cost, (at, *below[1]))
        return best

    def text(self, first: int, last: int) -> tuple[str, ...]:
        """Units `first` to `last` in lines; in as many as it takes where they do not fit."""
        if first >= last:
            return ()
        found = self.breaks(first, last)
        places = found[1] if found else self._filled(first, last)
        edges = [first, *places, last]
        return tuple(joined(self.units[a:b]) for a, b in pairwise(edges))

    def _filled(self, first: int, last: int) -> tuple[int, ...]:
        places: list[int] = []
        start = first
        for at in range(first + 1, last):
            if self.columns(start, at + 1) > self.max_chars:
                places.append(at)
                start = at
        return tuple(places)


def _shape_cost(top: float, bottom: float, max_chars: int) -> float:
    """How far two lines are from equal; one narrow line on top hides less of the picture than one below."""
    uneven = abs(top - bottom) / max_chars
    tiny = 3.0 if min(top, bottom) < max_chars / 4 else 0.0
    return 6 * uneven + 8 * uneven**2 + tiny + (0.75 if top > bottom else 0.0)


def joined(units: Sequence[Unit]) -> str:
    """The units as one line of text."""
    return "".join((" " if unit.spaced and at else "") + unit.text for at, unit in enumerate(units))


@dataclass(frozen=True)
class Second:
    """The other language of a bilingual passage."""

    lines: Lines
    upto: Sequence[int]
    """For each break of the first language (as many as units, and one more), how many units of this one are before it."""


LINE = 0.8
"""Weight of a bad break between two lines of a cue."""
EDGE = 1.5
"""A bad break between two cues is worse than one between two lines, which are read together."""
CUE = 12.0
"""What a cue costs by itself: fewer cues, fuller ones."""
SENTENCE_INSIDE = 4.0
SENTENCE_CUT = 12.0
"""A cue that ends one sentence and stops in the middle of the next."""
ORPHAN = 12.0
"""A word or two of a longer sentence left alone."""
ORPHAN_COLUMNS = 14
TOO_FAST = 80.0
"""For a cue that can be seen for none of the time it needs."""
TOO_LONG = 30.0
"""For each second of speech beyond the longest duration."""
PAUSE = 25.0
"""For each second of silence inside a cue beyond the first 0.4 s."""
PAUSE_GUESSED = 8.0
EMPTY = 8.0
"""For a cue with nothing in it, which makes cues of one sentence about as long as each other."""
LEAD_MS = 400
"""How much earlier than its speech a caption may appear, where the caption before leaves room."""


def segment(
    lines: Lines, limits: Limits, second: Second | None = None, interpolated: bool = False
) -> list[tuple[int, int]]:
    """The stretches of units that make the cues, as (first, last excluded), in order and without a gap.

    `interpolated` says that the units' times are guesses, so a pause inside a sentence may really be elsewhere in it.
    """
    units = lines.units
    count = len(units)
    facts = _Facts.of(units, PAUSE_GUESSED if interpolated else PAUSE)
    best = [0.0] + [math.inf] * count
    came_from = [0] * (count + 1)
    for last in range(1, count + 1):
        edge = EDGE * lines.costs[last] if last < count else 0.0
        for first in range(last - 1, -1, -1):
            cost = _cue_cost(lines, limits, facts, first, last, second)
            if cost is None:
                if first < last - 1:
                    break
                cost = 1000.0  # one unit alone is always a cue
            total = best[first] + cost + edge
            if total < best[last]:
                best[last], came_from[last] = total, first
    cuts = [count]
    while cuts[-1]:
        cuts.append(came_from[cuts[-1]])
    cuts.reverse()
    return list(pairwise(cuts))


@dataclass(frozen=True)
class _Facts:
    """Running totals over a passage: what lies inside a cue is one subtraction."""

    sentences: list[int]
    """Sentence ends among the units before each index."""
    pauses: list[float]
    """Cost of the pauses before each of the units before each index."""

    @classmethod
    def of(cls, units: Sequence[Unit], pause_cost: float) -> _Facts:
        sentences, pauses = [0], [0.0, 0.0]
        for at, unit in enumerate(units):
            following = units[at + 1].text if at + 1 < len(units) else ""
            sentences.append(sentences[-1] + ends_sentence(unit.text, following))
            if at:
                silence = unit.start_ms - units[at - 1].end_ms
                cost = pause_cost if sentences[at] == sentences[at - 1] else PAUSE
                pauses.append(pauses[-1] + cost * max(0, silence - 400) / 1000)
        return cls(sentences, pauses)


def _cue_cost(
    lines: Lines, limits: Limits, facts: _Facts, first: int, last: int, second: Second | None
) -> float | None:
    """Cost of units `first` to `last` as one cue; None where they do not fit its lines."""
    units = lines.units
    columns = lines.columns(first, last)
    if columns > limits_columns(lines):
        return None
    found = lines.breaks(first, last)
    if found is None:
        return None
    cost = CUE + found[0]
    capacity = limits_columns(lines)
    cost += EMPTY * (1 - columns / capacity) ** 2
    if second is not None:
        other = second.lines.breaks(second.upto[first], second.upto[last])
        if other is None:
            return None
        cost += other[0]
        if 0 < last < len(units):
            cost += second.lines.costs[min(second.upto[last], len(second.lines.units) - 1)] / 2
        columns = max(columns, second.lines.columns(second.upto[first], second.upto[last]))
    start, end = units[first].start_ms, units[last - 1].end_ms
    cost += TOO_LONG * max(0, end - start - limits.max_duration_ms) / 1000
    cost += TOO_FAST * _shortage(units, limits, first, last, columns)
    cost += facts.pauses[last] - facts.pauses[first + 1]
    inside = facts.sentences[last - 1] - facts.sentences[first]
    ends_whole = last == len(units) or facts.sentences[last] > facts.sentences[last - 1]
    starts_whole = first == 0 or facts.sentences[first] > facts.sentences[first - 1]
    cost += SENTENCE_INSIDE * inside
    if inside and not ends_whole:
        cost += SENTENCE_CUT
    if columns < ORPHAN_COLUMNS and not (starts_whole and ends_whole):
        cost += ORPHAN
    return cost


def limits_columns(lines: Lines) -> int:
    """Most columns that a full cue has, the spaces at its line breaks included."""
    return (lines.max_chars + 1) * lines.max_lines - 1


def _shortage(units: Sequence[Unit], limits: Limits, first: int, last: int, columns: int) -> float:
    """Which share of the time it needs the cue cannot be on screen, in [0, 1]."""
    needed = limits.needed_ms(columns)
    start = units[first].start_ms
    if last < len(units):
        available = units[last].start_ms - limits.min_gap_ms - start
    else:
        available = max(needed, units[-1].end_ms - start)
    lead = units[first].start_ms - units[first - 1].end_ms - limits.min_gap_ms if first else LEAD_MS
    available += max(0, min(LEAD_MS, lead))
    return max(0, needed - available) / needed
