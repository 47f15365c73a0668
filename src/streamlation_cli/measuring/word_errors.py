"""Word error rate: the edits that make the hypothesis of the reference, over the reference's length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .alignment import align
from .tokens import tokens


@dataclass(frozen=True, kw_only=True)
class WordErrors:
    """The counts of one alignment, or of several together."""

    words: int
    """Words of the reference."""
    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def edits(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float | None:
        """Errors per hundred words of the reference; None where it has none."""
        return 100 * self.edits / self.words if self.words else None


def word_errors(reference: str, hypothesis: str, language: str) -> WordErrors:
    """Compares two texts word by word, normalised (see `tokens`).

    >>> word_errors("The cat sat on a mat.", "the cat sit on mat now", "en")
    WordErrors(words=6, hits=4, substitutions=1, deletions=1, insertions=1)
    """
    wanted, heard = tokens(reference, language), tokens(hypothesis, language)
    pairs = align(wanted, heard)
    hits = sum(r is not None and h is not None and wanted[r] == heard[h] for r, h in pairs)
    deletions = sum(h is None for _, h in pairs)
    return WordErrors(
        words=len(wanted),
        hits=hits,
        substitutions=len(wanted) - hits - deletions,
        deletions=deletions,
        insertions=sum(r is None for r, _ in pairs),
    )


def pooled(counts: Iterable[WordErrors]) -> WordErrors:
    """The counts of several texts together."""
    every = list(counts)
    return WordErrors(
        words=sum(one.words for one in every),
        hits=sum(one.hits for one in every),
        substitutions=sum(one.substitutions for one in every),
        deletions=sum(one.deletions for one in every),
        insertions=sum(one.insertions for one in every),
    )
