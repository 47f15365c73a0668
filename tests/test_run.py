"""`run`: the same bytes as the pipe, real captions and a real voice, many inputs, interruption, progress."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
import srt

from livetools import wait_until
from support import PROGRAM, shell, streamlation

PIPE = (
    "streamlation ingest '{audio}' {from_} | streamlation normalize {keep} | streamlation transcribe {from_} {engine} "
    "| streamlation translate --to {to} {engine} | streamlation dub {engine} {mix} -o pipe.wav | streamlation subtitle -o pipe.srt "
    "-o pipe.vtt --words | tee pipe.ndjson | streamlation subtitle --format ass --words > pipe.ass"
)
RUN = "streamlation run '{audio}' {from_} --to {to} {engines} {mix} -o run.wav -o run.srt -o run.vtt -o run.ndjson -o run.ass --words"


def media(path: Path) -> tuple[np.ndarray, int]:
    """Mono float samples and their rate."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].sample_rate
        resampler = av.AudioResampler("flt", "mono", rate)
        frames = [*container.decode(audio=0), None]
        parts = [made.to_ndarray()[0] for frame in frames for made in resampler.resample(frame)]
    return np.concatenate(parts), rate


def records(path: Path) -> list[bytes]:
    """The lines of a record log that do not say which stages there were."""
    return [
        line
        for line in path.read_bytes().splitlines()
        if b'"type":"status"' not in line and b'"type":"eos"' not in line
    ]


@pytest.mark.parametrize(
    ("audio", "from_", "to", "engine", "mix"),
    [
        ("hola_es.flac", "--from es", "en", "--engine stub", ""),
        ("turns_en.opus", "--from en", "es", "--engine stub", "--mix duck"),
        ("talk_en_60s.opus", "--from en", "pt", "", ""),
        ("turns_en.opus", "", "pt", "", "--mix duck"),
    ],
    ids=["stub", "stub, ducked", "real", "real, ducked, language detected"],
)
def test_the_pipe_and_run_give_the_same_bytes(
    audio: str, from_: str, to: str, engine: str, mix: str, tmp_path: Path, samples: Path
) -> None:
    engines = " ".join(f"--{stage}-engine stub" for stage in ("transcribe", "translate", "dub")) if engine else ""
    values = {
        "audio": samples / audio, "from_": from_, "to": to, "engine": engine, "mix": mix, "engines": engines,
        "keep": "--keep-packets" if mix else "",
    }  # fmt: skip
    shell(PIPE.format(**values), cwd=tmp_path, STREAMLATION_CACHE_DIR=str(tmp_path / "a")).ok()
    shell(RUN.format(**values), cwd=tmp_path, STREAMLATION_CACHE_DIR=str(tmp_path / "b")).ok()
    for suffix in ("srt", "vtt", "wav"):
        pipe, run = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("pipe", "run"))
        assert pipe == run, suffix
        assert len(pipe) > 40
    assert (tmp_path / "pipe.ass").read_bytes() == (tmp_path / "run.ass").read_bytes()
    assert records(tmp_path / "pipe.ndjson") == records(tmp_path / "run.ndjson")


def test_portuguese_recording_to_english_captions_and_voice(shared: Path, tmp_path: Path) -> None:
    audio = shared / "speech" / "pt" / "fleurs-pt-000.ogg"
    streamlation("run", audio, "--from", "pt", "--to", "en", "-o", "out.srt", "-o", "out.wav", cwd=tmp_path).ok()
    cues = list(srt.parse((tmp_path / "out.srt").read_text("utf-8")))
    text = " ".join(cue.content for cue in cues).replace("\n", " ").lower()
    for words in ("statement", "tragic", "thoughts and prayers", "family"):
        assert words in text, text
    assert all(len(line) <= 42 for cue in cues for line in cue.content.split("\n"))
    assert all(cue.content.count("\n") <= 1 for cue in cues)
    sound, rate = media(tmp_path / "out.wav")
    original, original_rate = media(audio)
    assert len(sound) / rate == pytest.approx(len(original) / original_rate, abs=0.05)
    assert cues[-1].end.total_seconds() <= len(original) / original_rate
    for cue in cues:  # there is a voice while there is a caption
        part = sound[int(cue.start.total_seconds() * rate) : int(cue.end.total_seconds() * rate)]
        assert np.sqrt((part**2).mean()) > 0.01


def test_offline_refuses_an_address(tmp_path: Path) -> None:
    result = streamlation("run", "--offline", "http://localhost:9/a.mp3", "-o", "x.srt", cwd=tmp_path)
    assert result.status == 69, result
    assert "--offline" in result.stderr


def test_captions_in_the_spoken_language(samples: Path, tmp_path: Path) -> None:
    streamlation("run", samples / "hello_en.flac", "-o", "-", cwd=tmp_path).ok()
    result = streamlation("run", samples / "hello_en.flac", "-o", "-", "--subtitle-format", "vtt", cwd=tmp_path).ok()
    assert result.stdout.startswith(b"WEBVTT")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", ["-o -", ""])
def test_a_closed_or_full_stdout(output: str, samples: Path, tmp_path: Path) -> None:
    command = f"streamlation run --profile testing '{samples}/talk_en_60s.opus' --from en --preset latency {output}"
    closed = shell(f"{command} | head -c 20 > /dev/null", cwd=tmp_path)
    assert (closed.status, closed.stderr) == (0, ""), closed
    full = shell(f"{command} > /dev/full", cwd=tmp_path)
    assert (full.status, len(full.stderr.splitlines())) == (74, 1), full


def test_records_to_stdout_replay(samples: Path, tmp_path: Path) -> None:
    log = streamlation("run", "--profile", "testing", samples / "hola_es.flac", "--from", "es", "--to", "en").ok()
    assert log.records[0]["type"] == "header"
    assert log.records[-1]["type"] == "eos"
    assert {"transcript", "translation"} <= {record["type"] for record in log.records}
    replayed = streamlation("subtitle", "--format", "srt", stdin=log.stdout).ok().stdout
    direct = streamlation(
        "run", "--profile", "testing", samples / "hola_es.flac", "--from", "es", "--to", "en", "-o", "-"
    ).ok()
    assert replayed == direct.stdout


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_one_failure_does_not_stop_the_rest(jobs: str, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.mp3").write_bytes(b"this is no media at all")
    inputs = [samples / "hola_es.flac", tmp_path / "noise.mp3", tmp_path / "absent.wav", samples / "hello_en.flac"]
    result = streamlation(
        "run", "--profile", "testing", *inputs, "--jobs", jobs, "--from", "es", "-o", "{session}.srt", cwd=tmp_path
    )
    assert result.status in (65, 66), result
    assert "noise.mp3" in result.stderr
    assert "absent.wav" in result.stderr
    assert sorted(path.name for path in tmp_path.glob("*.srt*")) == ["hello_en.srt", "hola_es.srt"]


def test_jobs_change_nothing_in_the_output(samples: Path, tmp_path: Path) -> None:
    inputs = [samples / name for name in ("hola_es.flac", "hello_en.flac", "turns_en.opus")]
    for jobs in ("1", "3"):
        streamlation(
            "run", "--profile", "testing", *inputs, "--jobs", jobs, "--from", "en", "--to", "es",
            "-o", jobs + "-{session}.srt", "-o", jobs + "-{session}.wav", cwd=tmp_path,
        ).ok()  # fmt: skip
    for one in tmp_path.glob("1-*"):
        assert one.read_bytes() == (tmp_path / f"3{one.name[1:]}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 12


def test_a_damaged_file_keeps_what_is_good_and_says_so(shared: Path, tmp_path: Path) -> None:
    audio = shared / "speech" / "corrupt" / "truncated-50pct.mp3"
    result = streamlation("run", audio, "--from", "en", "--transcribe-engine", "stub", "-o", "out.srt", cwd=tmp_path)
    assert result.status == 65, result
    assert len(result.stderr.splitlines()) == 1, result
    assert len(list(srt.parse((tmp_path / "out.srt").read_text("utf-8")))) >= 1


def test_the_bundled_voice_recording_gives_stable_bytes(samples: Path, tmp_path: Path) -> None:
    outputs = ("-o", "hola.srt", "-o", "hola.vtt")
    for _ in range(2):
        streamlation("run", "--profile", "testing", samples / "hola_es.flac", "--to", "en", *outputs, cwd=tmp_path).ok()
        made = [(tmp_path / name).read_bytes() for name in ("hola.srt", "hola.vtt")]
    assert made == [(tmp_path / name).read_bytes() for name in ("hola.srt", "hola.vtt")]
    assert made[0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_keeps_what_was_done(number: signal.Signals, status: int, samples: Path, tmp_path: Path) -> None:
    arguments = ["--profile", "testing", str(samples / "talk_en_60s.opus"), "--realtime", "--from", "en"]
    arguments += ["--preset", "latency", "--events", "events.ndjson", "-o", "out.srt", "-o", "out.ndjson"]
    process = subprocess.Popen([PROGRAM, "run", *arguments], cwd=tmp_path, stderr=subprocess.PIPE)
    log = tmp_path / "out.ndjson.part"

    def has_heard() -> bool:
        assert process.poll() is None
        return log.exists() and b'"type":"transcript"' in log.read_bytes()

    wait_until(has_heard, "the first words", 60)
    process.send_signal(number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status, errors
    assert time.monotonic() - started < 10
    assert not (tmp_path / "out.srt").exists()
    assert list(srt.parse((tmp_path / "out.srt.part").read_text("utf-8")))
    last = json.loads(log.read_bytes().splitlines()[-1])
    assert (last["type"], last["fatal"]) == ("error", True)


def test_what_fails_before_anything_is_made_leaves_no_file(samples: Path, tmp_path: Path) -> None:
    names = ("d.mp4", "d.mkv", "d.ts", "d.m3u8", "d.wav", "d.flac", "d.m4a", "d.srt", "d.vtt")
    outputs = [flag for name in names for flag in ("-o", name)]
    result = streamlation(
        "run", samples / "hola_es.flac", "--to", "en", "--transcribe-model", "nothere", *outputs, cwd=tmp_path
    )
    assert (result.status, len(result.stderr.splitlines())) == (69, 1), result
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "verb", ["mux -o d.mp4 -o d.mkv -o d.m3u8", "dub --engine espeak -o d.wav -o d.flac", "subtitle -o d.srt -o d.vtt"]
)
def test_an_interrupt_before_anything_is_made_leaves_no_file(verb: str, samples: Path, tmp_path: Path) -> None:
    header = streamlation("ingest", samples / "hola_es.flac", "--from", "es").ok().stdout.splitlines(keepends=True)[0]
    process = subprocess.Popen([PROGRAM, *verb.split()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(header)
    process.stdin.flush()
    while b'"type":"status"' not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())


def test_progress_is_shown_on_a_terminal_only(samples: Path, tmp_path: Path) -> None:
    command = [PROGRAM, "run", "--profile", "testing", str(samples / "hola_es.flac"), "--from", "es", "-o", "out.srt"]
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=terminal, env={**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(main, 65536):
            shown += part
    except OSError:
        pass  # the terminal's other end was closed: the program has ended
    os.close(main)
    assert process.wait(30) == 0
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode())
    assert "hola_es" in text
    assert "✓ transcribe" in text
    quiet = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert quiet.stderr == b""


def test_events_say_how_far_each_stage_is(samples: Path, tmp_path: Path) -> None:
    arguments = ("--profile", "testing", samples / "talk_en_60s.opus", "--from", "en", "--to", "es", "-o", "out.srt")
    streamlation("run", *arguments, "--events", "events.ndjson", cwd=tmp_path).ok()
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_bytes().splitlines()]
    completed = [event["stage"] for event in events if event["state"] == "completed"]
    assert sorted(completed) == ["ingest", "normalize", "subtitle", "transcribe", "translate"]
    measured = [event for event in events if "progress" in event]
    assert measured
    assert all(0 <= event["progress"] <= 1 and event["lag_ms"] >= 0 for event in measured)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("a.mp3", "-o", "x.docx"), 2, "extension"),
        (("a.mp3", "b.mp3", "-o", "x.srt"), 2, "{session}"),
        (("a.mp3", "-o", "x.srt"), 66, "a.mp3"),
        (("a.mp3", "-o", "no/such/folder/x.srt"), 74, "there is no folder no/such/folder"),
        ((), 2, "no input"),
        (("a.mp3", "--jobs", "0"), 2, "--jobs"),
        (("a.mp3", "--max-cps", "nan"), 2, "--max-cps"),
        (("a.mp3", "--profile", "nonesuch"), 78, "nonesuch"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: tuple[str, ...], status: int, says: str, tmp_path: Path) -> None:
    result = streamlation("run", *arguments, cwd=tmp_path)
    assert (result.status, len(result.stderr.splitlines())) == (status, 1), result
    assert says in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_is_not_there(samples: Path, tmp_path: Path) -> None:
    result = streamlation("run", "--profile", "testing", samples / "hola_es.flac", "-o", "no/such/x.srt", cwd=tmp_path)
    assert result.status == 74, result
    assert "no/such" in result.stderr
