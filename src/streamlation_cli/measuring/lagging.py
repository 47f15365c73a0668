"""How far a streamed translation lags behind the speech: LAAL, and StreamLAAL for long recordings.

LAAL is Length-Adaptive Average Lagging (Papi et al., 2022, "Over-Generation Cannot Be Rewarded"): the mean, over the words up
to the first that came after the sentence was over, of a word's delay less the delay of an ideal translator that speaks
evenly while the sentence is spoken. StreamLAAL (Papi et al., 2024, "StreamAtt") is its mean over the sentences of a long
recording, each with the part of the output that resegmentation gives it and times counted from its own start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A sentence of the reference with what was said for it."""

    start_ms: float
    end_ms: float
    reference_words: int
    delays_ms: tuple[float, ...]
    """When each word came, on the source's timeline."""


def laal(delays_ms: Sequence[float], source_ms: float, reference_words: int) -> float:
    """Length-Adaptive Average Lagging of one sentence in milliseconds.

    `delays_ms` (at least one) count from the start of the sentence, which is `source_ms` long.

    >>> laal([1000, 2000, 3000, 4000], 4000, 4)  # a word for each second, each a second late
    1000.0
    >>> laal([5000, 5000], 4000, 2)  # all of it a second after the end
    5000.0
    """
    if delays_ms[0] > source_ms:
        return float(delays_ms[0])
    ideal_step = source_ms / max(len(delays_ms), reference_words)
    total = 0.0
    count = 0
    for position, delay in enumerate(delays_ms):
        total += delay - position * ideal_step
        count += 1
        if delay >= source_ms:
            break
    return total / count


def stream_laal(sentences: Sequence[Sentence]) -> float | None:
    """StreamLAAL in milliseconds; sentences without a word of output have no lag and are left out; None where all are.

    >>> stream_laal([Sentence(0, 2000, 2, (1000, 2000)), Sentence(2000, 4000, 2, (4000, 5000)), Sentence(4000, 5000, 1, ())])
    1500.0
    """
    lags = [
        laal([delay - s.start_ms for delay in s.delays_ms], s.end_ms - s.start_ms, s.reference_words)
        for s in sentences
        if s.delays_ms
    ]
    return sum(lags) / len(lags) if lags else None
