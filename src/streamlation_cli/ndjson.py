"""Bytes to records and back: the one codec.

A record that leaves a process as it came is written with the very bytes it was read from, unknown fields included.
The reader therefore keeps a record's line for as long as the record itself lives, and no longer.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from .errors import DataError, MalformedRecord, TruncatedStream, WrongProtocol
from .records import KNOWN, PROTO, AnyRecord, Header, StreamRecord, Unknown, ends_session, type_name

MAX_LINE_BYTES = 32 * 1024 * 1024
"""A longer line is refused before it fills memory; the largest real record is one video keyframe."""

_EXCERPT_CHARS = 60

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


class _Head(msgspec.Struct, kw_only=True):
    type: str
    session: str = ""


_head_decoder = msgspec.json.Decoder(_Head)
_known_types = frozenset(str(cls.__struct_config__.tag) for cls in KNOWN)


def encode(record: AnyRecord) -> bytes:
    r"""One line, newline included.

    >>> from streamlation_cli.records import Eos
    >>> encode(Eos(session="a"))
    b'{"type":"eos","session":"a"}\n'
    """
    return _encoder.encode(record) + b"\n"


def decode(line: bytes, line_number: int = 1) -> StreamRecord:
    """The record of one line.

    Raises MalformedRecord where the line is no record, WrongProtocol for a header of another major version.
    """
    try:
        record: StreamRecord = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        record = _unknown(line, line_number, error)
    if isinstance(record, Header) and record.proto != PROTO:
        raise WrongProtocol(
            f"line {line_number}: the stream speaks protocol {record.proto}, this program speaks {PROTO}; "
            "use the same version of streamlation on both sides"
        )
    return record


def _unknown(line: bytes, line_number: int, error: Exception) -> Unknown:
    try:
        line.decode()
        head = _head_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as worse:
        raise MalformedRecord(line_number, f"not a record ({_reason(worse)})", excerpt(line)) from None
    if head.type in _known_types:
        raise MalformedRecord(
            line_number, f"not a valid {head.type} record ({_reason(error)})", excerpt(line)
        ) from None
    return Unknown(type=head.type, session=head.session)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}"
    return " ".join(str(error).split())


def excerpt(line: bytes) -> str:
    r"""The start of a line, printable.

    >>> print(excerpt(b'{"type": \xff\n'))
    '{"type": \ufffd'
    """
    text = line[: _EXCERPT_CHARS * 4].decode(errors="replace").rstrip("\r\n")
    shown = text[:_EXCERPT_CHARS]
    return ascii(shown) + ("…" if len(line) > len(shown.encode()) + 2 else "")


class Reader:
    """Iterates over the records of a binary stream and checks that each session is whole.

    Raises MalformedRecord, WrongProtocol or DataError at the first line that breaks the protocol, TruncatedStream
    at the end of a stream that has open sessions or no record at all. `open_sessions` says which are open.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._line_number = 0
        self._lines: dict[int, tuple[weakref.ref[StreamRecord], bytes]] = {}
        self.open_sessions: dict[str, None] = {}

    def __iter__(self) -> Iterator[StreamRecord]:
        seen = False
        while line := self._stream.readline(MAX_LINE_BYTES + 1):
            self._line_number += 1
            if len(line) > MAX_LINE_BYTES:
                raise MalformedRecord(self._line_number, f"longer than {MAX_LINE_BYTES} bytes", excerpt(line))
            if not line.strip():
                continue
            if not line.endswith(b"\n"):
                # The writer died in mid-line: what is there may even parse, but it is not known to be whole.
                raise TruncatedStream(f"line {self._line_number}: cut short: {excerpt(line)}")
            record = decode(line, self._line_number)
            seen = True
            self._check_order(record, line)
            self._remember(record, line)
            yield record
            del record
        if self.open_sessions:
            names = ", ".join(self.open_sessions)
            raise TruncatedStream(f"the input stopped before the end of session {names}; the stage before failed")
        if not seen:
            raise TruncatedStream("the input holds no records; the stage before failed or wrote nothing")

    def line_of(self, record: StreamRecord) -> bytes | None:
        """The line `record` was read from, if it was read here."""
        entry = self._lines.get(id(record))
        return entry[1] if entry is not None and entry[0]() is record else None

    def _remember(self, record: StreamRecord, line: bytes) -> None:
        key = id(record)

        def forget(reference: weakref.ref[StreamRecord]) -> None:
            entry = self._lines.get(key)
            if entry is not None and entry[0] is reference:
                del self._lines[key]

        self._lines[key] = (weakref.ref(record, forget), line)

    def _check_order(self, record: StreamRecord, line: bytes) -> None:
        if isinstance(record, Unknown):
            return
        session = record.session
        if isinstance(record, Header):
            if session in self.open_sessions:
                raise MalformedRecord(self._line_number, f"a second header for session {session}", excerpt(line))
            self.open_sessions[session] = None
        elif session not in self.open_sessions:
            if ends_session(record):
                return  # a source that could not be opened has an error and no header
            name = type_name(record)
            raise DataError(
                f"line {self._line_number}: a {name} record of session {session!r} outside its header and end: {excerpt(line)}"
            )
        elif ends_session(record):
            del self.open_sessions[session]
