"""Where a packager's playlists and segments go: memory, to be served from there, or a folder.

Names are plain file names. What a segment's name stands for never changes; a playlist's does.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Protocol

from ..artefacts import writing
from ..errors import OutputFailed


class Store(Protocol):
    """Named bytes, written by one and read by many."""

    def put(self, name: str, data: bytes) -> None:
        """Stores `data` under `name`, in place of what was there; a reader gets the old or the new, never a part."""

    def get(self, name: str) -> bytes | None:
        """What was put under `name`, or None."""

    def remove(self, name: str) -> None:
        """Forgets `name`; nothing happens where it is not there."""


class MemoryStore:
    """A store in memory, for any number of threads."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def put(self, name: str, data: bytes) -> None:
        """See `Store`; wakes those who wait for it."""
        with self._changed:
            self._data[name] = data
            self._changed.notify_all()

    def get(self, name: str) -> bytes | None:
        """See `Store`."""
        with self._changed:
            return self._data.get(name)

    def remove(self, name: str) -> None:
        """See `Store`."""
        with self._changed:
            self._data.pop(name, None)

    def wait(self, name: str, timeout_s: float, other_than: bytes | None = None) -> bytes | None:
        """What is under `name` as soon as something other than `other_than` is; None where that takes longer than `timeout_s`."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while (data := self._data.get(name)) is None or data == other_than:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)
            return data

    @property
    def names(self) -> tuple[str, ...]:
        """What there is."""
        with self._changed:
            return tuple(self._data)

    @property
    def size_bytes(self) -> int:
        """What all of it takes."""
        with self._changed:
            return sum(map(len, self._data.values()))


class FolderStore:
    """A store that is a folder, for any web server. Raises OutputFailed where the system refuses."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise OutputFailed(f"{folder}: there is no such folder; make it first")
        self._folder = folder

    def put(self, name: str, data: bytes) -> None:
        """See `Store`: the file gets its name when it is whole."""
        path = self._folder / name
        part = path.with_name(f".{name}.part")
        with writing(str(path)):
            try:
                part.write_bytes(data)
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                raise

    def get(self, name: str) -> bytes | None:
        """See `Store`."""
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def remove(self, name: str) -> None:
        """See `Store`."""
        with writing(str(self._folder / name)):
            (self._folder / name).unlink(missing_ok=True)
