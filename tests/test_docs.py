"""The documentation runs: every `sh` block of the README and every example, and every verb is told of."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import srt

from conftest import ROOT
from streamlation_cli.stages import VERBS
from support import shell

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
EXAMPLES = sorted((ROOT / "examples").glob("*.sh"))


@pytest.fixture
def place(tmp_path: Path, samples: Path) -> Path:
    """A folder with the bundled samples and the files the README speaks of."""
    shutil.copytree(samples, tmp_path / "testdata" / "audio")
    shutil.copy(samples / "turns_en.opus", tmp_path / "interview.mp3")
    shutil.copy(samples / "hello_en.flac", tmp_path / "talk.mp4")
    (tmp_path / "film.pt.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nO barco partiu cedo.\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_readme_block_runs(number: int, place: Path) -> None:
    shell(BLOCKS[number], cwd=place).ok()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(example: Path, place: Path) -> None:
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    shell(f"bash {example}", cwd=place).ok()
    after = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    made = [path for path, content in after.items() if content and before.get(path) != content]
    assert {path.suffix for path in made} & {".srt", ".vtt", ".ass", ".m4a", ".mp4"}, made
    assert not list(place.glob("*.part"))


def test_the_subtitle_example_translates(place: Path) -> None:
    shell(f"bash {ROOT}/examples/subtitles_to_another_language.sh", cwd=place).ok()
    cues = list(srt.parse((place / "film.pt.srt").read_text("utf-8")))
    assert "barco" in " ".join(cue.content for cue in cues)
    assert cues[0].start.total_seconds() == pytest.approx(1.0, abs=0.3)


def test_every_verb_is_in_the_readme_and_has_a_page() -> None:
    for verb in VERBS:
        assert f"`{verb.name}`" in README
        assert (ROOT / "man" / f"streamlation-{verb.name}.1").is_file()


def test_the_changelog_speaks_of_this_version() -> None:
    from streamlation_cli import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
