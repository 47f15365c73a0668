"""Captions, and SRT and WebVTT text into captions.

The reader takes files as they are found: a byte order mark, CRLF, missing blank lines, missing numbers, times without
hours, a dot where a comma belongs. What it cannot read it reports by line and skips; it never raises.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from ..records import Word

WORD_JOINER = "\u2060"
"""Invisible; the writers put it where plain text would otherwise read as markup, and the reader takes it out."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Text on screen from `start_ms` to `end_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    """Plain text, at least one line, none of them empty."""
    speaker: str = ""
    words: tuple[Word, ...] = ()
    """The words of the last lines with their times, where they are known."""
    confidence: float | None = None
    language: str = ""

    @property
    def text(self) -> str:
        r"""The lines joined with newlines.

        >>> Caption(start_ms=0, end_ms=1, lines=("a", "b")).text
        'a\nb'
        """
        return "\n".join(self.lines)


@dataclass(kw_only=True)
class Parsed:
    """What a subtitle file holds."""

    captions: list[Caption] = field(default_factory=list)
    """In the order of the file."""
    problems: list[str] = field(default_factory=list)
    """One `line N: what is wrong` for each block that could not be read, or only in part."""
    language: str = ""
    """Language tag that a WebVTT header names."""


_TIME = r"(?:([0-9]{1,6})\s*:\s*)?([0-9]{1,3})\s*:\s*([0-9]{1,3})(?:\s*[.,:]\s*([0-9]{1,9}))?"
_TIMES = re.compile(rf"^\s*{_TIME}\s*--?>\s*{_TIME}(?:\s+(.*))?$")
_LIKE_TIMES = re.compile(r"-->|^\s*-?\d+:\d+.*->|^\s*-?\d+:\d+:\d+[.,]\d+\s+-?\d+:\d+:\d+")
_NUMBER = re.compile(r"^\s*[0-9]+\s*$")
_TAG = re.compile(r"</?(?:i|b|u|s|em|strong|font|c|v|lang|ruby|rt|span)(?:[.\s][^<>]*)?/?>", re.IGNORECASE)
_ASS_TAG = re.compile(r"\{\\[^{}]*\}")
_INLINE_TIME = re.compile(rf"<{_TIME}>")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]*)>")
_ESCAPE = re.compile(rf"(?<=[<{{-]){WORD_JOINER}")
_VTT_BLOCK = re.compile(r"^(NOTE|STYLE|REGION)(?:\s|$)")
_EXCERPT_CHARS = 40


def parse(text: str, format: Literal["srt", "vtt"]) -> Parsed:
    r"""Every caption of a subtitle file, and a list of what could not be read.

    >>> parse("1\n00:00:01,000 --> 00:00:02,500\n<i>Hello</i>\n", "srt").captions
    [Caption(start_ms=1000, end_ms=2500, lines=('Hello',), speaker='', words=(), confidence=None, language='')]
    >>> parse("WEBVTT\n\n00:01.000 --> later\nHello\n", "vtt").problems
    ["line 3: not a time range: '00:01.000 --> later'"]
    """
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff").replace("\0", "\ufffd"))
    result = Parsed()
    # WebVTT ends a cue at an empty line; what holds only spaces is text that shows nothing.
    blocks = _blocks(lines, blank=str.strip if format == "srt" else str)
    if format == "vtt":
        blocks = _vtt_bodies(blocks, result)
    reader = _Reader(format, result)
    for number, block in blocks:
        reader.block(number, block)
    reader.end_of_cue()
    if any(caption.words for caption in result.captions):
        result.captions = _unrolled(result.captions)
    return result


def parse_time(text: str) -> int | None:
    """Milliseconds of `1:02:03,004`, `02:03.004` or `02:03`; None where it is no time.

    >>> parse_time("01:00:00,5"), parse_time("00:01.25"), parse_time("soon")
    (3600500, 1250, None)
    """
    match = re.fullmatch(rf"\s*{_TIME}\s*", text)
    return _milliseconds(*match.groups()) if match else None


def _milliseconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> int:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return whole * 1000 + int((fraction or "0")[:3].ljust(3, "0"))


def _blocks(lines: list[str], blank: Callable[[str], str]) -> Iterator[tuple[int, list[str]]]:
    """Runs of lines of which `blank` leaves something, each with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate(lines, 1):
        if blank(line):
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield len(lines) - len(block) + 1, block


def _vtt_bodies(blocks: Iterator[tuple[int, list[str]]], result: Parsed) -> Iterator[tuple[int, list[str]]]:
    """The blocks without the file's header, notes, styles and regions."""
    for position, (number, block) in enumerate(blocks):
        if position == 0:
            if re.match(r"WEBVTT(?:\s|$)", block[0]):
                number, block = _after_header(number, block, result)
            else:
                result.problems.append(f"line {number}: no WEBVTT header: {_excerpt(block[0])}")
        if not block:
            continue
        kind = _VTT_BLOCK.match(block[0])
        if kind and not (len(block) > 1 and _TIMES.match(block[1])):
            continue
        yield number, block


def _after_header(number: int, block: list[str], result: Parsed) -> tuple[int, list[str]]:
    """What follows the header in its block, which is nothing unless a blank line is missing."""
    for position, line in enumerate(block):
        key, _, value = line.partition(":")
        if key.strip().lower() == "language":
            result.language = value.strip()
        if _TIMES.match(line):
            if position > 1 and _NUMBER.match(block[position - 1]):
                position -= 1
            return number + position, block[position:]
    return number, []


class _Reader:
    """Turns blocks into captions; keeps the caption whose text may still go on."""

    def __init__(self, format: Literal["srt", "vtt"], result: Parsed) -> None:
        self._vtt = format == "vtt"
        self._result = result
        self._times: tuple[int, int] | None = None
        self._text: list[str] = []
        self._skipping = False
        self._lone_number = ""
        """A number between blank lines: of the next cue, or the text of the one before."""

    def block(self, number: int, block: list[str]) -> None:
        """Reads one block; more than one cue is in it where blank lines are missing."""
        if self._lone_number and self._times is not None and not _TIMES.match(block[0]):
            self._text.append(self._lone_number)
        self._lone_number = ""
        times_at = [at for at, line in enumerate(block) if _TIMES.match(line)]
        starts = [self._start_of_cue(block, at, first=index == 0) for index, at in enumerate(times_at)]
        self._without_times(number, block[: starts[0]] if starts else block)
        for index, at in enumerate(times_at):
            self.end_of_cue()
            self._begin(number + at, block[at])
            self._text = block[at + 1 : starts[index + 1] if index + 1 < len(starts) else len(block)]

    def _start_of_cue(self, block: list[str], times_at: int, first: bool) -> int:
        """Where the cue whose times are at `times_at` begins: at its number or identifier, if it has one."""
        above = times_at - 1
        if above < 0:
            return times_at
        numbered = _NUMBER.match(block[above]) is not None
        named = self._vtt and first and above == 0
        return above if numbered or named else times_at

    def _without_times(self, number: int, lines: list[str]) -> None:
        if not lines:
            return
        broken = next((at for at, line in enumerate(lines[:2]) if _LIKE_TIMES.search(line)), None)
        if broken is not None:
            self.end_of_cue()
            self._skipping = True
            self._result.problems.append(f"line {number + broken}: not a time range: {_excerpt(lines[broken])}")
        elif not self._vtt and len(lines) == 1 and _NUMBER.match(lines[0]):
            self._lone_number = lines[0]
        elif self._times is not None and not self._vtt:
            # SRT text may hold blank lines: what has no times of its own belongs to the cue before.
            self._text.extend(lines)
        elif not self._skipping:
            self._result.problems.append(f"line {number}: text without times: {_excerpt(lines[0])}")

    def _begin(self, number: int, line: str) -> None:
        match = _TIMES.match(line)
        assert match is not None
        groups = match.groups()
        start, end = _milliseconds(*groups[0:4]), _milliseconds(*groups[4:8])
        if end < start:
            self._result.problems.append(f"line {number}: ends before it starts: {_excerpt(line)}")
            end = start
        self._times = (start, end)
        self._skipping = False

    def end_of_cue(self) -> None:
        """Adds the open caption, if there is one and it has text."""
        if self._times is None:
            return
        start, end = self._times
        for share, speaker, lines in _voices("\n".join(self._text)) if self._vtt else [(1.0, "", self._text)]:
            plain = tuple(filter(None, (_plain(line, self._vtt) for line in lines)))
            here = end if share == 1.0 else start + round((self._times[1] - self._times[0]) * share)
            if plain:
                words = _timed_words(lines, start, here) if self._vtt else ()
                self._result.captions.append(
                    Caption(start_ms=start, end_ms=here, lines=plain, speaker=speaker, words=words)
                )
                start = here
        self._times = None
        self._text = []


def _voices(payload: str) -> list[tuple[float, str, list[str]]]:
    """The payload by speaker: up to which share of the cue's time, who, and which lines."""
    tags = list(_VOICE.finditer(payload))
    if len({tag[1].strip() for tag in tags}) < 2:
        return [(1.0, html.unescape(tags[0][1]).strip() if tags else "", payload.split("\n"))]
    cuts = [0, *(tag.start() for tag in tags[1:]), len(payload)]
    parts = [payload[a:b] for a, b in pairwise(cuts)]
    lengths = [max(1, len(_plain(part, True))) for part in parts]
    return [
        (sum(lengths[: index + 1]) / sum(lengths), html.unescape(tag[1]).strip(), part.split("\n"))
        for index, (tag, part) in enumerate(zip(tags, parts, strict=True))
    ]


def _timed_words(lines: Sequence[str], start_ms: int, end_ms: int) -> tuple[Word, ...]:
    """The words of the last lines that have inline timestamps, with their times."""
    pieces: list[tuple[int, str]] = []
    at = start_ms
    for line in lines:
        texts = _INLINE_TIME.split(line)
        if len(texts) == 1:
            if _plain(line, vtt=True):
                pieces.clear()
            continue
        pieces.append((at, texts[0] + " "))
        for index in range(1, len(texts), 5):
            at = min(max(at, _milliseconds(*texts[index : index + 4])), end_ms)
            pieces.append((at, texts[index + 4] + " "))
    words: list[Word] = []
    for (begin, text), (end, _) in pairwise([*pieces, (end_ms, "")]):
        said = _plain(text, vtt=True).split()
        for index, word in enumerate(said):
            edges = (begin + (end - begin) * share // len(said) for share in (index, index + 1))
            words.append(Word(text=word, start_ms=next(edges), end_ms=next(edges)))
    return tuple(words)


def _unrolled(captions: list[Caption]) -> list[Caption]:
    """Captions that scroll, as automatic ones do, each line once: not again while the next one is spoken."""
    result = []
    shown: tuple[str, ...] = ()
    for caption in captions:
        repeated = next(
            (
                count
                for count in range(min(len(shown), len(caption.lines)), 0, -1)
                if shown[-count:] == caption.lines[:count]
            ),
            0,
        )
        shown = caption.lines
        if repeated < len(caption.lines):
            result.append(replace(caption, lines=caption.lines[repeated:]))
    return result


def _plain(line: str, vtt: bool) -> str:
    r"""A line without markup.

    >>> _plain(r"{\an8}<font color=red>Tom &amp; Jerry</font> <3", vtt=False)
    'Tom &amp; Jerry <3'
    >>> _plain("<c.loud>Tom</c> <00:01.000>&amp; Jerry", vtt=True)
    'Tom & Jerry'
    """
    line = _TAG.sub("", _ASS_TAG.sub("", line))
    if vtt:
        line = html.unescape(re.sub(r"<[^<>]*>", "", _INLINE_TIME.sub("", line)))
    return clean(_ESCAPE.sub("", line))


def clean(text: str) -> str:
    r"""One line of text as captions hold it: single spaces, no control characters.

    >>> clean(" a\t b\x07\n")
    'a b'
    """
    spaced = "".join(" " if _is_blank(character) else character for character in text)
    return re.sub(" +", " ", spaced).strip(" " + NO_BREAK_SPACES)


def _is_blank(character: str) -> bool:
    if character in NO_BREAK_SPACES:
        return False
    return character.isspace() or unicodedata.category(character) in {"Cc", "Cs"}


NO_BREAK_SPACES = "\u00a0\u2007\u202f"
"""Spaces that belong to the word on both sides of them, as in French `Quoi\u202f?`."""


def _excerpt(line: str) -> str:
    line = line.strip()
    return ascii(line[:_EXCERPT_CHARS]) + ("…" if len(line) > _EXCERPT_CHARS else "")
