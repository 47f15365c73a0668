"""The dub stage on real voices: what it says, when, how loud, and what it leaves behind when things go wrong."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import jiwer
import msgspec
import numpy as np
import pytest

from loudnesses import ebur128
from streamlation_cli import ndjson
from streamlation_cli.dubbing import voices
from streamlation_cli.dubbing.timefit import MAX_TEMPO, MIN_TEMPO, PAUSE_MS
from streamlation_cli.engines import espeak
from streamlation_cli.errors import UsageError
from streamlation_cli.records import (
    Eos,
    Error,
    Header,
    Speech,
    Status,
    StreamRecord,
    Transcript,
    Translation,
)
from streamlation_cli.sessions import Stage
from streamlation_cli.stages import dub
from support import streamlation
from test_dub_audio import decoded

SENTENCES = [
    ("Bom dia a todos, e obrigado por terem vindo.", 300, 2600),
    ("Hoje vamos falar sobre a história da computação, e como as máquinas mudaram a vida das pessoas.", 2700, 7200),
    ("[música]", 7200, 9000),
    ("Vamos começar.", 9500, 10_500),
]


def talk(
    sentences: Iterable[tuple[str, int, int]] = SENTENCES,
    *,
    session: str = "s",
    language: str = "pt",
    duration_ms: int = 12_000,
) -> list[StreamRecord]:
    """A session of translations."""
    return [
        Header(session, proto=1, source="talk", target_language=language),
        *(
            Translation(
                session, id=f"t{i}", start_ms=start, end_ms=end, text=text, final=True,
                source_text="…", source_language="en", target_language=language,
            )
            for i, (text, start, end) in enumerate(sentences)
        ),
        Eos(session, duration_ms=duration_ms),
    ]  # fmt: skip


def run(stage: Stage, records: Iterable[StreamRecord]) -> list[StreamRecord]:
    return list(stage(iter(records)))


def speeches(records: Iterable[StreamRecord]) -> list[Speech]:
    return [record for record in records if isinstance(record, Speech)]


def errors(records: Iterable[StreamRecord]) -> list[Error]:
    return [record for record in records if isinstance(record, Error)]


def check_placing(records: Iterable[StreamRecord]) -> None:
    """No two utterances overlap, tempo is within bounds, drift is what the records say it is."""
    records = list(records)
    sources = {r.id: r for r in records if isinstance(r, Translation | Transcript)}
    free = 0
    for speech in speeches(records):
        source = sources[speech.id]
        assert speech.start_ms >= free
        assert speech.end_ms - speech.start_ms == pytest.approx(
            len(speech.data) / 2 / speech.sample_rate_hz * 1000, abs=1
        )
        assert MIN_TEMPO - 0.001 <= speech.tempo <= MAX_TEMPO + 0.001
        assert speech.drift_ms >= max(0, speech.start_ms - source.start_ms, speech.end_ms - source.end_ms) - 2
        free = speech.end_ms + PAUSE_MS


def test_sentences_become_speech_on_their_times(tmp_path: Path) -> None:
    path = tmp_path / "talk.pt.wav"
    source = talk()
    records = run(dub.stage(dub.Options(output=(str(path),), engine="espeak")), source)
    said = speeches(records)
    assert [speech.id for speech in said] == ["t0", "t1", "t3"]
    assert {speech.voice for speech in said} == {"pt-br"}
    assert said[0].start_ms == 300
    assert said[2].start_ms == 9500
    check_placing(records)
    forwarded = [record for record in records if not isinstance(record, Speech | Status)]
    assert forwarded[0] == msgspec.structs.replace(source[0], dubbed=("pt",))
    assert all(a is b for a, b in zip(forwarded[1:], source[1:], strict=True)), "a record was not passed on as it came"
    states = [record for record in records if isinstance(record, Status)]
    assert [status.state for status in states] == ["running", "completed"]
    assert states[1].counters["utterances"] == 3
    samples = decoded(path)
    assert samples.shape == (2, 12 * 48_000)
    assert np.array_equal(samples[0], samples[1])
    for speech in said:
        in_file = samples[0, speech.start_ms * 48 : speech.end_ms * 48]
        in_record = np.frombuffer(speech.data, "<i2") / 32768
        assert np.sqrt((in_file**2).mean()) == pytest.approx(np.sqrt((in_record**2).mean()), rel=0.02)
    between = samples[0, said[1].end_ms * 48 + 100 : said[2].start_ms * 48 - 100]
    assert np.abs(between).max() == 0


def test_every_format_has_the_media_length(tmp_path: Path) -> None:
    names = [str(tmp_path / f"talk.{kind}") for kind in ("wav", "flac", "m4a", "mp3", "opus")]
    assert not errors(run(dub.stage(dub.Options(output=tuple(names), engine="espeak")), talk()))
    for name in names:
        with av.open(name) as container:
            assert container.duration is not None
            assert container.duration / 1e6 == pytest.approx(12.0, abs=0.02)
        heard = np.flatnonzero(np.abs(decoded(Path(name))[0]) > 0.05)
        assert heard[0] / 48_000 == pytest.approx(0.32, abs=0.06), name


def test_a_last_sentence_that_is_too_long_starts_early_rather_than_outlast_the_media(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    late = [("Obrigado a todos vocês, e até a próxima semana.", 3000, 5200)]
    records = run(dub.stage(dub.Options(output=(str(path),), engine="espeak")), talk(late, duration_ms=5300))
    (said,) = speeches(records)
    assert said.start_ms < 3000
    assert said.end_ms <= 5300
    assert decoded(path).shape[1] == 5300 * 48


def test_a_second_run_takes_everything_from_the_cache_and_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name, error_rate in (("a", 0.0), ("b", 1.0)):  # the second time an engine that is asked anything fails
        path = tmp_path / f"{name}.flac"
        options = dub.Options(output=(str(path),), engine="stub", stub_error_rate=error_rate)
        records = run(dub.stage(options), talk())
        assert not errors(records)
        lines = b"".join(ndjson.encode(record) for record in records)  # type: ignore[arg-type]
        made.append((lines, path.read_bytes()))
    assert made[0] == made[1]
    uncached = run(dub.stage(dub.Options(engine="stub", no_cache=True)), talk())
    assert b"".join(ndjson.encode(record) for record in uncached) == made[0][0]  # type: ignore[arg-type]
    shaky = dub.Options(engine="stub", no_cache=True, stub_error_rate=0.3, stub_seed=0)
    assert speeches(run(dub.stage(shaky), talk())) == speeches(uncached), "a failure that passes was not tried again"
    failing = dub.Options(engine="stub", no_cache=True, stub_error_rate=1.0)
    assert errors(run(dub.stage(failing), talk()))[0].code == "temporary"


@pytest.mark.parametrize("engine", ["espeak", "piper"])
def test_real_voices_give_the_same_bytes_from_a_cold_and_a_warm_cache(engine: str) -> None:
    english = [("Good morning, and thank you all for coming here today.", 0, 1800), ("Was it worth it?", 2000, 4000)]
    made = [run(dub.stage(dub.Options(engine=engine)), talk(english, language="en")) for _ in range(2)]
    assert speeches(made[0]) == speeches(made[1])
    assert len(speeches(made[0])) == 2
    check_placing(made[0])
    levels = [20 * np.log10(np.sqrt((np.frombuffer(s.data, "<i2") / 32768.0) ** 2).mean()) for s in speeches(made[0])]
    assert all(-30 < level < -15 for level in levels)


def test_sessions_are_kept_apart(tmp_path: Path) -> None:
    a, b = talk(session="a"), talk([("Ciao a tutti.", 0, 1000)], session="b", language="it", duration_ms=3000)
    mixed = [record for i in range(len(a)) for record in (a[i : i + 1] + b[i : i + 1])]
    options = dub.Options(output=(str(tmp_path / "{session}.wav"),), engine="espeak")
    records = run(dub.stage(options), mixed)
    alone = run(dub.stage(dub.Options(engine="espeak")), a)
    assert [s for s in speeches(records) if s.session == "a"] == speeches(alone)
    assert [s.voice for s in speeches(records) if s.session == "b"] == ["it"]
    assert decoded(tmp_path / "b.wav").shape[1] == 3 * 48_000


def test_transcripts_are_spoken_where_nothing_was_translated() -> None:
    records: list[StreamRecord] = [
        Header("s", proto=1, source="x"),
        Transcript("s", id="1", start_ms=0, end_ms=900, text="Partial", final=False, language="en"),
        Transcript("s", id="1", start_ms=0, end_ms=1500, text="Partial no more.", final=True, language="en"),
        Eos("s", duration_ms=2000),
    ]
    (said,) = speeches(run(dub.stage(dub.Options(engine="espeak")), records))
    assert said.voice == "en-us"
    translated = [_translated(records[0]), *records[1:]]
    assert not speeches(run(dub.stage(dub.Options(engine="espeak")), translated))


def _translated(header: StreamRecord) -> Header:
    """The header of a session that was translated."""
    assert isinstance(header, Header)
    return Header(header.session, proto=1, source=header.source, target_language="pt")


def test_text_of_unknown_language_asks_for_it() -> None:
    records = [
        Header("s", proto=1, source="x"),
        Transcript("s", id="1", start_ms=0, end_ms=900, text="Hm.", final=True),
        Eos("s"),
    ]
    (error,) = errors(run(dub.stage(dub.Options(engine="espeak")), records))
    assert error.fatal
    assert "--from" in error.message
    assert len(speeches(run(dub.stage(dub.Options(engine="espeak", from_="de")), records))) == 1


def test_a_live_session_does_not_wait_for_the_next_sentence() -> None:
    header = Header("s", proto=1, source="x", target_language="pt", live=True)
    seen: list[str] = []

    def source() -> Iterator[StreamRecord]:
        yield header
        for record in talk()[1:-1]:
            yield record
            seen.append(f"after {record.id}")  # type: ignore[union-attr]
        yield Eos("s", duration_ms=12_000)

    for record in dub.stage(dub.Options(engine="espeak"))(source()):
        if isinstance(record, Speech):
            seen.append(f"speech {record.id}")
    assert seen.index("speech t0") < seen.index("after t0")


def test_text_that_cannot_be_spoken_does_no_harm() -> None:
    odd = [
        "",
        "   ",
        "🎉",
        "[applause]",
        "...",
        "\u0000\u0007",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
        "漢字",
        "a" * 5000,
        "'; DROP TABLE--",
        "\ufffd",
        "1",
    ]
    records = run(
        dub.stage(dub.Options(engine="espeak")),
        talk([(text, i * 1000, i * 1000 + 900) for i, text in enumerate(odd)], duration_ms=600_000),
    )
    assert not errors(records)
    check_placing(records)
    assert "t11" in {speech.id for speech in speeches(records)}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (dub.Options(engine="espeak", voice="no-such-voice"), "usage", "no-such-voice"),
        (dub.Options(engine="piper", voice="no-such-voice"), "model-missing", "no-such-voice"),
        (dub.Options(engine="piper"), "unavailable", "no installed Piper voice speaks 'tlh'"),
        (dub.Options(engine="auto"), "unavailable", "tlh"),
        (dub.Options(engine="festival"), "usage", "espeak"),
    ],
)
def test_a_voice_that_is_missing_ends_the_session_at_once(options: dub.Options, code: str, message: str) -> None:
    records = run(dub.stage(options), talk(language="tlh"))
    (error,) = errors(records)
    assert (error.code, error.fatal) == (code, True)
    assert message in error.message
    assert not any(isinstance(record, Translation) for record in records)


def test_options_that_make_no_sense_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match="ogg"):
        dub.stage(dub.Options(output=("talk.ogg",)))
    with pytest.raises(UsageError, match="-o FILE"):
        dub.stage(dub.Options(mix="duck"))


def test_ducking_without_the_original_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    (error,) = errors(run(dub.stage(dub.Options(output=(str(path),), mix="duck", engine="espeak")), talk()))
    assert "--keep-packets" in error.message
    assert not path.exists()


def test_a_session_that_fails_leaves_no_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    failure = Error("s", stage="transcribe", code="damaged", message="broken", fatal=True)
    records = run(dub.stage(dub.Options(output=(str(path),), engine="espeak")), [*talk()[:-1], failure])
    assert records[-1] is failure
    assert len(speeches(records)) == 3, "what was known is spoken"
    assert not path.exists()
    assert decoded(tmp_path / "talk.wav.part").shape[1] > 10 * 48_000


def test_a_reader_that_goes_away_leaves_no_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.flac"
    produced = dub.stage(dub.Options(output=(str(path),), engine="espeak"))(iter(talk()))
    while not isinstance(next(produced), Speech):
        pass
    produced.close()
    assert not path.exists()


def test_voices_are_listed_by_engine() -> None:
    text = dub.listing(dub.Options(voices=True))
    assert text is not None
    rows = [line.split("\t") for line in text.splitlines()]
    assert all(len(row) == 4 for row in rows)
    assert len([row for row in rows if row[0] == "espeak"]) > 100
    assert ["piper", "en_US-joe-medium"] in [row[:2] for row in rows]
    assert dub.listing(dub.Options()) is None
    assert "piper" not in (dub.listing(dub.Options(voices=True, engine="espeak")) or "")


@pytest.mark.parametrize(
    ("language", "voice"),
    [("pt", "pt-br"), ("pt-PT", "pt"), ("en", "en-us"), ("en-GB", "en-gb"), ("zh", "cmn"), ("no", "nb"), ("es-MX", "es-419"),
     ("de-CH", "de"), ("xx", None)],
)  # fmt: skip
def test_espeak_finds_the_voice_of_a_language(language: str, voice: str | None) -> None:
    assert espeak.voice_for(language) == voice


def test_espeak_works_from_a_folder_with_a_long_name(tmp_path: Path) -> None:
    import espeakng_loader

    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    folder.mkdir(parents=True)
    (folder / "espeakng_loader").symlink_to(Path(espeakng_loader.__file__).parent)
    code = (
        "import sys, tempfile; sys.path.insert(0, sys.argv[1]); tempfile.tempdir = sys.argv[2]\n"
        "import espeakng_loader; assert espeakng_loader.get_data_path().startswith(sys.argv[1])\n"
        "from streamlation_cli.engines.espeak import EspeakSynthesizer\n"
        "print(len(EspeakSynthesizer(language='pt').synthesize('Olá.').samples))"
    )
    (tmp_path / "t").mkdir()
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "t")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5000
    assert not list((tmp_path / "t").iterdir()), "the link was left behind"


def test_auto_prefers_piper_where_it_speaks_the_language() -> None:
    for language, identity in (("en", "piper"), ("pt", "espeak")):
        engine = voices.synthesizer(voices.Voice("auto"), language)
        assert engine.identity.startswith(identity)
        engine.close()


def test_piper_is_the_same_again_and_obeys_the_tempo() -> None:
    text = "Every stone was cut on land, numbered, and fitted to the next one like a piece of a puzzle."
    lengths = []
    for _ in range(2):
        engine = voices.synthesizer(voices.Voice("piper"), "en", threads=1)
        sounds = [engine.synthesize(text, tempo) for tempo in (0.9, 1.0, 1.35)]
        lengths.append([len(sound.samples) for sound in sounds])
        assert all(sound.sample_rate_hz == 22_050 for sound in sounds)
    slow, natural, fast = lengths[0]
    assert lengths[0] == lengths[1]
    assert slow > natural > fast
    assert natural / fast == pytest.approx(1.35, rel=0.12)


def _ingested(path: Path, *arguments: str) -> bytes:
    ingest = streamlation("ingest", path, "--from", "en").ok()
    return streamlation("normalize", *arguments, stdin=ingest.stdout).ok().stdout


def test_ducking_keeps_the_original_of_a_real_file_in_its_place(samples: Path, tmp_path: Path) -> None:
    """The mix minus the voice is the original: at full level in pauses, 12 dB lower under the voice, not a sample off."""
    stream = _ingested(samples / "talk_en_60s.opus", "--keep-packets")
    records = list(ndjson.Reader(io.BytesIO(stream)))
    header, end = records[0], records[-1]
    assert isinstance(header, Header)
    assert isinstance(end, Eos)
    spoken = [
        _in_session(record, header.session)
        for record in talk(
            [("Bom dia a todos, e obrigado por terem vindo.", 6000, 9000), ("Valeu a pena?", 39_800, 40_500)]
        )[1:-1]
    ]
    translated = Header(header.session, proto=1, source="x", target_language="pt", audio=header.audio)
    records = [translated, *records[1:-1], *spoken, end]
    tracks = {}
    for mix in ("duck", "replace"):
        path = tmp_path / f"{mix}.flac"
        made = run(dub.stage(dub.Options(output=(str(path),), mix=mix, engine="espeak", duck_db=12)), records)
        assert not errors(made)
        tracks[mix] = decoded(path)
    assert tracks["duck"].shape == (2, 60 * 48_000)
    original = decoded(samples / "talk_en_60s.opus")[0]
    mixed, voice = tracks["duck"][0], tracks["replace"][0]

    def gain_db(start_ms: int, end_ms: int) -> float:
        gains, rests = [], []
        for start in range(start_ms * 48, end_ms * 48 - 4800, 4800):
            part = slice(start, start + 4800)
            parts = np.stack([original[part], voice[part]], axis=1)
            if np.abs(original[part]).max() > 0.05:
                found, *_ = np.linalg.lstsq(parts, mixed[part], rcond=None)
                gains.append(20 * np.log10(abs(float(found[0]))))
                rests.append(float(np.std(mixed[part] - parts @ found) / np.std(mixed[part])))
        assert np.median(rests) < 0.01, "the original or the voice is not where it was"
        return float(np.median(gains))

    said = speeches(made)
    full = gain_db(said[0].end_ms + 310, said[0].end_ms + 4000)
    assert gain_db(500, said[0].start_ms - 210) == pytest.approx(full, abs=1)  # the gain moves slowly
    assert gain_db(said[0].start_ms, said[0].end_ms) == pytest.approx(full - 12, abs=0.5)
    loudness, peak = ebur128(tmp_path / "duck.flac")
    assert loudness == pytest.approx(-16, abs=1)
    assert peak <= -1


def _in_session(record: StreamRecord, session: str) -> Translation:
    """The translation in another session."""
    assert isinstance(record, Translation)
    return msgspec.structs.replace(record, session=session)


def test_the_program_writes_wav_to_standard_output() -> None:
    stdin = b"".join(ndjson.encode(record) for record in talk())  # type: ignore[arg-type]
    result = streamlation("dub", "--engine", "espeak", "-o", "-", stdin=stdin).ok()
    with av.open(io.BytesIO(result.stdout)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples == 12 * 48_000
    listed = streamlation("dub", "--voices", stdin=None).ok()
    assert b"\tpt-br\t" in listed.stdout


def _words(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def _heard(path: Path, language: str) -> str:
    from faster_whisper import WhisperModel

    from streamlation_cli.models import store

    model = WhisperModel(str(store.resolve("whisper", "base")), device="cpu", compute_type="int8", cpu_threads=2)
    segments, _ = model.transcribe(str(path), language=language, beam_size=5)
    return " ".join(segment.text for segment in segments)


@pytest.mark.long
def test_a_portuguese_clip_in_english_is_understood(shared: Path, tmp_path: Path) -> None:
    clip, log = shared / "speech/pt/fleurs-pt-000.ogg", tmp_path / "log.ndjson"
    streamlation(
        "run", clip, "--from", "pt", "--to", "en", "-o", tmp_path / "dub.wav", "-o", log, "-q", stdin=None
    ).ok()
    translations = [r for r in map(json.loads, log.read_text().splitlines()) if r["type"] == "translation"]
    expected = _words(" ".join(record["text"] for record in translations))
    assert jiwer.wer(expected, _words(_heard(tmp_path / "dub.wav", "en"))) <= 0.15


@pytest.mark.long
def test_the_sample_talk_is_dubbed_within_a_second_and_a_half(samples: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.ndjson"
    streamlation(
        "run",
        samples / "talk_en_60s.opus",
        "--from",
        "en",
        "--to",
        "pt",
        "-o",
        tmp_path / "talk.wav",
        "-o",
        log,
        "-q",
        stdin=None,
    ).ok()
    with log.open("rb") as file:
        records = list(ndjson.Reader(file))
    check_placing(records)
    said = speeches(records)
    spoken = [r for r in records if isinstance(r, Translation) and r.final]
    assert len(said) == len(spoken) >= 10
    assert max(speech.drift_ms for speech in said) <= 1500
    assert decoded(tmp_path / "talk.wav").shape[1] == 60 * 48_000


_LONG = """
import resource, sys
from streamlation_cli.records import Eos, Header, Pcm, Translation
from streamlation_cli.stages import dub

minutes, mix, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def talk():
    yield Header("s", proto=1, source="x", target_language="pt")
    for i in range(minutes * 2):
        start = i * 30_000
        if mix == "duck":
            for j in range(30):
                yield Pcm("s", seq=0, start_ms=start + j * 1000, end_ms=start + j * 1000 + 1000, rms_dbfs=-120,
                          peak_dbfs=-120, data=bytes(32_000))
        yield Translation("s", id=str(i), start_ms=start, end_ms=start + 3000, text=f"Frase número {i}.", final=True,
                          source_text="x", source_language="en", target_language="pt")
    yield Eos("s", duration_ms=minutes * 60_000)

for record in dub.stage(dub.Options(output=(path,), mix=mix, engine="stub"))(talk()):
    assert type(record).__name__ != "Error", record
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(("mix", "minutes"), [("replace", 90), ("duck", 20)])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, mix: str, minutes: int) -> None:
    peaks = []
    for length in (5, minutes):
        command = [sys.executable, "-c", _LONG, str(length), mix, str(tmp_path / f"{length}.flac")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        peaks.append(int(result.stdout))
    assert peaks[1] <= peaks[0] * 1.10
    with av.open(str(tmp_path / f"{minutes}.flac")) as container:
        assert container.duration == minutes * 60 * 1_000_000
