"""The transcribe stage on real recordings with real weights."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from media import SPEECH, direct, ingested, normalized, of
from streamlation_cli import seams, transcribing
from streamlation_cli.errors import ModelMissing, UsageError
from streamlation_cli.records import (
    Discontinuity,
    Eos,
    Error,
    Header,
    Packet,
    Pcm,
    Status,
    StreamRecord,
    Transcript,
    Unknown,
    Word,
)
from streamlation_cli.stages.transcribe import Options, stage
from streamlation_cli.transcribing import open_engine

Audio = np.ndarray[Any, np.dtype[np.int16]]


def pcm(samples: Audio, session: str = "s", start_ms: int = 0, chunk_ms: int = 1000) -> Iterator[Pcm]:
    """The samples as pcm records."""
    for seq, at in enumerate(range(0, len(samples), chunk_ms * 16)):
        data = samples[at : at + chunk_ms * 16]
        yield Pcm(
            session, seq=seq, start_ms=start_ms + at // 16, end_ms=start_ms + (at + len(data)) // 16,
            rms_dbfs=-20.0, peak_dbfs=-3.0, data=data.tobytes(),
        )  # fmt: skip


def session(samples: Audio, name: str = "s", language: str = "", **timing: int) -> list[StreamRecord]:
    """A whole session of these samples."""
    return [
        Header(name, proto=1, source="test", language=language),
        *pcm(samples, name, **timing),
        Eos(name),
    ]


def transcribed(records: Iterable[StreamRecord], **options: Any) -> list[StreamRecord]:
    """What the stage makes of the records."""
    return list(stage(Options(**options))(iter(records)))


def text_of(records: Iterable[StreamRecord]) -> str:
    """All transcripts, joined."""
    return " ".join(transcript.text for transcript in of(Transcript, records))


def words_of(text: str) -> list[str]:
    """Words as they are compared: lower case, without punctuation."""
    return re.findall(r"[\w']+", text.lower().replace("’", "'"))


def error_rate(reference: str, heard: str) -> float:
    """Word error rate in percent."""
    return 100 * float(jiwer.wer(" ".join(words_of(reference)), " ".join(words_of(heard))))


@lru_cache
def manifest() -> dict[str, dict[str, Any]]:
    """Path → what is known of a recording."""
    return {entry["path"]: entry for entry in json.loads((SPEECH / "manifest.json").read_text("utf-8"))}


@lru_cache
def by_base(path: str, language: str = "", task: str = "transcribe") -> tuple[StreamRecord, ...]:
    """A recording through the stage with Whisper base."""
    return tuple(transcribed(session(direct(SPEECH / path)), from_=language or "auto", task=task))


@pytest.fixture(scope="module")
def talk(samples: Path) -> Audio:
    """The bundled talk."""
    return direct(samples / "talk_en_60s.opus")


TINY = {"model": "tiny.en"}


# ---- what is said is heard -------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("language", "most"), [("en", 14.0), ("pt", 26.0), ("es", 15.0), ("de", 35.0), ("fr", 30.0)])
def test_word_errors_by_language(shared: Path, language: str, most: float) -> None:
    """Whisper base itself makes most of these errors: the bounds are a few points above what is measured."""
    paths = [f"long/{language}-long-dev.flac"]
    if paths[0] not in manifest():
        paths = [path for path in manifest() if path.startswith(f"{language}/")]
    heard = [by_base(path) for path in paths]
    reference = " ".join(manifest()[path]["reference"] for path in paths)
    assert error_rate(reference, " ".join(map(text_of, heard))) <= most
    assert {t.language for records in heard for t in of(Transcript, records)} == {language}


@pytest.mark.parametrize("name", ["noisy-en-pink-10db.flac", "noisy-en-music-5db.flac"])
def test_noise_behind_speech(shared: Path, name: str) -> None:
    path = f"robust/{name}"
    assert error_rate(manifest()[path]["reference"], text_of(by_base(path, "en"))) <= 40


@pytest.mark.parametrize("name", ["music-strings.ogg", "trumpet.ogg", "silence-10s.flac", "pv-empty.flac"])
def test_what_is_not_speech_gives_no_text(shared: Path, name: str) -> None:
    records = transcribed(session(direct(shared / "speech" / "robust" / name)))
    assert of(Transcript, records) == []
    assert of(Error, records) == []


def test_the_bundled_talk(talk: Audio, samples: Path) -> None:
    reference = (samples / "talk_en_60s.txt").read_text("utf-8")
    records = transcribed(session(talk), **TINY)
    assert error_rate(reference, text_of(records)) <= 15
    check_times(of(Transcript, records), 0, len(talk) // 16)


def test_quiet_speech_is_heard_like_loud_speech(talk: Audio, samples: Path) -> None:
    reference = " ".join((samples / "talk_en_60s.txt").read_text("utf-8").split()[:60])
    part = talk[: 22 * 16_000].astype(np.float64)
    quiet = np.round(part / np.abs(part).max() * 32767 * 10 ** (-45 / 20)).astype(np.int16)
    heard = text_of(transcribed(session(quiet), **TINY))
    assert len(words_of(heard)) >= 0.8 * len(words_of(text_of(transcribed(session(part.astype(np.int16)), **TINY))))
    assert set(words_of(heard)) & set(words_of(reference))


def test_translate_task_gives_english(shared: Path) -> None:
    heard = words_of(text_of(by_base("pt/fleurs-pt-002.ogg", "pt", "translate")))
    assert {"control", "car", "race"} & set(heard)
    assert "carro" not in heard


def test_hints_change_the_spelling(shared: Path) -> None:
    audio = session(direct(shared / "speech" / "pt" / "fleurs-pt-002.ogg"), language="pt")
    assert "Fisichella" not in text_of(transcribed(audio))
    assert "Fisichella" in text_of(transcribed(audio, initial_prompt="Giancarlo Fisichella"))
    assert "Fisichella" in text_of(transcribed(audio, hotwords="Giancarlo Fisichella"))


# ---- times -----------------------------------------------------------------------------------------------------------


def check_times(transcripts: Sequence[Transcript], start_ms: int, end_ms: int) -> None:
    """Words are in order, inside their utterance, inside the audio, and make up the text."""
    assert transcripts
    for transcript in transcripts:
        assert transcript.final
        assert 0 < (transcript.confidence or 0) <= 1
        words = transcript.words
        assert " ".join(word.text for word in words) == transcript.text
        assert (words[0].start_ms, words[-1].end_ms) == (transcript.start_ms, transcript.end_ms)
        assert start_ms <= transcript.start_ms < transcript.end_ms <= end_ms
        assert all(word.start_ms <= word.end_ms for word in words)
        assert all(0 <= (word.confidence or 0) <= 1 for word in words)
        assert all(one.end_ms <= following.start_ms for one, following in pairwise(words))
    assert all(one.end_ms <= following.start_ms for one, following in pairwise(transcripts))
    assert len({transcript.id for transcript in transcripts}) == len(transcripts)


def test_words_are_where_they_are_said(samples: Path) -> None:
    """The turns of the bundled conversation are known to the millisecond."""
    known = json.loads((samples / "turns_en.json").read_text("utf-8"))
    records = transcribed(session(direct(samples / "turns_en.opus")), **TINY)
    check_times(of(Transcript, records), 0, known["duration_ms"] + 20)
    words = [word for transcript in of(Transcript, records) for word in transcript.words]
    for turn in known["turns"]:
        mine = [w for w in words if turn["start_ms"] - 300 <= (w.start_ms + w.end_ms) / 2 <= turn["end_ms"] + 300]
        assert len(mine) == pytest.approx(len(turn["text"].split()), abs=1)
        assert abs(mine[0].start_ms - turn["start_ms"]) < 400
        assert abs(mine[-1].end_ms - turn["end_ms"]) < 400


def test_the_sources_timeline_is_kept(talk: Audio) -> None:
    part = talk[: 8 * 16_000]
    at_zero = of(Transcript, transcribed(session(part), **TINY))
    later = of(Transcript, transcribed(session(part, start_ms=3000), **TINY))
    assert [t.text for t in later] == [t.text for t in at_zero]
    assert [t.start_ms for t in later] == [t.start_ms + 3000 for t in at_zero]


def test_a_gap_ends_the_utterance_and_keeps_the_order(talk: Audio) -> None:
    part = talk[: 6 * 16_000]
    records: list[StreamRecord] = [
        Header("s", proto=1, source="test"),
        *pcm(part),
        Discontinuity("s", at_ms=6000, gap_ms=54_000, reason="gap"),
        *pcm(part, start_ms=60_000),
        Eos("s"),
    ]
    out = [record for record in transcribed(records, **TINY) if isinstance(record, Transcript | Discontinuity)]
    gap = next(index for index, record in enumerate(out) if isinstance(record, Discontinuity))
    before, after = of(Transcript, out[:gap]), of(Transcript, out[gap:])
    assert [t.text for t in before] == [t.text for t in after]
    assert all(t.end_ms <= 6000 for t in before)
    assert all(t.start_ms >= 60_000 for t in after)


def test_a_jump_in_the_times_counts_as_a_gap(talk: Audio) -> None:
    part = talk[: 6 * 16_000]
    jumped = [Header("s", proto=1, source="test"), *pcm(part), *pcm(part, start_ms=60_000), Eos("s")]
    starts = [t.start_ms for t in of(Transcript, transcribed(jumped, **TINY))]
    assert any(start < 6000 for start in starts)
    assert any(start >= 60_000 for start in starts)


def test_long_speech_loses_nothing_at_the_seams(samples: Path, talk: Audio) -> None:
    """Without pauses: everything quieter than speech is cut out of the talk, and the bound on utterances is short."""
    blocks = talk[: len(talk) // 800 * 800].reshape(-1, 800)
    dense = blocks[np.abs(blocks).max(axis=1) > 600].reshape(-1)
    assert len(dense) > 35 * 16_000
    whole = words_of(text_of(transcribed(session(dense), **TINY, longest_s=28.0)))
    short = transcribed(session(dense), **TINY, longest_s=7.0)
    assert len(of(Transcript, short)) > 5
    assert error_rate(" ".join(whole), text_of(short)) <= 15
    reference = (samples / "talk_en_60s.txt").read_text("utf-8")
    assert len(words_of(text_of(short))) == pytest.approx(len(words_of(reference)), rel=0.08)


def timed(text: str, first_ms: int = 0) -> list[Word]:
    """Words of 100 ms each."""
    return [
        Word(text=word, start_ms=first_ms + i * 100, end_ms=first_ms + i * 100 + 100)
        for i, word in enumerate(text.split())
    ]


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        (timed("a b c d e"), timed("c d e f", 200), "a b c d e f"),
        (timed("a b c, D"), timed("C d e", 260), "a b c, d e"),  # the second heard c a little late: both count it
        (timed("a b c d", 60), timed("b c d e", 40), "a b c d e"),  # c is right of the cut in one, left in the other
        (timed("a b"), timed("x y", 300), "a b x y"),
        ([], timed("d e", 300), "d e"),
        (timed("no no no"), timed("no no yes", 100), "no no no yes"),
    ],
)
def test_each_word_once_where_utterances_overlap(before: list[Word], after: list[Word], whole: str) -> None:
    first, second = seams.within(before, None, 300), seams.after(after, 300, before)
    assert seams.joined([*first, *second], "en") == whole


def test_a_language_without_spaces_is_joined_without_them() -> None:
    assert seams.joined(timed("こん にち は"), "ja") == "こんにちは"


# ---- the contract of a filter ----------------------------------------------------------------------------------------


def test_sessions_may_be_interleaved_and_share_one_model(talk: Audio) -> None:
    one, two = talk[: 9 * 16_000], talk[9 * 16_000 : 20 * 16_000]
    alone = [text_of(transcribed(session(audio), **TINY)) for audio in (one, two)]
    a, b = session(one, "a", chunk_ms=700), session(two, "b")
    mixed = [record for pair in zip(a, b, strict=False) for record in pair] + a[len(b) :] + b[len(a) :]
    out = transcribed(mixed, **TINY)
    assert [text_of(r for r in out if r.session == name) for name in "ab"] == alone
    for name in "ab":
        mine = [record for record in out if record.session == name]
        assert isinstance(mine[0], Header)
        assert isinstance(mine[-1], Eos)
    assert open_engine(Options(**TINY)) is open_engine(Options(**TINY, beam_size=2))


def test_the_same_records_give_the_same_bytes(talk: Audio) -> None:
    part = talk[: 20 * 16_000]
    assert transcribed(session(part), **TINY) == transcribed(session(part, chunk_ms=330), **TINY)


def test_other_records_pass_and_audio_is_kept_on_request(talk: Audio) -> None:
    packet = Packet("s", seq=0, stream="video", pts=0, dts=0, duration=1, time_base=(1, 25), data=b"x")
    unknown = Unknown(type="novel", session="s")
    records = session(talk[: 3 * 16_000])
    records[2:2] = [packet, unknown]
    out = transcribed(records, engine="stub")
    assert [record for record in out if record is packet or record is unknown] == [packet, unknown]
    assert of(Pcm, out) == []
    assert of(Pcm, transcribed(records, engine="stub", keep_audio=True)) == of(Pcm, records)


def test_status_says_what_was_done(talk: Audio) -> None:
    running, done = of(Status, transcribed(session(talk[: 9 * 16_000]), engine="stub"))
    assert (running.stage, running.state) == ("transcribe", "running")
    assert (done.state, done.counters["audio_ms"]) == ("completed", 9000)
    assert done.counters["transcripts"] == done.counters["utterances"] > 0


def test_a_session_that_breaks_off_keeps_what_was_heard(talk: Audio) -> None:
    broken = Error("s", stage="normalize", code="damaged", message="no more", fatal=True)
    out = transcribed([*session(talk[: 9 * 16_000])[:-1], broken], engine="stub")
    assert of(Transcript, out)
    assert of(Status, out)[-1].state == "failed"
    assert out[-1] is broken


@pytest.mark.parametrize("whole", [True, False])
def test_no_thread_outlives_its_session(talk: Audio, whole: bool) -> None:
    before = set(threading.enumerate())
    records = session(talk[: 30 * 16_000])
    if whole:
        records.insert(20, Header("fails", proto=1, source="test", language="en"))
        out = transcribed(records, engine="stub", stub_error_rate=1.0)
        assert isinstance(out[-1], Error)
    else:
        stopped = stage(Options(engine="stub"))(iter(records))
        next(r for r in stopped if isinstance(r, Status))
        stopped.close()
    ended = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("window")]
    for thread in ended:
        thread.join(10)
    assert not any(thread.is_alive() for thread in ended)


@pytest.mark.parametrize("samples_in", [0, 1, 100, 800, 3200, 11_200])
def test_very_short_audio(samples_in: int, talk: Audio) -> None:
    out = transcribed(session(talk[16_000 : 16_000 + samples_in]), engine="stub")
    assert isinstance(out[-1], Eos)
    assert of(Error, out) == []


def test_a_stub_hears_the_same_every_time(talk: Audio) -> None:
    part = session(talk[: 12 * 16_000])
    once = transcribed(part, engine="stub", stub_seed=3)
    assert once == transcribed(part, engine="stub", stub_seed=3)
    assert text_of(once) != text_of(transcribed(part, engine="stub", stub_seed=4))


def test_through_the_pipe_from_a_file(samples: Path) -> None:
    out = transcribed(normalized(ingested(samples / "hello_en.flac")), **TINY)
    assert error_rate((samples / "hello_en.txt").read_text("utf-8"), text_of(out)) <= 25


# ---- what can be asked for -------------------------------------------------------------------------------------------


def test_a_missing_model_ends_the_session_and_says_which(talk: Audio) -> None:
    out = transcribed(session(talk[:16_000]), model="no-such-model")
    (error,) = of(Error, out)
    assert (error.stage, error.code, error.fatal) == ("transcribe", ModelMissing.code, True)
    assert "no-such-model" in error.message


def test_an_english_model_refuses_another_language(talk: Audio) -> None:
    (error,) = of(Error, transcribed(session(talk[: 4 * 16_000]), **TINY, from_="pt"))
    assert (error.code, error.fatal) == (UsageError.code, True)
    assert "pt" in error.message


def test_too_short_a_bound_is_refused() -> None:
    with pytest.raises(UsageError, match="--longest"):
        stage(Options(longest_s=0.5))


def test_the_language_may_come_with_the_header_in_any_form(talk: Audio) -> None:
    out = transcribed(session(talk[: 4 * 16_000], language="en-GB"), **TINY)
    assert {t.language for t in of(Transcript, out)} == {"en"}


@pytest.mark.parametrize("preset", ["latency", "accuracy"])
def test_presets(talk: Audio, samples: Path, preset: str) -> None:
    reference = " ".join((samples / "talk_en_60s.txt").read_text("utf-8").split()[:40])
    heard = words_of(text_of(transcribed(session(talk[: 24 * 16_000]), **TINY, preset=preset)))
    assert error_rate(reference, " ".join(heard[:40])) <= 25


def test_memory_is_bounded_by_the_window(talk: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of speech: what waits to be recognised never holds more than the preset's window."""
    waiting: list[float] = []

    class Watched(transcribing.BatchRecognizer):
        def recognize(self, utterances: Any, decoding: Any) -> Any:
            waiting.append(sum(utterance.seconds for utterance in utterances))
            return super().recognize(utterances, decoding)

    monkeypatch.setattr(transcribing, "BatchRecognizer", Watched)
    records: list[StreamRecord] = [Header("s", proto=1, source="test")]
    for number in range(15):
        records += pcm(talk, start_ms=number * len(talk) // 16)
    transcribed([*records, Eos("s")], engine="stub")
    preset = transcribing.PRESETS["balanced"]
    assert len(waiting) > 2
    assert max(waiting) <= preset.window_s + preset.longest_s + 2
