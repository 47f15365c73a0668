"""One process at a time on one folder of the store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: renames are still atomic there, only work may be done twice
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def exclusively(lock_file: Path) -> Iterator[None]:
    """Waits until no other process or thread holds `lock_file`.

    The file stays, empty; the system frees the lock of a process that dies.
    """
    handle = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
