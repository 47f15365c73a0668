"""The layout: properties that hold for any words, and how real ones read."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlation_cli.captions.cues import Layout
from streamlation_cli.captions.formats import Caption
from streamlation_cli.captions.line_breaks import width
from streamlation_cli.captions.settings import Limits
from streamlation_cli.captions.small_words import small_words
from streamlation_cli.captions.units import Utterance
from streamlation_cli.records import Word


def lay_out(
    utterances: list[Utterance], limits: Limits | None = None, media_end_ms: int | None = None, bilingual: bool = False
) -> list[Caption]:
    layout = Layout(limits or Limits(), bilingual=bilingual)
    captions = list(itertools.chain.from_iterable(map(layout.add, utterances)))
    return captions + list(layout.finish(media_end_ms))


def spoken(text: str, start_ms: int = 0, cps: float = 14.0, language: str = "en", **fields: object) -> Utterance:
    """Words at an even pace, in characters a second."""
    words, at = [], float(start_ms)
    for word in text.split():
        length = (len(word) + 1) * 1000 / cps
        words.append(Word(text=word, start_ms=round(at), end_ms=round(at + length * 0.9)))
        at += length
    return Utterance(
        start_ms=start_ms,
        end_ms=words[-1].end_ms,
        text=text,
        words=tuple(words),
        language=language,
        **fields,  # type: ignore[arg-type]
    )


def lines(captions: list[Caption]) -> list[str]:
    return [" | ".join(caption.lines) for caption in captions]


def solid(text: str) -> str:
    return "".join(text.split())


word_texts = st.one_of(
    st.text(alphabet="abcdefghij", min_size=1, max_size=12),
    st.sampled_from(
        [
            "the",
            "and,",
            "stop.",
            "Yes.",
            "a",
            "of",
            "why?",
            "—",
            "...",
            "Ünïcödé",
            "x" * 60,
            "字幕は読みやすい。",
            "ภาษาไทย",
            "안녕",
        ]
    ),
)


@st.composite
def utterance_lists(draw: st.DrawFn, timed: bool = True) -> list[Utterance]:
    utterances = []
    at = draw(st.integers(0, 5000))
    for _ in range(draw(st.integers(0, 6))):
        words = []
        start = at
        for text in draw(st.lists(word_texts, min_size=1, max_size=25)):
            end = at + draw(st.integers(40, 900))
            words.append(Word(text=text, start_ms=at, end_ms=end))
            at = end + draw(st.sampled_from([0, 0, 0, 20, 300, 2000]))
        utterances.append(
            Utterance(
                start_ms=start,
                end_ms=words[-1].end_ms,
                text=" ".join(word.text for word in words),
                words=tuple(words) if timed else (),
                own_times=not timed and draw(st.booleans()),
                language=draw(st.sampled_from(["en", "pt", "ja", ""])),
                speaker=draw(st.sampled_from(["", "", "", "Ana"])),
            )
        )
        at += draw(st.sampled_from([0, 0, 100, 1000, 5000]))
    return utterances


limits_drawn = st.builds(
    Limits,
    max_chars=st.integers(8, 60),
    max_lines=st.integers(1, 3),
    max_cps=st.floats(5, 30),
    min_duration_ms=st.integers(100, 1500),
    max_duration_ms=st.integers(3000, 9000),
    min_gap_ms=st.integers(0, 200),
)


def check(captions: list[Caption], text: str, limits: Limits, media_end_ms: int) -> None:
    assert solid("".join(c.text for c in captions)) == solid(text), "nothing dropped, nothing twice, in order"
    for caption in captions:
        assert 1 <= len(caption.lines) <= limits.max_lines
        assert all(0 < width(line) <= limits.max_chars for line in caption.lines)
        assert all(line == line.strip() for line in caption.lines)
        assert 0 <= caption.start_ms < caption.end_ms <= media_end_ms
        assert caption.end_ms - caption.start_ms <= limits.max_duration_ms
    for before, after in itertools.pairwise(captions):
        assert after.start_ms - before.end_ms >= limits.min_gap_ms


def room_for(utterances: list[Utterance], limits: Limits) -> int:
    """A media end that leaves time for the captions to be seen at all; without that, only the order is promised."""
    columns = sum(width(word) for u in utterances for word in u.text.split())
    cues = sum(len(u.text.split()) for u in utterances) + columns // max(1, limits.max_chars // 2)
    return max((u.end_ms for u in utterances), default=0) + 500 * cues + 500


@given(utterance_lists(), limits_drawn)
@settings(max_examples=200, deadline=None)
def test_any_words(utterances: list[Utterance], limits: Limits) -> None:
    media_end = room_for(utterances, limits)
    captions = lay_out(utterances, limits, media_end)
    check(captions, " ".join(u.text for u in utterances), limits, media_end)
    for caption in captions:
        assert caption.start_ms >= caption.words[0].start_ms - 500, "hardly earlier than the speech"
        assert solid("".join(w.text for w in caption.words)) == solid(caption.text)


@given(utterance_lists(timed=False), limits_drawn)
@settings(max_examples=100, deadline=None)
def test_text_without_word_times(utterances: list[Utterance], limits: Limits) -> None:
    media_end = room_for(utterances, limits)
    check(lay_out(utterances, limits, media_end), " ".join(u.text for u in utterances), limits, media_end)


@given(
    st.lists(
        st.tuples(
            st.integers(-5000, 20_000),
            st.integers(-5000, 20_000),
            st.text(max_size=40),
            st.lists(st.text(max_size=5), max_size=5),
        )
    ),
    st.one_of(st.none(), st.integers(0, 30_000)),
)
@settings(max_examples=150, deadline=None)
def test_senseless_times_lose_no_text(rows: list[tuple[int, int, str, list[str]]], media_end_ms: int | None) -> None:
    utterances = [
        Utterance(
            start_ms=start, end_ms=end, text=text,
            words=tuple(Word(text=word, start_ms=start * at, end_ms=end - at) for at, word in enumerate(words)),
        )
        for start, end, text, words in rows
    ]  # fmt: skip
    captions = lay_out(utterances, media_end_ms=media_end_ms)
    shown = solid("".join(c.text for c in captions))
    assert [c for c in shown if c.isalnum()] == [c for u in utterances for c in u.text if c.isalnum()]
    assert all(c.start_ms < c.end_ms for c in captions)
    assert all(a.end_ms <= b.start_ms for a, b in itertools.pairwise(captions))


@given(utterance_lists(), utterance_lists(), st.integers(2, 4))
@settings(max_examples=100, deadline=None)
def test_any_two_languages(utterances: list[Utterance], others: list[Utterance], max_lines: int) -> None:

    pairs = [replace(u, second=replace(o, speaker="")) for u, o in zip(utterances, others, strict=False)]
    limits = Limits(max_lines=max_lines)
    captions = lay_out(pairs, limits, bilingual=True)
    own = solid("".join(w.text for c in captions for w in c.words))
    assert own == solid("".join(p.text for p in pairs))
    other = "".join(solid(c.text).removesuffix(solid("".join(w.text for w in c.words))) for c in captions)
    assert other == solid("".join(p.second.text for p in pairs if p.second))
    for caption in captions:
        assert len(caption.lines) <= max_lines
        assert all(width(line) <= 42 for line in caption.lines)
    for before, after in itertools.pairwise(captions):
        assert after.start_ms - before.end_ms >= limits.min_gap_ms


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=8, max_size=16))
@settings(max_examples=40, deadline=None)
def test_long_bilingual_speech_without_pauses(sizes: list[tuple[int, int]]) -> None:
    pairs, at = [], 0
    for own, other in sizes:
        said = spoken("word " * own, at)
        pairs.append(replace(said, second=Utterance(start_ms=at, end_ms=said.end_ms, text="mot " * other)))
        at = said.end_ms
    captions = lay_out(pairs, bilingual=True)
    text = " ".join(caption.text for caption in captions).split()
    assert (text.count("word"), text.count("mot")) == (sum(own for own, _ in sizes), sum(other for _, other in sizes))
    assert all(len(caption.lines) <= 2 for caption in captions)


def test_a_cue_is_out_before_the_end_comes() -> None:
    layout = Layout(Limits())
    assert list(layout.add(spoken("Hello there."))) == []
    assert lines(list(layout.add(spoken("Next.", 9000)))) == ["Hello there."]


def test_memory_is_bounded_without_pauses() -> None:
    layout = Layout(Limits())
    held = most = 0
    for at in range(400):
        held += 20
        done = layout.add(spoken("one two three four five six seven eight nine ten " * 2, at * 7200, language="en"))
        held -= sum(len(caption.words) for caption in done)
        most = max(most, held)
    assert most < 400


def test_two_lines_break_at_phrases() -> None:
    assert lines(lay_out([spoken("We are glad to welcome the new members of the committee.")])) == [
        "We are glad to welcome | the new members of the committee."
    ]
    assert lines(lay_out([spoken("O romantismo tinha um elemento de determinismo cultural.", language="pt")])) == [
        "O romantismo tinha um elemento | de determinismo cultural."
    ]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "He said that the old house on the hill was sold to a family from the city, and nobody has seen the owners since."),
        ("pt", "Ele disse que a casa velha no morro foi vendida a uma família da cidade, e ninguém viu os donos desde então."),
        ("es", "Dijo que la casa vieja en la colina fue vendida a una familia de la ciudad, y nadie ha visto a los dueños desde entonces."),
        ("fr", "Il a dit que la vieille maison sur la colline a été vendue à une famille de la ville, et nul n'a vu les maîtres."),
        ("de", "Er sagte, dass das alte Haus auf dem Hügel an eine Familie aus der Stadt verkauft wurde, und niemand sah die Besitzer."),
        ("it", "Ha detto che la vecchia casa sulla collina è stata venduta a una famiglia della città, e nessuno ha visto i proprietari."),
    ],
)  # fmt: skip
def test_no_line_ends_with_a_small_word(language: str, text: str) -> None:

    captions = lay_out([spoken(text, language=language)])
    for line in [line for caption in captions for line in caption.lines]:
        assert line.split()[-1].lower() not in small_words(language).leaning, lines(captions)


def test_sentences_are_kept_whole() -> None:
    text = "The first sentence is here. The second one is a little longer than that. Then comes a third."
    assert all(caption.text.endswith(".") for caption in lay_out([spoken(text)]))


def test_short_answers_share_a_cue_and_long_pauses_part_them() -> None:
    assert lines(lay_out([spoken("Yes."), spoken("I know.", 500)])) == ["Yes. I know."]
    assert lines(lay_out([spoken("Yes."), spoken("I know.", 4000)])) == ["Yes.", "I know."]
    assert lines(lay_out([spoken("Yes.", speaker="A"), spoken("I know.", 500, speaker="B")])) == ["Yes.", "I know."]


def test_first_word_of_a_sentence_waits_for_its_second() -> None:
    words = (
        Word(text="O", start_ms=39_880, end_ms=40_840),
        Word(text="romantismo", start_ms=44_750, end_ms=45_370),
        Word(text="acabou.", start_ms=45_400, end_ms=46_000),
    )
    (caption,) = lay_out(
        [Utterance(start_ms=39_880, end_ms=46_000, text="O romantismo acabou.", words=words, language="pt")]
    )
    assert 44_000 < caption.start_ms <= 44_750


def test_times() -> None:
    limits = Limits()
    short, chained = lay_out([spoken("Stop.", 5000), spoken("Now the other one speaks.", 8000)])
    assert (short.start_ms, short.end_ms) == (5000, 5386 + 500), "it lingers half a second"
    fast = lay_out([spoken("This is said so fast that nobody could ever read it in that time.", 5000, cps=40)])
    assert sum(c.end_ms - c.start_ms for c in fast) >= 65 / limits.max_cps * 1000 - 400
    assert fast[0].start_ms == 5000
    assert chained.start_ms == 8000


def test_small_gaps_between_cues_are_closed() -> None:
    captions = lay_out(
        [spoken("The first of these is said by Ana.", 0, speaker="Ana"), spoken("So is this.", 2900, speaker="")]
    )
    assert captions[1].start_ms - captions[0].end_ms == Limits().min_gap_ms


def test_too_fast_to_read_is_counted() -> None:
    layout = Layout(Limits())
    text = " ".join(["unreadable words"] * 40)
    captions = [*layout.add(spoken(text, cps=40)), *layout.finish(None)]
    assert layout.counters["cues"] == len(captions)
    assert layout.counters["cps_exceeded"] >= len(captions) // 2


def test_media_end() -> None:
    (caption,) = lay_out([spoken("The last word.", 9500)], media_end_ms=10_000)
    assert caption.end_ms == 10_000
    assert 9000 <= caption.start_ms < 9500, "too short there, so it starts earlier"


@given(st.integers(1, 12), st.integers(0, 900), st.floats(8, 16))
@settings(max_examples=50, deadline=None)
def test_nothing_is_shown_past_the_end_of_the_media(count: int, tail_ms: int, cps: float) -> None:
    said = [spoken("And this is a sentence of ordinary length, is it not?", at * 8000, cps) for at in range(count)]
    media_end = said[-1].end_ms + tail_ms
    captions = lay_out(said, media_end_ms=media_end)
    check(captions, " ".join(u.text for u in said), Limits(), media_end)
    assert all(c.end_ms - c.start_ms >= Limits().min_duration_ms for c in captions)


def test_own_times_of_a_caption_are_kept() -> None:
    said = [
        Utterance(start_ms=1000, end_ms=3000, text="Where are you going?"),
        Utterance(start_ms=3000, end_ms=5200, text="- Home.\n- Me too.\u00a0!"),
        Utterance(start_ms=9000, end_ms=9400, text="Bye."),
    ]
    captions = lay_out([replace(one, own_times=True) for one in said], media_end_ms=20_000)
    assert [(c.start_ms, c.end_ms, c.lines) for c in captions] == [
        (1000, 2920, ("Where are you going?",)),
        (3000, 5200, ("- Home.", "- Me too.\u00a0!")),
        (9000, 9830, ("Bye.",)),
    ]


def test_a_caption_too_wide_is_laid_out_anew() -> None:
    text = "This caption of a subtitle file is so very long that two lines are not enough to hold all of it at all."
    captions = lay_out([Utterance(start_ms=1000, end_ms=8000, text=text, language="en", own_times=True)])
    assert len(captions) == 2
    assert captions[0].start_ms == 1000


def test_overlapping_captions_are_shown_one_after_the_other() -> None:
    said = [Utterance(start_ms=1000, end_ms=4000, text="One."), Utterance(start_ms=1500, end_ms=4500, text="Two.")]
    captions = lay_out([replace(one, own_times=True) for one in said])
    assert lines(captions) == ["One. Two."]


def test_unspaced_scripts() -> None:
    japanese = "この字幕は二行に分けて表示されるはずですが、どこで切れるかはとても大切なことです。"
    captions = lay_out([Utterance(start_ms=0, end_ms=9000, text=japanese, language="ja")])
    assert "".join(line for c in captions for line in c.lines) == japanese
    assert all(line[0] not in "、。っゃ" for c in captions for line in c.lines)
    assert any(line.endswith("、") for c in captions for line in c.lines)


def test_right_to_left_text_passes() -> None:
    text = "مرحبا بكم في هذا البرنامج، اليوم نتحدث عن اللغة العربية وتاريخها الطويل."
    captions = lay_out([spoken(text, language="ar")])
    assert " ".join(line for c in captions for line in c.lines) == text


def test_text_that_differs_from_its_words_takes_their_times() -> None:
    words = tuple(Word(text=t, start_ms=s, end_ms=s + 900) for t, s in [("one", 1000), ("two", 2000), ("three", 3000)])
    (caption,) = lay_out([Utterance(start_ms=1000, end_ms=3900, text="One, two three!", words=words)])
    assert [w.text for w in caption.words] == ["One,", "two", "three!"]
    assert caption.words[0].start_ms == 1000
    assert abs(caption.words[1].start_ms - 2000) < 300
    assert caption.words[2].end_ms == 3900


def test_bilingual_lines_say_the_same() -> None:
    source = spoken("Yesterday we went to the market, and today we are staying at home.")
    translation = spoken("Ontem fomos ao mercado, e hoje vamos ficar em casa.", language="pt", second=source)
    assert lines(lay_out([translation], bilingual=True)) == [
        "Yesterday we went to the market, | Ontem fomos ao mercado,",
        "and today we are staying at home. | e hoje vamos ficar em casa.",
    ]


def test_an_hour_of_speech_takes_seconds() -> None:
    said = [
        spoken("So this is a sentence with some fifteen words in it, all of which are common.", at * 6000)
        for at in range(600)
    ]
    began = time.process_time()
    assert len(lay_out(said)) >= 600
    assert time.process_time() - began < 20


@pytest.mark.parametrize(("name", "language"), [("eng", "en"), ("por-BR", "pt")])
def test_real_text_reads_well(name: str, language: str, shared: Path) -> None:
    said, at = [], 0
    for sentence in (shared / "text" / f"ntrex400.{name}.txt").read_text(encoding="utf-8").splitlines():
        said.append(spoken(sentence, at, cps=15, language=language))
        at = said[-1].end_ms + 300
    captions = lay_out(said, media_end_ms=at)
    check(captions, " ".join(u.text for u in said), Limits(), at)
    small = small_words(language).leaning
    line_ends = [line.split()[-1].lower() in small for caption in captions for line in caption.lines]
    cue_ends = [caption.lines[-1].split()[-1].lower() in small for caption in captions]
    assert sum(line_ends) <= 0.015 * len(line_ends)
    assert sum(cue_ends) <= 0.002 * len(cue_ends)
    assert all(len(caption.text) >= 14 for caption in captions), "no word is left alone"
    assert all(len(c.text) * 1000 <= 17 * (c.end_ms - c.start_ms + 1) for c in captions)
    assert sum(len(c.text) for c in captions) / len(captions) >= 58, "cues are full enough"
