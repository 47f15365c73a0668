"""The translate stage: what goes through it, what it adds, which engine it takes, and how well it translates."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import threading
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import sacrebleu
import srt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlation_cli.errors import ConfigError, InputMissing, UsageError
from streamlation_cli.records import (
    Discontinuity,
    Eos,
    Error,
    Header,
    Pcm,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    Unknown,
    Word,
)  # fmt: skip
from streamlation_cli.stages import translate
from streamlation_cli.stages.translate import Options
from support import shell, streamlation

MODELS = Path(__file__).parent.parent / "testdata" / "models"


def header(**more: object) -> Header:
    return Header("a", proto=1, source="talk", **more)  # type: ignore[arg-type]


def said(
    *texts: str, language: str = "en", session: str = "a", pause_ms: int = 300, start_ms: int = 0
) -> list[Transcript]:
    made = []
    for number, text in enumerate(texts, 1):
        end_ms = start_ms + 60 * len(text)
        made.append(
            Transcript(
                session, id=f"u{number}", start_ms=start_ms, end_ms=end_ms, text=text, final=True, language=language
            )
        )
        start_ms = end_ms + pause_ms
    return made


def run(records: Iterable[StreamRecord], **options: object) -> list[StreamRecord]:
    return list(translate.stage(Options(**{"to": "pt", **options}))(records))  # type: ignore[arg-type]


def session(transcripts: Sequence[StreamRecord], **of_header: object) -> list[StreamRecord]:
    return [header(**of_header), *transcripts, Eos("a")]


def translations(records: Iterable[StreamRecord]) -> list[Translation]:
    return [record for record in records if isinstance(record, Translation)]


def errors(records: Iterable[StreamRecord]) -> list[Error]:
    return [record for record in records if isinstance(record, Error)]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of one's own; models are put below KIND/NAME."""
    monkeypatch.setenv("STREAMLATION_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "models"


def install(models: Path, name: str, source: str) -> None:
    shutil.copytree(MODELS / source, models / "ct2" / name)


def test_a_sentence_over_two_utterances_is_translated_whole() -> None:
    transcripts = said("Good morning, everyone. We went to the old", "house by the river.")
    first, second = translations(run(session(transcripts)))
    assert first.text == "Bom dia, todos."
    assert second.source_text == "We went to the old house by the river."
    assert "casa" in second.text
    assert "rio" in second.text
    assert second.source_ids == ("u1", "u2")
    assert (second.source_language, second.target_language, second.engine) == ("en", "pt", "firefox")
    assert " ".join(word.text for word in second.words) == second.text
    assert " ".join(word.text for word in second.source_words) == second.source_text
    assert second.words[0].start_ms == second.start_ms
    assert second.words[-1].end_ms == second.end_ms == transcripts[1].end_ms
    assert first.end_ms <= second.start_ms


def test_everything_goes_through_as_it_came_and_in_order() -> None:
    utterances = said("Hello there.", "How are you?")
    pcm = Pcm("a", seq=0, start_ms=0, end_ms=20, rms_dbfs=-20, peak_dbfs=-10, data=b"\0" * 640)
    draft = Transcript("a", id="u9", start_ms=0, end_ms=5, text="Hello th", final=False, language="en")
    unknown = Unknown(type="weather", session="a")
    records = [header(language="en"), pcm, draft, utterances[0], unknown, utterances[1], Eos("a")]
    out = run(records)
    assert isinstance(out[0], Header)
    assert (out[0].target_language, out[0].language, out[0].source) == ("pt", "en", "talk")
    kept = [record for record in out if not isinstance(record, Header | Status | Translation)]
    assert all(one is other for one, other in zip(kept, records[1:], strict=True))
    assert [type(record).__name__ for record in out][-2:] == ["Status", "Eos"]
    states = [record for record in out if isinstance(record, Status)]
    assert [status.state for status in states] == ["running", "completed"]
    assert states[-1].counters == {"sentences": 2, "cached": 0, "copied": 0, "glossary_misses": 0}
    assert [t.source_text for t in translations(out)] == ["Hello there.", "How are you?"]


def test_a_translation_comes_after_the_transcripts_it_is_made_of_and_as_soon_as_they_are_there() -> None:
    first, second, third = said("It is late.", "We sleep.", "Good night.")
    seen: list[str] = []

    def watched() -> Iterator[StreamRecord]:
        for record in session([first, second, third]):
            seen.append(record.id if isinstance(record, Transcript) else "")
            yield record

    for record in translate.stage(Options(to="pt"))(watched()):
        if isinstance(record, Translation) and record.source_text == "It is late.":
            assert seen[-1] == "u2"  # the next utterance told that the sentence was whole
    for record in translate.stage(Options(to="pt", preset="latency"))(session([first, second, third])):
        if isinstance(record, Transcript):
            waiting = record.id
        elif isinstance(record, Translation):
            assert record.source_ids == (waiting,)


def test_words_keep_the_pauses_of_the_speaker() -> None:
    words = (
        Word(text="Good", start_ms=0, end_ms=400), Word(text="morning,", start_ms=400, end_ms=1000),
        Word(text="everyone.", start_ms=2500, end_ms=3500),
    )  # fmt: skip
    transcript = Transcript(
        "a", id="u1", start_ms=0, end_ms=3500, text="Good morning, everyone.", final=True, language="en", words=words
    )
    [translation] = translations(run(session([transcript])))
    assert not [word for word in translation.words if word.start_ms < 2500 and word.end_ms > 1000]


def test_text_in_the_target_language_is_copied() -> None:
    records = run(session([*said("Bom dia a todos.", language="pt"), *said("Good night.", start_ms=9000)]), to="pt-BR")
    copied, translated = translations(records)
    assert (copied.text, copied.engine, copied.target_language) == ("Bom dia a todos.", "copy", "pt-BR")
    assert copied.words == copied.source_words
    assert (translated.text, translated.engine) == ("Boa noite.", "firefox")


def test_each_sentence_goes_by_its_own_language() -> None:
    mixed = [*said("Good night."), *said("Boa noite.", language="pt", start_ms=9000)]
    assert [t.source_language for t in translations(run(session(mixed), to="en"))] == ["en", "pt"]
    assert [(t.text, t.engine) for t in translations(run(session(mixed), to="en"))] == [
        ("Good night.", "copy"), ("Good night.", "firefox"),
    ]  # fmt: skip


def test_the_language_comes_from_the_record_else_from_the_flag_else_from_the_header() -> None:
    unnamed = said("Good night.", language="")
    assert translations(run(session(unnamed), from_="en"))[0].source_language == "en"
    assert translations(run(session(unnamed, language="en")))[0].source_language == "en"
    [error] = errors(run(session(unnamed)))
    assert (error.code, error.fatal) == ("usage", True)
    assert "--from" in error.message


def test_a_pair_that_is_not_there_is_refused_before_anything_is_recognised() -> None:
    records = run(session(said("Guten Tag.", language="de"), language="de"))
    [error] = errors(records)
    assert (error.code, error.fatal) == ("pair-missing", True)
    for part in ("de→pt", "en→pt", "pt→en", "streamlation models pull firefox/de-en (", "--pairs"):
        assert part in error.message
    assert not [record for record in records if isinstance(record, Transcript | Eos)]
    assert errors(run(session(said("Guten Tag.", language="de"))))[0].fatal


def test_a_stray_sentence_in_another_language_is_copied_and_reported_once() -> None:
    mixed = [
        *said("Good night."), *said("Guten Tag.", "Gute Nacht.", language="de", start_ms=9000),
        *said("Good morning.", start_ms=20_000),
    ]  # fmt: skip
    records = run(session(mixed))
    assert [t.text for t in translations(records)] == ["Boa noite.", "Guten Tag.", "Gute Nacht.", "Bom dia."]
    [error] = errors(records)
    assert (error.code, error.fatal) == ("pair-missing", False)
    assert isinstance(records[-1], Eos)


def test_a_gap_in_the_source_ends_a_sentence() -> None:
    first, second = said("We went to", "the house")
    records = run(session([first, Discontinuity("a", at_ms=700, gap_ms=5000, reason="gap"), second]))
    names = [type(record).__name__ for record in records]
    assert names.index("Translation") < names.index("Discontinuity")
    assert [t.source_text for t in translations(records)] == ["We went to", "the house"]


def test_what_was_said_before_a_failure_upstream_is_translated() -> None:
    failure = Error("a", stage="transcribe", code="data", message="broken", fatal=True)
    records = run([header(), *said("We went to the house"), failure])
    assert len(translations(records)) == 1
    assert isinstance(records[-2], Status)
    assert records[-2].state == "failed"
    assert records[-1] is failure


def test_sessions_are_kept_apart() -> None:
    one, other = said("We went to", "the house."), said("I like", "the garden.", session="b")
    records = run(
        [header(), Header("b", proto=1, source="x"), one[0], other[0], one[1], other[1], Eos("b"), Eos("a")],
    )
    assert [(t.session, t.source_text) for t in translations(records)] == [
        ("b", "I like the garden."), ("a", "We went to the house."),
    ]  # fmt: skip


def test_the_window_changes_no_translation() -> None:
    transcripts = said(*[f"The house number {n} is white. It has {n} doors and" for n in range(12)])
    texts = {
        batch: [
            (t.id, t.text, t.words) for t in translations(run(session(transcripts), batch_size=batch, no_cache=True))
        ]
        for batch in (0, 1, 5, 64)
    }
    assert len(texts[0]) > 12
    assert all(other == texts[0] for other in texts.values())


def test_a_translation_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLATION_CACHE_DIR", str(tmp_path / "cache"))
    transcripts = said("Good night.", "Good morning.")
    fresh = translations(run(session(transcripts), no_cache=True))
    assert not (tmp_path / "cache").exists()
    first, again = (translations(run(session(transcripts))) for _ in range(2))
    assert [t.cached for t in [*fresh, *first, *again]] == [False] * 4 + [True] * 2
    assert [t.text for t in fresh] == [t.text for t in first] == [t.text for t in again]
    glossary = tmp_path / "terms.tsv"
    glossary.write_text("night\tnoitada\n")
    with_terms = translations(run(session(transcripts), glossary=str(glossary)))
    assert [t.cached for t in with_terms] == [False, False]
    assert "noitada" in with_terms[0].text


def test_a_cached_answer_that_means_nothing_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLATION_CACHE_DIR", str(tmp_path / "cache"))
    run(session(said("Good night.")))
    [file] = (tmp_path / "cache").glob("translations*")
    connection = sqlite3.connect(file)
    value = b"not json"
    connection.execute("UPDATE entry SET value = ?, checksum = ?", (value, zlib.crc32(value)))
    connection.commit()
    connection.close()
    [translation] = translations(run(session(said("Good night."))))
    assert (translation.text, translation.cached) == ("Boa noite.", False)


def test_a_glossary_is_used_and_its_misses_reported(tmp_path: Path) -> None:
    glossary = tmp_path / "terms.tsv"
    glossary.write_text("Green River\nhouse\tmoradia\ten-pt\nhouse\tvivienda\tes\n")
    records = run(session(said("We saw the house by the Green River.")), glossary=str(glossary))
    [translation] = translations(records)
    assert "Green River" in translation.text
    assert "moradia" in translation.text
    assert translation.glossary_misses == ()
    tiny = run(
        session(said("The house is white.")), to="es", engine="ct2", model=str(MODELS / "tiny-opus-en-es"),
        glossary=str(glossary),
    )  # fmt: skip
    [missed] = translations(tiny)  # the tiny model has no letter of the tokens
    assert missed.text == "La casa es blanca."
    assert missed.glossary_misses == ("house",)
    status = [record for record in tiny if isinstance(record, Status)][-1]
    assert status.counters["glossary_misses"] == 1


def test_wrong_options_are_refused_before_the_first_record(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--to"):
        translate.stage(Options())
    with pytest.raises(UsageError, match="auto, firefox, ct2, stub"):
        translate.stage(Options(to="pt", engine="google"))
    with pytest.raises(InputMissing):
        translate.stage(Options(to="pt", glossary=str(tmp_path / "nowhere.tsv")))
    (tmp_path / "bad.tsv").write_text("a\tb\tc\td\n")
    with pytest.raises(ConfigError, match="line 1"):
        translate.stage(Options(to="pt", glossary=str(tmp_path / "bad.tsv")))


def test_a_model_by_path_and_by_name(models: Path) -> None:
    by_path = run(session(said("Good night.")), to="es", model=str(MODELS / "tiny-opus-en-es"))
    assert [(t.text, t.engine) for t in translations(by_path)] == [("Buenas noches.", "ct2")]
    install(models, "my-nllb", "tiny-nllb")
    by_name = run(session(said("Good night.")), to="fr", engine="ct2", model="my-nllb")
    assert [(t.text, t.engine) for t in translations(by_name)] == [("Bonne nuit.", "ct2")]
    [missing] = errors(run(session(said("Good night.")), model="nothing-like-it"))
    assert missing.code == "model-missing"
    [wrong] = errors(run(session(said("Good night.")), model=str(MODELS)))
    assert "firefox or ct2" in wrong.message
    [other] = errors(run(session(said("Good night.")), to="de", model="my-nllb", engine="ct2"))
    assert other.code == "pair-missing"


def test_auto_takes_the_model_of_the_pair_and_goes_through_english_with_two(models: Path) -> None:
    install(models, "opus-mt-en-es", "tiny-opus-en-es")
    install(models, "tiny-nllb", "tiny-nllb")
    night = said("Good night.")
    assert translations(run(session(night), to="pt"))[0].engine == "firefox"
    assert translations(run(session(night), to="es"))[0].engine == "ct2"
    [through] = translations(run(session(said("Bom dia.", language="pt")), to="es"))
    assert (through.text, through.engine) == ("Buenos días.", "firefox+ct2")
    assert errors(run(session(said("Bom dia.", language="pt")), to="es", engine="firefox"))[0].code == "pair-missing"
    assert translate.listing(Options(pairs=True)) == (
        "en\tpt\tfirefox\ten-pt\n"
        "pt\ten\tfirefox\tpt-en\n"
        "en\tes\tct2\topus-mt-en-es\n"
        "en\tfr\tct2\topus-mt-en-es\n"
        "en\tes\tct2\ttiny-nllb\n"
        "en\tfr\tct2\ttiny-nllb\n"
        "es\ten\tct2\ttiny-nllb\n"
        "es\tfr\tct2\ttiny-nllb\n"
        "fr\ten\tct2\ttiny-nllb\n"
        "fr\tes\tct2\ttiny-nllb\n"
        "es\tpt\tct2+firefox\ttiny-nllb+en-pt\n"
        "fr\tpt\tct2+firefox\ttiny-nllb+en-pt\n"
        "pt\tes\tfirefox+ct2\tpt-en+opus-mt-en-es\n"
        "pt\tfr\tfirefox+ct2\tpt-en+opus-mt-en-es\n"
    )
    assert translate.listing(Options(pairs=True, to="pt", engine="firefox")) == "en\tpt\tfirefox\ten-pt\n"
    assert translate.listing(Options(to="pt")) is None


def test_pairs_are_listed_without_input() -> None:
    result = streamlation("translate", "--pairs", stdin=None).ok()
    assert "en\tpt\tfirefox\ten-pt\n" in result.stdout.decode()


def test_the_stub_answers_and_a_failure_for_now_is_tried_again() -> None:
    transcripts = said("The boat left early.", "Nobody saw it go.")
    assert [t.text for t in translations(run(session(transcripts), to="es", engine="stub"))] == [
        "El barco salió temprano.", "Nadie vio lo partir.",
    ]  # fmt: skip
    often = run(session(transcripts), to="es", engine="stub", stub_error_rate=0.3, stub_seed=3, no_cache=True)
    assert len(translations(often)) == 2
    [error] = errors(run(session(transcripts), to="es", engine="stub", stub_error_rate=1.0, no_cache=True))
    assert (error.code, error.fatal) == ("temporary", True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    utterances=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.integers(0, 4000), st.booleans()),
        max_size=8,
    ),
    preset=st.sampled_from(["latency", "balanced", "accuracy"]),
)
def test_no_text_is_lost_whatever_is_said(utterances: list[tuple[str, int, bool]], preset: str) -> None:
    transcripts, now = [], 0
    for number, (text, pause_ms, french) in enumerate(utterances):
        transcripts.append(
            Transcript(
                "a", id=f"u{number}", start_ms=now + pause_ms, end_ms=now + pause_ms + 50 * len(text), text=text,
                final=True, language="fr" if french else "en",
            )
        )  # fmt: skip
        now = transcripts[-1].end_ms
    # The stub has no dictionary of this language and leaves every word as it is.
    out = run(session(transcripts), to="tlh", engine="stub", preset=preset, no_cache=True)
    assert [record for record in out if isinstance(record, Transcript)] == transcripts
    made = translations(out)
    plain = str.maketrans(dict.fromkeys(".,…̇"))  # marks on both sides of a cut may change
    heard = "".join("".join(one.text.split()) for one in transcripts).casefold().translate(plain)
    assert "".join("".join(one.source_text.split()) for one in made).casefold().translate(plain) == heard
    assert len({one.id for one in made}) == len(made)
    for one in made:
        assert one.text
        assert "\n" not in one.text
        times = [time for word in one.words for time in (word.start_ms, word.end_ms)]
        assert times == sorted(times)
        assert all(one.start_ms <= time <= one.end_ms for time in times)
        assert set(one.source_ids) <= {transcript.id for transcript in transcripts}


def test_it_may_run_on_another_thread_than_it_was_made_on() -> None:
    made = translate.stage(Options(to="pt"))
    out: list[StreamRecord] = []
    thread = threading.Thread(target=lambda: out.extend(made(session(said("Good night.")))))
    thread.start()
    thread.join()
    assert [t.text for t in translations(out)] == ["Boa noite."]


def test_memory_does_not_grow_with_the_input() -> None:
    held: list[int] = []

    def records() -> Iterator[StreamRecord]:
        yield header()
        now = 0
        for number in range(700):
            text = f"This is sentence {number} of a long talk. And it goes"
            yield Transcript(
                "a", id=f"u{number}", start_ms=now, end_ms=now + 3000, text=text, final=True, language="en"
            )
            now += 3300
            if number in (300, 699):
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        yield Eos("a")

    tracemalloc.start()
    stage = translate.stage(Options(to="es", engine="stub", no_cache=True))
    written = sum(isinstance(record, Translation) for record in stage(records()))
    tracemalloc.stop()
    assert written > 700
    assert held[1] <= held[0] + 20_000  # 400 kept transcripts would be 400 kB with their translations


def test_subtitles_are_translated_whole_and_come_back_on_their_times(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(
        "1\n00:00:01,000 --> 00:00:03,000\nYesterday we went to the old\n\n"
        "2\n00:00:03,200 --> 00:00:05,000\nhouse by the river.\n\n"
        "3\n00:00:10,000 --> 00:00:12,000\n- Is it far?\n- No, it is not.\n",
        "utf-8",
    )
    result = shell(
        "streamlation ingest a.srt | streamlation translate --from en --to pt | streamlation subtitle --format srt",
        cwd=tmp_path,
    ).ok()
    cues = list(srt.parse(result.stdout.decode()))
    text = " ".join(" ".join(cue.content.split()) for cue in cues)
    assert "casa" in text
    assert "rio" in text
    assert "Não" in text
    assert cues[0].start.total_seconds() == 1.0
    assert all(cue.end.total_seconds() <= 12.0 for cue in cues)
    assert [cue for cue in cues if cue.start.total_seconds() >= 10]
    assert not [cue for cue in cues if 5.9 < cue.start.total_seconds() < 10]


@pytest.mark.parametrize(("source", "target", "chrf", "bleu"), [("en", "pt", 54.5, 25.0), ("pt", "en", 54.5, 26.5)])
def test_it_translates_well(shared: Path, source: str, target: str, chrf: float, bleu: float) -> None:
    # The first hundred lines are harder than the whole of NTREX (chrF2 62): the bare engine has 56.0 and 56.2 on them.
    files = {"en": "ntrex400.eng.txt", "pt": "ntrex400.por-BR.txt"}
    lines, references = (
        (shared / "text" / files[name]).read_text("utf-8").splitlines()[:100] for name in (source, target)
    )
    transcripts = said(*lines, language=source, pause_ms=3000)
    by_line: dict[str, list[str]] = {}
    for translation in translations(run(session(transcripts), to=target)):
        by_line.setdefault(translation.source_ids[0], []).append(translation.text)
        assert len(translation.source_ids) == 1
    ours = [" ".join(by_line[one.id]) for one in transcripts]
    assert sacrebleu.corpus_chrf(ours, [references]).score >= chrf
    assert sacrebleu.corpus_bleu(ours, [references]).score >= bleu
