"""Captions into SRT, WebVTT, ASS and plain text, a caption at a time.

What has been written at any moment is a valid file, so a caption can be written the moment it is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from ..records import Word
from .formats import WORD_JOINER, Caption


class Writer(Protocol):
    """One subtitle file, as text in pieces."""

    def header(self, language: str) -> str:
        """What comes before the first caption; on its own it is a valid file. `language` may be empty."""

    def caption(self, caption: Caption) -> str:
        """One caption; captions come in order of time."""


def writer_of(format: str, words: bool = False) -> Writer:
    """A writer of `srt`, `vtt`, `ass` or `txt`; `words` asks for word-level highlighting where the format has it."""
    makers: dict[str, Callable[[], Writer]] = {
        "srt": SrtWriter,
        "vtt": lambda: VttWriter(words),
        "ass": lambda: AssWriter(words),
        "txt": TextWriter,
    }
    return makers[format]()


def write(captions: Sequence[Caption], format: str, language: str = "", words: bool = False) -> str:
    r"""A whole file.

    >>> write([Caption(start_ms=0, end_ms=1500, lines=("Hello", "there"))], "srt")
    '1\n00:00:00,000 --> 00:00:01,500\nHello\nthere\n\n'
    """
    writer = writer_of(format, words)
    return writer.header(language) + "".join(map(writer.caption, captions))


def clock(time_ms: int, point: str = ".") -> str:
    """Hours, minutes, seconds and milliseconds.

    >>> clock(3_723_004), clock(360_000_000, ",")
    ('01:02:03.004', '100:00:00,000')
    """
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def words_by_line(caption: Caption) -> list[list[tuple[str, Word | None]]]:
    """The caption's lines cut into (text, word), spaces kept with the text after them.

    The word is None for a line that the words do not cover: the caption's words are those of its last lines.

    >>> w = [Word(text="oi", start_ms=0, end_ms=9), Word(text="tu", start_ms=9, end_ms=20)]
    >>> cut = words_by_line(Caption(start_ms=0, end_ms=20, lines=("hi you", "oi tu"), words=tuple(w)))
    >>> [[(text, word and word.start_ms) for text, word in line] for line in cut]
    [[('hi you', None)], [('oi', 0), (' tu', 9)]]
    """
    plain: list[list[tuple[str, Word | None]]] = [[(line, None)] for line in caption.lines]
    spoken = "".join(_solid(word.text) for word in caption.words)
    solid = [_solid(line) for line in caption.lines]
    first = next((at for at in range(len(solid)) if spoken and "".join(solid[at:]) == spoken), None)
    if first is None:
        return plain
    words = iter(caption.words)
    cut = plain[:first]
    for line in caption.lines[first:]:
        pieces: list[tuple[str, Word | None]] = []
        position = 0
        while position < len(line):
            word = next(words)
            end = _past(line, position, len(_solid(word.text)))
            if end is None:  # a word that goes on in the next line
                return plain
            if end > position:
                pieces.append((line[position:end], word))
            position = end
        cut.append(pieces)
    return cut


def _solid(text: str) -> str:
    return "".join(text.split())


def _past(line: str, position: int, count: int) -> int | None:
    """Position after `count` characters that are not spaces; None where the line is too short."""
    while count:
        if position >= len(line):
            return None
        count -= not line[position].isspace()
        position += 1
    return position


class SrtWriter:
    """SubRip."""

    def __init__(self) -> None:
        self._number = 0

    def header(self, language: str) -> str:
        """Nothing: an empty file is a valid one."""
        return ""

    def caption(self, caption: Caption) -> str:
        """The numbered block and the blank line after it."""
        self._number += 1
        times = f"{clock(caption.start_ms, ',')} --> {clock(caption.end_ms, ',')}"
        text = "\n".join(map(srt_text, caption.lines))
        return f"{self._number}\n{times}\n{text}\n\n"


# SubRip has no escapes: an invisible character keeps text from reading as markup or as a time range.
_SRT_MARKUP = re.compile(r"<(?=[/a-zA-Z])|\{(?=\\)|-(?=->|>)")


def srt_text(line: str) -> str:
    """A line of plain text as SubRip has it."""
    return _SRT_MARKUP.sub(lambda match: match[0] + WORD_JOINER, line)


class VttWriter:
    """WebVTT; with `words`, an inline timestamp before each word."""

    def __init__(self, words: bool = False) -> None:
        self._words = words

    def header(self, language: str) -> str:
        """The signature, the language where it is known, and how words that are still to come look."""
        named = f"Language: {language}\n" if re.fullmatch(r"[A-Za-z0-9-]+", language) else ""
        style = "STYLE\n::cue(:future) { color: #a0a0a0 }\n\n" if self._words else ""
        return f"WEBVTT\n{named}\n{style}"

    def caption(self, caption: Caption) -> str:
        """The cue and the blank line after it."""
        if self._words and caption.words:
            text = self._timed(caption)
        else:
            text = "\n".join(map(vtt_text, caption.lines))
        if caption.speaker:
            text = f"<v {vtt_text(caption.speaker)}>{text}"
        return f"{clock(caption.start_ms)} --> {clock(caption.end_ms)}\n{text}\n\n"

    def _timed(self, caption: Caption) -> str:
        last = caption.start_ms
        lines = []
        for pieces in words_by_line(caption):
            line = ""
            for text, word in pieces:
                # A timestamp must be later than the one before it and inside the cue.
                if word and last < word.start_ms < caption.end_ms:
                    last = word.start_ms
                    spaces = text[: len(text) - len(text.lstrip())]
                    line += f"{spaces}<{clock(last)}>{vtt_text(text.lstrip())}"
                else:
                    line += vtt_text(text)
            lines.append(line)
        return "\n".join(lines)


def vtt_text(line: str) -> str:
    """A line of plain text as WebVTT has it."""
    # Many players, and our reader, take `{\an8}` for an ASS tag here too.
    line = line.replace("{\\", "{" + WORD_JOINER + "\\")
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class AssWriter:
    """Advanced SubStation Alpha; with `words`, karaoke timing for each word."""

    def __init__(self, words: bool = False) -> None:
        self._words = words

    def header(self, language: str) -> str:
        """Script info and one style: white with an outline, bottom centre, for a 1920 × 1080 picture."""
        tag = f"Language: {language}\n" if re.fullmatch(r"[A-Za-z0-9-]+", language) else ""
        return _ASS_HEADER.replace("@LANGUAGE@", tag)

    def caption(self, caption: Caption) -> str:
        """One Dialogue line."""
        text = self._timed(caption) if self._words and caption.words else r"\N".join(map(_ass_text, caption.lines))
        times = f"{_centiseconds(caption.start_ms)},{_centiseconds(caption.end_ms)}"
        speaker = caption.speaker.replace(",", ";")
        return f"Dialogue: 0,{times},Default,{speaker},0,0,0,,{text}\n"

    def _timed(self, caption: Caption) -> str:
        at = caption.start_ms // 10
        lines = []
        for pieces in words_by_line(caption):
            line = ""
            for text, word in pieces:
                if word is None:
                    line += _ass_text(text)
                    continue
                start = min(max(word.start_ms, caption.start_ms), caption.end_ms) // 10
                end = min(max(word.end_ms, caption.start_ms), caption.end_ms) // 10
                if start > at:
                    line += f"{{\\k{start - at}}}"
                    at = start
                spaces = text[: len(text) - len(text.lstrip())]
                line += f"{spaces}{{\\k{max(0, end - at)}}}{_ass_text(text.lstrip())}"
                at = max(at, end)
            lines.append(line)
        return r"\N".join(lines)


_ASS_HEADER = """\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 2
ScaledBorderAndShadow: yes
@LANGUAGE@
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,64,&H00FFFFFF,&H00A0A0A0,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,60,60,60,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _ass_text(line: str) -> str:
    """`line` with braces escaped; a backslash is kept from starting an escape (there is no escape for it)."""
    return line.replace("\\", "\\" + WORD_JOINER).replace("{", "\\{").replace("}", "\\}")


def _centiseconds(time_ms: int) -> str:
    """ASS time, rounded down, which keeps a gap of whole centiseconds as it is.

    >>> _centiseconds(3_723_009)
    '1:02:03.00'
    """
    hours, rest = divmod(time_ms, 3_600_000)
    return f"{hours}{clock(rest)[2:-1]}"


class TextWriter:
    """Plain text, a line a caption."""

    def header(self, language: str) -> str:
        """Nothing."""
        return ""

    def caption(self, caption: Caption) -> str:
        """The text on one line."""
        return " ".join(caption.lines) + "\n"
