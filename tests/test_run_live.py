"""`run --live`: several live inputs at once, one model, and what happens when one of them fails or is silent."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import promises
from conftest import ROOT
from streamlation_cli import ndjson
from streamlation_cli.records import Eos, Error, Header, StreamRecord, Transcript
from streamlation_cli.stages.run import merge_live
from support import ndjson as ndjson_of
from support import shell

AUDIO = ROOT / "testdata" / "audio"


def test_a_silent_source_does_not_hold_up_another() -> None:
    released = threading.Event()

    def silent() -> Iterator[StreamRecord]:
        yield Header("silent", proto=1, source="test")
        assert released.wait(20)
        yield Eos("silent")

    def talking() -> Iterator[StreamRecord]:
        yield Header("talking", proto=1, source="test")
        yield Eos("talking")

    merged = merge_live([silent(), talking()])
    seen = [next(merged) for _ in range(3)]
    assert {type(record) for record in seen if record.session == "talking"} == {Header, Eos}
    released.set()
    assert [type(record) for record in merged] == [Eos]


def test_leaving_early_ends_the_sources() -> None:
    closed = threading.Event()

    def endless() -> Iterator[StreamRecord]:
        try:
            while True:
                yield Header("s", proto=1, source="test")
        finally:
            closed.set()

    merged = merge_live([endless()])
    next(merged)
    merged.close()
    assert closed.wait(10)


@pytest.mark.long
def test_several_live_inputs_share_one_process_and_one_failure_is_its_own(tmp_path: Path) -> None:
    inputs = f"{AUDIO}/hello_en.flac missing.wav {AUDIO}/hola_es.flac"
    result = shell(f"streamlation run {inputs} --live --realtime || echo status $? >&2", cwd=tmp_path, timeout=120)
    assert "status 66" in result.stderr
    records = list(ndjson.Reader(io.BytesIO(result.stdout)))
    promises.check(records)
    languages = {r.session: r.language for r in records if isinstance(r, Transcript) and r.final}
    assert languages == {"hello_en": "en", "hola_es": "es"}
    assert {r.session for r in records if isinstance(r, Eos)} == {"hello_en", "hola_es"}
    assert {r.session for r in records if isinstance(r, Error)} == {"missing"}


def test_the_alert_rules_speak_once_for_each_change() -> None:
    events = [
        {"type": "header", "session": "a", "proto": 1, "source": "x"},
        {"type": "status", "session": "a", "stage": "transcribe", "state": "running", "detail": "load: longer steps"},
        {"type": "status", "session": "a", "stage": "transcribe", "state": "running", "detail": "load: longer steps"},
        {"type": "status", "session": "a", "stage": "ingest", "state": "running", "counters": {"reconnects": 1}},
        {"type": "status", "session": "a", "stage": "ingest", "state": "running", "counters": {"reconnects": 1}},
        {"type": "status", "session": "a", "stage": "transcribe", "state": "running", "detail": "load: as asked"},
        {"type": "error", "session": "a", "stage": "ingest", "code": "unavailable", "message": "gone", "fatal": True},
    ]
    command = ["jq", "--raw-output", "--null-input", "--from-file", str(ROOT / "examples" / "alerts.jq")]
    alerts = subprocess.run(command, input=ndjson_of(*events), capture_output=True, check=True).stdout.decode()
    assert alerts.splitlines() == [
        "warning: a: transcribe: load: longer steps",
        "warning: a: ingest: source: reconnected 1 times",
        "resolved: a: transcribe: load: as asked",
        "critical: a: ingest: error: gone",
    ]
