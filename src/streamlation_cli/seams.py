"""Each word once where two utterances overlap around a cut.

    … and the men│ went home           heard before the cut: words whose middle is left of it count
           the me│n went home at last  heard after it: words whose middle is right of it count

Times of words are a little off, so a word at the cut may be on the wrong side in both or in neither; the text tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .records import Word

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces between words."""

NEAR_MS = 400
"""The same word at most so far apart, heard from both sides, was said once."""


def within(words: Sequence[Word], begin_ms: float | None, end_ms: float | None) -> tuple[Word, ...]:
    """The words whose middle lies from `begin_ms` up to `end_ms`; None is no bound."""
    return tuple(
        word
        for word in words
        if (begin_ms is None or _middle_ms(word) >= begin_ms) and (end_ms is None or _middle_ms(word) < end_ms)
    )


def after(words: Sequence[Word], cut_ms: float, before: Sequence[Word]) -> tuple[Word, ...]:
    """The words that an utterance from `cut_ms` on adds to the one before the cut, of which `before` is all it heard."""
    counted = within(before, None, cut_ms)
    mine = within(words, cut_ms, None)
    twice = _overlap(counted, mine)
    if twice:
        return mine[twice:]
    earlier, later = words[: len(words) - len(mine)], before[len(counted) :]
    never = _overlap(earlier, later)
    return (*earlier[len(earlier) - never :], *mine)


def _overlap(left: Sequence[Word], right: Sequence[Word]) -> int:
    """How many words at the end of `left` are those at the start of `right`."""
    for count in range(min(len(left), len(right)), 0, -1):
        if all(_is_same(one, other) for one, other in zip(left[-count:], right[:count], strict=True)):
            return count
    return 0


def joined(words: Sequence[Word], language: str) -> str:
    """The words as text.

    >>> joined([Word(text="não", start_ms=0, end_ms=1), Word(text="sei.", start_ms=1, end_ms=2)], "pt")
    'não sei.'
    """
    return ("" if language in UNSPACED else " ").join(word.text for word in words)


def _middle_ms(word: Word) -> float:
    return (word.start_ms + word.end_ms) / 2


def _is_same(one: Word, other: Word) -> bool:
    letters = [re.sub(r"\W", "", word.text.lower()) for word in (one, other)]
    return letters[0] == letters[1] and abs(_middle_ms(one) - _middle_ms(other)) <= NEAR_MS
