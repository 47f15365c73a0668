"""Running the program as a user does: the installed command, in a folder of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "streamlation")


@dataclass(frozen=True)
class Result:
    """What a command did; shown whole when an assertion on it fails."""

    command: str
    status: int
    stdout: bytes
    stderr: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines() if line.strip()]

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["type"] == name]

    def ok(self) -> Result:
        assert self.status == 0, self
        return self

    def __str__(self) -> str:
        return f"$ {self.command}\nstatus {self.status}\n--- stdout\n{self.stdout[:2000]!r}\n--- stderr\n{self.stderr[-2000:]}"


def streamlation(
    *arguments: str | Path, stdin: bytes | None = b"", cwd: Path | None = None, timeout: float = 300, **env: str
) -> Result:
    """Runs `streamlation ARGUMENTS`; `stdin=None` closes standard input."""
    command = [PROGRAM, *map(str, arguments)]
    process = subprocess.run(
        command,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, **env},
        check=False,
    )
    return Result(shlex.join(command), process.returncode, process.stdout, process.stderr.decode())


def shell(script: str, *, cwd: Path, timeout: float = 600, **env: str) -> Result:
    """Runs a shell script with `streamlation` on the path and `pipefail` set."""
    path = f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, "PATH": path, **env},
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Result(script, process.returncode, process.stdout, process.stderr.decode())


def ndjson(*records: dict[str, Any]) -> bytes:
    """Records as the bytes of a stream."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def header(session: str = "s", **fields: Any) -> dict[str, Any]:
    return {"type": "header", "session": session, "proto": 1, "source": "test", **fields}


def eos(session: str = "s", **fields: Any) -> dict[str, Any]:
    return {"type": "eos", "session": session, **fields}


def transcript(text: str, start_ms: int, end_ms: int, session: str = "s", **fields: Any) -> dict[str, Any]:
    return {
        "type": "transcript", "session": session, "id": f"t{start_ms}", "start_ms": start_ms, "end_ms": end_ms,
        "text": text, "final": True, "language": "en", **fields,
    }  # fmt: skip


__all__ = ["PROGRAM", "Result", "eos", "header", "ndjson", "shell", "streamlation", "sys", "transcript"]
