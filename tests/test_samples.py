"""The bundled recordings: there, whole, small, of the words beside them, and recognised as such."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import pytest

from streamlation_cli.models import store

ROOT = Path(__file__).resolve().parent.parent


def words(text: str) -> str:
    """Lower case without punctuation, numbers to ten as digits, as recognisers like to write them."""
    numbers = {w: str(n) for n, w in enumerate("zero one two three four five six seven eight nine ten".split())}
    return " ".join(numbers.get(word, word) for word in re.sub(r"[^\w ]", "", text.lower().replace("\n", " ")).split())


def test_the_script_that_makes_them_finds_no_fault() -> None:
    script = [sys.executable, ROOT / "tools" / "make_samples.py", "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_times_beside_them_are_in_order(samples: Path) -> None:
    names = {path.stem for path in samples.glob("*.json")}
    assert {"talk_en_60s", "hello_en", "hola_es", "silence_5s", "turns_en"} <= names
    for path in samples.glob("*.json"):
        about = json.loads(path.read_text())
        edges = [edge for turn in about["turns"] for edge in (turn["start_ms"], turn["end_ms"])]
        assert edges == sorted(edges)
        assert all(edge <= about["duration_ms"] for edge in edges)
    turns = json.loads((samples / "turns_en.json").read_text())["turns"]
    assert {turn["speaker"] for turn in turns} == {"joe", "anna"}
    assert json.loads((samples / "talk_en_60s.json").read_text())["duration_ms"] == 60_000


@pytest.fixture(scope="module")
def recogniser() -> Any:
    """Whisper base; without its weights these tests fail, since the suite's extra brings them."""
    from faster_whisper import WhisperModel

    return WhisperModel(str(store.resolve("whisper", "base")), device="cpu", compute_type="int8", local_files_only=True)


@pytest.mark.parametrize(
    ("name", "language", "bound"),
    [
        ("talk_en_60s.opus", "en", 0.1),
        ("turns_en.opus", "en", 0.1),
        ("hello_en.flac", "en", 0.01),
        ("hola_es.flac", "es", 0.15),
    ],
)
def test_whisper_hears_the_words(samples: Path, recogniser: Any, name: str, language: str, bound: float) -> None:
    segments, _ = recogniser.transcribe(str(samples / name), language=language, beam_size=5)
    heard = words(" ".join(segment.text for segment in segments))
    said = words((samples / name).with_suffix(".txt").read_text())
    assert jiwer.wer(said, heard) < bound, heard
