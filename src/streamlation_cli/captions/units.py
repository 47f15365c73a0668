"""Utterances into units: each word, or character of a script without spaces, with the time it was said."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from ..records import Word
from .formats import clean
from .line_breaks import Unit, ends_sentence, pieces


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Text that was said, with the times of its words where they are known."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()
    language: str = ""
    speaker: str = ""
    confidence: float | None = None
    interpolated: bool = False
    """The words' times are guesses, as those of a translation are."""
    own_times: bool = False
    """It is a caption already, out of a subtitle file: it stays as it is where it can."""
    second: Utterance | None = None
    """The same in the other language, for bilingual captions; it stands above."""


def timed_units(utterance: Utterance, max_chars: int) -> list[Unit]:
    """The units of an utterance's text with their times.

    The times come from its words by position in the text, spaces not counted, so that they are exact where the words
    are those of the text and close where they are not; without words they are shared out by length.
    """
    cut = pieces(clean(utterance.text), max_chars)
    if not cut:
        return []
    words = [word for word in utterance.words if _solid_length(word.text)]
    if not words:
        words = [
            Word(text=utterance.text, start_ms=utterance.start_ms, end_ms=max(utterance.start_ms, utterance.end_ms))
        ]
    edges = list(accumulate((_solid_length(word.text) for word in words), initial=0))
    lengths = list(accumulate((_solid_length(text) for text, _, _ in cut), initial=0))
    scale = edges[-1] / max(1, lengths[-1])
    units = []
    for (text, spaced, forced), (begin, end) in zip(cut, pairwise(lengths), strict=True):
        at = min(bisect_right(edges, begin * scale + 1e-6) - 1, len(words) - 1)
        last = min(max(bisect_left(edges, end * scale - 1e-6) - 1, at), len(words) - 1)
        start_ms = _inside(words[at], edges[at], begin * scale)
        end_ms = max(start_ms, _inside(words[last], edges[last], end * scale))
        units.append(
            Unit(
                text=text,
                start_ms=start_ms,
                end_ms=end_ms,
                spaced=spaced,
                forced=forced,
                confidence=words[at].confidence,
            )
        )
    return units


STRANDED_MS = 700
"""A pause after the first word of a sentence that is longer than this is doubted."""
MS_PER_CHARACTER = 70


def with_next(units: Sequence[Unit]) -> list[Unit]:
    """The units, with the first word of a sentence moved to the second where a pause parts them.

    Recognisers give a sentence's first word the time where the silence before it began; shown then, it would stand alone.
    """
    result = list(units)
    for at in range(len(units) - 2, -1, -1):
        unit, following = result[at], result[at + 1]
        begins = at == 0 or ends_sentence(result[at - 1].text, unit.text)
        if not begins or not unit.text[-1].isalnum() or following.start_ms - unit.end_ms < STRANDED_MS:
            continue
        length = min(unit.end_ms - unit.start_ms, MS_PER_CHARACTER * (len(unit.text) + 1))
        result[at] = replace(unit, start_ms=following.start_ms - length, end_ms=following.start_ms)
    return result


def _inside(word: Word, begin: int, position: float) -> int:
    """Time at a position inside a word that begins at `begin`, counted in characters."""
    share = min(1.0, max(0.0, (position - begin) / _solid_length(word.text)))
    return round(word.start_ms + (max(word.end_ms, word.start_ms) - word.start_ms) * share)


def _solid_length(text: str) -> int:
    return sum(not character.isspace() for character in text)


def without_overlap(units: Sequence[Unit]) -> list[Unit]:
    """Each unit ends when the next starts, at the latest."""
    result = []
    for unit, following in pairwise(units):
        end = max(unit.start_ms, min(unit.end_ms, following.start_ms))
        result.append(unit if end == unit.end_ms else replace(unit, end_ms=end))
    return [*result, *units[-1:]]
