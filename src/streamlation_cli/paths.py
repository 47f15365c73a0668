"""Where the toolkit keeps things, by the XDG base directory convention."""

from __future__ import annotations

import os
from pathlib import Path


def data_dir() -> Path:
    """Models: `$STREAMLATION_DATA_DIR`, else `$XDG_DATA_HOME/streamlation`, else `~/.local/share/streamlation`."""
    return _dir("STREAMLATION_DATA_DIR", "XDG_DATA_HOME", ".local/share")


def cache_dir() -> Path:
    """Caches: `$STREAMLATION_CACHE_DIR`, else `$XDG_CACHE_HOME/streamlation`, else `~/.cache/streamlation`."""
    return _dir("STREAMLATION_CACHE_DIR", "XDG_CACHE_HOME", ".cache")


def config_dir() -> Path:
    """Profiles of the user: `$STREAMLATION_CONFIG_DIR`, else `$XDG_CONFIG_HOME/streamlation`, else `~/.config/streamlation`."""
    return _dir("STREAMLATION_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")


def _dir(own: str, xdg: str, home: str) -> Path:
    if os.environ.get(own):
        return Path(os.environ[own])
    return Path(os.environ.get(xdg) or Path.home() / home) / "streamlation"
