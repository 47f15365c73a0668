"""Cuts a translation that came as one stream into the sentences of the reference.

The method of Matusov et al. (2005), "Evaluating Machine Translation Output with Automatic Sentence Segmentation" (known by its
program, mWERSegmenter): of all ways to cut the output into as many parts as the reference has sentences, one whose parts
have the fewest word errors against their sentences. That number is the edit distance of the whole texts, so the cuts can be
read off their alignment. Output between two sentences that matches neither goes to the first, up to its own sentence end.
"""

from __future__ import annotations

from collections.abc import Sequence

from .alignment import align
from .tokens import indexed, tokens

SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟")


def resegment(words: Sequence[str], sentences: Sequence[str], language: str) -> list[range]:
    """The words of each sentence, as indices; together they are all words, in order.

    >>> resegment("Good day. How are you well I am fine".split(), ["Good day!", "How are you?", "I am fine."], "en")
    [range(0, 2), range(2, 6), range(6, 9)]
    """
    wanted: list[str] = []
    ends: list[int] = []
    for sentence in sentences:
        wanted += tokens(sentence, language)
        ends.append(len(wanted))
    shown = indexed(words, language)
    starts = [0]
    for low, high in _places(wanted, [token for token, _ in shown], ends)[:-1]:
        starts.append(max(starts[-1], _best_cut(words, shown, low, high)))
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(words)], strict=True)]


def _places(wanted: list[str], shown: list[str], ends: list[int]) -> list[tuple[int, int]]:
    """For each sentence the first and the last place among the shown tokens where it may end without more errors."""
    taken = [0] * (len(wanted) + 1)
    """For each place in the reference how many shown tokens are taken by what is before it …"""
    next_taken = [len(shown)] * (len(wanted) + 1)
    """… and the first that is taken by what is after it; between them are insertions."""
    for r, h in align(wanted, shown):
        if r is not None and h is not None:
            taken[r + 1], next_taken[r] = h + 1, h
    for place in range(len(wanted)):
        taken[place + 1] = max(taken[place], taken[place + 1])
        back = len(wanted) - 1 - place
        next_taken[back] = min(next_taken[back], next_taken[back + 1])
    return [(taken[end], next_taken[end]) for end in ends]


def _best_cut(words: Sequence[str], shown: list[tuple[str, int]], low: int, high: int) -> int:
    """The word to cut before: after a sentence end between `low` and `high`, else at `high`."""

    def word_at(token: int) -> int:
        return shown[token][1] if token < len(shown) else len(words)

    first, last = (word_at(low - 1) + 1 if low else 0), word_at(high)
    for cut in range(max(first, 1), last + 1):
        if words[cut - 1].endswith(SENTENCE_ENDS):
            return cut
    return max(first, last)
