"""Profiles: TOML files of settings, `production`, `development`, `testing` and `ci` beside this module.

    preset = "latency"        # top level: every verb that has this flag

    [transcribe]              # this verb only, over the top level
    engine = "stub"

A key is a flag's name without its dashes and with `_` for `-`. Flags and `STREAMLATION_*` variables come before a
profile. The user's own profiles lie in `config_dir()/profiles/NAME.toml` and hide a shipped one of the same name.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import ConfigError
from ..options import Flag, check, flags_of, key_of
from ..stages import VERBS


def load(name: str) -> dict[str, Any]:
    """The tables of a profile, by name or by the path of a `.toml` file.

    Raises ConfigError with one line for a name that is unknown, a file that is no TOML, and a key or value that no verb
    takes.
    """
    path = _find(name)
    try:
        profile = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"profile {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"profile {path} is not TOML: {error}") from error
    _check(profile, path)
    return profile


def names() -> list[str]:
    """The profiles that can be named, the user's included."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")})


def _folders() -> tuple[Path, Path]:
    return paths.config_dir() / "profiles", Path(__file__).parent


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    if not set("/\\") & set(name):
        for folder in _folders():
            if (folder / f"{name}.toml").is_file():
                return folder / f"{name}.toml"
    raise ConfigError(
        f"no profile is called {name!r}; there are: {', '.join(names())}; or give a path that ends in .toml"
    )


def _check(profile: dict[str, Any], path: Path) -> None:
    known = {verb.name: _settable(verb.module().Options) for verb in VERBS}
    anywhere = {key: flag for flags in known.values() for key, flag in flags.items()}
    for key, value in profile.items():
        if not isinstance(value, dict):
            _check_key(anywhere, key, value, f"profile {path}: {key}", "no verb has such a flag")
        elif key not in known:
            raise ConfigError(f"profile {path}: there is no verb {key!r}{_meant(key, known)}")
        else:
            for inner, setting in value.items():
                _check_key(known[key], inner, setting, f"profile {path}: {key}.{inner}", f"{key} has no such flag")


def _check_key(flags: dict[str, Flag], key: str, value: Any, where: str, otherwise: str) -> None:
    if key not in flags:
        raise ConfigError(f"{where}: {otherwise}{_meant(key, flags)}")
    check(flags[key], value, where)


def _meant(key: str, known: dict[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _settable(options_class: type) -> dict[str, Flag]:
    return {key_of(flag): flag for flag in flags_of(options_class).values() if not flag.positional}
