"""SHA-256 of weight files, remembered so that only a changed file is read again.

A stamp holds a file's size, modification and change times, and inode beside the sum that was read from it. Stamps lie
in the user's data directory, else in the cache directory; where neither can be written each use verifies again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from .. import paths

BLOCK_BYTES = 1 << 20


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, lower-case hex; always reads the file and refreshes its stamp."""
    with file.open("rb") as stream:
        before = _state(file)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if _state(file) == before:
        _remember(file, before, digest)
    return digest


def remembered_sha256_of(file: Path) -> str:
    """The same from the stamp where the file has not changed since it was made."""
    state = _state(file)
    for folder in _stamp_folders():
        with contextlib.suppress(OSError, ValueError):
            stamp = json.loads((folder / _stamp_name(file)).read_text("utf-8"))
            if isinstance(stamp, dict) and stamp.get("state") == state and isinstance(stamp.get("sha256"), str):
                return str(stamp["sha256"])
    return sha256_of(file)


def is_remembered(file: Path, sha256: str) -> bool:
    """Whether a stamp says that the file, unchanged since, has this sum; reads no weights."""
    for folder in _stamp_folders():
        with contextlib.suppress(OSError, ValueError):
            stamp = json.loads((folder / _stamp_name(file)).read_text("utf-8"))
            if isinstance(stamp, dict) and stamp.get("state") == _state(file) and stamp.get("sha256") == sha256:
                return True
    return False


def _state(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _stamp_name(file: Path) -> str:
    return hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32] + ".json"


def _stamp_folders() -> Iterator[Path]:
    yield paths.data_dir() / "models" / ".verified"
    yield paths.cache_dir() / "verified"


def _remember(file: Path, state: list[int], digest: str) -> None:
    text = json.dumps({"path": str(file.resolve()), "state": state, "sha256": digest})
    for folder in _stamp_folders():
        target = folder / _stamp_name(file)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_text(text, "utf-8")
            part.replace(target)
        except OSError:
            continue
        return
