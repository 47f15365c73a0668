"""Translations of a subtitle file laid back into its captions: each keeps its time and shows its share of the text.

A sentence that ran over three captions was translated whole; its translation is cut where the captions changed, moved by
a word or two to where a phrase ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..records import Transcript, Translation
from .line_breaks import Unit, break_costs
from .units import Utterance, timed_units

FARTHEST_CUT = 2
"""Words that a cut may be moved for a better break."""
COST_OF_A_WORD = 4.0
"""How much better a break must be for each word that the cut is moved, in the units of `break_costs`."""


@dataclass
class _Window:
    """One caption of the file and what it shows of the translation."""

    source: Transcript
    units: list[Unit] = field(default_factory=list)
    language: str = ""


@dataclass
class Windows:
    """The captions of one session's subtitle file; `bilingual` keeps the original text beside the translation."""

    bilingual: bool
    max_chars: int
    _open: deque[_Window] = field(default_factory=deque)

    def original(self, transcript: Transcript) -> None:
        """A caption of the file; its translation comes later."""
        self._open.append(_Window(transcript))

    def translated(self, translation: Translation, said: Utterance) -> Iterator[Utterance]:
        """Shares `said`, the translation's text, among its captions; yields those that are whole."""
        ids = set(translation.source_ids)
        mine = [window for window in self._open if window.source.id in ids]
        if not mine:
            yield said
            return
        while self._open[0] is not mine[0]:
            yield from self._utterance(self._open.popleft())
        units = timed_units(replace(said, second=None), self.max_chars)
        cuts = [0, *_cuts(units, [window.source.start_ms for window in mine[1:]], said.language), len(units)]
        for window, first, last in zip(mine, cuts, cuts[1:], strict=False):
            window.units += units[first:last]
            window.language = said.language

    @property
    def settled_ms(self) -> int | None:
        """No text that is still to come starts before this; None where all has come."""
        return self._open[0].source.start_ms if self._open else None

    def finish(self) -> Iterator[Utterance]:
        """The captions that are left."""
        while self._open:
            yield from self._utterance(self._open.popleft())

    def _utterance(self, window: _Window) -> Iterator[Utterance]:
        source = window.source
        text = "".join((" " if unit.spaced else "") + unit.text for unit in window.units).strip()
        if not text:
            return
        second = Utterance(
            start_ms=source.start_ms, end_ms=source.end_ms, text=source.text, language=source.language, own_times=True
        )
        yield Utterance(
            start_ms=source.start_ms, end_ms=source.end_ms, text=text, language=window.language,
            speaker=source.speaker, interpolated=True, own_times=True, second=second if self.bilingual else None,
        )  # fmt: skip


def _cuts(units: list[Unit], starts_ms: list[int], language: str) -> list[int]:
    """Where to cut so that each part stands in its caption; at least a unit in each while there are enough."""
    costs = break_costs(units, language)
    cuts: list[int] = []
    for number, start_ms in enumerate(starts_ms):
        ideal = sum(unit.start_ms + unit.end_ms < 2 * start_ms for unit in units)
        lowest = min(len(units), (cuts[-1] if cuts else 0) + 1)
        highest = max(lowest, len(units) - (len(starts_ms) - number))
        ideal = min(max(ideal, lowest), highest)
        choices = range(max(lowest, ideal - FARTHEST_CUT), min(highest, ideal + FARTHEST_CUT) + 1)
        cuts.append(
            min(choices, key=lambda at: (costs[at] if at < len(units) else 0.0) + COST_OF_A_WORD * abs(at - ideal))
        )
    return cuts
