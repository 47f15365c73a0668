"""A queue of records that stays small in memory: what does not fit waits in a temporary file."""

from __future__ import annotations

import tempfile
from collections import deque
from typing import IO

import msgspec

from ..artefacts import writing
from ..records import AnyRecord

MEMORY_BYTES = 8 * 1024 * 1024
"""Held in memory; a quarter of an hour of compressed audio seldom needs more."""

_LENGTH_BYTES = 4


class Spool:
    """First in, first out. Raises OutputFailed where the temporary folder is full."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._read_at = 0
        self._written_to = 0
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
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
            self._file.seek(self._written_to)
            self._file.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
        self._written_to += _LENGTH_BYTES + len(data)

    def pop(self) -> AnyRecord | None:
        """Takes the first record; None where there is none."""
        if self._held:
            data = self._held.popleft()
            self._held_bytes -= len(data)
            return self._decoder.decode(data)
        if self._file is None or self._read_at == self._written_to:
            return None
        with writing("the temporary folder"):
            self._file.seek(self._read_at)
            length = int.from_bytes(self._file.read(_LENGTH_BYTES), "little")
            data = self._file.read(length)
            self._read_at += _LENGTH_BYTES + length
            if self._read_at == self._written_to:
                self._file.seek(0)
                self._file.truncate()
                self._read_at = self._written_to = 0
        return self._decoder.decode(data)

    def close(self) -> None:
        """Frees the temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._held.clear()
        self._read_at = self._written_to = self._held_bytes = 0
