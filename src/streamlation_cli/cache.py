"""A content-addressed cache on disk: what an engine made of an input, so that it is made once.

One SQLite file a cache, shared by every process of the user. A cache never stops the work: a damaged file is set
aside and begun anew, a folder that cannot be written means working uncached after one warning, and a busy file means
that some results are made again. What a stage writes must be the same with and without it.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import paths

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger("streamlation.cache")

SCHEMA_VERSION = 1
"""Raised when the layout of the file changes: a file of another version is left alone and a new one is begun."""

_BUSY_TIMEOUT_S = 2.0
_VARIABLES = 500
"""Keys asked for in one statement; SQLite's oldest limit is 999."""
_EVICTED_AT_ONCE = 16
_EVICT_TO = 0.9
"""Share of the bound that eviction goes down to, so that not every write evicts."""


def key_of(*parts: str | bytes | int | float) -> str:
    """The key of a result: a hash of everything that it depends on.

    The parts are kept apart, so that no two lists of parts share a key by accident.

    >>> key_of("ab", "c") == key_of("a", "bc")
    False
    >>> len(key_of("firefox", 3))
    64
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else f"{type(part).__name__}:{part}".encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


class Cache:
    """Results by key, in `NAME.N.sqlite3` of the user's cache folder, at most `max_bytes` on disk (0: nothing is kept).

    The oldest results make room for new ones. Opened at the first use; any thread may use it. Never raises because of
    the disk or the file.
    """

    def __init__(self, name: str, max_bytes: int, folder: Path | None = None) -> None:
        self._name = f"{name}.{SCHEMA_VERSION}.sqlite3"
        self._max_bytes = max_bytes
        self._folder = folder
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._off = max_bytes <= 0
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return (self._folder or paths.cache_dir()) / self._name

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values that are there; a key without one is not in the answer."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, bytes] = {}
        with self._lock:
            for start in range(0, len(wanted), _VARIABLES):
                found.update(self._guarded(self._get, wanted[start : start + _VARIABLES]) or {})
        return found

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Keeps all of `values`, or none of them where the file is busy."""
        if values:
            with self._lock:
                self._guarded(self._put, values)

    def close(self) -> None:
        """Closes the file; a later use opens it again."""
        with self._lock:
            self._disconnect()

    def _get(self, connection: sqlite3.Connection, keys: list[str]) -> dict[str, bytes]:
        marks = ",".join("?" * len(keys))
        rows = connection.execute(f"SELECT key, checksum, value FROM entry WHERE key IN ({marks})", keys)
        # A flipped bit inside a value is nothing that SQLite would notice.
        return {key: value for key, checksum, value in rows if zlib.crc32(value) == checksum}

    def _put(self, connection: sqlite3.Connection, values: Mapping[str, bytes]) -> None:
        rows = [(key, zlib.crc32(value), value) for key, value in values.items() if len(value) < self._max_bytes]
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO entry (key, checksum, value) VALUES (?, ?, ?)", rows)
            self._evict(connection)

    def _evict(self, connection: sqlite3.Connection) -> None:
        if _used_bytes(connection) <= self._max_bytes:
            return
        while _used_bytes(connection) > self._max_bytes * _EVICT_TO:
            deleted = connection.execute(
                "DELETE FROM entry WHERE id IN (SELECT id FROM entry ORDER BY id LIMIT ?)", (_EVICTED_AT_ONCE,)
            )
            if deleted.rowcount < _EVICTED_AT_ONCE:
                break

    def _guarded(self, work: Callable[[sqlite3.Connection, T], R], argument: T) -> R | None:
        """`work(connection, argument)`, once more on a new file where the old one is damaged; None where that fails."""
        if self._off:
            return None
        import sqlite3

        for _ in range(2):
            try:
                return work(self._connect(), argument)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):  # a file held by another process for long is no reason to give up
                    self._give_up(str(error))
                return None
            except sqlite3.DatabaseError as error:
                self._set_aside(str(error))
            except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
                self._give_up(str(error))
                return None
        self._give_up("damaged again at once")
        return None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            import sqlite3

            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._inode = self.path.stat().st_ino
            self._connection.execute("PRAGMA synchronous = OFF")  # a power cut may cost results, which costs only time
        # Each time: the file may have been busy when it was opened.
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS entry "
            "(id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL, checksum INTEGER, value BLOB)"
        )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _set_aside(self, reason: str) -> None:
        inode = self._inode
        self._disconnect()
        try:
            if self.path.stat().st_ino != inode:
                return  # another process has begun a new file already
            _log.warning("%s is damaged (%s); it is set aside and a new one is begun", self.path, reason)
            self.path.replace(self.path.with_suffix(".damaged"))
            for rest in ("-journal", "-wal", "-shm"):
                Path(f"{self.path}{rest}").unlink(missing_ok=True)
        except OSError as error:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        if not self._off:
            _log.warning("working without the cache %s: %s", self._name, reason)
        self._off = True
        self._disconnect()


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something; free pages are used again before the file grows."""
    (pages,), (free,), (size,) = itertools.chain.from_iterable(
        connection.execute(f"PRAGMA {what}") for what in ("page_count", "freelist_count", "page_size")
    )
    return int(pages - free) * int(size)
