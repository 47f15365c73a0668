"""Each stage of a live pipe is killed in mid-speech: what was said until then stays, once, and everyone is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import jiwer
import pytest

import promises
from conftest import ROOT
from streamlation_cli import ndjson
from streamlation_cli.records import Error, StreamRecord, Transcript
from support import PROGRAM
from test_transcribe import words_of

TALK = ROOT / "testdata" / "audio" / "talk_en_60s.opus"
STAGES = {
    "ingest": ["ingest", str(TALK), "--realtime", "--from", "en"],
    "normalize": ["normalize"],
    "transcribe": ["transcribe", "--live", "--from", "en"],
    "translate": ["translate", "--live", "--to", "pt", "--no-cache"],
    "subtitle": ["subtitle", "--live", "-o", "live.srt"],
}
NAMES = list(STAGES)


@pytest.mark.long
@pytest.mark.parametrize("victim", NAMES)
def test_a_stage_is_killed(victim: str, tmp_path: Path) -> None:
    stages: list[subprocess.Popen[bytes]] = []
    upstream = None
    for arguments in STAGES.values():
        stage = subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=upstream or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        if upstream is not None:
            upstream.close()  # else the stage before would never learn that this one has gone
        upstream = stage.stdout
        stages.append(stage)
    assert upstream is not None
    lines: list[bytes] = []
    finals = 0
    with upstream:
        for line in upstream:
            lines.append(line)
            finals += b'"transcript"' in line and b'"final":true' in line
            if finals == 2:
                finals += 1
                stages[NAMES.index(victim)].kill()
    statuses = dict(zip(NAMES, [stage.wait(30) for stage in stages], strict=True))

    position = NAMES.index(victim)
    assert statuses[victim] == -9
    assert all(statuses[name] == 0 for name in NAMES[:position]), statuses
    assert all(statuses[name] == os.EX_DATAERR for name in NAMES[position + 1 :]), statuses
    records: list[StreamRecord] = []
    for line in lines:
        if victim == NAMES[-1] and not line.endswith(b"\n"):
            continue  # the killed stage's last line has nobody behind it who would refuse it
        records.append(ndjson.decode(line))
    promises.check(records, whole=False)
    said = words_of(promises.final_text(records))
    wanted = words_of((ROOT / "testdata" / "audio" / "talk_en_60s.txt").read_text("utf-8"))[: len(said)]
    assert len(said) > 10
    assert jiwer.wer(" ".join(wanted), " ".join(said)) <= 0.2
    assert any(isinstance(record, Transcript) for record in records)
    if victim != NAMES[-1]:
        assert isinstance(records[-1], Error)
        assert records[-1].fatal
        assert records[-1].code == "truncated"
