"""Utterances to text: batches of like length, several at once, and a guard that asks again where the text is doubtful."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from .engines import FULL_S, SILENCE_S, Decoding, Recognition, Recognizer, Samples
from .errors import TryAgain
from .guard import Doubt, Guard
from .records import SAMPLE_RATE_HZ
from .segmentation import Utterance

BATCH_S = 56.0
"""Sound in one batch, with silence and what fills the shorter utterances up: it bounds the memory of an engine's worker."""
RETRY_BEAM = 5
"""Least beam of a second opinion."""
ATTEMPTS = 3
"""How often a batch is tried while the engine says to try again."""


SURE_OF_LANGUAGE = 0.8
"""An utterance is taken for another language than the session's from this probability on."""
LONG_ENOUGH_S = 2.0
"""And if it is this long: a word or two sound like any language."""


@dataclass
class Tally:
    """What the guard did, for `status` counters."""

    utterances: int = 0
    retried: int = 0
    dropped: int = 0


class BatchRecognizer:
    """Recognises windows of one session's utterances; the same utterances always make the same batches."""

    def __init__(
        self,
        engine: Recognizer,
        *,
        batch_size: int,
        guard: Guard,
        fallback: Sequence[float] = (0.2, 0.6),
        pool: Executor | None = None,
    ) -> None:
        """`fallback`: temperatures of the last retries, in order; `pool`: what batches run on, side by side."""
        self._engine = engine
        self._pool = pool
        self._lock = threading.Lock()
        self._batch_size = batch_size
        self._guard = guard
        self._fallback = tuple(fallback)
        self._votes: defaultdict[str, float] = defaultdict(float)
        """Language → seconds of speech so far, each weighted with the probability of the language."""
        self.tally = Tally()

    def recognize(self, utterances: Sequence[Utterance], decoding: Decoding) -> list[Recognition | None]:
        """One recognition an utterance, in order; None where there is no speech after all, or nothing believable."""
        samples = [levelled(utterance) for utterance in utterances]
        first = self._in_batches(samples, decoding)
        if decoding.language is None:
            first = self._settle_languages(samples, first, decoding)
        tries = [[heard] for heard in first]
        doubtful = [index for index in range(len(tries)) if self._doubt(tries[index], samples[index]) > Doubt.NONE]
        retried = len(doubtful)
        for attempt in self._retries(decoding):
            for index, heard in self._again(doubtful, samples, tries, attempt):
                tries[index].append(heard)
            doubtful = [index for index in doubtful if self._doubt(tries[index], samples[index]) >= Doubt.GRAVE]
            if not doubtful:
                break
        believed = [self._best(tried, one) for tried, one in zip(tries, samples, strict=True)]
        with self._lock:  # windows may be recognised side by side
            self.tally.utterances += len(samples)
            self.tally.retried += retried
            self.tally.dropped += believed.count(None)
        return believed

    def _settle_languages(
        self, samples: Sequence[Samples], heard: Sequence[Recognition], decoding: Decoding
    ) -> list[Recognition]:
        """The same recognitions, those in an unlikely language done again in the session's."""
        for one, recognition in zip(samples, heard, strict=True):
            self._votes[recognition.language] += seconds_of(one) * recognition.language_probability
        if not self._votes:
            return list(heard)
        language = max(sorted(self._votes), key=lambda name: self._votes[name])
        stray = [
            index
            for index, recognition in enumerate(heard)
            if recognition.language != language
            and (recognition.language_probability < SURE_OF_LANGUAGE or seconds_of(samples[index]) < LONG_ENOUGH_S)
        ]
        settled = list(heard)
        redone = self._in_batches([samples[index] for index in stray], replace(decoding, language=language))
        for index, recognition in zip(stray, redone, strict=True):
            settled[index] = recognition
        return settled

    def _retries(self, decoding: Decoding) -> Iterator[Decoding]:
        decoding = replace(decoding, beam_size=max(RETRY_BEAM, decoding.beam_size))
        yield replace(decoding, context="long")
        yield replace(decoding, context="full")
        for temperature in self._fallback:
            yield replace(decoding, context="full", temperature=temperature)

    def _again(
        self, indices: Sequence[int], samples: Sequence[Samples], tries: list[list[Recognition]], attempt: Decoding
    ) -> Iterator[tuple[int, Recognition]]:
        """Another recognition of each of these, in the language that it was taken for."""
        for language in sorted({tries[index][0].language for index in indices}):
            mine = [index for index in indices if tries[index][0].language == language]
            heard = self._in_batches([samples[index] for index in mine], replace(attempt, language=language))
            yield from zip(mine, heard, strict=True)

    def _doubt(self, tried: list[Recognition], samples: Samples) -> Doubt:
        """Of the best try so far; silence is beyond doubt."""
        if self._guard.is_silence(tried[-1]):
            return Doubt.NONE
        return min(self._guard.doubt(heard, seconds_of(samples)) for heard in tried)

    def _best(self, tried: list[Recognition], samples: Samples) -> Recognition | None:
        """The least doubtful, of those the likeliest; None where the last one heard silence or none is believable."""
        if self._guard.is_silence(tried[-1]):
            return None
        doubts = [self._guard.doubt(heard, seconds_of(samples)) for heard in tried]
        if min(doubts) is Doubt.HOPELESS:
            return None
        believed = [heard for heard, doubt in zip(tried, doubts, strict=True) if doubt is min(doubts)]
        return max(believed, key=lambda heard: heard.average_log_probability)

    def _in_batches(self, samples: Sequence[Samples], decoding: Decoding) -> list[Recognition]:
        """One recognition each, in order."""
        order = sorted(range(len(samples)), key=lambda index: (-len(samples[index]), index))
        silence_s = SILENCE_S[decoding.context]
        batches = like_batches(order, [seconds_of(one) for one in samples], self._batch_size, silence_s)

        def run(batch: Sequence[int]) -> list[Recognition]:
            return persistently(lambda: self._engine.recognize([samples[index] for index in batch], decoding))

        results: dict[int, Recognition] = {}
        answers = list(self._pool.map(run, batches)) if self._pool is not None else [run(batch) for batch in batches]
        for batch, answer in zip(batches, answers, strict=True):
            results.update(zip(batch, answer, strict=True))
        return [results[index] for index in range(len(samples))]


def persistently(call: Callable[[], list[Recognition]]) -> list[Recognition]:
    """The call's result; tried again while it raises TryAgain, at most ATTEMPTS times."""
    for _ in range(ATTEMPTS - 1):
        try:
            return call()
        except TryAgain:
            continue
    return call()


def like_batches(order: Sequence[int], seconds: Sequence[float], size: int, silence_s: float) -> list[list[int]]:
    """Runs of at most `size` items, in order, an even number of them that cost about the same: two workers end together.

    `order`: indices into `seconds`, the longest first; `silence_s`: what each is encoded with, for the bound on memory.

    >>> like_batches([2, 0, 1, 3], [10.0, 9.0, 10.0, 1.0], 8, 2.5)
    [[2, 0], [1, 3]]
    >>> like_batches([2, 0, 1, 3], [10.0, 9.0, 10.0, 1.0], 8, 30.0)
    [[2], [0], [1], [3]]
    """

    def runs(most: float) -> list[list[int]]:
        return _runs(order, seconds, size, silence_s, most)

    fewest = len(runs(float("inf")))
    wanted = min(len(order), fewest + fewest % 2)
    low, high = 0.0, _cost([seconds[index] for index in order])
    for _ in range(12):
        middle = (low + high) / 2
        if len(runs(middle)) > wanted:
            low = middle
        else:
            high = middle
    return runs(high)


def _runs(order: Sequence[int], seconds: Sequence[float], size: int, silence_s: float, most: float) -> list[list[int]]:
    """As few runs as possible, in order, that each cost at most `most` and fit the memory, or are a single item."""
    batches: list[list[int]] = []
    for index in order:
        last = batches[-1] if batches else []
        fits = last and len(last) < size and (len(last) + 1) * min(FULL_S, seconds[last[0]] + silence_s) <= BATCH_S
        if fits and _cost([seconds[one] for one in (*last, index)]) <= most:
            last.append(index)
        else:
            batches.append([index])
    return batches


def _cost(seconds: Sequence[float]) -> float:
    """What a batch takes on one core, in arbitrary units: a fit to Whisper base, int8, beam 5, of 3 to 11 s utterances."""
    return sum(seconds) + 0.4 * max(seconds, default=0.0) + 0.2 * len(seconds)


def levelled(utterance: Utterance) -> Samples:
    """The utterance's samples in [-1, 1], raised to near full scale if it is quiet: Whisper's input depends on the level."""
    samples = utterance.samples.astype(np.float32) / np.float32(32768)
    peak = float(np.abs(samples).max(initial=0.0))
    if 0 < peak < 0.1:
        samples *= 0.5 / peak
    return samples


def seconds_of(samples: Samples) -> float:
    """Length at 16 kHz."""
    return len(samples) / SAMPLE_RATE_HZ
