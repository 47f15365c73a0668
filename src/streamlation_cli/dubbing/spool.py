"""A queue of records that stays small in memory: what does not fit waits in a temporary file."""

from __future__ import annotations

import errno
import tempfile
from collections import deque
from io import FileIO

import msgspec

from ..artefacts import writing
from ..records import AnyRecord

MEMORY_BYTES = 8 * 1024 * 1024
"""Held in memory; a quarter of an hour of compressed audio seldom needs more."""

_LENGTH_BYTES = 4
_AHEAD_BYTES = 256 * 1024
"""Read from the file at a time."""


class Spool:
    """First in, first out. Raises OutputFailed where the temporary folder is full."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._file: FileIO | None = None
        self._read_at = 0
        self._written_to = 0
        self._ahead = memoryview(b"")
        """What the file has from `_read_at` on, as far as it was read."""
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)

    def append(self, record: AnyRecord) -> None:
        """Puts a record at the end."""
        data = self._encoder.encode(record)
        in_file = self._read_at < self._written_to
        if not in_file and self._held_bytes + len(data) <= self._memory_bytes:
            self._held.append(data)
            self._held_bytes += len(data)
            return
        with writing("the temporary folder"):
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()
            self._file.seek(self._written_to)
            left = memoryview(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
            while left:
                count = self._file.write(left)
                self._written_to += count
                left = left[count:]

    def pop(self) -> AnyRecord | None:
        """Takes the first record; None where there is none."""
        if self._held:
            data = self._held.popleft()
            self._held_bytes -= len(data)
            return self._decoder.decode(data)
        if self._file is None or self._read_at == self._written_to:
            return None
        with writing("the temporary folder"):
            length = int.from_bytes(self._next(_LENGTH_BYTES), "little")
            record = self._decoder.decode(self._next(length))
            if self._read_at == self._written_to:
                self._ahead = memoryview(b"")
                self._file.truncate(0)
                self._read_at = self._written_to = 0
        return record

    def _next(self, count: int) -> memoryview:
        """The next bytes of the file."""
        assert self._file is not None
        while len(self._ahead) < count:
            wanted = max(count - len(self._ahead), _AHEAD_BYTES)
            self._file.seek(self._read_at + len(self._ahead))
            more = self._file.read(wanted)
            if not more:
                raise OSError(errno.EIO, "it was cut short")
            self._ahead = memoryview(bytes(self._ahead) + more)
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        self._read_at += count
        return taken

    def close(self) -> None:
        """Frees the temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._held.clear()
        self._ahead = memoryview(b"")
        self._read_at = self._written_to = self._held_bytes = 0
