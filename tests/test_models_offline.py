"""`--offline`, and whatever fetches nothing, opens no internet socket: the kernel kills the process that does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import PROGRAM

WITHOUT_SOCKETS = [sys.executable, str(Path(__file__).with_name("nosocket.py"))]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WITHOUT_SOCKETS, *map(str, command)], capture_output=True, text=True, timeout=120, check=False, env=os.environ
    )


@pytest.fixture(autouse=True, scope="module")
def _filter_works() -> None:
    """The filter does kill: a test under a filter that does nothing would prove nothing."""
    opened = run(sys.executable, "-c", "import socket; socket.socket(socket.AF_INET)")
    if opened.returncode == 77:
        pytest.skip("this system cannot filter system calls")
    assert opened.returncode == -signal.SIGSYS, opened
    assert run(sys.executable, "-c", "pass").returncode == 0


def test_without_offline_a_pull_does_open_one() -> None:
    assert run(PROGRAM, "models", "pull", "firefox/fi-en").returncode == -signal.SIGSYS


@pytest.mark.parametrize(
    "what",
    ["whisper/large-v3", "firefox/fi-en", "hub:a/b", "package:x", "https://example.org/x.onnx", "ct2/opus-mt-fi-en"],
)
def test_offline_pulls_are_refused_and_name_what_is_missing(what: str) -> None:
    done = run(PROGRAM, "models", "pull", "--offline", what)
    assert done.returncode == 69, done
    assert done.stdout == ""
    assert done.stderr.startswith("streamlation: --offline: "), done.stderr
    assert what.removeprefix("hub:").removeprefix("package:") in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list"),
        ("models", "verify", "firefox/en-pt"),
        ("models", "path", "whisper/base"),
        ("models", "pull", "--offline", "whisper/base"),
        ("models", "pull", "--offline", "piper/en_US-joe-medium"),
        ("doctor", "--offline"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_what_is_here_needs_no_socket(arguments: tuple[str, ...]) -> None:
    done = run(PROGRAM, *arguments)
    assert done.returncode == 0, done
    assert done.stdout


@pytest.mark.long
def test_the_main_job_with_real_engines_needs_no_socket(samples: Path, tmp_path: Path) -> None:
    """Long enough that a library which reports home from a thread of its own gets to it."""
    captions, voice = tmp_path / "talk.srt", tmp_path / "talk.wav"
    done = run(PROGRAM, "run", samples / "talk_en_60s.opus", "--from", "en", "--to", "pt", "--offline",
               "-o", captions, "-o", voice)  # fmt: skip
    assert done.returncode == 0, done
    assert "farol" in captions.read_text(encoding="utf-8")
    assert voice.stat().st_size > 1_000_000
