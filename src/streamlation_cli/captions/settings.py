"""What captions may be asked to be: how readable, and in which format. Light, for `--help` reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath

from ..errors import UsageError
from ..options import option

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


_DEFAULT = Limits()


@dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """How captions must read; options of every stage that lays text out."""

    max_chars: int = option(
        "--max-chars", _DEFAULT.max_chars, metavar="N", minimum=8, maximum=500, shared=True, rare=True,
        help="most characters in a line",
    )  # fmt: skip
    max_lines: int = option(
        "--max-lines", _DEFAULT.max_lines, metavar="N", minimum=1, maximum=8, shared=True, rare=True,
        help="most lines in a caption",
    )  # fmt: skip
    max_cps: float = option(
        "--max-cps", _DEFAULT.max_cps, metavar="N", minimum=1, maximum=1000, shared=True, rare=True,
        help="most characters a second",
    )  # fmt: skip
    min_duration: float = option(
        "--min-duration", _DEFAULT.min_duration_ms / 1000, metavar="SECONDS", minimum=0.05, maximum=60, shared=True,
        rare=True, help="least time that a caption is shown",
    )  # fmt: skip
    max_duration: float = option(
        "--max-duration", _DEFAULT.max_duration_ms / 1000, metavar="SECONDS", minimum=0.1, maximum=600, shared=True,
        rare=True, help="most time that a caption is shown",
    )  # fmt: skip
    min_gap: float = option(
        "--min-gap", _DEFAULT.min_gap_ms / 1000, metavar="SECONDS", minimum=0, maximum=10, shared=True, rare=True,
        help="least time between two captions",
    )  # fmt: skip

    def limits(self) -> Limits:
        """The options as limits; raises UsageError where they contradict each other."""
        if self.min_duration > self.max_duration:
            raise UsageError(f"--min-duration {self.min_duration:g} is more than --max-duration {self.max_duration:g}")
        return Limits(
            max_chars=self.max_chars,
            max_lines=self.max_lines,
            max_cps=self.max_cps,
            min_duration_ms=round(self.min_duration * 1000),
            max_duration_ms=round(self.max_duration * 1000),
            min_gap_ms=round(self.min_gap * 1000),
        )
