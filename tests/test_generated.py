"""Generated files are current, and the schemas say what the stages write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from conftest import ROOT
from streamlation_cli.records import KNOWN
from support import PROGRAM, streamlation


def test_generated_files_are_current() -> None:
    process = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate.py"), "--check"], capture_output=True, check=False
    )
    assert process.returncode == 0, process.stdout


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_record_of_a_run_is_as_the_schemas_say(samples: Path, tmp_path: Path) -> None:
    audio = samples / "turns_en.opus"
    arguments = ("--profile", "testing", "--from", "en", "--to", "es", "-o", "log.ndjson", "-o", "x.wav")
    streamlation("run", audio, *arguments, cwd=tmp_path).ok()
    media = streamlation("ingest", audio).ok().stdout
    pcm = streamlation("normalize", stdin=media).ok().stdout
    cues = streamlation("subtitle", "--format", "ndjson", stdin=(tmp_path / "log.ndjson").read_bytes()).ok().stdout
    failed = streamlation("ingest", "absent.wav").stdout
    lines = [*(tmp_path / "log.ndjson").read_bytes().splitlines(), *b"".join((media, pcm, cues, failed)).splitlines()]
    any_record = validator("record")
    own = {str(kind.__struct_config__.tag): validator(str(kind.__struct_config__.tag)) for kind in KNOWN}
    seen = set()
    for line in lines:
        record = json.loads(line)
        seen.add(record["type"])
        own[record["type"]].validate(record)
        any_record.validate(record)
    assert seen == own.keys() - {"discontinuity"}


def test_the_schemas_refuse_what_is_no_record() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator("record").validate({"type": "pcm", "session": "s", "seq": "first"})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_offers_verbs_and_flags(shell: str) -> None:
    assert (ROOT / "completions" / f"streamlation.{shell}").is_file()
    words = "streamlation translate --gl"
    env = {
        "_STREAMLATION_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": "--gl" if shell == "fish" else "2",
    }
    process = subprocess.run(
        [PROGRAM], capture_output=True, text=True, env={**env, "PATH": "/usr/bin:/bin"}, check=False
    )
    assert "--glossary" in process.stdout, process
