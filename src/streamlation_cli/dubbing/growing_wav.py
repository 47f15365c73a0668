"""A WAV file that can be played while it is written: after every block its header says how long it is."""

from __future__ import annotations

import struct
from pathlib import PurePath

from ..artefacts import GrowingFile
from ..errors import UsageError
from .audiofile import SAMPLE_RATE_HZ, Block
from .waveform import to_s16

HEADER_BYTES = 80
_RIFF_MOST = 0xFFFF_FFFF
"""What a size field of 32 bits holds. A longer file becomes RF64, whose sizes have 64 (EBU Tech 3306)."""


def header(channels: int, data_bytes: int) -> bytes:
    """The header of a file with so many bytes of 16-bit samples; always `HEADER_BYTES` long.

    >>> header(1, 0)[:4], header(1, 1 << 33)[:4], len(header(1, 0))
    (b'RIFF', b'RF64', 80)
    """
    riff_bytes = HEADER_BYTES - 8 + data_bytes
    frame_bytes = 2 * channels
    long = riff_bytes > _RIFF_MOST
    sizes = struct.pack("<QQQI", riff_bytes, data_bytes, data_bytes // frame_bytes, 0) if long else bytes(28)
    return struct.pack(
        "<4sI4s4sI28s4sIHHIIHH4sI",
        b"RF64" if long else b"RIFF", _RIFF_MOST if long else riff_bytes, b"WAVE",
        b"ds64" if long else b"JUNK", 28, sizes,
        b"fmt ", 16, 1, channels, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * frame_bytes, frame_bytes, 16,
        b"data", _RIFF_MOST if long else data_bytes,
    )  # fmt: skip


def check(target: str) -> None:
    """Raises UsageError for a name whose format cannot be played while it grows."""
    if PurePath(target).suffix.lower() != ".wav":
        raise UsageError(
            f"{target}: with --live the track is written while it is spoken, which only a .wav file allows"
        )


class GrowingWav:
    """Like an `AudioFile`, under its own name from the start."""

    def __init__(self, target: str, channels: int) -> None:
        self._channels = channels
        self._bytes = 0
        self._file = GrowingFile(target)
        self._file.write(header(channels, 0))

    def write(self, block: Block) -> None:
        """Appends samples."""
        data = to_s16(block).T.tobytes()
        self._file.write(data)  # first, so that the header never promises what is not there
        self._bytes += len(data)
        self._file.rewrite(0, header(self._channels, self._bytes))

    def commit(self) -> None:
        """The file is whole."""
        self._file.commit()

    def abandon(self) -> None:
        """No more comes; what is there can be played."""
        self._file.abandon()
