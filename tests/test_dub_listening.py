"""A dub as a listener gets it: its loudness, its joins, who speaks with which voice, how words are said, and what the report says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from loudnesses import ebur128
from streamlation_cli import ndjson
from streamlation_cli.dubbing import voices, waveform
from streamlation_cli.dubbing.lexicon import Lexicon, load
from streamlation_cli.dubbing.loudness import CEILING_DBTP, Mastering, Meter
from streamlation_cli.dubbing.timefit import MAX_TEMPO, MIN_TEMPO
from streamlation_cli.errors import ConfigError, ModelMissing, UsageError
from streamlation_cli.records import Eos, Header, Pcm, Speech, Status, StreamRecord, Translation
from streamlation_cli.stages import dub
from support import streamlation

PROMISED_LUFS, PROMISED_DBTP = -16.0, -1.0

SENTENCES = [
    ("Bom dia a todos, e obrigado por terem vindo.", 2000, 4600),
    ("Hoje vamos falar sobre a história da computação, e como as máquinas mudaram a vida das pessoas.", 5200, 10_500),
    ("Vamos começar.", 16_000, 17_200),
    ("Quem pensaria, há cem anos, que uma máquina pudesse escrever?", 22_000, 25_500),
    ("E, no entanto, foi o que aconteceu.", 41_000, 43_000),
]


def translations(
    sentences: Iterable[tuple[str, int, int]] = SENTENCES, session: str = "s", language: str = "pt", **fields: Any
) -> list[Translation]:
    return [
        Translation(
            session, id=f"t{number}", start_ms=start, end_ms=end, text=text, final=True, source_text="…",
            source_language="en", target_language=language, **fields,
        )
        for number, (text, start, end) in enumerate(sentences)
    ]  # fmt: skip


def run(records: Iterable[StreamRecord], **options: Any) -> list[StreamRecord]:
    return list(dub.stage(dub.Options(**{"engine": "espeak", **options}))(iter(records)))


def session(said: Iterable[Translation], duration_ms: int = 46_000, language: str = "pt") -> list[StreamRecord]:
    return [
        Header("s", proto=1, source="x", target_language=language),
        *said,
        Eos("s", duration_ms=duration_ms),
    ]


def speeches(records: Iterable[StreamRecord]) -> list[Speech]:
    return [record for record in records if isinstance(record, Speech)]


def counters(records: Iterable[StreamRecord]) -> dict[str, float]:
    return [record for record in records if isinstance(record, Status)][-1].counters


# Loudness


@pytest.fixture(scope="module")
def talk(samples: Path) -> list[StreamRecord]:
    """A real talk with its packets, and translations laid over it."""
    stream = streamlation(
        "normalize", "--keep-packets", stdin=streamlation("ingest", samples / "talk_en_60s.opus").ok().stdout
    )
    header, *packets, end = list(ndjson.Reader(io.BytesIO(stream.ok().stdout)))
    assert isinstance(header, Header)
    translated = Header(header.session, proto=1, source="x", target_language="pt", audio=header.audio)
    kept = [record for record in packets if not isinstance(record, Pcm)]
    return [translated, *kept, *translations(session=header.session), end]


@pytest.mark.parametrize(
    ("mix", "extension"),
    [
        ("replace", "m4a"),
        ("duck", "flac"),
        ("duck", "m4a"),
        ("keep", "opus"),
        ("keep", "wav"),
    ],
)
def test_every_file_has_the_promised_loudness(
    talk: list[StreamRecord], tmp_path: Path, mix: str, extension: str
) -> None:
    path = tmp_path / f"talk.{extension}"
    made = run(talk, mix=mix, output=(str(path),))
    assert len(speeches(made)) == len(SENTENCES)
    loudness, peak = ebur128(path)
    assert loudness == pytest.approx(PROMISED_LUFS, abs=1)
    assert peak <= PROMISED_DBTP


@pytest.fixture(scope="module")
def samples() -> Path:
    return Path(__file__).resolve().parent.parent / "testdata" / "audio"


def pcm(samples: np.ndarray) -> Iterable[Pcm]:
    """16 kHz samples as records of half a second."""
    for number, start in enumerate(range(0, len(samples), 8000)):
        part = samples[start : start + 8000]
        yield Pcm(
            "s", seq=number, start_ms=start // 16, end_ms=(start + len(part)) // 16, rms_dbfs=-20, peak_dbfs=-3,
            data=waveform.to_s16(part).tobytes(),
        )  # fmt: skip


def music(seconds: float, peak: float) -> np.ndarray:
    """Chords that swell and fade every few seconds."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6, 440.0))
    swell = 0.2 + 0.8 * np.abs(np.sin(2 * np.pi * time / 14)) ** 2
    return (peak * chord / 4 * swell).astype(np.float32)


@pytest.mark.parametrize("peak", [1.0, 0.01])
@pytest.mark.parametrize("mix", ["duck", "keep"])
def test_a_loud_or_a_soft_original_makes_no_difference_to_it(tmp_path: Path, mix: str, peak: float) -> None:
    path = tmp_path / "mix.wav"
    run(
        [session([])[0], *pcm(music(46, peak)), *translations(), Eos("s", duration_ms=46_000)],
        mix=mix,
        output=(str(path),),
    )
    loudness, true_peak = ebur128(path)
    assert loudness == pytest.approx(PROMISED_LUFS, abs=1)
    assert true_peak <= PROMISED_DBTP


def test_the_mix_of_a_live_session_is_written_at_once_and_comes_to_the_same_loudness(tmp_path: Path) -> None:
    path = tmp_path / "live.wav"
    said = {record.end_ms: record for record in translations()}
    records: list[StreamRecord] = [Header("s", proto=1, source="x", target_language="pt", live=True, started_at=0.0)]
    for one in pcm(music(46, 0.5)):
        records.append(one)
        records += [said.pop(end) for end in list(said) if end <= one.end_ms - 1000]
    records += [*said.values(), Eos("s", duration_ms=46_000)]
    sizes = []
    for record in dub.stage(dub.Options(engine="espeak", live=True, mix="duck", output=(str(path),)))(iter(records)):
        if isinstance(record, Speech):
            sizes.append((record.end_ms, (path.stat().st_size - 80) / 192))
    assert all(end_ms - 500 <= written_ms <= end_ms for end_ms, written_ms in sizes)
    loudness, true_peak = ebur128(path)
    assert loudness == pytest.approx(PROMISED_LUFS, abs=2), "nothing is known ahead, so it takes a while"
    assert true_peak <= PROMISED_DBTP


def test_the_meter_agrees_with_ffmpegs() -> None:
    rng = np.random.default_rng(1)
    for scale in (0.02, 0.3):
        envelope = np.repeat(rng.uniform(0, 1, 60) ** 3, 24_000)
        noise = (rng.normal(0, scale, (2, len(envelope))) * envelope).astype(np.float32)
        meter = Meter()
        for start in range(0, noise.shape[1], 7001):
            meter.feed(noise[:, start : start + 7001])
        assert meter.integrated_lufs == pytest.approx(ebur128(noise)[0], abs=0.1)
    assert Meter().integrated_lufs is None


def test_levelling_and_limiting_do_not_depend_on_how_sound_is_handed_over() -> None:
    noise = np.random.default_rng(2).normal(0, 0.5, (2, 5 * 48_000 + 321)).astype(np.float32)
    made = []
    for step in (48_000, 777, 48_000 * 6):
        mastering = Mastering(ahead_s=2, most_up_db=6, most_down_db=30)
        out = [mastering.push(noise[:, at : at + step]) for at in range(0, noise.shape[1], step)]
        out.append(mastering.push(noise[:, :0], last=True))
        made.append(np.concatenate(out, axis=1))
        assert made[-1].shape == noise.shape
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    assert 20 * np.log10(np.abs(made[0]).max()) <= CEILING_DBTP + 0.1


# Joins


@pytest.mark.parametrize("engine", ["espeak", "piper"])
def test_no_join_clicks(tmp_path: Path, engine: str) -> None:
    """At each edge of an utterance no two neighbouring samples are farther apart than those inside of speech are."""
    path = tmp_path / "dub.wav"
    english = [
        ("Good morning to all of you, and thank you for coming.", 500, 2100),
        ("Why not?", 2300, 4000),
        ("So be it, then.", 4100, 4600),
    ]
    made = run(session(translations(english, language="en"), 6000, "en"), engine=engine, output=(str(path),))
    with av.open(str(path)) as container:
        samples = (
            np.concatenate([frame.to_ndarray().reshape(-1, 2)[:, 0] for frame in container.decode(audio=0)]) / 32768
        )
    jumps = np.abs(np.diff(samples))
    assert {speech.tempo for speech in speeches(made)} - {1.0}, "nothing was stretched"
    for speech in speeches(made):
        for edge_ms in (speech.start_ms, speech.end_ms):
            at = edge_ms * 48
            assert jumps[max(0, at - 144) : at + 144].max() < 0.01, "a click"
    assert jumps.max() > 0.05


# Voices


def test_speakers_have_voices_of_their_own() -> None:
    said = [
        *translations([("Olá, Ana.", 0, 1500)], speaker="A"),
        *(r for r in translations([("", 0, 0), ("Olá, João.", 2000, 3500)], speaker="B")[1:]),
        *(r for r in translations([("", 0, 0)] * 2 + [("Tudo bem?", 4000, 5500)], speaker="A")[2:]),
        *(r for r in translations([("", 0, 0)] * 3 + [("Ninguém disse isto.", 6000, 7500)])[3:]),
    ]  # fmt: skip
    automatic = speeches(run(session(said), engine="auto"))
    assert [speech.speaker for speech in automatic] == ["A", "B", "A", ""]
    assert [speech.voice for speech in automatic] == ["pt-br", "pt-br+f3", "pt-br", "pt-br"]
    chosen = speeches(run(session(said), engine="auto", voice_map="B=espeak:pt+m3, A=pt-br+f2"))
    assert [speech.voice for speech in chosen] == ["pt-br+f2", "pt+m3", "pt-br+f2", "pt-br"]
    by_language = speeches(run(session(said), engine="auto", voice_map="pt=espeak:pt+m1"))
    assert {speech.voice for speech in by_language} == {"pt+m1"}
    one = speeches(run(session(said), engine="espeak", voice="pt"))
    assert {speech.voice for speech in one} == {"pt"}
    assert chosen[0].data != automatic[0].data != one[0].data


def test_the_first_speaker_has_the_best_voice_and_more_speakers_than_voices_share() -> None:
    english = list(voices.voices_for("auto", "en"))
    assert english[0] == voices.Voice("piper", "en_US-joe-medium")
    assert english[1] == voices.Voice("espeak", "en-us+f3")
    many = [
        record
        for number in range(14)
        for record in translations(
            [("", 0, 0)] * number + [("Sim.", 2000 * number, 2000 * number + 900)], speaker=f"S{number}"
        )[number:]
    ]
    said = speeches(run(session(many)))
    assert len(said) == 14
    assert len({speech.voice for speech in said}) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A", "'A' is not SPEAKER=VOICE or LANGUAGE=VOICE"),
        ("A=", "is not SPEAKER=VOICE"),
        ("A=pt,A=en", "A has two voices"),
    ],
)
def test_a_map_that_makes_no_sense(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dub.stage(dub.Options(voice_map=text))


def test_the_speakers_of_a_piper_voice(tmp_path: Path) -> None:
    """No voice with several speakers can be installed here: what is read of one's configuration is tested."""
    model = tmp_path / "xx_XX-many-low.onnx"
    config = Path(f"{model}.json")
    config.write_text(json.dumps({"num_speakers": 3, "speaker_id_map": {"p1": 2, "p2": 0, "p3": 1}}))
    assert voices._speakers_of(model) == ("p1", "p2", "p3")
    assert [voices._speaker_number(str(model), name) for name in ("p1", "p3", "2", "")] == [2, 1, 2, 0]
    with pytest.raises(UsageError, match="has no speaker 'p4'; it has p1, p2, p3"):
        voices._speaker_number(str(model), "p4")
    config.write_text(json.dumps({"num_speakers": 1}))
    assert voices._speaker_number(str(model), "") is None
    with pytest.raises(UsageError, match="it has one speaker"):
        voices._speaker_number(str(model), "3")
    config.write_text("[]")
    with pytest.raises(ConfigError, match="not the configuration of a Piper voice"):
        voices._speaker_number(str(model), "")
    config.unlink()
    with pytest.raises(ModelMissing, match=r"onnx\.json is missing"):
        voices._speaker_number(str(model), "")
    with pytest.raises(UsageError, match="only Piper voices have several speakers"):
        voices.synthesizer(voices.voice_of("espeak:pt#3"), "pt")


# Words


def lexicon(folder: Path, text: str) -> Path:
    file = folder / "words.tsv"
    file.write_text(text, "utf-8")
    return file


def test_words_are_said_as_the_lexicon_has_them(tmp_path: Path) -> None:
    file = lexicon(tmp_path, "# names\nnginx\tengine ex\nWHO\tdouble u h o\ten\nzero\t[[z'oU]]\ten\n")
    said = [("The nginx of the WHO, and who has zero.", 0, 6000)]
    with_it = speeches(run(session(translations(said, language="en"), 8000, "en"), lexicon=str(file)))
    spelt = [("The engine ex of the double u h o, and who has [[z'oU]].", 0, 6000)]
    alone = speeches(run(session(translations(said, language="en"), 8000, "en")))
    assert with_it[0].data != alone[0].data
    words = Lexicon(load(file), "en")
    assert words.spoken(said[0][0]) == spelt[0][0]
    assert Lexicon(load(file), "pt").spoken("O nginx da WHO.") == "O engine ex da WHO."
    plain = translations([("The engine ex of the double u h o, and who has zoh.", 0, 6000)], language="en")
    length = len(speeches(run(session(plain, 8000, "en")))[0].data)
    assert len(with_it[0].data) == pytest.approx(length, rel=0.1), "the phonemes were read out as letters"


def test_phonemes_go_to_piper(tmp_path: Path) -> None:
    file = lexicon(tmp_path, "tomato\t[[təmˈɑːtoʊ]]\ten\n")
    said = session(translations([("A tomato is here.", 0, 3000)], language="en"), 4000, "en")
    with_it = speeches(run(said, engine="piper", lexicon=str(file)))
    alone = speeches(run(said, engine="piper"))
    assert with_it[0].data != alone[0].data
    assert len(with_it[0].data) == pytest.approx(len(alone[0].data), rel=0.15)


def test_a_lexicon_that_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--lexicon .*phonemes without an end"):
        dub.stage(dub.Options(lexicon=str(lexicon(tmp_path, "a\t[[x\n"))))
    result = streamlation("dub", "--lexicon", tmp_path / "absent.tsv", stdin=b"")
    assert result.status == 66
    assert "absent.tsv" in result.stderr


# The report


def test_the_report_says_how_the_voice_fits(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    said = translations(
        [("Sim.", 0, 4000), ("Hoje vamos falar sobre a história da computação.", 5000, 6200), ("Não.", 6300, 7000)]
    )
    made = run(session(said, 10_000), report=str(tmp_path / "{session}.json"))
    report = json.loads(file.read_text())
    numbers = counters(made)
    assert {key: report[key] for key in numbers} == numbers
    assert [row["id"] for row in report["spoken"]] == ["t0", "t1", "t2"]
    assert report["voices"] == ["pt-br"]
    assert report["not_spoken"] == []
    first, second, _ = speeches(made)
    assert numbers["overlaps"] == 0
    assert numbers["dead_air_ms"] == pytest.approx(4000 - first.end_ms + max(0, 7000 - speeches(made)[2].end_ms), abs=5)
    assert numbers["longest_dead_air_ms"] == 4000 - first.end_ms
    assert report["spoken"][1]["tempo"] == second.tempo == numbers["tempo_max"] > 1.2
    assert numbers["worst_drift_ms"] == max(speech.drift_ms for speech in speeches(made))
    assert all(MIN_TEMPO - 0.001 <= row["tempo"] <= MAX_TEMPO + 0.001 for row in report["spoken"])


def test_the_voice_catches_up_in_a_pause() -> None:
    crowded = [
        ("Hoje vamos falar sobre a história da computação e das máquinas.", 1000 * n, 1000 * n + 900) for n in range(4)
    ]
    late = speeches(run(session(translations([*crowded, ("Sim, vamos.", 20_000, 22_000)]))))
    assert late[3].start_ms - 3000 > 3000
    assert late[4].start_ms == 20_000
    assert late[4].drift_ms == 0


def test_what_a_live_voice_leaves_out_is_in_the_report_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    said = translations(
        [("Hoje vamos falar sobre a história da computação.", 700 * n, 700 * n + 600) for n in range(10)]
    )
    made = run(session(said, 30_000), live=True, max_drift=2.0, report=str(file))
    report = json.loads(file.read_text())
    told = [record.detail for record in made if isinstance(record, Status) and "was not spoken" in record.detail]
    assert report["dropped"] == len(report["not_spoken"]) == len(told) > 0
    assert {row["reason"] for row in report["not_spoken"]} == {"the voice is still speaking"}
    assert len(report["spoken"]) + report["dropped"] == 10
    before = [row for row in report["spoken"] if row["id"] < report["not_spoken"][0]["id"]]
    assert before[-1]["tempo"] == pytest.approx(MAX_TEMPO, abs=0.03), (
        "it was dropped before the voice spoke as fast as it may"
    )


@pytest.mark.long
@pytest.mark.parametrize(("name", "source", "target"), [("en-long-dev", "en", "pt"), ("pt-long-dev", "pt", "en")])
def test_real_speech_is_dubbed_within_a_second(
    shared: Path, tmp_path: Path, name: str, source: str, target: str
) -> None:
    report, dubbed = tmp_path / "report.json", tmp_path / "dub.m4a"
    streamlation(
        "run", shared / "speech" / "long" / f"{name}.flac", "--from", source, "--to", target, "--mix", "duck",
        "--report", report, "-o", dubbed, "-q", stdin=None,
    ).ok()  # fmt: skip
    found = json.loads(report.read_text())
    assert found["utterances"] >= 6
    assert found["drift_p95_ms"] <= 1000
    assert found["overlaps"] == 0
    assert min(row["tempo"] for row in found["spoken"]) >= MIN_TEMPO - 0.001
    assert found["tempo_max"] <= MAX_TEMPO + 0.001
    loudness, peak = ebur128(dubbed)
    assert loudness == pytest.approx(PROMISED_LUFS, abs=1)
    assert peak <= PROMISED_DBTP
