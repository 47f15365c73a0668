"""Folders of the store: which they are, how one is filled so that it is whole or not there, and what says what is in it."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import ModelDamaged, OutputFailed
from .catalogue import ModelFile
from .locking import exclusively

MANIFEST = "streamlation-model.json"


@contextlib.contextmanager
def placing(target: Path, *, replace: bool = False) -> Iterator[Path | None]:
    """A folder to fill that becomes `target` when the block ends well and vanishes when it does not.

    Gives None where `target` is there already, maybe since the lock was waited for. Raises OutputFailed where the
    system refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusively(target.parent / f".{target.name}.lock"):
            if target.is_dir() and not replace:
                yield None
                return
            for leftover in target.parent.glob(f".{target.name}.new-*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
            try:
                yield folder
                folder.chmod(0o755)
                if target.is_dir():
                    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
                    target.rename(old / target.name)
                    folder.rename(target)
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    folder.rename(target)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise OutputFailed(f"{target}: {error.strerror or error}") from error


def roots() -> tuple[Path, ...]:
    """Folders that hold `KIND/NAME`, in the order they are searched."""
    return paths.data_dir() / "models", paths.cache_dir() / "models"


def writable_root(size: int) -> Path:
    """The folder to put a model of `size` bytes in: the data directory's, else the cache directory's.

    Raises OutputFailed where neither can be written or the disk has no room.
    """
    refused = ""
    for root in roots():
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            refused = refused or f"{root}: {error.strerror}"
            continue
        free = shutil.disk_usage(root).free
        if free < size:
            raise OutputFailed(f"{root}: {human(size)} are needed and {human(free)} are free")
        return root
    raise OutputFailed(f"no folder for models can be written ({refused}); set STREAMLATION_DATA_DIR to one that can")


def write_manifest(
    folder: Path, *, kind: str, name: str, files: tuple[ModelFile, ...], languages: tuple[str, ...] = (),
    licence: str = "", source: str = "", checksum: str,
) -> None:  # fmt: skip
    """Writes what a stored model must hold; `checksum` says where its sums are from: `catalogue`, `hub`, `archive`…"""
    document = {
        "format": 1, "kind": kind, "name": name, "languages": list(languages), "licence": licence, "source": source,
        "checksum": checksum, "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in files],
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def human(size: int) -> str:
    """A size for people.

    >>> human(145217607)
    '145 MB'
    """
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= one:
            return f"{size / one:.0f} {unit}" if size >= 10 * one else f"{size / one:.1f} {unit}"
    return f"{size} B"


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        if all(safe_name(f["name"]) and f["size"] >= 0 and isinstance(f["sha256"], str) for f in document["files"]):
            return document
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ModelDamaged(f"{path} cannot be read; remove {folder} and pull the model again")


def safe_name(name: str) -> bool:
    """Whether a relative name stays inside the folder it is put in.

    >>> safe_name("a/b.bin"), safe_name("../b.bin"), safe_name("/b.bin"), safe_name("a//b")
    (True, False, False, False)
    """
    return bool(name) and not any(c in name for c in "\\:\0") and not {"", ".", ".."} & set(name.split("/"))
