"""`bench live` measures what is true: of systems whose latency, erasure and faults are known, and of ones that fail."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from streamlation_cli.errors import Unavailable
from streamlation_cli.measuring import offline, systems
from streamlation_cli.measuring.live import Plan, measure
from support import PROGRAM, Result, streamlation

WORDS = [
    {"text": text, "start_ms": 100 + 600 * number, "end_ms": 500 + 600 * number}
    for number, text in enumerate(["Seven", "boats", "left", "early."])
]
"""Far enough apart that a system half a second late has done with one before the next."""
SECONDS = 2.5
TEXT = "seven boats left early"
TOLERANCE_S = {"min_s": 0.15, "p50_s": 0.3, "p95_s": 0.8, "max_s": 0.8}
"""What the scheduler of a busy machine may add now and then; a chunk is 20 ms."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A recording (of nothing), what is said in it, and when."""
    with wave.open(str(tmp_path / "talk.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(round(SECONDS * 32_000)))
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    (tmp_path / "talk.txt").write_text(TEXT + "\n")
    return tmp_path


def bench(place: Path, mode: str, *flags: str, delay: float = 1.0, lead_in: str = "0") -> Result:
    fake = shlex.join([sys.executable, str(ROOT / "tests" / "live_system.py"), "words.json", mode, str(delay)])
    given = ("--system", fake, "--words", "words.json", "--from", "en", "--lead-in", lead_in, "--lead-out", "0")
    return streamlation("bench", "live", "talk.wav", *given, *flags, cwd=place)


def measured(place: Path, mode: str, *flags: str, delay: float = 1.0, lead_in: str = "0") -> dict[str, Any]:
    (report,) = bench(place, mode, "--reference", "talk.txt", *flags, delay=delay, lead_in=lead_in).ok().records
    return dict(report)


def near(latency: dict[str, Any], seconds: float) -> None:
    assert latency["count"] == len(WORDS), latency
    for name, tolerance_s in TOLERANCE_S.items():
        assert seconds - 0.03 <= latency[name] <= seconds + tolerance_s, latency


@pytest.mark.timed
@pytest.mark.parametrize("mode", ["late", "simple"])
def test_a_system_that_is_one_second_late_measures_one_second(mode: str, place: Path) -> None:
    report = measured(place, mode, "--json", "figures.json")
    near(report["commit_latency"], 1.0)
    near(report["first_appearance_latency"], 1.0)
    assert report["wer"]["percent"] == 0
    assert report["wer"]["reference_words"] == 4
    assert report["erasure"]["transcripts"]["normalized"] == 0
    assert report["violations"]["total"] == 0
    assert report["output"]["garbage_lines"] == 0
    assert report["resources"]["wall_s"] == pytest.approx(3.3, abs=0.5)  # the last word ends at 2.3 s
    assert 0 < report["resources"]["cpu_s_per_audio_s"] < 1
    assert report["resources"]["peak_sum_bytes"] > 5_000_000
    assert report["resources"]["peak_process_bytes"] > 5_000_000
    figures = json.loads((place / "figures.json").read_text())
    assert figures.keys() == report.keys()
    assert [word["heard_as"] for word in figures["words"][0]] == [word["text"] for word in WORDS]


@pytest.mark.timed
def test_silence_fed_first_is_not_measured(place: Path) -> None:
    shifted = [{**word, "start_ms": word["start_ms"] + 1000, "end_ms": word["end_ms"] + 1000} for word in WORDS]
    (place / "heard.json").write_text(json.dumps(shifted))
    fake = shlex.join([sys.executable, str(ROOT / "tests" / "live_system.py"), "heard.json", "late", "0.2"])
    flags = ("--system", fake, "--words", "words.json", "--from", "en", "--lead-in", "1", "--lead-out", "0")
    (report,) = streamlation("bench", "live", "talk.wav", *flags, cwd=place).ok().records
    near(report["commit_latency"], 0.2)
    assert report["wer"]["percent"] is None
    assert report["lead_in_s"] == 1
    assert report["resources"]["startup_cpu_s"] < report["resources"]["cpu_s"]


@pytest.mark.timed
def test_words_are_seen_before_they_are_committed(place: Path) -> None:
    report = measured(place, "volatile", delay=0.4)
    near(report["commit_latency"], 0.4)
    near(report["first_appearance_latency"], 0.2)
    assert report["erasure"]["transcripts"]["normalized"] == 0


@pytest.mark.timed
def test_what_is_taken_back_is_measured(place: Path) -> None:
    report = measured(place, "rewrite", delay=0.4)
    near(report["commit_latency"], 0.4)
    near(report["first_appearance_latency"], 0.4)  # what was shown before was another word
    erasure = report["erasure"]["transcripts"]
    assert (erasure["erased_words"], erasure["final_words"], erasure["normalized"]) == (4, 4, 1.0)
    assert report["violations"]["total"] == 0


def test_broken_promises_are_counted(place: Path) -> None:
    report = measured(place, "breaks", delay=0.1)
    broken = {rule: count for rule, count in report["violations"].items() if count}
    assert broken == {
        "total": 3, "committed_word_changed": 1, "committed_word_twice": 1, "times_out_of_order": 1,
    }  # fmt: skip
    assert report["wer"]["substitutions"] == 1
    assert report["wer"]["insertions"] == 1


def test_what_follows_a_final_record_is_a_broken_promise(place: Path) -> None:
    assert measured(place, "after-final", delay=0.1)["violations"]["record_after_final"] == 1


def test_garbage_is_counted_and_shown(place: Path) -> None:
    report = measured(place, "garbage", delay=0.1)
    assert report["output"]["garbage_lines"] == 8
    assert report["output"]["garbage"][0] == "'loading model: 100%'"
    assert report["wer"]["percent"] == 0
    text = bench(place, "garbage", "--reference", "talk.txt", "--text", delay=0.1).ok().stdout.decode()
    for said in (
        "word error rate",
        "0.0 % of 4 words",
        "commit latency",
        "p95",
        "garbage",
        "8 of",
        "all kept",
        "peak memory",
    ):
        assert said in text


@pytest.mark.timed
def test_several_streams_are_pooled(place: Path) -> None:
    report = measured(place, "late", "--streams", "3", delay=0.3)
    assert report["commit_latency"]["count"] == 12
    assert report["commit_latency"]["p95_s"] == pytest.approx(0.3, abs=TOLERANCE_S["p95_s"])
    assert report["commit_latency"]["worst_stream_p95_s"] == max(
        one["commit_latency"]["p95_s"] for one in report["per_stream"]
    )
    assert len(report["per_stream"]) == len(report["words"]) or report["words"] == []
    assert report["wer"]["reference_words"] == 12


@pytest.mark.timed
def test_translation_and_captions(place: Path) -> None:
    (place / "talk.en.txt").write_text("SEVEN BOATS LEFT EARLY.\n")
    report = measured(place, "caption", "--to", "en", "--translation", "talk.en.txt", delay=0.5)
    near(report["commit_latency"], 0.5)
    near(report["cues"]["word_latency"], 0.5)
    near(report["cues"]["caption_latency"], 0.5)
    score = report["translation"]
    assert score["chrf"] == 100
    assert score["sentences"] == [["SEVEN BOATS LEFT EARLY."]]
    # The sentence is 0.1 to 2.3 s. Word i comes at its end and half a second; ideal steps are 0.55 s; the last word counts,
    # as it is the first that comes after the sentence: delays 0.9, 1.5, 2.1, 2.7 less 0, 0.55, 1.1, 1.65.
    assert score["stream_laal_ca_s"] == pytest.approx(0.975, abs=0.3)
    # What had been heard when it came is up to its end: 0.4, 1.0, 1.6, 2.2 less the same.
    assert score["stream_laal_s"] == pytest.approx(0.475, abs=0.001)
    assert report["erasure"]["cues"]["normalized"] == 0


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("crash", ["status 1", "out of tape", "live_system.py"]),
        ("deaf", ["stopped reading after"]),
        ("stuck", ["did not end within 1 seconds"]),
    ],
)
def test_a_system_that_fails_is_one_clear_line(mode: str, says: list[str], place: Path) -> None:
    result = bench(place, mode, "--timeout", "1", delay=0.1)
    assert result.status == 69, result
    (line,) = result.stderr.splitlines()
    for said in says:
        assert said in line
    assert result.stdout == b""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_no_system_outlives_a_signal(number: signal.Signals, status: int, place: Path) -> None:
    os.mkfifo(place / "ready")
    fake = "echo $$ > ready; exec sleep 600"
    process = subprocess.Popen(
        [PROGRAM, "bench", "live", "talk.wav", "--words", "words.json", "--system", fake],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    pid = int((place / "ready").read_text())
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status, errors
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    "written",
    [
        WORDS,
        {"words": [WORDS]},
        {
            "type": "transcript",
            "session": "s",
            "id": "u",
            "start_ms": 0,
            "end_ms": 9,
            "text": "x",
            "final": True,
            "words": WORDS,
        },
    ],
    ids=["a list", "an earlier report", "records"],
)
def test_word_times_are_read(written: object, tmp_path: Path) -> None:
    (tmp_path / "words").write_text(json.dumps(written) + "\n")
    found = offline.read_words(str(tmp_path / "words"))
    assert [word._asdict() for word in found] == WORDS


def test_references_are_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\ufeffOne.\n\n Two. \n", "utf-8")
    assert [line.reference for line in offline.read_reference(str(tmp_path / "text"))] == ["One.", "Two."]
    (tmp_path / "json").write_text('[{"reference": "One.", "start_ms": 5, "end_ms": 9, "id": "x"}]')
    assert offline.read_reference(str(tmp_path / "json")) == [offline.Line("One.", 5, 9)]


@pytest.mark.long
@pytest.mark.parametrize(
    "flags",
    [("--to", "pt", "--translation", "hello.pt.txt"), ("--one-process", "--streams", "2")],
    ids=["a pipe with captions", "two streams in one process"],
)
def test_our_own_chain_is_measured(flags: tuple[str, ...], samples: Path, tmp_path: Path) -> None:
    (tmp_path / "hello.pt.txt").write_text("Olá e bem-vindo ao programa.\n", "utf-8")
    audio, text = samples / "hello_en.flac", samples / "hello_en.txt"
    given = ("--reference", text, "--from", "en", "--offline-reference", "--offline-translation", "--model", "base")
    if "--translation" not in flags:
        given = tuple(flag for flag in given if flag != "--offline-translation")
    (report,) = streamlation("bench", "live", audio, *given, *flags, cwd=tmp_path).ok().records
    streams = report["streams"]
    assert report["wer"]["reference_words"] == 6 * streams
    assert report["wer"]["offline_percent"] == 0
    assert report["wer"]["percent"] <= 20
    assert report["commit_latency"]["count"] >= 5 * streams
    assert 0 < report["commit_latency"]["p50_s"] < 20  # how fast is for a machine with nothing else to do
    assert report["violations"]["total"] == 0, report["violations"]
    assert report["output"]["garbage_lines"] == 0
    assert report["resources"]["peak_process_bytes"] > 100e6
    if "--translation" in flags:
        assert report["translation"]["chrf"] > 30
        assert report["translation"]["offline_chrf"] > 30
        assert 0 < report["translation"]["stream_laal_s"] <= report["translation"]["stream_laal_ca_s"] < 20
        assert report["cues"]["word_latency"]["count"] >= 4
        assert 0 < report["cues"]["word_latency"]["p95_s"] < 20


def test_words_where_nothing_is_said_are_counted(place: Path) -> None:
    (place / "nothing.txt").write_text("")
    said = bench(place, "late", "--reference", "nothing.txt", "--text", delay=0.0).ok().stdout.decode()
    assert "words where none is said  4" in said


def test_a_pipe_is_told_by_the_stage_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one dies while the first, which reads on, would still go on for long."""
    monkeypatch.setattr(systems, "_ENDS_IN_S", 1.0)
    reads_on = [sys.executable, "-c", "import sys, time\nwhile sys.stdin.buffer.read(640): pass\ntime.sleep(600)"]
    dies = [sys.executable, "-c", "import sys; sys.exit('no model')"]
    plan = Plan(systems=[[reads_on, dies]], samples=bytes(32_000 * 3600), language="en")
    with pytest.raises(Unavailable, match="status 1: no model"):
        measure(plan)


def test_a_system_that_is_not_there(place: Path) -> None:
    result = streamlation(
        "bench", "live", "talk.wav", "--system", "no-such-program", "--words", "words.json", cwd=place
    )
    assert result.status == 69
    assert "status 127" in result.stderr


@pytest.mark.timed
@pytest.mark.long
def test_a_soak_sees_memory_and_handles_grow(place: Path) -> None:
    result = bench(place, "leak", "--soak", "0.25", "--speed", "150")
    (report,) = result.ok().records
    soak = report["soak"]
    assert soak["media_hours"] == pytest.approx(0.25, abs=0.001)
    assert soak["speed"] == pytest.approx(150, rel=0.2)
    # It keeps 32,000 bytes and a handle for every second it hears.
    assert soak["handles_slope_per_hour"] == pytest.approx(3600, rel=0.15)
    assert soak["rss_bytes_slope_per_hour"] == pytest.approx(115_200_000, rel=0.3)
    assert soak["handles_max"] > 600
    assert [hour["hour"] for hour in soak["hours"]] == [1]
    flat = bench(place, "late", "--soak", "0.25", "--speed", "250", delay=0.0).ok().records[0]["soak"]
    assert flat["handles_slope_per_hour"] == pytest.approx(0, abs=8)
    assert flat["committed_words"] == len(WORDS)
    assert "hour 1" in bench(place, "late", "--soak", "0.1", "--text").ok().stdout.decode()


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        ((), 2, "say what to measure"),
        (("live",), 2, "AUDIO is missing"),
        (("dead", "talk.wav"), 2, "is not one of live"),
        (("live", "absent.wav"), 66, "no such file"),
        (("live", "talk.wav", "--translation", "talk.txt"), 2, "give --to and --reference"),
        (("live", "talk.wav", "--offline-reference"), 2, "give --reference"),
        (("live", "talk.wav", "--offline-translation"), 2, "give --translation"),
        (("live", "talk.wav", "--words", "absent.json"), 66, "absent.json"),
        (("live", "talk.wav", "--words", "talk.txt"), 65, "neither a JSON list of words nor records"),
        (("live", "talk.wav", "--reference", "bad.json", "--words", "words.json"), 65, "not a list of sentences"),
        (("live", "talk.wav", "--system", "cat", "--one-process"), 2, "--one-process"),
        (("live", "talk.wav", "--json", "no/such/folder.json"), 74, "no folder"),
    ],
)
def test_what_cannot_be_measured_is_said(flags: tuple[str, ...], status: int, says: str, place: Path) -> None:
    (place / "bad.json").write_text('[{"ref": 1}]')
    result = streamlation("bench", *flags, cwd=place)
    assert result.status == status, result
    assert says in result.stderr
