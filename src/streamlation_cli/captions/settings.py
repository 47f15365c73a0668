"""What captions may be asked to be: how readable, and in which format. Light, for `--help` reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath

FORMATS = ("srt", "vtt", "ass", "txt")
"""Formats that have a writer here."""

_EXTENSIONS = {".srt": "srt", ".vtt": "vtt", ".webvtt": "vtt", ".ass": "ass", ".ssa": "ass", ".txt": "txt",
               ".ndjson": "ndjson", ".jsonl": "ndjson"}  # fmt: skip


def format_of(name: str) -> str | None:
    """The format that a file name's extension stands for, or None.

    >>> format_of("talk.pt.SRT"), format_of("talk")
    ('srt', None)
    """
    return _EXTENSIONS.get(PurePath(name).suffix.lower())


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What makes a caption readable; the defaults are the field's usual ones.

    42 characters, 2 lines, 17 characters a second, 5/6 s to 7 s and two frames between captions are the Netflix Timed Text
    Style Guide's for most Latin-script languages (its English guide allows 20 characters a second); the BBC Subtitle
    Guidelines' 37 characters and 160 to 180 words a minute come out close.
    """

    max_chars: int = 42
    max_lines: int = 2
    max_cps: float = 17.0
    min_duration_ms: int = 830
    max_duration_ms: int = 7000
    min_gap_ms: int = 80

    def needed_ms(self, columns: int) -> int:
        """How long `columns` of text must be seen to be read, within the duration bounds."""
        reading = math.ceil(columns * 1000 / self.max_cps)
        return min(max(self.min_duration_ms, reading), self.max_duration_ms)
