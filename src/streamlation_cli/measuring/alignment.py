"""Word alignment by edit distance: the fewest substitutions, deletions and insertions, and of those alignments one with the
most equal words.

Levenshtein's dynamic programme a row at a time in numpy; Hirschberg's division keeps memory small for hours of text.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

_MOST_CELLS = 4_000_000
"""A larger table is divided: 32 MB at 8 bytes a cell."""

Pair = tuple[int | None, int | None]
"""Index in the reference (None: an insertion) and in the hypothesis (None: a deletion)."""

_Ids = npt.NDArray[np.int64]


def align(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> list[Pair]:
    """The pairs of an optimal alignment, in order; every item of both is in one pair.

    >>> align(["a", "b", "c"], ["a", "x", "c", "d"])
    [(0, 0), (1, 1), (2, 2), (None, 3)]
    >>> align(["a", "b"], ["b", "c"])
    [(0, None), (1, 0), (None, 1)]
    """
    numbers: dict[Hashable, int] = {}
    first = np.array([numbers.setdefault(item, len(numbers)) for item in reference], np.int64)
    second = np.array([numbers.setdefault(item, len(numbers)) for item in hypothesis], np.int64)
    # One edit weighs more than all equal words together, so equal words only decide between alignments of as few edits.
    return _align(first, second, 0, 0, len(first) + len(second) + 1)


def edits(pairs: Sequence[Pair], reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """How many pairs are no equal words: the edit distance.

    >>> edits([(0, None), (1, 0), (None, 1)], ["a", "b"], ["b", "c"])
    2
    """
    return sum(r is None or h is None or reference[r] != hypothesis[h] for r, h in pairs)


def _align(reference: _Ids, hypothesis: _Ids, at_r: int, at_h: int, weight: int) -> list[Pair]:
    head = _common(reference, hypothesis)
    tail = _common(reference[head:][::-1], hypothesis[head:][::-1])
    inner_r = reference[head : len(reference) - tail]
    inner_h = hypothesis[head : len(hypothesis) - tail]
    pairs: list[Pair] = [(at_r + k, at_h + k) for k in range(head)]
    pairs += _inner(inner_r, inner_h, at_r + head, at_h + head, weight)
    end_r, end_h = at_r + len(reference) - tail, at_h + len(hypothesis) - tail
    return pairs + [(end_r + k, end_h + k) for k in range(tail)]


def _inner(reference: _Ids, hypothesis: _Ids, at_r: int, at_h: int, weight: int) -> list[Pair]:
    if not len(reference):
        return [(None, at_h + k) for k in range(len(hypothesis))]
    if not len(hypothesis):
        return [(at_r + k, None) for k in range(len(reference))]
    if len(reference) * len(hypothesis) <= _MOST_CELLS or len(reference) == 1:
        return _trace(reference, hypothesis, at_r, at_h, weight)
    middle = len(reference) // 2
    before = _rows(reference[:middle], hypothesis, weight, keep=False)[-1]
    after = _rows(reference[middle:][::-1], hypothesis[::-1], weight, keep=False)[-1][::-1]
    cut = int(np.argmin(before + after))
    return [
        *_align(reference[:middle], hypothesis[:cut], at_r, at_h, weight),
        *_align(reference[middle:], hypothesis[cut:], at_r + middle, at_h + cut, weight),
    ]


def _common(one: _Ids, other: _Ids) -> int:
    """How many items both start with."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length


def _rows(reference: _Ids, hypothesis: _Ids, weight: int, *, keep: bool) -> npt.NDArray[np.int64]:
    """Cost of aligning each prefix of the reference (all of them, or the whole only) with each prefix of the hypothesis."""
    steps = np.arange(len(hypothesis) + 1, dtype=np.int64) * weight
    row = steps.copy()
    rows = np.empty((len(reference) + 1 if keep else 1, len(row)), np.int64)
    rows[0] = row
    for number, item in enumerate(reference, 1):
        best = np.empty_like(row)
        best[0] = number * weight
        np.minimum(row[:-1] + np.where(hypothesis == item, -1, weight), row[1:] + weight, out=best[1:])
        # A run of insertions costs `weight` a step, so the best start of one is a running minimum.
        row = np.minimum.accumulate(best - steps) + steps
        rows[number if keep else 0] = row
    return rows


def _trace(reference: _Ids, hypothesis: _Ids, at_r: int, at_h: int, weight: int) -> list[Pair]:
    costs = _rows(reference, hypothesis, weight, keep=True)
    pairs: list[Pair] = []
    r, h = len(reference), len(hypothesis)
    while r or h:
        here = costs[r, h]
        if r and h and here == costs[r - 1, h - 1] + (-1 if reference[r - 1] == hypothesis[h - 1] else weight):
            r, h = r - 1, h - 1
            pairs.append((at_r + r, at_h + h))
        elif r and here == costs[r - 1, h] + weight:
            r -= 1
            pairs.append((at_r + r, None))
        else:
            h -= 1
            pairs.append((None, at_h + h))
    return pairs[::-1]
