"""The metrics of `bench`, against hand-computed values, the field's own programs, and what must always hold."""

from __future__ import annotations

import json
from typing import Any

import jiwer
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlation_cli.measuring import alignment, distribution, numbers
from streamlation_cli.measuring.alignment import align, edits
from streamlation_cli.measuring.feed import BYTES_PER_MS, Schedule, chunked, repeated
from streamlation_cli.measuring.hypotheses import Committed, Shown, Texts
from streamlation_cli.measuring.lagging import Sentence, laal, stream_laal
from streamlation_cli.measuring.listening import Listener
from streamlation_cli.measuring.resegmentation import resegment
from streamlation_cli.measuring.scoring import bleu_and_chrf, cue_latencies, sentence_times, word_latencies
from streamlation_cli.measuring.tokens import tokens
from streamlation_cli.measuring.word_errors import pooled, word_errors

texts = st.lists(st.sampled_from("a b c d".split()), max_size=14)


def distance(one: list[str], other: list[str]) -> int:
    """Levenshtein's distance as the textbook has it."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


# ---- alignment and word errors ---------------------------------------------------------------------------------------


@given(texts, texts)
def test_an_alignment_is_whole_in_order_and_optimal(one: list[str], other: list[str]) -> None:
    pairs = align(one, other)
    assert [r for r, _ in pairs if r is not None] == list(range(len(one)))
    assert [h for _, h in pairs if h is not None] == list(range(len(other)))
    assert edits(pairs, one, other) == distance(one, other)


@given(texts, texts)
def test_a_divided_table_gives_as_few_edits(one: list[str], other: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "_MOST_CELLS", 6)
        pairs = align(one, other)
    assert [r for r, _ in pairs if r is not None] == list(range(len(one)))
    assert [h for _, h in pairs if h is not None] == list(range(len(other)))
    assert edits(pairs, one, other) == distance(one, other)


def test_of_alignments_with_as_few_edits_one_keeps_the_most_words() -> None:
    pairs = align("the boat left".split(), "boat left early".split())
    assert pairs == [(0, None), (1, 0), (2, 1), (None, 2)]


@given(texts.filter(bool), texts)
def test_word_errors_are_those_of_jiwer(one: list[str], other: list[str]) -> None:
    ours = word_errors(" ".join(one), " ".join(other), "")
    theirs = jiwer.process_words(" ".join(one), " ".join(other))
    assert ours.edits == theirs.substitutions + theirs.deletions + theirs.insertions
    assert ours.percent == pytest.approx(100 * theirs.wer)
    assert ours.insertions - ours.deletions == theirs.insertions - theirs.deletions
    assert ours.hits + ours.substitutions + ours.deletions == ours.words == len(one)


def test_word_errors_by_hand() -> None:
    counts = word_errors("It cost 20 dollars, didn't it?", "it cost twenty dollar didn't", "en")
    assert (counts.words, counts.substitutions, counts.deletions, counts.insertions) == (6, 1, 1, 0)
    assert counts.percent == pytest.approx(100 * 2 / 6)
    assert word_errors("", "ghost words", "en").insertions == 2
    assert word_errors("", "ghost words", "en").percent is None
    assert pooled([counts, counts]).percent == counts.percent


def test_hours_of_text_are_aligned() -> None:
    words = [f"w{number * number % 977}" for number in range(6000)]
    heard = [word for at, word in enumerate(words) if at % 10] + ["extra"] * 5
    pairs = align(words, heard)
    assert edits(pairs, words, heard) <= 605
    assert len([h for _, h in pairs if h is not None]) == len(heard)


# ---- normalisation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "digits", "said"),
    [
        ("en", "In 2024 it was 3.05 km, 1,000,000 times.", "in twenty twenty-four it was three point zero five km one million times"),
        ("en", "the 22nd of May 1066", "the twenty-second of may one thousand sixty-six"),
        ("en", "007", "zero zero seven"),
        ("en", "two hundred and five and six", "205 and 6"),
        ("en-US", "3D at 8:30", "three d at eight thirty"),
        ("pt", "20 anos, 3 a.C., 1.234,5", "vinte anos três a c mil duzentos e trinta e quatro vírgula cinco"),
        ("pt", "quatorze, dezasseis", "14 16"),
        ("pt-BR", "50%", "cinquenta por cento"),
        ("es", "31.000 y 121", "treinta y un mil y ciento veintiuno"),
        ("fr", "1980, 71 et 200 000", "mille neuf cent quatre-vingts soixante et onze et deux cents zéro zéro zéro"),
        ("de", "1.201 und 21.000", "tausendzweihunderteins und einundzwanzigtausend"),
        ("it", "20 anni", "20 anni"),
    ],
)  # fmt: skip
def test_numbers_compare_however_they_are_written(language: str, digits: str, said: str) -> None:
    assert tokens(digits, language) == tokens(said, language)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "“Hello” — it’s O'Brien's.", ["hello", "it's", "o'brien's"]),
        ("hi", "हिन्दी, भाषा।", ["हिन्दी", "भाषा"]),
        ("zh", "你好，CO2世界", ["你", "好", "co2", "世", "界"]),
        ("en", "ﬁne … !", ["fine"]),
    ],
)
def test_case_and_punctuation_are_left_out(language: str, text: str, expected: list[str]) -> None:
    assert tokens(text, language) == expected


@pytest.mark.parametrize("language", numbers.LANGUAGES)
def test_every_number_has_words_of_its_own(language: str) -> None:
    values = [*range(1200), *range(1200, 10**6, 997), *range(10**6, 10**9, 99_999_989)]
    said = {numbers.cardinal(value, language) for value in values}
    assert len(said) == len(values)
    with pytest.raises(ValueError, match="1000000000"):
        numbers.cardinal(10**9, language)


# ---- hypotheses: commitments, first appearance, erasure, broken promises ---------------------------------------------


def shown(text: str, start_ms: int | None = None) -> list[Shown]:
    """Words a hundred milliseconds long, one after the other."""
    words = text.split()
    if start_ms is None:
        return [Shown(word) for word in words]
    return [Shown(word, start_ms + 100 * at, start_ms + 100 * at + 100) for at, word in enumerate(words)]


def test_when_words_appeared_and_were_committed() -> None:
    texts = Texts("en")
    texts.show(1.0, "u", shown("the"), rev=1)
    texts.show(2.0, "u", shown("the bow"), committed=1, rev=2)
    texts.show(3.0, "u", shown("the boat left"), committed=1, rev=3)
    texts.show(4.0, "u", shown("the old boat left"), committed=2, rev=4, heard_ms=3500)
    texts.show(5.0, "u", shown("the old boat left."), final=True, rev=5)
    found = [(word.text, word.shown_s, word.committed_s) for word in texts.committed()]
    assert found == [("the", 1.0, 2.0), ("old", 4.0, 4.0), ("boat", 3.0, 5.0), ("left.", 3.0, 5.0)]
    assert texts.committed()[1].heard_ms == 3500
    # Erased: "bow"; "boat left" when "old" came before it; "left" for "left.".
    assert texts.erasure() == {"erased_words": 4, "erased_words_case_and_punctuation_aside": 3, "final_words": 4}
    texts.end()
    assert texts.broken.total() == 0


def test_broken_promises() -> None:
    texts = Texts("en")
    texts.show(1.0, "u", shown("one two three", 0), committed=2, rev=1)
    texts.show(2.0, "u", shown("one too", 0), committed=2, rev=1)
    assert dict(texts.broken) == {"revision_not_rising": 1, "committed_word_changed": 1}
    texts.show(3.0, "u", shown("one", 0), committed=4, rev=2)
    assert texts.broken["committed_word_changed"] == 2
    assert texts.broken["stable_words_beyond_text"] == 1
    texts.show(4.0, "u", shown("one", 0), final=True, rev=3)
    texts.show(5.0, "u", shown("one", 0), final=True, rev=4)
    assert texts.broken["record_after_final"] == 1
    texts.show(6.0, "v", shown("later", 2000), rev=1)
    texts.show(7.0, "w", shown("earlier", 1000), final=True)
    assert texts.broken["times_out_of_order"] == 1
    texts.show(8.0, "x", [Shown("backwards", 3000, 2900)], final=True)
    assert texts.broken["times_out_of_order"] == 2
    texts.show(9.0, "y", [Shown("Backwards.", 4000, 4100), Shown("two", 4100, 4300)], final=True)
    texts.show(9.5, "z", [Shown("two", 4150, 4300)], final=True)
    assert texts.broken["committed_word_twice"] == 1
    texts.end()
    assert texts.broken["never_final"] == 1


def test_a_word_said_twice_is_no_broken_promise() -> None:
    texts = Texts("en")
    texts.show(1.0, "u", shown("very very very good", 0), final=True)
    texts.show(2.0, "v", shown("very good", 400), final=True)
    assert texts.broken.total() == 0


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), min_size=1, max_size=8))
def test_a_text_that_only_grows_erases_nothing(parts: list[list[str]]) -> None:
    texts = Texts()
    whole: list[str] = []
    for at, part in enumerate(parts):
        whole += part
        texts.show(float(at), "u", shown(" ".join(whole)), committed=max(0, len(whole) - 2), rev=at)
    texts.show(99.0, "u", shown(" ".join(whole)), final=True, rev=99)
    assert texts.erasure() == {
        "erased_words": 0, "erased_words_case_and_punctuation_aside": 0, "final_words": len(whole),
    }  # fmt: skip
    words = texts.committed()
    assert [word.text for word in words] == whole
    ends = [at for at, part in enumerate(parts) for _ in part]
    assert [word.shown_s for word in words] == ends
    assert texts.broken.total() == 0


@given(st.lists(st.lists(st.sampled_from(["a", "b"]), max_size=5), min_size=1, max_size=6))
def test_erasure_is_what_the_definition_says(revisions: list[list[str]]) -> None:
    texts = Texts()
    erased = 0
    before: list[str] = []
    for at, words in enumerate(revisions):
        texts.show(float(at), "u", shown(" ".join(words)), rev=at)
        common = next(
            (n for n, (a, b) in enumerate(zip(before, words, strict=False)) if a != b), min(len(before), len(words))
        )
        erased += len(before) - common
        before = words
    assert texts.erasure()["erased_words"] == erased
    assert texts.erasure()["final_words"] == len(revisions[-1])


# ---- listening -------------------------------------------------------------------------------------------------------


def listened(*lines: dict[str, Any] | bytes, shift_ms: int = 0) -> Listener:
    """Lines that come a second apart from second 0, media time 0 at second 0."""
    listener = Listener(lambda ms: ms / 1000, "en", "pt", shift_ms=shift_ms)
    for at, line in enumerate(lines):
        listener.feed(float(at), line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
    listener.end()
    return listener


def cue(op: str, identity: str, *lines: str, start_ms: int = 0, end_ms: int = 10_000) -> dict[str, Any]:
    return {
        "type": "cue",
        "session": "s",
        "op": op,
        "id": identity,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "lines": lines,
    }


def test_the_simple_form_is_read() -> None:
    listener = listened({"text": "", "volatile": "hello"}, {"text": "hello", "volatile": "word", "heard_ms": 900},
                        {"text": "hello world"}, {"kind": "translation", "text": "olá"})  # fmt: skip
    assert [(w.text, w.shown_s, w.committed_s, w.heard_ms) for w in listener.transcripts.committed()] == [
        ("hello", 0.0, 1.0, 900), ("world", 2.0, 2.0, 900),
    ]  # fmt: skip
    assert [w.text for w in listener.translations.committed()] == ["olá"]
    assert listener.broken().total() == listener.garbage == 0
    assert listener.transcripts.erasure()["erased_words"] == 1


@pytest.mark.parametrize(
    "line",
    [
        b"loading\n",
        b'{"text": 5}\n',
        b'{"type":"transcript"}\n',
        b"\xff\n",
        b'{"text": "cut',
        b"[1]\n",
        b'{"type":"header","session":"s","proto":9,"source":""}\n',
    ],
)
def test_garbage_is_counted(line: bytes) -> None:
    assert listened(line, b"\n").garbage == 1


def test_captions_that_are_rewritten_or_withdrawn_are_erasure() -> None:
    listener = listened(
        cue("add", "1", "one two", "three"),
        cue("update", "1", "one two", "tree four"),  # erases "three"
        cue("add", "2", "five six", start_ms=2000),
        cue("remove", "2", end_ms=20_000),  # 3 s is before its end: taken back
        cue("remove", "1", end_ms=2000),  # had its time
    )
    assert listener.cues.erasure()["erased_words"] == 3
    assert listener.cues.words == 4
    assert listener.broken().total() == 0


def test_lines_that_roll_up_are_neither_new_nor_erased() -> None:
    listener = listened(
        cue("add", "1", "a b", "c d"), cue("add", "2", "c d", "e f", start_ms=5), cue("update", "2", "c d", "e f g")
    )
    assert listener.cues.erasure()["erased_words"] == 0
    assert [[w.text for w in words] for words in listener.cues.groups()] == [["a", "b", "c", "d"], ["e", "f", "g"]]


def test_captions_break_promises_too() -> None:
    listener = listened(
        cue("update", "1", "a"), cue("add", "1", "b"), cue("remove", "9"), cue("add", "2", "c", start_ms=-5)
    )
    assert listener.broken() == {"cue_unknown": 2, "cue_added_twice": 1, "times_out_of_order": 1}


def test_captions_take_their_times_from_what_was_said() -> None:
    listener = listened(cue("add", "1", "Hello there,"), cue("add", "2", "my friend.", start_ms=5))
    said = [
        Committed(text, 0, end, 0.0, 0.0, None)
        for text, end in (("hello", 200), ("there", 400), ("my", 600), ("friend", 800))
    ]
    words, captions = cue_latencies(listener.cues, said, "en", lambda ms: ms / 1000)
    assert words == pytest.approx([-0.2, -0.4, 0.4, 0.2])
    assert captions == pytest.approx([-0.4, 0.2])


def test_silence_fed_first_is_taken_off() -> None:
    record = {"type": "transcript", "session": "s", "id": "u", "start_ms": 3100, "end_ms": 3400, "final": True, "text": "hi",
              "words": [{"text": "hi", "start_ms": 3100, "end_ms": 3400}]}  # fmt: skip
    (word,) = listened(record, shift_ms=3000).transcripts.committed()
    assert (word.start_ms, word.end_ms, word.heard_ms) == (100, 400, 400)


# ---- latencies -------------------------------------------------------------------------------------------------------


def test_word_latencies_by_hand() -> None:
    offline = [Shown("In", 0, 200), Shown("1995,", 200, 900), Shown("boats", 900, 1300), Shown("left", 1300, 1600)]
    said = [("in", 1.0), ("nineteen", 1.5), ("ninety-five", 2.5), ("goats", 2.6), ("left.", 3.0)]
    committed = [Committed(text, None, None, at, at - 0.1, None) for text, at in said]
    found = word_latencies(offline, committed, "en", lambda ms: ms / 1000)
    assert [word.heard_as for word in found] == ["in", "nineteen ninety-five", None, "left."]
    assert [word.commit_latency_s for word in found] == [
        pytest.approx(0.8),
        pytest.approx(1.6),
        None,
        pytest.approx(1.4),
    ]
    assert found[0].first_appearance_latency_s == pytest.approx(0.7)


def test_a_sample_is_due_with_its_chunk_however_late_others_were() -> None:
    schedule = Schedule(10.0, 100)
    assert [schedule.due(at) for at in (0, 1, 100, 101, 250)] == pytest.approx([10.0, 10.1, 10.1, 10.2, 10.3])


@given(st.integers(1, 500), st.sampled_from([10, 20, 30]), st.integers(0, 100), st.integers(0, 100))
def test_nothing_of_a_recording_is_lost_in_chunks(length_ms: int, chunk_ms: int, before: int, after: int) -> None:
    samples = bytes([1]) * (length_ms * BYTES_PER_MS)
    chunks = list(chunked(samples, chunk_ms, before, after))
    assert b"".join(chunks).strip(b"\0") == samples
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_ms * BYTES_PER_MS}
    assert sum(map(len, chunks)) == (before // chunk_ms * chunk_ms + length_ms + after) * BYTES_PER_MS


def test_a_recording_is_repeated_for_as_long_as_asked() -> None:
    samples = bytes(45 * BYTES_PER_MS)
    assert sum(len(chunk) for chunk in repeated(samples, 20, 1000)) == 1000 * BYTES_PER_MS


@given(st.lists(st.integers(-1000, 1000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    found = distribution.percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9
    assert sum(value < found for value in values) < percent / 100 * len(values) + 1e-9


@given(st.floats(-100, 100), st.floats(-100, 100), st.integers(2, 20))
def test_the_slope_of_a_line_is_its_slope(start: float, step: float, count: int) -> None:
    times = [float(at) for at in range(count)]
    assert distribution.slope(times, [start + step * at for at in times]) == pytest.approx(step, abs=1e-6)


# ---- translation -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(texts.filter(bool), min_size=1, max_size=5), texts)
def test_resegmentation_has_as_few_errors_as_any(sentences: list[list[str]], words: list[str]) -> None:
    parts = resegment(words, [" ".join(sentence) for sentence in sentences], "")
    assert [at for part in parts for at in part] == list(range(len(words)))
    assert len(parts) == len(sentences)
    errors = sum(
        distance(sentence, [words[at] for at in part]) for sentence, part in zip(sentences, parts, strict=True)
    )
    assert errors == distance([word for sentence in sentences for word in sentence], words)


@given(st.lists(texts.filter(bool), min_size=1, max_size=5))
def test_a_perfect_translation_is_cut_where_the_reference_is(sentences: list[list[str]]) -> None:
    parts = resegment([w for s in sentences for w in s], [" ".join(s) for s in sentences], "")
    assert [len(part) for part in parts] == [len(sentence) for sentence in sentences]


def test_what_matches_neither_goes_up_to_its_sentence_end() -> None:
    words = "Olá a todos, sim. Bem então vamos começar".split()
    parts = resegment(words, ["Olá a todos", "Vamos começar"], "pt")
    assert parts == [range(4), range(4, 8)]


@pytest.mark.parametrize(
    ("delays", "source_ms", "reference_words", "expected"),
    [
        ([1000, 2000, 3000], 3000, 3, 1000.0),  # each a second behind an ideal one that starts at once
        ([500, 1000, 1500, 2000], 2000, 2, 500.0),  # twice as many words as the reference: the ideal is as fast
        ([3000, 4000], 2000, 4, 3000.0),  # nothing before the end of the speech
        (
            [1000, 3000, 9000],
            2000,
            3,
            (1000 + 3000 - 2000 / 3) / 2,
        ),  # what comes after the first late word does not count
    ],
)
def test_laal_by_hand(delays: list[float], source_ms: float, reference_words: int, expected: float) -> None:
    assert laal(delays, source_ms, reference_words) == pytest.approx(expected)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8), st.integers(0, 3000))
def test_a_later_translation_never_lags_less(delays: list[int], later: int) -> None:
    ordered = sorted(delays)
    one = stream_laal([Sentence(0, 10_000, 8, tuple(ordered))])
    other = stream_laal([Sentence(0, 10_000, 8, tuple(delay + later for delay in ordered))])
    assert one is not None
    assert other == pytest.approx(one + later)


def test_nothing_said_has_no_lag() -> None:
    assert stream_laal([Sentence(0, 1000, 2, ())]) is None


def test_sentences_take_their_times_from_the_words() -> None:
    offline = [Shown(text, 100 * at, 100 * at + 90) for at, text in enumerate("a b c d e f".split())]
    assert sentence_times(["A b.", "x y", "e f"], offline, "en") == [(0, 190), (190, 400), (400, 590)]


def test_quality_is_that_of_sacrebleu() -> None:
    said = ["The boat left early in the morning.", "Nobody saw it go away."]
    wanted = ["The boat left early that morning.", "Nobody saw it leave."]
    found = bleu_and_chrf(said, wanted, "en")
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score, abs=0.01)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [wanted]).score, abs=0.01)
    assert "tok:13a" in found["bleu_signature"]
    assert "tok:zh" in bleu_and_chrf(["你好"], ["你好"], "zh")["bleu_signature"]
