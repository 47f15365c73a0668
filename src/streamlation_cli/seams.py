"""Each word once where two utterances overlap."""

from __future__ import annotations

from collections.abc import Sequence

from .records import Word


def within(words: Sequence[Word], begin_ms: float | None, end_ms: float | None) -> tuple[Word, ...]:
    """The words whose middle lies from `begin_ms` up to `end_ms`; None is no bound.

    Two utterances that overlap around a cut hear the words there twice, and each keeps those of its own side.
    """
    return tuple(
        word
        for word in words
        if (begin_ms is None or (word.start_ms + word.end_ms) / 2 >= begin_ms)
        and (end_ms is None or (word.start_ms + word.end_ms) / 2 < end_ms)
    )


UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces between words."""


def joined(words: Sequence[Word], language: str) -> str:
    """The words as text.

    >>> joined([Word(text="não", start_ms=0, end_ms=1), Word(text="sei.", start_ms=1, end_ms=2)], "pt")
    'não sei.'
    """
    return ("" if language in UNSPACED else " ").join(word.text for word in words)
