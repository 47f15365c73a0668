"""Utterances to text: batches of like length, several at once, and a guard that asks again where the text is doubtful."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .engines import Decoding, Recognition, Recognizer, Samples
from .errors import TryAgain
from .guard import Guard
from .segmentation import Utterance

ATTEMPTS = 3
"""How often a batch is tried while the engine says to try again."""


@dataclass
class Tally:
    """What the guard did, for `status` counters."""

    utterances: int = 0
    retried: int = 0
    dropped: int = 0


class BatchRecognizer:
    """Recognises windows of utterances with one engine; the same utterances always make the same batches."""

    def __init__(
        self, engine: Recognizer, *, batch_size: int, guard: Guard, fallback: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
    ) -> None:
        """`fallback`: temperatures of the last retries, in order."""
        self._engine = engine
        self._batch_size = batch_size
        self._guard = guard
        self._fallback = tuple(fallback)
        self.tally = Tally()

    def recognize(self, utterances: Sequence[Utterance], decoding: Decoding) -> list[Recognition | None]:
        """One recognition an utterance, in order; None where there is no speech after all, or nothing believable."""
        samples = [levelled(utterance) for utterance in utterances]
        heard: list[Recognition | None] = [None] * len(samples)
        doubtful: dict[int, list[Recognition]] = {}
        self.tally.utterances += len(samples)

        def judge(indices: Sequence[int], attempt: Decoding) -> list[int]:
            """Recognises these; returns those that are to be retried."""
            again = []
            results = self._in_batches([samples[index] for index in indices], attempt)
            for index, result in zip(indices, results, strict=True):
                verdict = self._guard.verdict(result, utterances[index].seconds)
                if verdict == "accept":
                    heard[index] = result
                elif verdict == "retry":
                    doubtful.setdefault(index, []).append(result)
                    again.append(index)
                else:
                    doubtful.pop(index, None)
            return again

        left = judge(range(len(samples)), decoding)
        self.tally.retried += len(left)
        for attempt in self._retries(decoding):
            if not left:
                break
            left = judge(left, attempt)
        for index in left:
            heard[index] = self._best(doubtful[index])
        self.tally.dropped += heard.count(None)
        return heard

    def _retries(self, decoding: Decoding) -> Iterator[Decoding]:
        yield replace(decoding, padded=True)
        for temperature in self._fallback:
            yield replace(decoding, padded=True, temperature=temperature)

    def _best(self, tries: list[Recognition]) -> Recognition | None:
        """The likeliest of the doubtful ones that is no loop."""
        sane = [one for one in tries if not self._guard.repeats(one.text)]
        return max(sane, key=lambda one: one.average_log_probability, default=None)

    def _in_batches(self, samples: Sequence[Samples], decoding: Decoding) -> list[Recognition]:
        """One recognition each, in order."""
        order = sorted(range(len(samples)), key=lambda index: (-len(samples[index]), index))
        batches = even_batches(order, self._batch_size)

        def run(batch: Sequence[int]) -> list[Recognition]:
            return persistently(lambda: self._engine.recognize([samples[index] for index in batch], decoding))

        results: list[Recognition | None] = [None] * len(samples)
        workers = min(self._engine.workers, len(batches))
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                answers = list(pool.map(run, batches))
        else:
            answers = [run(batch) for batch in batches]
        for batch, answer in zip(batches, answers, strict=True):
            for index, result in zip(batch, answer, strict=True):
                results[index] = result
        return [result for result in results if result is not None]


def persistently(call: Callable[[], list[Recognition]]) -> list[Recognition]:
    """The call's result; tried again while it raises TryAgain, at most ATTEMPTS times."""
    for _ in range(ATTEMPTS - 1):
        try:
            return call()
        except TryAgain:
            continue
    return call()


def even_batches(order: Sequence[int], size: int) -> list[list[int]]:
    """Runs of at most `size`, in order and of almost the same length; an even number of them where there is enough.

    Two workers then finish together, and yet the batches do not depend on how many workers there are.

    >>> even_batches(range(10), 8)
    [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    """
    count = -(-len(order) // size)
    if count % 2 and len(order) > 3:
        count += 1
    bounds = [round(len(order) * k / count) for k in range(count + 1)] if count else [0]
    return [list(order[low:high]) for low, high in pairwise(bounds)]


def levelled(utterance: Utterance) -> Samples:
    """The utterance's samples in [-1, 1], raised to near full scale if it is quiet: Whisper's input depends on the level."""
    samples = utterance.samples.astype(np.float32) / np.float32(32768)
    peak = float(np.abs(samples).max(initial=0.0))
    if 0 < peak < 0.1:
        samples *= 0.5 / peak
    return samples
