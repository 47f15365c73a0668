"""The flag of an MP4's track that says whether it plays unless something else is chosen (ISO/IEC 14496-12, `tkhd`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

_ENABLED = 1


def disable(path: Path, tracks: Collection[int]) -> None:
    """Takes the flag from the tracks with these numbers, the first of which is 1; the file is changed in place."""
    if not tracks:
        return
    with path.open("r+b") as file:
        file.seek(0, 2)
        for moov, moov_end in _boxes(file, b"moov", 0, file.tell()):
            for trak, trak_end in _boxes(file, b"trak", moov, moov_end):
                for tkhd, _ in _boxes(file, b"tkhd", trak, trak_end):
                    _take(file, tkhd, tracks)


def _take(file: BinaryIO, tkhd: int, tracks: Collection[int]) -> None:
    file.seek(tkhd)
    version, *_, flags = file.read(4)
    file.seek(16 if version else 8, 1)
    number = int.from_bytes(file.read(4), "big")
    if number in tracks:
        file.seek(tkhd + 3)
        file.write(bytes([flags & ~_ENABLED]))


def _boxes(file: BinaryIO, kind: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the contents of each box of a kind begin and end, between `start` and `end`."""
    while start + 8 <= end:
        file.seek(start)
        size, name = int.from_bytes(file.read(4), "big"), file.read(4)
        head = 8
        if size == 1:
            size, head = int.from_bytes(file.read(8), "big"), 16
        if size == 0:
            size = end - start
        if size < head:
            return
        if name == kind:
            yield start + head, start + size
        start += size
