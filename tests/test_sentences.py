"""Joining fragments into sentences, and laying translations on the source's times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlation_cli.records import Transcript, Word
from streamlation_cli.translating.sentences import Bounds, Joiner, Sentence, split_words, tokens_of
from streamlation_cli.translating.wordtimes import lay_out


def transcript(
    text: str, start_ms: int = 0, end_ms: int | None = None, *, number: int = 1, **more: object
) -> Transcript:
    end_ms = start_ms + 60 * len(text) if end_ms is None else end_ms
    return Transcript("a", id=f"u{number}", start_ms=start_ms, end_ms=end_ms, text=text, final=True, **more)  # type: ignore[arg-type]


def utterances(*texts: str, pause_ms: int = 300) -> list[Transcript]:
    made, start_ms = [], 0
    for number, text in enumerate(texts, 1):
        made.append(transcript(text, start_ms, number=number))
        start_ms = made[-1].end_ms + pause_ms
    return made


def joined(transcripts: Iterable[Transcript], bounds: Bounds | None = None, language: str = "en") -> list[Sentence]:
    joiner = Joiner(bounds or Bounds())
    sentences = [sentence for one in transcripts for sentence in joiner.feed(one, one.language or language)]
    return [*sentences, *joiner.flush()]


def texts(sentences: Sequence[Sentence]) -> list[str]:
    return [sentence.text for sentence in sentences]


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Smith met Dr. Jones in St. Louis.|Then they left.",
        "She lives in the U.S. with her cat.|The cat is old.",
        "He moved to the U.S. He liked it there.".replace("S. He", "S.|He"),
        "The U.S. Army was there.|It left.",
        "It costs 3.5 dollars.|That is 1,000.50 pesos.",
        "J. K. Rowling wrote it.|J. R. R. Tolkien did not.",
        "We met at 5 p.m. on Monday.|It rained.",
        "Bring apples, pears, etc. to the party.|Thanks!",
        "See e.g. chapter two, i.e. the long one.|Then stop.",
        "Well... I think so.|Really?|Yes!",
        "He waited… and waited.|Nothing.",
        "Wait... What?".replace(". W", ".|W"),
        '"Why?" he asked.|"Because."',
        "He said, “Go home.”|Then he left.",
        "(It was late.)|We slept.",
        "No. 5 is alive.|No.|It is not.",
        "Yahoo! is a company.|So is that one.",
        "¿Qué hora es?|¡No lo sé!|Vamos.",
        "O Sr. Silva e a Sra. Souza moram na Av. Paulista.|Ele é médico.",
        "Das ist z.B. gut.|Sehr gut.",
        "Is it? Yes. He came.".replace(". H", ".|H").replace("? Y", "?|Y"),
        "今日は。|お元気ですか？|はい！",
        "你好。|我很好，谢谢。",
        "यह अच्छा है।|ठीक है।",
        "كيف حالك؟|أنا بخير.",
        "Bonjour ! Ça va ?".replace("! Ç", "!|Ç"),
        "« Bonjour ! » Il est parti.".replace("» I", "»|I"),
        "all in small letters here.|so there is no telling.|but the full stop.",
        "Visit example.com today.|It is v2.0.1 now.",
        "What?!|No way!!",
        "Good 😀 morning 😀.|Bye.",
    ],
)
def test_text_is_split_into_sentences(text: str) -> None:
    expected = text.split("|")
    glue = "" if any("\u3040" < character < "\u9fff" for character in text) else " "
    assert texts(joined([transcript(glue.join(expected))])) == expected


def test_a_sentence_over_several_utterances_is_joined() -> None:
    sentences = joined(utterances("We went to the", "old house by the", "river. It was", "late."))
    assert texts(sentences) == ["We went to the old house by the river.", "It was late."]
    assert sentences[0].source_ids == ("u1", "u2", "u3")
    assert sentences[1].source_ids == ("u3", "u4")
    assert sentences[0].end_ms <= sentences[1].start_ms


def test_a_long_pause_ends_a_sentence_and_a_bracketed_sound_stands_alone() -> None:
    assert texts(joined(utterances("We went to the", "house", pause_ms=2500))) == ["We went to the", "house"]
    assert texts(joined(utterances("We went", "Home again", pause_ms=1500))) == ["We went", "Home again"]
    assert texts(joined(utterances("We went,", "Home again", pause_ms=1500))) == ["We went, Home again"]
    assert texts(joined(utterances("and then", "[music]", "we left"))) == ["and then", "[music]", "we left"]
    assert texts(joined(utterances("♪ la la", "♪ la", "Hello."))) == ["♪ la la", "♪ la", "Hello."]


def test_a_pause_within_an_utterance_ends_a_sentence() -> None:
    words = (Word(text="one", start_ms=0, end_ms=400), Word(text="two", start_ms=5000, end_ms=5400))
    assert texts(joined([transcript("one two", 0, 5400, words=words)])) == ["one", "two"]


def test_another_speaker_or_language_ends_a_sentence() -> None:
    first, second = utterances("We went to", "the house")
    turned = transcript("the house", second.start_ms, number=2, speaker="B")
    assert texts(joined([first, turned])) == ["We went to", "the house"]
    assert joined([first, turned])[1].speaker == "B"
    foreign = transcript("la casa", second.start_ms, number=2, language="es")
    assert [s.language for s in joined([first, foreign])] == ["en", "es"]


def test_dialogue_lines_of_a_subtitle_are_sentences() -> None:
    assert texts(joined([transcript("- Are you there\n- Yes, I am")])) == ["- Are you there", "- Yes, I am"]
    assert texts(joined([transcript("- Are you there? - Yes, I am.")])) == ["- Are you there?", "- Yes, I am."]
    assert texts(joined([transcript("It is late - is it not? - so we sleep.")])) == [
        "It is late - is it not? - so we sleep."
    ]
    assert texts(joined(utterances("Are you there?", "- Yes, I am."))) == ["Are you there?", "- Yes, I am."]


def test_dots_that_lead_from_one_subtitle_to_the_next_are_taken_out() -> None:
    first, second = utterances("The storm of 1799...", "...sank 70 ships.")
    assert texts(joined([first, second])) == ["The storm of 1799 sank 70 ships."]
    assert texts(joined(utterances("The storm…", "And then?"))) == ["The storm…", "And then?"]


def test_a_false_full_stop_before_a_small_letter_becomes_a_comma() -> None:
    first, second = utterances("Due to the slow channels.", "styles could lag behind.")
    assert texts(joined([first, second])) == ["Due to the slow channels, styles could lag behind."]
    assert texts(joined([first, second], Bounds(lookahead=False))) == [first.text, second.text]
    far = utterances("Due to the slow channels.", "styles could lag behind.", pause_ms=1000)
    assert texts(joined(far)) == [one.text for one in far]


def test_without_lookahead_a_sentence_comes_with_its_last_word_and_else_with_the_next() -> None:
    first, second = utterances("It is late.", "We sleep.")
    quick, patient = Joiner(Bounds(lookahead=False)), Joiner(Bounds())
    assert texts(list(quick.feed(first, "en"))) == ["It is late."]
    assert texts(list(patient.feed(first, "en"))) == []
    assert texts(list(patient.feed(second, "en"))) == ["It is late."]


def test_a_long_sentence_is_cut_at_a_clause() -> None:
    clause = "and the wind blew over the hills and far away"
    text = ", ".join([clause] * 30)
    sentences = joined([transcript(text)])
    assert len(sentences) > 3
    assert all(len(sentence.text) <= 280 for sentence in sentences)
    assert all(sentence.text.endswith((",", "away")) for sentence in sentences)
    assert " ".join(texts(sentences)) == text


def test_a_stream_of_words_without_marks_is_cut_between_cues() -> None:
    cues = utterances(*["and then we went on and on"] * 40, pause_ms=0)
    sentences = joined(cues)
    assert len(sentences) > 2
    assert all(sentence.text.startswith("and then") for sentence in sentences)


def test_a_sentence_spoken_for_long_is_cut() -> None:
    sentences = joined(utterances(*["uh and then it went on"] * 40, pause_ms=1000))
    assert all(sentence.end_ms - sentence.start_ms <= 20_000 for sentence in sentences)


def test_what_is_held_back_is_bounded() -> None:
    joiner, held = Joiner(Bounds()), 0
    for one in utterances(*["word without any end"] * 100):
        given = sum(len(sentence.text) for sentence in joiner.feed(one, "en"))
        held += len(one.text) + 1 - given
        assert held <= 320


def test_an_empty_transcript_is_no_sentence() -> None:
    assert joined([transcript(""), transcript("  \n ")]) == []


def test_words_give_the_times_where_they_spell_the_text() -> None:
    words = (
        Word(text=" Hello,", start_ms=100, end_ms=400, confidence=0.9),
        Word(text="wor", start_ms=1000, end_ms=1300, confidence=0.5),
        Word(text="ld.", start_ms=1300, end_ms=1500, confidence=0.7),
    )
    tokens = tokens_of(transcript(" Hello, world.", 0, 2000, words=words))
    assert [(t.text, t.start_ms, t.end_ms, t.confidence) for t in tokens] == [
        ("Hello,", 100, 400, 0.9), ("world.", 1000, 1500, 0.5),
    ]  # fmt: skip


def test_words_of_another_text_and_no_words_share_the_time_out_by_characters() -> None:
    other = (Word(text="Goodbye", start_ms=0, end_ms=10),)
    for words in ((), other):
        tokens = tokens_of(transcript("ab cdef", 1000, 1700, words=words))
        assert [(t.text, t.start_ms, t.end_ms) for t in tokens] == [("ab", 1000, 1200), ("cdef", 1300, 1700)]


def test_translated_words_keep_the_pauses_of_the_source() -> None:
    source = [Word(text="Stop", start_ms=0, end_ms=1000), Word(text="here", start_ms=3000, end_ms=4000)]
    laid = lay_out("Pare aqui", source)
    assert laid[0].start_ms == 0
    assert laid[0].end_ms <= 1000
    assert laid[1].start_ms >= 3000
    assert laid[1].end_ms == 4000


def test_scripts_without_spaces_are_laid_out_by_characters() -> None:
    source = [Word(text="Hello", start_ms=0, end_ms=1000)]
    laid = lay_out("你好，世界。", source)
    assert [word.text for word in laid] == ["你", "好，", "世", "界。"]
    assert laid[-1].end_ms == 1000


TEXT = st.text(alphabet="ab Z.,?!…\n-\"'’)(¿你好。🙂1é", max_size=80)
INTERVALS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=12)


def _timed(intervals: list[tuple[int, int]], text: str = "w") -> list[Word]:
    words, now = [], 0
    for pause, length in intervals:
        words.append(Word(text=text, start_ms=now + pause, end_ms=now + pause + length))
        now += pause + length
    return words


@given(text=TEXT, intervals=INTERVALS)
def test_laid_out_words_are_in_order_inside_the_source_and_spell_the_text(
    text: str, intervals: list[tuple[int, int]]
) -> None:
    source = _timed(intervals)
    laid = lay_out(text, source)
    assert "".join(word.text for word in laid) == "".join(text.split())
    times = [time for word in laid for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert all(source[0].start_ms <= time <= source[-1].end_ms for time in times)


@given(st.lists(st.tuples(TEXT, st.integers(0, 5000)), max_size=8), st.booleans())
def test_no_word_is_lost_and_times_never_run_backwards(pieces: list[tuple[str, int]], lookahead: bool) -> None:
    now, transcripts = 0, []
    for number, (text, pause) in enumerate(pieces):
        now += pause
        transcripts.append(transcript(text, now, number=number))
        now = transcripts[-1].end_ms
    sentences = joined(transcripts, Bounds(lookahead=lookahead, max_chars=60))
    said = "".join("".join(one.text.split()) for one in transcripts)
    # Only marks on both sides of a cut may change.
    marks = str.maketrans("", "", ".,…")
    assert "".join(w.text for s in sentences for w in s.words).translate(marks) == said.translate(marks)
    times = [time for s in sentences for time in (s.start_ms, s.end_ms)]
    assert times == sorted(times)
    for sentence in sentences:
        assert sentence.tokens
        assert "\n" not in sentence.text


@given(TEXT)
def test_split_words_spell_the_text(text: str) -> None:
    words = split_words(text)
    assert "".join(words) == "".join(text.split())
    assert all(word == word.strip() and word for word in words)
