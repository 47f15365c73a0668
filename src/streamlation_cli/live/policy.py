"""Which words of a growing hypothesis may be committed: said once, they are never taken back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..engines import SpokenWord


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When a word is sure enough; times are seconds behind the live edge, which is where the audio so far ends.

    In development recordings of English and Portuguese, words heard for the first time that ended 0.25 s or more before the
    edge were those of an offline pass in 74 of 74 cases at a probability of 0.95 or more, in 39 of 44 at 0.85 to 0.95: about as often as
    words that were heard twice. So they do not wait for a second hearing. Doubtful words do, and for the sound that follows them.
    """

    certain: float = 0.85
    """A word is certain from this probability on."""
    certain_s: float = 0.2
    """A certain word is committed when it ends at least so long ago and another follows it."""
    sure: float = 0.5
    """A word is sure from this probability on."""
    agreed_s: float = 0.2
    """A sure word that the last hypothesis had too must have ended so long ago."""
    unsure_s: float = 1.45
    """Any other word must have ended so long ago: one that is unsure, or that the last hypothesis had not."""
    last_s: float = 0.5
    """The last word of the hypothesis may still get an ending or its punctuation: it must have been there before."""
    guess: float = 0.4
    """A word below this probability that was heard once is a guess, and so is one below half of it that was heard twice."""
    settle_s: float = 1.3
    """Audio that an utterance must have before anything of it is committed: its first words are the hardest to hear."""

    def commits(self, tail: Sequence[SpokenWord], before: Sequence[SpokenWord], edge_s: float) -> int:
        """How many leading words of `tail`, the uncommitted part of the hypothesis, are committed.

        `before`: the uncommitted part of the last hypothesis, from the same place on. Words are committed from the left.
        """
        for index, word in enumerate(tail):
            agreed = index < len(before) and same(word, before[index])
            if edge_s - word.end_s < self._wait_s(word, agreed=agreed, last=index == len(tail) - 1):
                return index
        return len(tail)

    def believable(self, tail: Sequence[SpokenWord], before: Sequence[SpokenWord]) -> tuple[SpokenWord, ...]:
        """The words of `tail` up to the last one that is more than a guess, when the utterance is over and all must go out.

        A decoder that has nothing left to hear makes up a word or two that it does not believe itself.
        """
        for index in range(len(tail) - 1, -1, -1):
            agreed = index < len(before) and same(tail[index], before[index])
            if tail[index].confidence >= (self.guess / 2 if agreed else self.guess):
                return tuple(tail[: index + 1])
        return ()

    def _wait_s(self, word: SpokenWord, *, agreed: bool, last: bool) -> float:
        """How long ago the word must have ended."""
        if last:
            return max(self.last_s, self.unsure_s if word.confidence < self.sure else 0.0) if agreed else NEVER_S
        if word.confidence >= self.certain:
            return self.certain_s
        return self.agreed_s if agreed and word.confidence >= self.sure else self.unsure_s


NEVER_S = float("inf")


def same(one: SpokenWord, other: SpokenWord) -> bool:
    """Whether two words are the same, case and punctuation aside."""
    return plain(one.text) == plain(other.text)


def plain(text: str) -> str:
    """The text's letters and digits in lower case; the text itself where it has none.

    >>> plain("“Don't”,"), plain("—")
    ('dont', '—')
    """
    return re.sub(r"\W", "", text.lower()) or text
