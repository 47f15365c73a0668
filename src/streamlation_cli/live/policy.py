"""Which words of a growing hypothesis may be committed: said once, they are never taken back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..engines import SpokenWord


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When a word is sure enough; times in seconds behind the live edge, which is where the audio so far ends."""

    agreed_s: float = 0.2
    """A confident word that the last hypothesis had too is committed when it ends at least so long ago."""
    sure: float = 0.5
    """A word is confident from this probability on."""
    unsure_s: float = 0.9
    """An unconfident word that the last hypothesis had too must have ended so long ago."""
    alone_s: float = 1.5
    """A word that the last hypothesis did not have must have ended so long ago."""
    last_s: float = 0.5
    """The last word of the hypothesis, which may still get an ending or its punctuation, if it was there before."""
    settle_s: float = 1.0
    """Audio that an utterance must have before anything of it is committed."""

    def commits(self, tail: Sequence[SpokenWord], before: Sequence[SpokenWord], edge_s: float) -> int:
        """How many leading words of `tail`, the uncommitted part of the hypothesis, are committed.

        `before`: the uncommitted part of the last hypothesis, from the same place on. Words are committed from the left.
        """
        for count, word in enumerate(tail):
            if not self._is_sure(count, word, tail, before, edge_s):
                return count
        return len(tail)

    def _is_sure(
        self, index: int, word: SpokenWord, tail: Sequence[SpokenWord], before: Sequence[SpokenWord], edge_s: float
    ) -> bool:
        behind_s = edge_s - word.end_s
        agreed = index < len(before) and same(word, before[index])
        if not agreed:
            return behind_s >= self.alone_s and index < len(tail) - 1
        needed_s = self.agreed_s if word.confidence >= self.sure else self.unsure_s
        if index == len(tail) - 1:
            needed_s = max(needed_s, self.last_s)
        return behind_s >= needed_s


def same(one: SpokenWord, other: SpokenWord) -> bool:
    """Whether two words are the same, case and punctuation aside."""
    return plain(one.text) == plain(other.text)


def plain(text: str) -> str:
    """The text's letters and digits in lower case; the text itself where it has none.

    >>> plain("“Don't”,"), plain("—")
    ('dont', '—')
    """
    return re.sub(r"\W", "", text.lower()) or text
