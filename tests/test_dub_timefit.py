"""Placing speech on the source's times: arithmetic that must hold for every talk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlation_cli.dubbing import timefit
from streamlation_cli.dubbing.phrases import phrases, speakable
from streamlation_cli.dubbing.timefit import MAX_TEMPO, MIN_TEMPO, PAUSE_MS, Placed, Slot
from streamlation_cli.records import Word


@st.composite
def talks(draw: st.DrawFn) -> list[tuple[list[Slot], list[float]]]:
    """Utterances in the order of time, each with its phrases' slots and their lengths at the voice's own pace."""
    talk = []
    clock = 0
    for _ in range(draw(st.integers(1, 12))):
        clock += draw(st.integers(0, 3000))
        slots = []
        for _ in range(draw(st.integers(1, 4))):
            start = clock + draw(st.sampled_from([0, 0, 50, 900]))
            clock = start + draw(st.integers(50, 5000))
            slots.append(Slot(start, clock))
        lengths = [draw(st.floats(30, 7000)) for _ in slots]
        talk.append((slots, lengths))
    return talk


def dub(talk: list[tuple[list[Slot], list[float]]]) -> list[tuple[float, list[Slot], list[Placed]]]:
    """A whole talk as the stage places it, with an engine that keeps any tempo exactly."""
    free = 0
    made = []
    for i, (slots, natural) in enumerate(talk):
        following = talk[i + 1][0][0].start_ms if i + 1 < len(talk) else None
        limit = timefit.limit_ms(slots[-1].end_ms, following)
        tempo = timefit.wanted_tempo(slots, natural, free, limit)
        placed = timefit.lay(slots, [length / tempo for length in natural], free)
        made.append((tempo, slots, placed))
        free = placed[-1].end_ms + PAUSE_MS
    return made


@given(talks())
def test_nothing_overlaps_and_nothing_comes_early(talk: list[tuple[list[Slot], list[float]]]) -> None:
    end = 0
    for _, slots, placed in dub(talk):
        for slot, place in zip(slots, placed, strict=True):
            assert place.start_ms >= max(end, slot.start_ms)
            end = place.end_ms
        end += PAUSE_MS


@given(talks())
def test_tempo_stays_within_bounds_and_does_what_it_can(talk: list[tuple[list[Slot], list[float]]]) -> None:
    free = 0
    for i, (tempo, slots, placed) in enumerate(dub(talk)):
        assert MIN_TEMPO <= tempo <= MAX_TEMPO
        following = talk[i + 1][0][0].start_ms if i + 1 < len(talk) else None
        limit = timefit.limit_ms(slots[-1].end_ms, following)
        if placed[-1].end_ms > limit + len(slots):  # each phrase may be rounded up by a millisecond
            assert tempo == MAX_TEMPO
        if tempo > 1:
            unhurried = timefit.lay(slots, talk[i][1], free)
            assert unhurried[-1].end_ms > limit, "hurried although there was room"
        if tempo < 1:
            assert placed[-1].end_ms <= slots[-1].end_ms + len(slots), "dragged past the source's end"
        free = placed[-1].end_ms + PAUSE_MS


@given(talks())
def test_drift_is_the_worst_lateness(talk: list[tuple[list[Slot], list[float]]]) -> None:
    for _, slots, placed in dub(talk):
        late = [place.start_ms - slot.start_ms for slot, place in zip(slots, placed, strict=True)]
        late.append(placed[-1].end_ms - slots[-1].end_ms)
        assert timefit.drift_ms(slots, placed) == max(0, *late)


def test_drift_recovers_in_a_pause() -> None:
    dense = [([Slot(i * 1000, i * 1000 + 1000)], [2000.0]) for i in range(5)]
    talk = [*dense, ([Slot(20_000, 22_000)], [2000.0])]
    made = dub(talk)
    drifts = [timefit.drift_ms(slots, placed) for _, slots, placed in made]
    assert drifts[4] > drifts[0] > 0
    assert made[5][2][0].start_ms == 20_000
    assert drifts[5] == 0


def test_a_pause_is_borrowed_before_the_tempo_is_raised() -> None:
    slots, natural = [Slot(0, 2000)], [2800.0]
    assert timefit.wanted_tempo(slots, natural, 0, timefit.limit_ms(2000, 9000)) == 1.0
    assert timefit.wanted_tempo(slots, natural, 0, timefit.limit_ms(2000, 2100)) == MAX_TEMPO


@given(st.integers(0, 20_000), st.integers(1, 3000), st.integers(0, 3000), st.integers(0, 2000))
def test_the_last_utterance_is_pulled_back_no_farther_than_allowed(
    start: int, length: int, over: int, free: int
) -> None:
    slots = [Slot(start, start + length)]
    placed = timefit.lay(slots, [length + over], max(free - 2000, 0))
    moved = timefit.pulled_back(slots, placed, max(free - 2000, 0), start + length)
    assert 0 <= slots[0].start_ms - moved[0].start_ms <= timefit.EARLY_MS
    assert moved[0].start_ms >= min(start, max(free - 2000, 0))


@given(st.text(max_size=300), st.integers(0, 10_000), st.integers(0, 40_000))
def test_phrases_stay_within_their_utterance_and_in_order(text: str, start: int, length: int) -> None:
    found = phrases(text, start, start + length)
    clock = start
    for phrase in found:
        assert phrase.text == speakable(phrase.text)
        assert phrase.text
        assert clock <= phrase.slot.start_ms <= phrase.slot.end_ms <= start + length
        clock = phrase.slot.end_ms
    assert bool(found) <= bool(speakable(text))


def _words(text: str, times: list[tuple[int, int]]) -> list[Word]:
    return [Word(text=word, start_ms=a, end_ms=b) for word, (a, b) in zip(text.split(), times, strict=True)]


def test_a_pause_of_the_speaker_becomes_a_pause_of_the_dub() -> None:
    text = "Well, no."
    found = phrases(text, 0, 4000, _words(text, [(0, 400), (3500, 4000)]))
    assert [(phrase.text, phrase.slot) for phrase in found] == [("Well,", Slot(0, 400)), ("no.", Slot(3500, 4000))]


def test_a_long_sentence_is_cut_at_clauses_only() -> None:
    text = "This is the first clause of the sentence, and here is the second one, which goes on, and on, and on."
    found = phrases(text, 0, 12_000)
    assert len(found) > 1
    assert " ".join(phrase.text for phrase in found) == text
    assert all(phrase.text[-1] in ",." for phrase in found)
    assert len(phrases(text, 0, 5000)) == 1


def test_words_that_are_not_those_of_the_text_are_not_trusted() -> None:
    words = _words("quite different", [(9000, 9500), (9600, 10_000)])
    assert phrases("One, two.", 0, 1000, words)[0].slot == Slot(0, 1000)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("[music]", ""),
        ("♪ la la ♪", "la la"),
        ("... !?", ""),
        ("", ""),
        ("🎉🎉", ""),
        ("Wait [laughs] for it", "Wait for it"),
        ("Go to https://example.org/a/b?c=d#e now", "Go to example.org now"),
        ("<i>So</i> it is", "So it is"),
        ("50 % of R$ 3,50 at 20 °C", "50 % of R$ 3,50 at 20 °C"),
        ("[[h@'loU]] x", "x"),
        ("naïve\u0301 \u200bzero", "naïvé zero"),
        ("你好，世界。", "你好，世界。"),
        ("नमस्ते", "नमस्ते"),
    ],
)
def test_only_what_a_voice_should_say_is_spoken(text: str, spoken: str) -> None:
    assert speakable(text) == spoken
