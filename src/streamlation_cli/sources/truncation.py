"""Whether a file is all there, by its own structure, in formats where FFmpeg takes what it finds for the whole."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""What a WAV file says of its length when it was written to a pipe."""
_TS_PACKET_BYTES = 188
_TAIL_BYTES = 128 * 1024
"""More than the longest Ogg page."""
_OGG_HEADER_BYTES = 27
_OGG_LAST_PAGE = 0x04


def of_file(path: str, format: str) -> str:
    """What is missing at the end of a file, as half a sentence; empty where nothing is known to be.

    `format` is FFmpeg's name of it: wav, ogg and mpegts are looked into.
    """
    look = {"wav": _wav, "ogg": _ogg, "mpegts": _mpegts}.get(format)
    if look is None:
        return ""
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            return look(file, size)
    except (OSError, struct.error):
        return ""


def _wav(file: BinaryIO, size: int) -> str:
    position = 12
    while True:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            missing = position + 8 + length - size
            if length in _UNKNOWN_SIZES or length > 0xFFFFFF00 or missing <= 0:
                return ""
            return f"truncated: {missing} of {length} bytes of samples ({missing / length:.0%}) are missing"
        position += 8 + length + length % 2


def _ogg(file: BinaryIO, size: int) -> str:
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) - at < _OGG_HEADER_BYTES:
        return "truncated: it ends in the middle of a page"
    segments = tail[at + _OGG_HEADER_BYTES : at + _OGG_HEADER_BYTES + tail[at + 26]]
    if len(segments) < tail[at + 26] or at + _OGG_HEADER_BYTES + len(segments) + sum(segments) > len(tail):
        return "truncated: it ends in the middle of a page"
    return "" if tail[at + 5] & _OGG_LAST_PAGE else "truncated: its last page is not marked as the last"


def _mpegts(file: BinaryIO, size: int) -> str:
    file.seek(0)
    head = file.read(_TS_PACKET_BYTES + 1)
    if size % _TS_PACKET_BYTES and head[:1] == head[-1:] == b"\x47":
        return "truncated: it ends in the middle of a transport packet"
    return ""
