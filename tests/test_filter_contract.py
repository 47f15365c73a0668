"""What every verb promises as a Unix filter, checked on each row of the table of verbs."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from streamlation_cli.stages import VERBS
from support import PROGRAM, eos, header, ndjson, shell, streamlation, transcript

FLAGS: dict[str, tuple[str, ...]] = {
    "normalize": (),
    "transcribe": ("--engine", "stub"),
    "translate": ("--engine", "stub", "--to", "es"),
    "dub": ("--engine", "stub"),
    "subtitle": ("--format", "ndjson"),
    "cast": ("--to", "stub"),
    "serve": ("--bind", "0", "-q"),
    "mux": ("-o", f"{tempfile.mkdtemp()}/{{session}}.mka"),
}
"""What each filter needs to run without models."""

FILTERS = [verb.name for verb in VERBS if verb.kind == "filter"]
every_filter = pytest.mark.parametrize("verb", FILTERS)


def test_every_filter_is_under_contract() -> None:
    assert sorted(FLAGS) == sorted(FILTERS)


@every_filter
def test_unknown_records_pass_byte_for_byte(verb: str) -> None:
    unknown = b'{ "session":"s",  "type":"hologram", "depth": 1.50e1, "\\u00e9": [null] }\n'
    stray = b'{"type":"hologram"}\n'
    result = streamlation(verb, *FLAGS[verb], stdin=stray + ndjson(header()) + unknown + ndjson(eos()) + stray).ok()
    lines = result.stdout.splitlines(keepends=True)
    assert [line for line in lines if b"hologram" in line] == [stray, unknown, stray], result
    assert json.loads(lines[1])["type"] == "header"
    assert json.loads(lines[-2])["type"] == "eos"


@every_filter
def test_unhandled_records_pass_with_unknown_fields(verb: str) -> None:
    gap = b'{"type":"discontinuity","session":"s","at_ms":5,"gap_ms":7,"reason":"x","added_later":[1]}\n'
    result = streamlation(verb, *FLAGS[verb], stdin=ndjson(header()) + gap + ndjson(eos())).ok()
    assert gap in result.stdout.splitlines(keepends=True), result


@every_filter
def test_interleaved_sessions_each_end_whole(verb: str) -> None:
    stream = ndjson(header("a"), header("b"), transcript("One.", 0, 900, "a"), transcript("Two.", 0, 900, "b"))
    result = streamlation(
        verb, *FLAGS[verb], stdin=stream + ndjson(eos("b", duration_ms=1000), eos("a", duration_ms=1000))
    ).ok()
    for session in "ab":
        own = [record for record in result.records if record["session"] == session]
        assert own[0]["type"] == "header", result
        assert own[-1]["type"] == "eos", result
    counts = next(record["counts"] for record in result.of_type("eos") if record["session"] == "a")
    assert sum(counts.values()) == len([record for record in result.records if record["session"] == "a"]) - 1


@every_filter
@pytest.mark.parametrize(
    ("stream", "code", "says"),
    [
        (b"", "truncated", "no records"),
        (ndjson(header()), "truncated", "before the end of session s"),
        (ndjson(header()) + b'{"type":"eos","sess', "truncated", "line 2: cut short"),
        (ndjson(header()) + b"\xff\xfe\n" + ndjson(eos()), "malformed", "line 2"),
        (ndjson(header(proto=2)), "protocol", "protocol 2"),
        (ndjson(transcript("x", 0, 1)), "data", "outside its header"),
    ],
    ids=["nothing", "no end", "cut in mid-line", "not UTF-8", "another protocol", "no header"],
)
def test_a_broken_stream_is_one_clear_line(verb: str, stream: bytes, code: str, says: str) -> None:
    result = streamlation(verb, *FLAGS[verb], stdin=stream)
    assert result.status == 65, result
    assert len(result.stderr.splitlines()) == 1, result
    assert says in result.stderr
    error = result.records[-1]
    assert (error["type"], error["code"], error["fatal"]) == ("error", code, True)


@every_filter
def test_an_upstream_error_keeps_its_status_and_is_not_repeated(verb: str) -> None:
    error = {"type": "error", "session": "s", "stage": "ingest", "code": "no-input", "message": "gone", "fatal": True}
    result = streamlation(verb, *FLAGS[verb], stdin=ndjson(header(), error))
    assert (result.status, result.stderr) == (66, ""), result
    assert result.records[-1] == error


@every_filter
def test_closed_stdin(verb: str, tmp_path: Path) -> None:
    result = shell(f"streamlation {verb} {' '.join(FLAGS[verb])} <&-", cwd=tmp_path)
    assert result.status == 66, result
    assert "standard input is closed" in result.stderr


@every_filter
def test_full_disk(verb: str, tmp_path: Path) -> None:
    stream = tmp_path / "in.ndjson"
    stream.write_bytes(ndjson(header(), eos()))
    result = shell(f"streamlation {verb} {' '.join(FLAGS[verb])} < in.ndjson > /dev/full", cwd=tmp_path)
    assert result.status == 74, result
    assert "No space left" in result.stderr


@every_filter
def test_a_closed_pipe_downstream_ends_quietly(verb: str, tmp_path: Path) -> None:
    gap = ndjson({"type": "discontinuity", "session": "s", "at_ms": 1, "gap_ms": 1, "reason": "r" * 500})
    (tmp_path / "in.ndjson").write_bytes(ndjson(header()) + gap * 5000 + ndjson(eos()))
    result = shell(f"streamlation {verb} {' '.join(FLAGS[verb])} < in.ndjson | head -c 100 > /dev/null", cwd=tmp_path)
    assert (result.status, result.stderr) == (0, ""), result


@every_filter
@pytest.mark.parametrize(
    ("number", "code", "status"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
def test_a_signal_ends_in_order(verb: str, number: signal.Signals, code: str, status: int) -> None:
    process = subprocess.Popen(
        [PROGRAM, verb, *FLAGS[verb]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(ndjson(header()))
    process.stdin.flush()
    first = process.stdout.readline()  # also shows that each record is flushed: nothing more has been sent
    assert json.loads(first)["type"] == "header"
    process.send_signal(number)
    rest, errors = process.communicate(timeout=20)
    assert process.returncode == status, errors
    last = json.loads(rest.splitlines()[-1])
    assert (last["type"], last["code"], last["fatal"]) == ("error", code, True)


@pytest.mark.parametrize("verb", [None, *(verb.name for verb in VERBS)])
def test_help_imports_no_engine(verb: str | None) -> None:
    code = (
        "import sys\n"
        "from streamlation_cli.cli import _main\n"
        f"status = _main({[verb] if verb else []} + ['--help'])\n"
        "heavy = {'av','ctranslate2','faster_whisper','onnxruntime','fxtranslate','piper','sentencepiece','tokenizers','rich.live',"
        "'pychromecast','pyatv','async_upnp_client','starlette','uvicorn'}\n"
        "sys.exit(f'imported {heavy & sys.modules.keys()}' if heavy & sys.modules.keys() else status)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "Usage: streamlation" in process.stdout


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_a_wrong_flag_is_usage(verb: str) -> None:
    result = streamlation(verb, "--no-such-flag")
    assert result.status == 2
    assert "--no-such-flag" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_verb_is_usage() -> None:
    result = streamlation("transmogrify")
    assert result.status == 2
    assert "transmogrify" in result.stderr


def test_a_library_that_prints_cannot_corrupt_the_stream() -> None:
    code = (
        "import ctypes, os, sys\n"
        "from streamlation_cli import stdio\n"
        "stdio.guard()\n"
        "print('from Python'); os.write(1, b'from the descriptor\\n')\n"
        "libc = ctypes.CDLL(None); libc.puts(b'from C'); libc.fflush(None)\n"
        "stdio.stdout().write(b'record\\n'); stdio.stdout().flush()\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert process.stdout == b"record\n"
    assert all(text in process.stderr for text in (b"from Python", b"from the descriptor", b"from C"))


def test_a_file_size_limit_leaves_no_finished_looking_file(tmp_path: Path) -> None:
    lines = [transcript(f"Sentence number {i} is here.", i * 3000, i * 3000 + 2500) for i in range(400)]
    stream = ndjson(header(), *lines, eos(duration_ms=1_200_000))
    process = subprocess.run(
        [PROGRAM, "subtitle", "-o", str(tmp_path / "out.srt")],
        input=stream,
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )
    assert process.returncode == 74, process.stderr
    assert b"out.srt" in process.stderr
    assert not (tmp_path / "out.srt").exists()
    assert (tmp_path / "out.srt.part").stat().st_size <= 8192


def test_events_are_status_records(tmp_path: Path) -> None:
    events = tmp_path / "events.ndjson"
    streamlation("translate", *FLAGS["translate"], "--events", events, stdin=ndjson(header(), eos())).ok()
    records = [json.loads(line) for line in events.read_bytes().splitlines()]
    assert {record["type"] for record in records} == {"status"}
    assert [record["state"] for record in records] == ["running", "completed"]


def test_json_log(tmp_path: Path) -> None:
    result = streamlation("translate", *FLAGS["translate"], "--log-format", "json", stdin=b"")
    assert json.loads(result.stderr)["level"] == "error"


@pytest.mark.parametrize(("form", "expects"), [("--text", "0:01.0"), ("--json", '"type"')])
def test_text_and_json_are_forced(form: str, expects: str) -> None:
    stream = ndjson(header(), transcript("Hello.", 1000, 2000), eos())
    assert expects in streamlation("translate", *FLAGS["translate"], form, stdin=stream).ok().stdout.decode()


def test_settings_come_from_flag_then_variable_then_profile(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('to = "fr"\n[translate]\nengine = "stub"\n')
    stream = ndjson(header(), transcript("Hello.", 0, 1000), eos())

    def target(*flags: str, **env: str) -> str:
        result = streamlation("translate", "--profile", profile, *flags, stdin=stream, **env).ok()
        return str(result.of_type("translation")[0]["text"])

    assert target() == "Bonjour."
    assert target(STREAMLATION_TO="es") == "Hola."
    assert target(STREAMLATION_TO="fr", STREAMLATION_TRANSLATE_TO="es") == "Hola."
    assert target("--to", "fr", STREAMLATION_TO="es") == "Bonjour."


def test_a_wrong_variable_is_named() -> None:
    result = streamlation("subtitle", STREAMLATION_SUBTITLE_MAX_LINES="many", stdin=b"")
    assert result.status == 78
    assert "STREAMLATION_SUBTITLE_MAX_LINES" in result.stderr


def test_stdout_closed() -> None:
    process = subprocess.run(
        ["bash", "-c", f"{PROGRAM} subtitle --format ndjson >&-"],
        input=ndjson(header(), eos()),
        stderr=subprocess.PIPE,
        check=False,
        env=os.environ,
    )
    assert process.returncode == 74, process.stderr


def test_a_flag_can_be_undone() -> None:
    stream = ndjson(header(), transcript("Hello there.", 0, 1000), eos())
    words = streamlation("subtitle", "--format", "vtt", stdin=stream, STREAMLATION_WORDS="yes").ok().stdout
    plain = (
        streamlation("subtitle", "--format", "vtt", "--no-words", stdin=stream, STREAMLATION_WORDS="yes").ok().stdout
    )
    assert words != plain
    assert plain == streamlation("subtitle", "--format", "vtt", stdin=stream).ok().stdout


def test_an_upstream_that_is_killed_leaves_a_truncated_stream(samples: Path) -> None:
    upstream = subprocess.Popen(
        [PROGRAM, "ingest", "--realtime", str(samples / "talk_en_60s.opus")], stdout=subprocess.PIPE
    )
    downstream = subprocess.Popen(
        [PROGRAM, "normalize"], stdin=upstream.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert upstream.stdout is not None
    assert downstream.stdout is not None
    upstream.stdout.close()
    while json.loads(downstream.stdout.readline())["type"] != "pcm":
        pass
    upstream.kill()
    upstream.wait()
    rest, errors = downstream.communicate(timeout=20)
    assert downstream.returncode == 65, errors
    assert b"talk_en_60s" in errors
    last = json.loads(rest.splitlines()[-1])
    assert (last["type"], last["code"], last["fatal"]) == ("error", "truncated", True)


def test_a_line_of_64_megabytes_is_refused_in_bounded_memory() -> None:
    stream = ndjson(header()) + b'{"type":"pcm","session":"s","data":"' + b"A" * (64 << 20) + b'"}\n' + ndjson(eos())
    process = subprocess.run(
        [sys.executable, "-c", PEAK, PROGRAM, "subtitle"], input=stream, capture_output=True, check=False
    )
    assert process.returncode == 65, process.stderr
    message, peak_kb = process.stderr.decode().strip().splitlines()
    assert "line 2" in message
    assert "longer than" in message
    assert int(peak_kb) < 250_000


PEAK = (
    "import os, resource, subprocess, sys\n"
    "status = subprocess.call(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
    "sys.exit(status)\n"
)
"""Runs a command and says its peak memory in kB."""
