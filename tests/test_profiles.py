"""Profiles: the shipped ones fit the flags there are, and a wrong one is said in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamlation_cli import profiles
from streamlation_cli.errors import ConfigError
from streamlation_cli.options import settings
from streamlation_cli.stages import cast, translate
from support import streamlation


def test_the_shipped_profiles_are_valid_and_mix_real_and_stub() -> None:
    assert profiles.names() == ["ci", "development", "production", "testing"]
    engines = {
        name: tuple(profiles.load(name)[stage]["engine"] for stage in ("transcribe", "translate", "dub"))
        for name in profiles.names()
    }
    assert engines == {
        "production": ("whisper", "auto", "auto"),
        "development": ("whisper", "auto", "stub"),
        "testing": ("stub", "stub", "stub"),
        "ci": ("stub", "stub", "espeak"),
    }


def test_the_users_profiles_come_first(tmp_path: Path) -> None:
    folder = Path(os.environ["STREAMLATION_CONFIG_DIR"]) / "profiles"
    folder.mkdir(parents=True)
    (folder / "testing.toml").write_text('preset = "accuracy"\n')
    (folder / "mine.toml").write_text("[transcribe]\nbeam_size = 3\n")
    assert profiles.load("testing") == {"preset": "accuracy"}
    assert profiles.load("mine") == {"transcribe": {"beam_size": 3}}
    assert "mine" in profiles.names()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('engin = "stub"', "engin: no verb has such a flag; did you mean engine?"),
        ("[transcribe]\nbeam_sise = 3", "transcribe.beam_sise: transcribe has no such flag; did you mean beam_size?"),
        ("[transcribe]\nvoice = 'x'", "transcribe.voice: transcribe has no such flag"),
        ("[transcrib]\nmodel = 'x'", "there is no verb 'transcrib'; did you mean transcribe?"),
        ("[transcribe]\nbeam_size = 'many'", "transcribe.beam_size: 'many' is not a whole number"),
        ("[transcribe]\nbeam_size = -1", "must be"),
        ('preset = "fast"', "preset: 'fast' is not one of latency, balanced, accuracy"),
        ("preset = ", "is not TOML"),
        ("[ingest]\nINPUT = 'x'", "ingest.INPUT"),
    ],
)
def test_a_wrong_profile_is_said_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        profiles.load(str(path))
    assert says in error.value.message
    assert "wrong.toml" in error.value.message


@pytest.mark.parametrize("name", ["nosuch", "../testing", "/etc/passwd", ""])
def test_an_unknown_name_says_which_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match="there are: ci, development, production, testing"):
        profiles.load(name)


def test_a_path_that_is_not_there_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        profiles.load(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        profiles.load(str(tmp_path / "bytes.toml"))


def test_the_program_fails_with_the_status_of_a_wrong_setting() -> None:
    failed = streamlation("doctor", "--profile", "nosuch")
    assert (failed.status, failed.stdout) == (78, b""), failed
    assert streamlation("doctor", "--profile", "testing").ok()


def test_a_language_to_translate_into_is_no_device_to_cast_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--to` is a language in every verb but one."""
    monkeypatch.setenv("STREAMLATION_TO", "pt")
    assert settings("translate", translate.Options, {}, {}).to == "pt"
    assert settings("cast", cast.Options, {}, {"to": "es"}).to == ""
    monkeypatch.setenv("STREAMLATION_CAST_TO", "Living Room")
    assert settings("cast", cast.Options, {}, {}).to == "Living Room"
