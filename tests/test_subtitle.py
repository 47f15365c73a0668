"""The subtitle stage as users run it."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import srt
import webvtt

from support import PROGRAM, Result, eos, header, ndjson, shell, streamlation, transcript


def words(text: str, start_ms: int, step_ms: int = 400) -> list[dict[str, Any]]:
    return [
        {"text": word, "start_ms": start_ms + at * step_ms, "end_ms": start_ms + (at + 1) * step_ms, "confidence": 0.9}
        for at, word in enumerate(text.split())
    ]


def translation(text: str, source: str, start_ms: int, end_ms: int, session: str = "s") -> dict[str, Any]:
    return {
        "type": "translation", "session": session, "id": f"s{start_ms}", "start_ms": start_ms, "end_ms": end_ms, "text": text,
        "final": True, "source_text": source, "source_language": "en", "target_language": "pt",
    }  # fmt: skip


SPOKEN = ndjson(
    header(duration_ms=12_000, language="en"),
    transcript("Good morning, all of you.", 1000, 3000, words=words("Good morning, all of you.", 1000)),
    transcript("We begin.", 6000, 6800, words=words("We begin.", 6000)),
    eos(duration_ms=12_000),
)
TRANSLATED = ndjson(
    header(duration_ms=12_000, language="en", target_language="pt"),
    transcript("Good morning, all of you.", 1000, 3000),
    translation("Bom dia a todos.", "Good morning, all of you.", 1000, 3000),
    eos(duration_ms=12_000),
)
SRT = b"1\n00:00:01,000 --> 00:00:03,500\nGood morning, all of you.\n\n2\n00:00:06,000 --> 00:00:07,300\nWe begin.\n\n"
TEXT = "Good morning, all of you.\nWe begin.\n"


def test_srt_is_the_default() -> None:
    assert streamlation("subtitle", stdin=SPOKEN).ok().stdout == SRT


def test_every_format_from_one_pass(tmp_path: Path) -> None:
    names = ["a.srt", "a.vtt", "a.ass", "a.txt", "a.ndjson"]
    result = streamlation("subtitle", *(f"-o{name}" for name in names), stdin=SPOKEN, cwd=tmp_path).ok()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert (tmp_path / "a.srt").read_bytes() == SRT
    assert [cue.text for cue in webvtt.read(str(tmp_path / "a.vtt"))] == TEXT.splitlines()
    assert "Language: en" in (tmp_path / "a.ass").read_text()
    assert (tmp_path / "a.txt").read_text() == TEXT
    kinds = [json.loads(line)["type"] for line in (tmp_path / "a.ndjson").read_text().splitlines()]
    assert kinds == ["header", "cue", "cue", "eos"]
    # The records go on to whoever comes next.
    assert [r["text"] for r in result.of_type("transcript")] == TEXT.splitlines()
    status = result.of_type("status")[-1]
    assert (status["state"], status["counters"]) == (
        "completed",
        {"cues": 2, "cps_exceeded": 0, "shorter_than_minimum": 0},
    )


@pytest.mark.parametrize("format", ["srt", "vtt", "ass", "txt"])
def test_standard_output_is_the_file(format: str, tmp_path: Path) -> None:
    plain = streamlation("subtitle", "--format", format, stdin=SPOKEN).ok()
    streamlation("subtitle", "-o", f"x.{format}", stdin=SPOKEN, cwd=tmp_path).ok()
    assert plain.stdout == (tmp_path / f"x.{format}").read_bytes()
    both = streamlation("subtitle", "-o", "-", "-o", "y.srt", "--format", format, stdin=SPOKEN, cwd=tmp_path).ok()
    assert both.stdout == plain.stdout
    assert (tmp_path / "y.srt").read_bytes() == SRT


def test_format_names_what_the_extension_does_not(tmp_path: Path) -> None:
    streamlation("subtitle", "--format", "vtt", "-o", "captions", "-o", "a.srt", stdin=SPOKEN, cwd=tmp_path).ok()
    assert (tmp_path / "captions").read_text().startswith("WEBVTT")
    assert (tmp_path / "a.srt").read_bytes() == SRT


def test_cue_records_replace_the_text() -> None:
    result = streamlation("subtitle", "--format", "ndjson", stdin=SPOKEN).ok()
    assert [r["type"] for r in result.records] == ["header", "status", "cue", "cue", "status", "eos"]
    first = result.of_type("cue")[0]
    assert {k: first[k] for k in ("op", "id", "start_ms", "end_ms", "lines", "language")} == {
        "op": "add", "id": "1", "start_ms": 1000, "end_ms": 3500, "lines": ["Good morning, all of you."], "language": "en",
    }  # fmt: skip
    assert [word["text"] for word in first["words"]] == ["Good", "morning,", "all", "of", "you."]


@pytest.mark.parametrize("arguments", [("srt",), ("vtt", "--words"), ("ass", "--words")])
def test_cues_of_a_log_are_written_as_they_are(arguments: tuple[str, ...], tmp_path: Path) -> None:
    direct = streamlation("subtitle", "--format", *arguments, stdin=SPOKEN).ok()
    log = streamlation("subtitle", "--format", "ndjson", stdin=SPOKEN).ok()
    assert streamlation("subtitle", "--format", *arguments, stdin=log.stdout).ok().stdout == direct.stdout
    streamlation("subtitle", "-o", "log.ndjson", stdin=SPOKEN, cwd=tmp_path).ok()
    again = streamlation("subtitle", "--format", *arguments, stdin=(tmp_path / "log.ndjson").read_bytes()).ok()
    assert again.stdout == direct.stdout


def test_updated_and_removed_cues_of_a_log() -> None:
    def cue(op: str, id: str, text: str) -> dict[str, Any]:
        return {"type": "cue", "session": "s", "op": op, "id": id, "start_ms": 1, "end_ms": 9, "lines": [text]}

    log = ndjson(
        header(), cue("add", "1", "a"), cue("update", "1", "b"), cue("add", "2", "c"), cue("remove", "2", "c"), eos()
    )
    assert streamlation("subtitle", "--format", "txt", stdin=log).ok().stdout == b"b\n"


def test_words() -> None:
    text = streamlation("subtitle", "--format", "vtt", "--words", stdin=SPOKEN).ok().stdout.decode()
    assert "Good <00:00:01.400>morning, <00:00:01.800>all <00:00:02.200>of <00:00:02.600>you." in text
    assert [cue.text for cue in webvtt.from_string(text)] == TEXT.splitlines()
    ass = streamlation("subtitle", "--format", "ass", "--words", stdin=SPOKEN).ok().stdout.decode()
    assert r"{\k40}Good {\k40}morning, {\k40}all {\k40}of {\k40}you." in ass


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ["Bom dia a todos."]),
        ("translation", ["Bom dia a todos."]),
        ("transcript", ["Good morning, all of you."]),
        ("both", ["Good morning, all of you.\nBom dia a todos."]),
    ],
)
def test_text(choice: str, expected: list[str]) -> None:
    result = streamlation("subtitle", "--text", choice, stdin=TRANSLATED).ok()
    assert [cue.content for cue in srt.parse(result.stdout.decode())] == expected


def test_plain_text_in_both_languages() -> None:
    result = streamlation("subtitle", "--text", "both", "--format", "txt", stdin=TRANSLATED).ok()
    assert result.stdout.decode() == "Good morning, all of you.\nBom dia a todos.\n\n"


@pytest.mark.parametrize("choice", ["translation", "both"])
def test_no_translation_to_show(choice: str, tmp_path: Path) -> None:
    result = streamlation("subtitle", "--text", choice, "-o", "a.srt", stdin=SPOKEN, cwd=tmp_path)
    assert result.status == 2
    assert "translate" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "expected"), [("srt", b""), ("vtt", b"WEBVTT\n\n"), ("txt", b""), ("ass", None), ("ndjson", None)]
)
def test_nothing_said(format: str, expected: bytes | None, tmp_path: Path) -> None:
    silent = ndjson(header(duration_ms=5000), eos(duration_ms=5000))
    result = streamlation("subtitle", "--format", format, stdin=silent).ok()
    streamlation("subtitle", "-o", f"a.{format}", stdin=silent, cwd=tmp_path).ok()
    if expected is not None:
        assert result.stdout == (tmp_path / f"a.{format}").read_bytes() == expected
    elif format == "ass":
        assert result.stdout.decode().endswith("MarginV, Effect, Text\n")
    else:
        assert [r["type"] for r in result.records] == ["header", "status", "status", "eos"]


def test_sessions_have_files_of_their_own(tmp_path: Path) -> None:
    a = [header("a"), transcript("One.", 0, 900, "a"), eos("a")]
    b = [header("b"), transcript("Two.", 0, 900, "b"), eos("b")]
    mixed = ndjson(a[0], b[0], a[1], b[1], b[2], a[2])
    streamlation("subtitle", "-o", "{session}.txt", stdin=mixed, cwd=tmp_path).ok()
    assert [(tmp_path / f"{name}.txt").read_text() for name in "ab"] == ["One.\n", "Two.\n"]
    clash = streamlation("subtitle", "-o", "all.txt", stdin=mixed, cwd=tmp_path)
    assert clash.status == 2
    assert "{session}" in clash.stderr
    assert (tmp_path / "all.txt").read_text() == "One.\n"


def test_text_that_is_the_same_in_both_languages_is_shown_once() -> None:
    copied = ndjson(header(target_language="pt"), translation("Bom dia!", "Bom dia!", 0, 2000), eos())
    assert b"\nBom dia!\n\n" in streamlation("subtitle", "--text", "both", stdin=copied).ok().stdout


def test_text_that_may_still_change_is_not_shown(tmp_path: Path) -> None:
    live = ndjson(
        header(), transcript("Good mourning", 0, 900, final=False), transcript("Good morning.", 0, 1200, rev=1), eos()
    )
    assert b"mourning" not in streamlation("subtitle", stdin=live).ok().stdout
    passed = streamlation("subtitle", "-o", "a.srt", stdin=live, cwd=tmp_path).ok().of_type("transcript")
    assert [record["text"] for record in passed] == ["Good mourning", "Good morning."]
    assert "mourning" not in (tmp_path / "a.srt").read_text()


@pytest.mark.parametrize(
    ("tail", "status"),
    [
        (
            ndjson(
                {"type": "error", "session": "s", "stage": "ingest", "code": "damaged", "message": "x", "fatal": True}
            ),
            65,
        ),
        (b"", 65),
        (b'{"type":"transc', 65),
        (b"nonsense\n", 65),
    ],
    ids=["fatal error", "stopped", "cut in a line", "malformed"],
)
def test_a_session_that_is_not_whole(tail: bytes, status: int, tmp_path: Path) -> None:
    stdin = ndjson(header(), transcript("Kept.", 0, 900)) + tail
    result = streamlation("subtitle", "-o", "a.srt", "-o", "-", stdin=stdin, cwd=tmp_path)
    assert result.status == status
    assert [cue.content for cue in srt.parse(result.stdout.decode())] == ["Kept."]
    assert [path.name for path in tmp_path.iterdir()] == ["a.srt.part"]
    assert (tmp_path / "a.srt.part").read_bytes() == result.stdout


def test_an_error_that_is_not_fatal_spoils_no_file(tmp_path: Path) -> None:
    damage = {"type": "error", "session": "s", "stage": "ingest", "code": "damaged", "message": "x", "fatal": False}
    result = streamlation(
        "subtitle", "-o", "a.txt", stdin=ndjson(header(), damage, transcript("Kept.", 0, 900), eos()), cwd=tmp_path
    )
    assert result.status == 65
    assert (tmp_path / "a.txt").read_text() == "Kept.\n"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["-o", "absent/a.srt"], 74, "absent"),
        (["-o", "a.srt", "-o", "absent/a.srt"], 74, "absent"),
        (["--text", "both", "--max-lines", "1"], 2, "--max-lines"),
        (["--min-duration", "8"], 2, "--max-duration"),
        (["--max-chars", "3"], 2, "--max-chars"),
        (["--format", "sub"], 2, "srt"),
        (["--max-cps", "nan"], 2, "--max-cps"),
    ],
)
def test_what_cannot_be(arguments: list[str], status: int, says: str, tmp_path: Path) -> None:
    result = streamlation("subtitle", *arguments, stdin=SPOKEN, cwd=tmp_path)
    assert result.status == status
    assert says in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(
        ndjson(header(), *(transcript("word " * 30 + ".", at * 9000, at * 9000 + 8000) for at in range(60)), eos())
    )
    result = shell("ulimit -f 4; streamlation subtitle -o a.srt < in.ndjson > /dev/null", cwd=tmp_path)
    assert result.status == 74
    assert "a.srt" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.srt.part", "in.ndjson"]


def test_a_caption_is_out_while_the_input_goes_on() -> None:
    with subprocess.Popen([PROGRAM, "subtitle"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(ndjson(header(), transcript("One.", 0, 900), transcript("Two.", 9000, 9900)))
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(4)] == [
            b"1\n",
            b"00:00:00,000 --> 00:00:00,900\n",
            b"One.\n",
            b"\n",
        ]
        process.stdin.write(ndjson(eos()))
        process.stdin.close()
        assert b"Two." in process.stdout.read()
    assert process.returncode == 0


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(
        ndjson(header(), *(transcript(f"Line {at}.", at * 9000, at * 9000 + 2000) for at in range(4000)), eos())
    )
    result = shell("set +o pipefail; streamlation subtitle < in.ndjson | head -3", cwd=tmp_path)
    assert result.ok().stdout.startswith(b"1\n")
    assert result.stderr == ""


def cues_of(result: Result) -> list[tuple[float, float, str]]:
    return [(c.start.total_seconds(), c.end.total_seconds(), c.content) for c in srt.parse(result.stdout.decode())]


def test_subtitle_files_are_converted_with_their_own_times(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(
        "WEBVTT\n\n00:01.000 --> 00:02.500\n<v Ana>Where to?\n\n00:02.500 --> 00:05.000\nHome, I think. It is late &amp; cold.\n\n"
        "00:09.000 --> 00:11.000\nA caption whose text is rather long, and which so has two lines.\n"
    )
    result = shell("streamlation ingest --from en a.vtt | streamlation subtitle", cwd=tmp_path).ok()
    assert cues_of(result) == [
        (1.0, 2.42, "Where to?"),
        (2.5, 5.0, "Home, I think. It is late & cold."),
        (9.0, 11.0, "A caption whose text is rather long,\nand which so has two lines."),
    ]


def test_recognised_text_without_word_times_is_laid_out() -> None:
    audio = {"codec": "mp3float", "sample_rate_hz": 44100, "channels": 2}
    stdin = ndjson(
        header(audio=audio),
        transcript("The boat left early", 1000, 2600),
        transcript("and nobody saw it go. We waited by the old bridge until the morning.", 2800, 7000),
        eos(duration_ms=9000),
    )
    assert [text for _, _, text in cues_of(streamlation("subtitle", stdin=stdin).ok())] == [
        "The boat left early and nobody saw it go.",
        "We waited by the old bridge\nuntil the morning.",
    ]


def test_settings() -> None:
    result = streamlation(
        "subtitle", "--max-chars", "12", "--max-lines", "1", "--min-gap", "0.2", "--min-duration", "0.5", stdin=SPOKEN
    ).ok()
    cues = cues_of(result)
    assert all(len(text) <= 12 for _, _, text in cues)
    assert all(b[0] - a[1] >= 0.199 for a, b in itertools.pairwise(cues))
    assert " ".join(text for _, _, text in cues) == "Good morning, all of you. We begin."
