"""Golden cases: testdata/cases/STAGE/NAME/{cmd,stdin,stdout,stderr,exit}, run by bash in a folder of their own.

`pytest tests/test_cases.py --regenerate` writes what the program does now; read the diff before committing it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from streamlation_cli.stages import VERBS
from support import PROGRAM, Result

CASES = Path(__file__).resolve().parent.parent / "testdata" / "cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/*/cmd"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_case(folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    command = (folder / "cmd").read_text("utf-8")
    stdin = (folder / "stdin").read_bytes() if (folder / "stdin").exists() else b""
    environment = {
        **os.environ,
        "PATH": f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}",
        "TESTDATA": str(CASES.parent),
        "COLUMNS": "80",
    }
    process = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", command],
        input=stdin,
        capture_output=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
        check=False,
    )
    result = Result(command, process.returncode, process.stdout, process.stderr.decode())
    hidden = str(CASES.parent)
    actual = {
        "stdout": process.stdout.replace(hidden.encode(), b"$TESTDATA"),
        "stderr": process.stderr.replace(hidden.encode(), b"$TESTDATA"),
        "exit": f"{process.returncode}\n".encode(),
    }
    if request.config.getoption("--regenerate"):
        for name, content in actual.items():
            (folder / name).write_bytes(content)
    for name, content in actual.items():
        assert content == (folder / name).read_bytes(), f"{name} differs in {tmp_path}\n{result}"


def test_every_stage_has_a_case() -> None:
    stages = {folder.parent.name for folder in FOLDERS}
    assert stages >= {verb.name for verb in VERBS if verb.kind != "tool"}
