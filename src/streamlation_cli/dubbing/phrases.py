"""From a sentence of text to phrases that can be spoken, each with the time its words had in the source."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Word
from .timefit import Slot

LONG_MS = 6000
"""A longer sentence is cut at its clauses, so that the voice keeps up with the picture inside it too."""

SHORT_PHRASE_MS = 2500
"""No phrase is cut shorter than this, for a voice that stops at every comma stumbles."""

SOURCE_PAUSE_MS = 700
"""Where the speaker paused this long within a sentence, so does the dub."""

_MARKUP = re.compile(r"<[^<>]{1,40}>|\[+[^\[\]]*\]+|[\[\]♪♫*_#|~^`\\]+")
_ADDRESS = re.compile(r"\b(?:https?://|www\.)(?:www\.)?([\w.-]+)\S*", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[,;:.!?…—–。，、；：？！؟،]+[\"'”’»)]*(?=\s|$)|[。，、；：？！]+")


@dataclass(frozen=True)
class Phrase:
    """What is spoken in one breath."""

    text: str
    slot: Slot


def speakable(text: str) -> str:
    """`text` without what a voice should not read out: `[music]`, markup, emoji, the path of an address.

    Empty where nothing is left that has a letter or a digit.

    >>> speakable("[music] See https://www.example.org/a?b=1 🎉 <i>now</i>!")
    'See example.org now!'
    >>> speakable("♪ … ♪")
    ''
    """
    text = _ADDRESS.sub(lambda match: match.group(1).rstrip("."), text)
    text = _MARKUP.sub(" ", text)
    kept = "".join(char if _is_spoken(char) else " " for char in unicodedata.normalize("NFC", text))
    kept = re.sub(r"\s+([,;:.!?…])", r"\1", " ".join(kept.split()))
    return kept if any(char.isalnum() for char in kept) else ""


def _is_spoken(char: str) -> bool:
    category = unicodedata.category(char)
    # Letters, marks, digits, punctuation, currency and signs like % and +; joiners matter to Indic and Persian script.
    return category[0] in "LMNPZ" or category in ("Sc", "Sm") or char in "°\u200c\u200d"


def phrases(text: str, start_ms: int, end_ms: int, words: Sequence[Word] = ()) -> list[Phrase]:
    """The phrases of an utterance in order, their slots covering [start_ms, end_ms]; none where nothing is speakable.

    `words` are those of `text` with their times; without them time is taken to run evenly over the letters.
    """
    clock = _Clock(text, start_ms, max(end_ms, start_ms), words)
    cuts = _cuts(text, clock)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        spoken = speakable(text[begin:end])
        if spoken:
            found.append(Phrase(spoken, Slot(clock.at_start_of(begin), clock.at_end_of(end))))
    return found


def _cuts(text: str, clock: _Clock) -> list[int]:
    """Offsets at which `text` is cut: where the speaker paused, and at clause ends of a long sentence."""
    begin_ms, end_ms = clock.at_start_of(0), clock.at_end_of(len(text))
    is_long = end_ms - begin_ms > LONG_MS
    cuts: list[int] = []
    for match in _CLAUSE_END.finditer(text):
        offset = match.end()
        if offset >= len(text.rstrip()):
            break
        over_ms, next_ms = clock.at_end_of(offset), clock.at_start_of(offset)
        paused = next_ms - over_ms >= SOURCE_PAUSE_MS
        long_enough = over_ms - begin_ms >= SHORT_PHRASE_MS and end_ms - next_ms >= SHORT_PHRASE_MS
        if paused or (is_long and long_enough):
            cuts.append(offset)
            begin_ms = next_ms
    return cuts


class _Clock:
    """Offsets in a text to times, by the words where they are those of the text."""

    def __init__(self, text: str, start_ms: int, end_ms: int, words: Sequence[Word]) -> None:
        spans = _word_spans(text, words) or [(0, max(1, len(text)), start_ms, end_ms)]
        self._begins = [begin for begin, _, _, _ in spans]
        self._spans = spans
        self._bounds = (start_ms, end_ms)

    def at_start_of(self, offset: int) -> int:
        """When what follows `offset` begins."""
        index = bisect_right(self._begins, offset) - 1
        if index >= 0 and offset < self._spans[index][1]:
            return self._within(index, offset)
        following = min(index + 1, len(self._spans) - 1)
        return self._clamped(self._spans[following][2] if index + 1 < len(self._spans) else self._spans[-1][3])

    def at_end_of(self, offset: int) -> int:
        """When what stands before `offset` is over."""
        index = bisect_right(self._begins, offset - 1) - 1
        if index < 0:
            return self._bounds[0]
        return self._within(index, offset) if offset < self._spans[index][1] else self._clamped(self._spans[index][3])

    def _within(self, index: int, offset: int) -> int:
        begin, end, start_ms, end_ms = self._spans[index]
        return self._clamped(start_ms + (end_ms - start_ms) * (offset - begin) // (end - begin))

    def _clamped(self, time_ms: int) -> int:
        return min(max(time_ms, self._bounds[0]), self._bounds[1])


def _word_spans(text: str, words: Sequence[Word]) -> list[tuple[int, int, int, int]]:
    """(begin, end, start_ms, end_ms) of each word; nothing where the words are not those of the text, in order."""
    spans = []
    offset = 0
    last_ms = 0
    for word in words:
        found = text.find(word.text, offset)
        if found < 0 or not word.text or word.start_ms < last_ms or text[offset:found].strip():
            return []
        offset = found + len(word.text)
        last_ms = word.start_ms
        spans.append((found, offset, word.start_ms, max(word.start_ms, word.end_ms)))
    return spans if not text[offset:].strip() else []
