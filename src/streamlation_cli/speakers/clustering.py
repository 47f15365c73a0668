"""Prints of voices gathered into speakers, as they come: agglomerative clustering with average linkage.

Of unit vectors the mean similarity of two groups is the product of their means, so a group is its sum and its weight, and memory
does not grow with what was said. Who has a name keeps it: two known speakers are never merged afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .voiceprint import SIZE, Floats

ALIKE = 0.64
"""Groups with at least this mean cosine similarity are one speaker. Of read speech in five languages, stretches of one speaker have
0.62 to 0.89 on average and those of two speakers 0.37 to 0.64; anything from 0.62 to 0.68 makes about the same errors."""

SURE_S = 1.6
"""A shorter stretch has too uncertain a print to be a new speaker by itself."""


class Speakers:
    """The speakers of one session, named A, B, … in the order they begin to speak; at most `most` where that is not 0."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._sums = np.zeros((0, SIZE))
        self._weights = np.zeros(0)

    def name(self, prints: Floats, seconds: Sequence[float]) -> list[str]:
        """The speaker of each stretch, in the order they were said; `prints` has shape (stretches, 256) and rows of length 1."""
        lengths = np.asarray(seconds, np.float64)
        known = len(self._weights)
        sure = [index for index, length in enumerate(lengths) if length >= SURE_S]
        sums = [*self._sums, *(prints[index] * lengths[index] for index in sure)]
        weights = [*self._weights, *lengths[sure]]
        members: list[list[int]] = [[] for _ in range(known)] + [[index] for index in sure]
        self._merge(sums, weights, members, known)
        if not members and len(lengths):  # nothing long was ever said
            sums, weights, members = [np.zeros(SIZE)], [0.0], [[]]
        order = [*range(known), *sorted(range(known, len(members)), key=lambda group: members[group][:1])]
        self._sums = np.array([sums[group] for group in order]).reshape(-1, SIZE)
        self._weights = np.array([weights[group] for group in order])
        speaker = {index: number for number, group in enumerate(order) for index in members[group]}
        for index in range(len(lengths)):
            if index not in speaker:
                speaker[index] = self._nearest(prints[index], speaker.get(index - 1))
        return [letters(speaker[index]) for index in range(len(lengths))]

    def _merge(self, sums: list[Floats], weights: list[float], members: list[list[int]], known: int) -> None:
        """Joins the two most alike again and again, in place; the first `known` stay apart."""
        means = np.array([total / weight if weight else total for total, weight in zip(sums, weights, strict=True)])
        alike = means @ means.T if len(means) else np.zeros((0, 0))
        np.fill_diagonal(alike, -1)
        alike[:known, :known] = -1
        while len(members) > 1:
            one, other = divmod(int(np.argmax(alike)), len(members))
            if alike[one, other] < ALIKE:
                if not self._most or len(members) <= max(self._most, known):
                    return
                # Too many: the one that said least is an odd stretch rather than a person.
                one = known + int(np.argmin(weights[known:]))
                other = int(np.argmax(alike[one]))
            one, other = min(one, other), max(one, other)
            sums[one] = sums[one] + sums[other]
            weights[one] += weights[other]
            members[one] = sorted(members[one] + members[other])
            del sums[other], weights[other], members[other]
            alike = np.delete(np.delete(alike, other, 0), other, 1)
            means = np.delete(means, other, 0)
            means[one] = sums[one] / weights[one]
            row = means @ means[one]
            row[one] = -1
            if one < known:
                row[:known] = -1
            alike[one], alike[:, one] = row, row

    def _nearest(self, voice: Floats, before: int | None) -> int:
        """The speaker that a short stretch sounds like most; whoever spoke before, where it is not clear."""
        means = self._sums / np.maximum(self._weights, 1e-9)[:, None]
        alike = means @ voice
        best = int(np.argmax(alike))
        if before is not None and alike[best] - alike[before] < _CLEARLY:
            return before
        return best


_CLEARLY = 0.05


def letters(number: int) -> str:
    """The name of a speaker.

    >>> letters(0), letters(25), letters(26)
    ('A', 'Z', 'AA')
    """
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
