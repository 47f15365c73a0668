"""`translate --live`: what is said of a sentence before it ends, that it is kept, how late it is and how good."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

import livestream
from streamlation_cli.records import (
    Discontinuity,
    Eos,
    Error,
    Header,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    Word,
)  # fmt: skip
from streamlation_cli.stages import translate
from streamlation_cli.stages.translate import Options
from streamlation_cli.translating.growing import Growing, Policy, fitted
from streamlation_cli.translating.live import BEHIND_S, LiveTranslating
from streamlation_cli.translating.sentences import split_pieces, split_words
from streamlation_cli.translating.session import Work
from support import streamlation

T0 = livestream.STARTED_AT


def header(session: str = "a", **more: object) -> Header:
    return Header(session, proto=1, source="live", live=True, started_at=T0, language="en", **more)  # type: ignore[arg-type]


def heard(
    text: str, committed: int = 0, *, id: str = "u1", rev: int = 0, final: bool = False, start_ms: int = 0,
    at_ms: int | None = None, session: str = "a", language: str = "en", pace_ms: int = 300,
) -> Transcript:  # fmt: skip
    """A transcript of words `pace_ms` apart."""
    words = tuple(
        Word(text=word, start_ms=start_ms + pace_ms * at, end_ms=start_ms + pace_ms * (at + 1))
        for at, word in enumerate(text.split())
    )
    end_ms = words[-1].end_ms if words else start_ms
    return Transcript(
        session, id=id, rev=rev, final=final, stable_words=0 if final else committed, start_ms=start_ms, end_ms=end_ms,
        text=text, words=words, language=language, emitted_at=T0 + (end_ms + 1000 if at_ms is None else at_ms) / 1000,
    )  # fmt: skip


def run(records: Iterable[StreamRecord], **options: object) -> list[StreamRecord]:
    chosen = {"to": "es", "engine": "stub", "live": True, "no_cache": True, **options}
    return list(translate.stage(Options(**chosen))(records))  # type: ignore[arg-type]


def translations(records: Iterable[StreamRecord]) -> list[Translation]:
    return [record for record in records if isinstance(record, Translation)]


def finals(records: Iterable[StreamRecord]) -> list[Translation]:
    return [record for record in translations(records) if record.final]


def assert_promises_kept(records: Sequence[StreamRecord]) -> None:
    """Committed words stay, with their times; revisions rise; after a final nothing of its id comes."""
    last: dict[str, Translation] = {}
    for record in translations(records):
        before = last.get(record.id)
        if before is not None:
            assert not before.final
            assert record.rev > before.rev
            assert record.words[: before.stable_words] == before.words[: before.stable_words]
            assert split_words(record.text)[: before.stable_words] == split_words(before.text)[: before.stable_words]
            assert record.final or record.stable_words >= before.stable_words
        assert [word.text for word in record.words] == split_words(record.text)
        assert all(a.start_ms <= a.end_ms for a in record.words)
        assert [w.start_ms for w in record.words] == sorted(w.start_ms for w in record.words)
        last[record.id] = record
    assert all(record.final for record in last.values())


# What comes out


def test_a_growing_sentence_is_translated_before_it_ends() -> None:
    words = "the boat left early and nobody saw it go."
    told = words.split()
    revisions = [heard(" ".join(told[: n + 1]), max(0, n - 1), rev=n) for n in range(len(told) - 1)]
    out = run([header(), *revisions, heard(words, rev=20, final=True), Eos("a")])
    drafts = [record for record in translations(out) if not record.final]
    assert len(drafts) >= 6
    assert {record.id for record in drafts} == {"s1"}
    assert drafts[-1].stable_words >= 4
    (final,) = finals(out)
    assert (final.id, final.text) == ("s1", "el barco salió temprano and nadie vio lo partir.")
    assert final.rev == drafts[-1].rev + 1
    assert_promises_kept(out)


def test_what_was_heard_is_translated_as_a_sentence_that_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    draft = Work.draft
    monkeypatch.setattr(Work, "draft", lambda work, texts, *to: asked.append(texts) or draft(work, texts, *to))
    told = ["the boat left,", "the boat left, early", "the boat left, early?"]
    out = run(
        [header(), *(heard(text, 3, rev=rev) for rev, text in enumerate(told)), heard(told[-1], rev=9, final=True)]
    )
    assert asked == [
        ["the boat left.", "the boat.", "the."],
        ["the boat left, early.", "the boat left.", "the boat."],
        ["the boat left, early?", "the boat left.", "the boat."],
    ]
    drafts = [record.text for record in translations(out) if not record.final]
    assert drafts == ["el barco salió", "el barco salió, temprano", "el barco salió, temprano?"]


def test_the_transcript_passes_before_its_translation() -> None:
    out = run([header(), heard("The boat left.", final=True), Eos("a")])
    kinds = [type(record) for record in out]
    assert kinds.index(Transcript) < kinds.index(Translation)


def test_a_sentence_inside_an_utterance_is_final_as_soon_as_the_next_one_begins() -> None:
    out = run([header(), heard("The boat left. Nobody saw it", 4), heard("The boat left. Nobody saw it go", 6, rev=1)])
    first = finals(out)[0]
    assert (first.text, first.source_text) == ("El barco salió.", "The boat left.")
    assert out.index(first) < len(out) - 2


def test_words_that_may_change_are_not_translated_as_whole_sentences() -> None:
    out = run([header(), heard("The boat left. Nobody saw it", 2), Eos("a")])
    assert [record.source_text for record in finals(out)] == ["The boat"]


def test_each_whole_sentence_is_translated_once() -> None:
    out = run([header(), heard("One. Two. Three.", 3), heard("One. Two. Three.", rev=1, final=True), Eos("a")])
    assert [record.source_text for record in finals(out)] == ["One.", "Two.", "Three."]
    assert [record.id for record in finals(out)] == ["s1", "s2", "s3"]


def test_an_utterance_without_a_full_stop_goes_on_in_the_next() -> None:
    out = run([
        header(), heard("the boat", final=True), heard("left early.", id="u2", start_ms=1500, final=True), Eos("a"),
    ])  # fmt: skip
    (final,) = finals(out)
    assert final.source_ids == ("u1", "u2")
    assert_promises_kept(out)


def test_a_long_silence_ends_a_sentence_without_waiting_for_the_next_one() -> None:
    def beat(second: int) -> Status:
        return Status("a", stage="ingest", state="running", emitted_at=T0 + second)

    out = run([header(), heard("the boat left", final=True), *(beat(second) for second in range(2, 9)), Eos("a")])
    final = finals(out)[0]
    assert out.index(final) < out.index(beat(6))
    assert out.index(final) > out.index(beat(4))


def test_a_noise_that_was_taken_for_words_is_taken_back() -> None:
    out = run([
        header(), heard("thank you good day"), heard("", rev=1, final=True),
        heard("The boat left.", id="u2", start_ms=9000, final=True), Eos("a"),
    ])  # fmt: skip
    first, taken_back, final = translations(out)
    assert (first.text, first.stable_words) == ("gracias usted bueno día", 0)
    assert (taken_back.id, taken_back.text, taken_back.final) == (first.id, "", False)
    assert final.text == "El barco salió."


def test_a_word_is_not_kept_back_for_long() -> None:
    beats = [Status("a", stage="ingest", state="running", emitted_at=T0 + second) for second in range(3, 7)]
    out = run([header(), heard("the boat left", 3), *beats, Eos("a")])
    drafts = [record for record in translations(out) if not record.final]
    assert [record.stable_words for record in drafts] == [1, 3]
    assert out.index(beats[0]) < out.index(drafts[-1]) < out.index(beats[-1])
    assert_promises_kept(out)


def test_a_gap_ends_a_sentence() -> None:
    gap = Discontinuity("a", at_ms=900, gap_ms=4000, reason="reconnect")
    out = run([
        header(), heard("the boat", final=True), gap, heard("left early.", id="u2", start_ms=4900, final=True), Eos("a")
    ])  # fmt: skip
    assert [record.source_text for record in finals(out)] == ["the boat", "left early."]
    assert out.index(finals(out)[0]) < out.index(gap)


def test_an_utterance_that_another_overtakes_is_neither_lost_nor_waited_for() -> None:
    out = run([
        header(), heard("The boat left", 2), heard("We waited by", 1, id="u2", start_ms=5000),
        heard("We waited by the bridge.", id="u2", rev=1, start_ms=5000, final=True),
        heard("The boat left early.", rev=1, final=True), Eos("a"),
    ])  # fmt: skip
    assert [record.source_text for record in finals(out)] == ["The boat", "We waited by the bridge.", "left early."]
    assert_promises_kept(out)


def test_text_in_the_target_language_is_copied_as_it_is_committed() -> None:
    out = run([
        header(), heard("hola mundo viejo", 1, language="es"), heard("hola mundo.", rev=1, final=True, language="es"),
        Eos("a"),
    ])  # fmt: skip
    draft, final = translations(out)
    assert (draft.text, draft.stable_words, draft.engine) == ("hola mundo viejo", 1, "copy")
    assert (final.text, final.engine) == ("hola mundo.", "copy")


@pytest.mark.parametrize("mark", ["", ","])
def test_a_sentence_too_long_is_cut_and_said_once(mark: str) -> None:
    """It may be cut far back, at a comma, when more of its translation was committed."""
    told = [f"w{number}{mark if number % 25 == 24 else ''}" for number in range(90)]
    text = " ".join(told)
    revisions = [heard(" ".join(told[: n + 3]), n, rev=n) for n in range(87)]
    out = run([header(), *revisions, heard(text, rev=99, final=True), Eos("a")], preset="latency")
    said = [word for record in finals(out) for word in record.words]
    assert [word.text for word in said] == told
    assert all(one.start_ms <= other.start_ms for one, other in pairwise(said))
    assert len(finals(out)) >= 2
    assert_promises_kept(out)


def test_interleaved_sessions_do_not_meet() -> None:
    one = [header("a"), heard("the boat", 1), heard("the boat left.", rev=1, final=True), Eos("a")]
    other = [
        header("b"),
        heard("we waited", 1, session="b"),
        heard("we waited.", rev=1, final=True, session="b"),
        Eos("b"),
    ]
    mixed = run([record for pair in zip(one, other, strict=True) for record in pair])
    for session, alone in (("a", one), ("b", other)):
        assert [record.text for record in finals(mixed) if record.session == session] == [
            record.text for record in finals(run(alone))
        ]


def test_drafts_are_not_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLATION_CACHE_DIR", str(tmp_path))
    revisions = [heard("the boat left early", n, rev=n) for n in range(4)]
    run([header(), *revisions, heard("the boat left early.", rev=5, final=True), Eos("a")], no_cache=False)
    again = run(
        [header(), heard("the boat left early.", final=True), heard("the boat", id="u2", final=True), Eos("a")],
        no_cache=False,
    )
    assert [record.cached for record in finals(again)] == [True, False]


def test_a_file_goes_through_with_live_too() -> None:
    transcripts = [heard("The boat left.", final=True), heard("It was cold.", id="u2", start_ms=2000, final=True)]
    plain = Header("a", proto=1, source="file", language="en")
    live = finals(run([plain, *transcripts, Eos("a")]))
    whole = finals(run([plain, *transcripts, Eos("a")], live=False))
    assert [(r.text, r.start_ms, r.words, r.emitted_at) for r in live] == [
        (r.text, r.start_ms, r.words, r.emitted_at) for r in whole
    ]


# Keeping up


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


def test_a_stage_that_falls_behind_leaves_out_drafts_and_no_sentence() -> None:
    clock = Clock()
    options = Options(to="es", engine="stub", live=True, no_cache=True)
    work = Work(options, [])
    handler = LiveTranslating(header(), options, work, clock)
    told = "the boat left early and nobody saw it go.".split()
    out = list(handler.feed(header()))
    for late in (0.0, BEHIND_S + 0.1, 0.1):
        out.append(Status("a", stage="mark", state="running"))
        for n in range(len(told) - 1):
            revision = heard(" ".join(told[: n + 1]), n, id=f"u{late}", rev=n)
            clock.now = (revision.emitted_at or 0) + late
            out += handler.feed(revision)
        whole = heard(" ".join(told), id=f"u{late}", rev=20, final=True)
        clock.now = (whole.emitted_at or 0) + late
        out += handler.feed(whole)
    out += handler.finish(Eos("a"))
    work.close()
    marks = [at for at, record in enumerate(out) if isinstance(record, Status) and record.stage == "mark"]
    parts = [out[a:b] for a, b in zip(marks, [*marks[1:], len(out)], strict=True)]
    drafts = [sum(not record.final for record in translations(part)) for part in parts]
    assert drafts[0] > 5
    assert drafts[1] == 0
    assert drafts[2] == drafts[0]
    assert len(finals(out)) == 3
    status = [record for record in out if isinstance(record, Status)][-1]
    assert status.counters["drafts_skipped"] == len(told) - 1


def test_latency_is_reported_every_ten_seconds_of_media() -> None:
    sentences = livestream.spoken(["The boat left early and nobody saw it go."] * 12)
    out = run(livestream.live(sentences, "en"))
    reports = [r for r in out if isinstance(r, Status) and r.stage == "translate" and r.lag_ms is not None]
    assert len(reports) >= 3
    assert reports[0].counters["lag_p95_ms"] >= reports[0].counters["lag_p50_ms"]
    assert reports[0].counters["drafts"] > 10


# Promises, whatever is heard


@st.composite
def streams(draw: st.DrawFn) -> list[StreamRecord]:
    """Utterances whose uncommitted words change at random."""
    records: list[StreamRecord] = [header()]
    vocabulary = st.sampled_from("the boat left early. nobody saw, it go we waited? old Bridge morning cold".split())
    start_ms = 0
    for number in range(draw(st.integers(1, 3))):
        words = draw(st.lists(vocabulary, min_size=1, max_size=14))
        committed = 0
        for rev in range(draw(st.integers(0, 6))):
            committed = draw(st.integers(committed, len(words)))
            tail = draw(st.lists(vocabulary, max_size=5))
            hypothesis = words[:committed] + tail
            if hypothesis:
                records.append(heard(" ".join(hypothesis), committed, id=f"u{number}", rev=rev, start_ms=start_ms))
        records.append(heard(" ".join(words), id=f"u{number}", rev=9, final=True, start_ms=start_ms))
        start_ms += 300 * len(words) + draw(st.sampled_from([200, 1000, 5000]))
    return [*records, Eos("a")]


@settings(max_examples=150, deadline=None)
@given(streams(), st.sampled_from(["latency", "balanced", "accuracy"]), st.sampled_from(["es", "en"]))
def test_no_committed_word_is_ever_taken_back_and_no_sentence_is_lost(
    records: list[StreamRecord], preset: str, target: str
) -> None:
    out = run(records, preset=preset, to=target)
    assert_promises_kept(out)
    assert not [record for record in out if isinstance(record, Error)]
    spoken = [word for r in records if isinstance(r, Transcript) and r.final for word in r.text.split()]
    # A dot between two utterances of one sentence is made a comma.
    assert [w.strip(".,") for r in finals(out) for w in r.source_text.split()] == [w.strip(".,") for w in spoken]


texts = st.lists(st.sampled_from("o gato preto dorme na casa. de a e muito".split()), max_size=9).map(" ".join)


@given(st.lists(st.lists(texts, min_size=1, max_size=3), max_size=6), texts)
def test_whatever_the_engine_says_the_final_begins_with_what_was_committed(drafts: list[list[str]], final: str) -> None:
    growing = Growing(Policy(held_back=0), "pt")
    committed: list[str] = []
    for draft in drafts:
        growing.hear(draft)
        now = split_words(growing.text)
        assert now[: len(committed)] == committed
        assert growing.stable_words >= len(committed)
        committed = now[: growing.stable_words]
    assert split_words(growing.finish(final)[0])[: len(committed)] == committed


@pytest.mark.parametrize(
    ("target", "committed", "rest", "translation", "whole"),
    [
        ("en", "The law of the", "", "The 2017 act of the country gave powers.", "The law of the 2017 act of the country gave powers."),
        ("pt", "Um gato", "", "O gato preto dorme.", "Um gato preto dorme."),
        ("en", "The", "", "Voters will vote.", "The Voters will vote."),
        ("en", "Nobody saw", "", "", "Nobody saw"),
        # Another word for it, where it stood: not both.
        ("pt", "Se ele casou", "com ela", "Se ele se casasse com ela, seria", "Se ele casou com ela, seria"),
        ("pt", "AMs vai ter", "a votação", "Os deputados receberão a votação final", "AMs vai ter a votação final"),
        # A small word stands for none that means something, and what follows must be the same to tell where it stood.
        ("en", "Mr. Ito, the", "of it", "Mr. Ito, head of it all", "Mr. Ito, the head of it all"),
        ("en", "If he had", "", "If he married her", "If he had married her"),
    ],
)  # fmt: skip
def test_a_translation_that_turns_out_otherwise_goes_on_where_it_hurts_least(
    target: str, committed: str, rest: str, translation: str, whole: str
) -> None:
    before, said, pieces = (split_pieces(text) for text in (f"{committed} {rest}", committed, translation))
    assert "".join(fitted(said, pieces, target, before)) == whole


# Real engines


def laal_ms(sentence: Sequence[Translation], whole: int) -> float:
    """Length-adaptive average lag of all that was said of a sentence: how far behind an ideal interpreter's its words are.

    `whole` is how many words its translation has offline.
    """
    times: list[float] = []
    start_ms, end_ms = sentence[0].start_ms, sentence[-1].end_ms
    for _, group in itertools.groupby(sentence, key=lambda record: record.id):
        own: list[float] = []
        for record in group:
            count = len(record.words) if record.final else record.stable_words
            assert record.emitted_at is not None
            own += [(record.emitted_at - T0) * 1000 - start_ms] * (count - len(own))
        times += own
    spoken_ms = end_ms - start_ms
    step = spoken_ms / max(len(times), whole)
    until = next((at for at, time_ms in enumerate(times) if time_ms >= spoken_ms), len(times) - 1)
    return statistics.fmean(time_ms - at * step for at, time_ms in enumerate(times[: until + 1]))


def on_media_time(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
    """Stamps what a stage says with the time of the transcript it said it of."""
    now = T0
    for record in records:
        if isinstance(record, Transcript) or (isinstance(record, Status) and record.stage == "ingest"):
            now = record.emitted_at or now
        elif isinstance(record, Translation | Status):
            record = livestream.at(record, now)
        yield record


@pytest.mark.long
@pytest.mark.parametrize(("source", "target"), [("eng", "por"), ("por", "eng")])
def test_real_engines_are_a_clause_behind_and_nearly_as_good(shared: Path, source: str, target: str) -> None:
    texts = [(shared / "text" / f"ntrex400.{name}.txt").read_text().splitlines() for name in (source, target)]
    # Headlines have no full stop, and nobody would read them out without a pause.
    pairs = [pair for pair in zip(*texts, strict=True) if all(line.endswith(".") for line in pair)][40:58]
    spoken, reference = zip(*pairs, strict=True)
    codes = {"eng": "en", "por": "pt"}
    sentences = livestream.spoken(spoken)
    stream = list(livestream.live(sentences, codes[source]))
    options = {"to": codes[target], "engine": "firefox", "no_cache": True}
    out = list(on_media_time(run(stream, **options)))
    assert_promises_kept(out)
    whole = finals(run([r for r in stream if not isinstance(r, Transcript) or r.final], **options, live=False))
    said, best = " ".join(r.text for r in finals(out)), " ".join(r.text for r in whole)
    scores = [sacrebleu.corpus_chrf([text], [[" ".join(reference)]]).score for text in (said, best)]
    by_sentence = itertools.groupby(translations(out), key=lambda record: record.source_ids[0])
    words_whole = {
        first: sum(len(r.words) for r in group)
        for first, group in itertools.groupby(whole, key=lambda r: r.source_ids[0])
    }
    lags = [laal_ms(list(group), words_whole[first]) for first, group in by_sentence]
    print(f"{source}→{target}: LAAL {statistics.fmean(lags):.0f} ms, chrF {scores[0]:.2f} against {scores[1]:.2f}")
    assert statistics.fmean(lags) <= 2600
    # Over more sentences it is less than 1; one of so few may weigh half a point.
    assert scores[0] >= scores[1] - 1.5


def test_the_command_line(tmp_path: Path) -> None:
    lines = b"".join(
        livestream.encoded(livestream.live(livestream.spoken(["The boat left early and nobody saw it go."] * 2), "en"))
    )
    result = streamlation("translate", "--live", "--to", "es", "--engine", "stub", "--no-cache", stdin=lines).ok()
    assert [r["text"] for r in result.of_type("translation") if r["final"]] == [
        "El barco salió temprano and nadie vio lo partir."
    ] * 2
    assert any(not r["final"] and r.get("stable_words") for r in result.of_type("translation"))
    assert all(json.loads(line) for line in result.stdout.splitlines())
