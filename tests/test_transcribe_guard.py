"""What a doubtful recognition leads to, with a recognizer that says what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlation_cli.engines import FULL_S, SILENCE_S, Decoding, Recognition, Samples
from streamlation_cli.errors import TryAgain
from streamlation_cli.guard import Doubt, Guard, says_twice
from streamlation_cli.recognition import BATCH_S, BatchRecognizer, like_batches
from streamlation_cli.segmentation import Utterance

GOOD = Recognition(text="the boat left early and nobody saw it", language="en", average_log_probability=-0.2)
LOOP = Recognition(text="and then " * 40, language="en", average_log_probability=-0.1)
GUESS = Recognition(text="the goat lefty early", language="en", average_log_probability=-1.2)
WILD = Recognition(text="goats", language="en", average_log_probability=-2.5)
SILENCE = Recognition(text="Thank you.", language="en", average_log_probability=-1.3, no_speech_probability=0.9)
TWICE = Recognition(text="He was not there. He was not there.", language="en", average_log_probability=-0.1)


@dataclass
class Scripted:
    """Answers by a function of the utterance's number (its first sample) and the decoding; keeps what it was asked."""

    answer: Callable[[int, Decoding], Recognition]
    workers: int = 2
    asked: list[tuple[list[int], Decoding]] = field(default_factory=list)

    def recognize(self, utterances: Sequence[Samples], decoding: Decoding) -> list[Recognition]:
        numbers = [round(float(samples[0]) * 32768) for samples in utterances]
        self.asked.append((numbers, decoding))
        return [self.answer(number, decoding) for number in numbers]

    def close(self) -> None:
        pass


def utterance(number: int, seconds: float = 4.0) -> Utterance:
    """An utterance that says its number."""
    samples = np.full(round(seconds * 16_000), 16_000, np.int16)
    samples[0] = number
    return Utterance(start=0, samples=samples, probability=0.9)


def recognized(
    engine: Scripted, utterances: Sequence[Utterance], language: str | None = "en", batch_size: int = 8
) -> tuple[list[Recognition | None], BatchRecognizer]:
    recognizer = BatchRecognizer(engine, batch_size=batch_size, guard=Guard())
    return recognizer.recognize(utterances, Decoding(language=language)), recognizer


def test_good_text_is_taken_at_once() -> None:
    engine = Scripted(lambda number, decoding: GOOD)
    heard, recognizer = recognized(engine, [utterance(n) for n in range(3)])
    assert heard == [GOOD] * 3
    assert all(decoding.context == "short" for _, decoding in engine.asked)
    assert (recognizer.tally.utterances, recognizer.tally.retried, recognizer.tally.dropped) == (3, 0, 0)


@pytest.mark.parametrize("bad", [LOOP, GUESS, TWICE, WILD])
def test_bad_text_is_asked_for_again_with_more_context(bad: Recognition) -> None:
    engine = Scripted(lambda number, decoding: GOOD if decoding.context == "long" or number == 1 else bad)
    heard, recognizer = recognized(engine, [utterance(n) for n in range(3)])
    assert heard == [GOOD] * 3
    assert sorted(n for numbers, decoding in engine.asked if decoding.context == "long" for n in numbers) == [0, 2]
    assert recognizer.tally.retried == 2


def test_then_ever_farther_from_the_likeliest_text() -> None:
    engine = Scripted(lambda number, decoding: GOOD if decoding.temperature > 0.5 else LOOP)
    heard, _ = recognized(engine, [utterance(0)])
    assert heard == [GOOD]
    steps = [(decoding.context, decoding.temperature) for _, decoding in engine.asked]
    assert steps == [("short", 0.0), ("long", 0.0), ("full", 0.0), ("full", 0.2), ("full", 0.6)]


@pytest.mark.parametrize(("always", "kept"), [(LOOP, None), (WILD, None), (GUESS, GUESS), (TWICE, TWICE)])
def test_what_stays_hopeless_is_dropped_and_what_may_be_true_is_kept(
    always: Recognition, kept: Recognition | None
) -> None:
    heard, recognizer = recognized(Scripted(lambda number, decoding: always), [utterance(0)])
    assert heard == [kept]
    assert recognizer.tally.dropped == (kept is None)


def test_silence_is_dropped_without_asking_again() -> None:
    engine = Scripted(lambda number, decoding: SILENCE)
    assert recognized(engine, [utterance(0)])[0] == [None]
    assert len(engine.asked) == 1


def test_a_worse_second_opinion_does_not_win() -> None:
    unsure = Recognition(text="the boat left early", language="en", average_log_probability=-0.7)
    engine = Scripted(lambda number, decoding: GUESS if decoding.context != "short" else unsure)
    assert recognized(engine, [utterance(0)])[0] == [unsure]


def test_order_is_kept_and_batches_are_of_like_length() -> None:
    engine = Scripted(lambda number, decoding: Recognition(text=f"number {number}", language="en"), workers=1)
    lengths = [1.0, 2.5, 0.5, 2.0, 1.5, 0.7, 2.2, 1.1]
    utterances = [utterance(n, seconds) for n, seconds in enumerate(lengths)]
    heard, _ = recognized(engine, utterances, batch_size=4)
    assert [one.text for one in heard if one] == [f"number {n}" for n in range(8)]
    assert [numbers for numbers, _ in engine.asked] == [[1, 6, 3, 4], [7, 0, 5, 2]]


@given(st.lists(st.floats(0.1, 28), max_size=60), st.integers(1, 16), st.sampled_from(sorted(SILENCE_S.values())))
def test_batches_are_complete_and_bounded(seconds: list[float], size: int, silence_s: float) -> None:
    order = sorted(range(len(seconds)), key=lambda index: -seconds[index])
    batches = like_batches(order, seconds, size, silence_s)
    assert [item for batch in batches for item in batch] == order
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len(batch) == 1 or len(batch) * min(FULL_S, seconds[batch[0]] + silence_s) <= BATCH_S


def test_an_unlikely_language_is_heard_again_in_the_sessions() -> None:
    def answer(number: int, decoding: Decoding) -> Recognition:
        language = decoding.language or ("gl" if number == 1 else "pt")
        return Recognition(text="olá bom dia", language=language, language_probability=0.5 if number == 1 else 0.95)

    engine = Scripted(answer)
    heard, _ = recognized(engine, [utterance(n) for n in range(3)], language=None)
    assert [one.language for one in heard if one] == ["pt"] * 3


def test_another_language_stays_where_it_is_sure() -> None:
    def answer(number: int, decoding: Decoding) -> Recognition:
        language = decoding.language or ("es" if number == 1 else "pt")
        return Recognition(text="buenos días a todos", language=language, language_probability=0.97)

    heard, _ = recognized(Scripted(answer), [utterance(n) for n in range(3)], language=None)
    assert [one.language for one in heard if one] == ["pt", "es", "pt"]


def test_an_engine_that_fails_now_and_then_is_asked_again() -> None:
    failures = iter([True, True, False])

    def answer(number: int, decoding: Decoding) -> Recognition:
        if next(failures, False):
            raise TryAgain("busy")
        return GOOD

    assert recognized(Scripted(answer), [utterance(0)])[0] == [GOOD]


def test_an_engine_that_always_fails_is_an_error() -> None:
    def answer(number: int, decoding: Decoding) -> Recognition:
        raise TryAgain("busy")

    with pytest.raises(TryAgain):
        recognized(Scripted(answer), [utterance(0)])


def test_doubts() -> None:
    guard = Guard()
    assert guard.doubt(GOOD, 3) is Doubt.NONE
    assert guard.doubt(TWICE, 3) is Doubt.SOME
    assert guard.doubt(GUESS, 3) is Doubt.GRAVE
    assert guard.doubt(LOOP, 30) is Doubt.HOPELESS
    assert guard.doubt(GOOD, 0.2) is Doubt.HOPELESS, "more text than can be said in the time"
    assert guard.doubt(GOOD, 20) is Doubt.SOME, "less text than such long speech has"
    assert not says_twice("we shall fight on the beaches, we shall fight on the landing grounds")
