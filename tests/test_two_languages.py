"""Two target languages in one stream: each stage works on its own, passes the other's records on, and nothing of them is mixed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import srt

from films import RATE_HZ, captions, film, flags, offset_ms, sound
from streamlation_cli.delivery.delay import Delay
from streamlation_cli.dubbing.waveform import from_s16, resampled
from streamlation_cli.models import store
from streamlation_cli.ndjson import decode, encode
from streamlation_cli.records import (
    Cue,
    Eos,
    Header,
    Packet,
    Speech,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    Word,
)
from streamlation_cli.serving.board import Session
from streamlation_cli.stages import dub, subtitle, translate
from support import shell, streamlation

PIPE = (
    "translate --to pt | streamlation subtitle -o a.pt.srt | streamlation dub --engine espeak | "
    "streamlation translate --to es --engine stub | streamlation subtitle -o a.es.srt | streamlation dub --engine espeak"
)
"""Portuguese by Firefox's models; the suite has none of Spanish, whose words are those of the stub."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film, and what one pipe made of it."""
    folder = tmp_path_factory.mktemp("two")
    film(folder / "talk.mp4")
    shell(
        "streamlation ingest talk.mp4 --video --from en | streamlation normalize --keep-packets | streamlation transcribe | "
        f"streamlation {PIPE} | streamlation mux -o a.mkv -o a.m3u8 > log.ndjson",
        cwd=folder,
    ).ok()
    return folder


def logged(folder: Path, kind: type[Any]) -> list[Any]:
    records = [decode(line) for line in (folder / "log.ndjson").read_bytes().splitlines()]
    return [record for record in records if isinstance(record, kind)]


def texts(folder: Path, language: str) -> list[str]:
    return [one.text for one in logged(folder, Translation) if one.target_language == language]


def subtitles(file: Path) -> list[tuple[int, int, str]]:
    return [
        (round(cue.start.total_seconds() * 1000), round(cue.end.total_seconds() * 1000), cue.content)
        for cue in srt.parse(file.read_text("utf-8"))
    ]


def test_each_language_has_its_voice_and_its_captions(made: Path) -> None:
    assert [(kind, language, default) for kind, _, language, default in flags(made / "a.mkv")][1:] == [
        ("audio", "por", True), ("audio", "spa", False), ("audio", "eng", False),
        ("subtitle", "por", False), ("subtitle", "spa", False), ("subtitle", "eng", False),
    ]  # fmt: skip
    for index, language in enumerate(("pt", "es")):
        written = subtitles(made / f"a.{language}.srt")
        assert captions(made / "a.mkv", index) == written
        shown = " ".join(text for _, _, text in written).split()
        assert shown == " ".join(texts(made, language)).split()
    assert texts(made, "pt") != texts(made, "es")


@pytest.mark.parametrize(("index", "language"), [(0, "pt"), (1, "es")])
def test_every_utterance_is_on_its_track_when_it_was_planned(made: Path, index: int, language: str) -> None:
    ids = {one.id: one.target_language for one in logged(made, Translation)}
    spoken = [one for one in logged(made, Speech) if one.language == language]
    assert len(spoken) >= 3
    assert {ids[one.id] for one in spoken} == {language}
    track, other = sound(made / "a.mkv", index), sound(made / "a.mkv", 1 - index)
    for record in spoken:
        samples = resampled(from_s16(record.data), record.sample_rate_hz, RATE_HZ)
        late_ms, sureness = offset_ms(track, samples, record.start_ms)
        assert sureness > 0.9, record.id
        assert abs(late_ms) < 80, record.id
        assert offset_ms(other, samples, record.start_ms)[1] < 0.5, record.id


def test_the_portuguese_track_says_what_the_portuguese_subtitles_do(made: Path) -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(
        str(store.resolve("whisper", "base")), device="cpu", compute_type="int8", local_files_only=True
    )
    heard, _ = model.transcribe(resampled(sound(made / "a.mkv", 0), RATE_HZ, 16_000), language="pt", beam_size=5)
    words = [
        " ".join(segment.text for segment in heard),
        *(" ".join(texts(made, language)) for language in ("pt", "es")),
    ]
    found, portuguese, spanish = (re.sub(r"[^\w\s]", "", text).lower() for text in words)
    assert jiwer.wer(portuguese, found) < 0.7 < jiwer.wer(spanish, found)  # a synthesizer's voice is hard to understand


def test_hls_offers_each_language(made: Path) -> None:
    master = (made / "a.m3u8").read_text()
    for kind, group in (("AUDIO", "audio"), ("SUBTITLES", "captions")):
        lines = [line for line in master.splitlines() if f'TYPE={kind},GROUP-ID="{group}"' in line]
        assert [re.findall(r'LANGUAGE="(\w+)"', line) for line in lines] == [["pt"], ["es"], ["en"]]
    assert {file.name for file in made.glob("a.*.m3u8")} == {"a.pt.m3u8", "a.es.m3u8", "a.en.m3u8"}


def test_each_voice_has_the_original_under_it(made: Path, tmp_path: Path) -> None:
    shell(f"streamlation mux --mix duck -o mixed.mkv < {made / 'log.ndjson'} > again.ndjson", cwd=tmp_path).ok()
    for index, language in enumerate(("pt", "es")):
        mixed, alone = sound(tmp_path / "mixed.mkv", index), sound(made / "a.mkv", index)
        pauses = mixed[: len(alone)][np.abs(alone[: len(mixed)]) < 1e-4]
        assert np.sqrt(np.mean(pauses**2)) > 0.02
        one = next(one for one in logged(made, Speech) if one.language == language)
        samples = resampled(from_s16(one.data), one.sample_rate_hz, RATE_HZ)
        assert offset_ms(mixed, samples, one.start_ms)[1] > 0.7


# Each stage


def head(**fields: Any) -> Header:
    return Header("s", proto=1, source="x", language="en", **fields)


def said(number: int, language: str = "", *, live: bool = False) -> Transcript | Translation:
    """A second of speech, or its translation, of which the words are the language's own."""
    start_ms = 1000 * number
    words = tuple(
        Word(text=f"{language or 'en'}{number}{letter}", start_ms=start_ms + 400 * at, end_ms=start_ms + 400 * at + 300)
        for at, letter in enumerate("ab")
    )
    text = " ".join(word.text for word in words) + "."
    if not language:
        return Transcript(
            "s",
            id=f"u{number}",
            start_ms=start_ms,
            end_ms=start_ms + 900,
            text=text,
            final=True,
            language="en",
            words=words,
        )
    return Translation(
        "s", id=f"s{number}" if language == "pt" else f"{language}-s{number}", start_ms=start_ms, end_ms=start_ms + 900,
        text=text, final=True, source_text="…", source_language="en", target_language=language, words=words,
    )  # fmt: skip


TWO = head(target_language="es", earlier_targets=("pt",))
TALK = [said(number, language) for number in range(3) for language in ("", "pt", "es")]


def run(module: Any, records: Iterable[StreamRecord], **options: Any) -> list[StreamRecord]:
    return list(module.stage(module.Options(**options))(iter(records)))


def of(kind: type[Any], records: Iterable[StreamRecord]) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


@pytest.mark.parametrize("live", [False, True])
def test_a_second_translate_says_what_there_is_and_has_ids_of_its_own(live: bool) -> None:
    source = [head(), *(said(number) for number in range(3)), Eos("s", duration_ms=3000)]
    records = run(
        translate, run(translate, source, to="fr", engine="stub", live=live), to="es", engine="stub", live=live
    )
    (header,) = of(Header, records)
    assert header.targets == ("fr", "es")
    found = [(one.target_language, one.id) for one in of(Translation, records) if one.final]
    assert sorted(found) == [
        ("es", "es-s1"),
        ("es", "es-s2"),
        ("es", "es-s3"),
        ("fr", "s1"),
        ("fr", "s2"),
        ("fr", "s3"),
    ]


def test_a_language_is_translated_into_once() -> None:
    stream = b"".join(map(encode, (TWO, Eos("s"))))
    done = streamlation("translate", "--to", "es", "--engine", "stub", stdin=stream)
    assert done.status == 2
    assert done.of_type("error")[0]["message"] == "session s is translated into es already"


@pytest.mark.parametrize("live", [False, True])
def test_dub_speaks_the_language_of_its_header_and_names_it(live: bool) -> None:
    records = run(dub, [TWO, *TALK, Eos("s", duration_ms=3000)], engine="espeak", live=live)
    (header,) = of(Header, records)
    assert header.dubbed == ("es",)
    assert [(one.language, one.id) for one in of(Speech, records)] == [("es", f"es-s{number}") for number in range(3)]
    assert of(Translation, records) == of(Translation, TALK)
    again = run(dub, [*run(dub, [head(), said(0)], engine="espeak")], engine="espeak")
    assert of(Header, again)[0].dubbed == ("en", "en")


@pytest.mark.parametrize("style", [None, "rollup", "popon"])
def test_subtitle_shows_the_language_of_its_header(tmp_path: Path, style: str | None) -> None:
    options = {} if style is None else {"live": True, "style": style}
    source = [TWO, *TALK, Eos("s", duration_ms=3000)]
    records = run(subtitle, source, output=(str(tmp_path / "es.srt"),), **options)
    assert [record for record in records if not isinstance(record, Status)] == source
    assert " ".join(text for _, _, text in subtitles(tmp_path / "es.srt")).split() == [
        f"es{number}{letter}" for number in range(3) for letter in ("a", "b.")
    ]
    cued = run(subtitle, source, format="ndjson", **options)
    assert {one.target_language for one in of(Translation, cued)} == {"pt"}  # another stage's to show
    assert all(word.startswith("es") for cue in of(Cue, cued) for line in cue.lines for word in line.split())


def test_a_live_presentation_waits_for_each_language() -> None:
    delay = Delay(head(live=True, target_language="es", earlier_targets=("pt",), dubbed=("pt", "es")), "mux")

    def heard(until_ms: int) -> None:
        for end_ms in range(100, until_ms + 1, 100):
            delay.see(
                Packet(
                    "s", seq=0, stream="audio", pts=end_ms - 100, dts=None, duration=100, time_base=(1, 1000), data=b""
                )
            )

    def speech(language: str, number: int) -> Speech:
        text = said(number, language)
        return Speech(
            "s", id=text.id, start_ms=text.start_ms, end_ms=text.end_ms, sample_rate_hz=16_000, voice="v", data=b"\0\0",
            language=language,
        )  # fmt: skip

    heard(12_000)
    for language in ("", "pt", "es"):
        delay.see(said(10, language))
    delay.see(speech("pt", 10))
    heard(20_000)
    assert delay.until_ms == 10_000  # Spanish is not spoken yet
    delay.see(speech("es", 10))
    heard(21_000)
    assert delay.until_ms > 10_000


def test_whoever_comes_late_reads_both_languages() -> None:
    session = Session(TWO)
    for record in TALK:
        session.see(record)
    assert of(Translation, session.records()) == of(Translation, TALK)
    session.see(Eos("s", duration_ms=3000))
    for language in ("pt", "es"):
        content = session.captions.content(language, "srt")
        assert content is not None
        assert f"{language}0a".encode() in content


@pytest.mark.parametrize("verb", [("run", "x.mp4"), ("translate",)])
def test_two_targets_of_one_stage_are_refused(verb: tuple[str, ...]) -> None:
    done = streamlation(*verb, "--to", "pt", "--to", "es")
    assert done.status == 2
    assert done.stdout == b""
    assert "translate --to pt | dub | translate --to es | dub | mux" in done.stderr
    assert len(done.stderr.splitlines()) == 1
