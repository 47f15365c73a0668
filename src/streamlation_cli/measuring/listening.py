"""Reads what a live system writes, a line at a time with its time of arrival, and keeps the score.

A line is a record of protocol 1, or one of the simple form that wraps any other program:

    {"text": "all that is committed so far", "volatile": "what may still change"}

with, where the wrapper knows them, `"heard_ms"` (how much audio the program had heard) and `"kind": "translation"` for
translated text. Anything else is garbage: counted and shown, never fatal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec

from .. import ndjson
from ..errors import MalformedRecord, WrongProtocol
from ..records import Cue, Error, StreamRecord, Transcript, Translation, Word, type_name
from .hypotheses import Shown, Texts

_MOST_EXCERPTS = 3
_MOST_ERRORS = 10


class Simple(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A line of the simple form."""

    text: str
    volatile: str = ""
    heard_ms: int | None = None
    kind: Literal["transcript", "translation"] = "transcript"


_simple = msgspec.json.Decoder(Simple)


class Listener:
    """The score of one stream while it goes on."""

    def __init__(
        self, due: Callable[[float], float], language: str, target_language: str, *, shift_ms: int = 0
    ) -> None:
        """`due` gives the bench's clock when the sample at a media time (ms) was due; `shift_ms` is the silence fed first."""
        self._due = due
        self._shift_ms = shift_ms
        self.transcripts = Texts(language)
        self.translations = Texts(target_language)
        self.cues = Texts(target_language or language)
        self.lines = 0
        self.garbage = 0
        self.garbage_excerpts: list[str] = []
        self.types: Counter[str] = Counter()
        self.errors: list[str] = []
        self.first_line_s: float | None = None
        self.simple = False
        """Whether lines of the simple form came, whose text never becomes final."""
        self._heard_ms: int | None = None
        self._last_cue: tuple[str, ...] = ()
        self._carried: dict[str, int] = {}
        """Cue → how many of its first lines were on the screen before, as in a roll-up."""

    def feed(self, at_s: float, line: bytes) -> None:
        """A line as it came, at this time of the bench's clock."""
        if not line.strip():
            return
        self.lines += 1
        if self.first_line_s is None:
            self.first_line_s = at_s
        try:
            if not line.endswith(b"\n"):
                raise MalformedRecord(self.lines, "cut short", "")
            self._record(at_s, ndjson.decode(line, self.lines))
        except (MalformedRecord, WrongProtocol):
            self._other(at_s, line)

    def end(self) -> None:
        """The system has ended."""
        if not self.simple:
            self.transcripts.end()
            self.translations.end()

    def broken(self) -> Counter[str]:
        """Every broken promise, by rule."""
        return self.transcripts.broken + self.translations.broken + self.cues.broken

    def _other(self, at_s: float, line: bytes) -> None:
        try:
            simple = _simple.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.garbage += 1
            if len(self.garbage_excerpts) < _MOST_EXCERPTS:
                self.garbage_excerpts.append(ndjson.excerpt(line))
            return
        self.simple = True
        self.types["simple"] += 1
        if simple.heard_ms is not None:
            self._heard_ms = simple.heard_ms - self._shift_ms
        committed = simple.text.split()
        words = [Shown(word) for word in (*committed, *simple.volatile.split())]
        texts = self.transcripts if simple.kind == "transcript" else self.translations
        texts.show(at_s, "simple", words, committed=len(committed), heard_ms=self._heard_ms)

    def _record(self, at_s: float, record: StreamRecord) -> None:
        self.types[type_name(record)] += 1
        if isinstance(record, Transcript | Translation):
            heard_ms = record.end_ms - self._shift_ms
            self._heard_ms = heard_ms if self._heard_ms is None else max(heard_ms, self._heard_ms)
            texts = self.transcripts if isinstance(record, Transcript) else self.translations
            texts.show(
                at_s, (record.session, record.id), self._words(record), committed=record.stable_words, final=record.final,
                rev=record.rev, heard_ms=self._heard_ms,
            )  # fmt: skip
        elif isinstance(record, Cue):
            self._cue(at_s, record)
        elif isinstance(record, Error) and len(self.errors) < _MOST_ERRORS:
            error = f"{record.stage}: {record.code}: {record.message}"
            if error not in self.errors:  # an error goes on downstream, past a tap
                self.errors.append(error)

    def _words(self, record: Transcript | Translation) -> list[Shown]:
        if record.words:
            return [self._shown(word) for word in record.words]
        return [Shown(word) for word in record.text.split()]

    def _shown(self, word: Word) -> Shown:
        return Shown(word.text, word.start_ms - self._shift_ms, word.end_ms - self._shift_ms)

    def _cue(self, at_s: float, cue: Cue) -> None:
        key = f"{cue.session}\n{cue.id}"
        standing = self.cues.standing(key)
        if cue.op == "remove":
            self.cues.remove(key, taken_back=at_s < self._due(cue.end_ms - self._shift_ms))
            return
        if (cue.op == "add") is (standing is not None):
            self.cues.broken["cue_added_twice" if cue.op == "add" else "cue_unknown"] += 1
        if cue.op == "add":
            self._carried[key] = _rolled(self._last_cue, cue.lines)
        self._last_cue = cue.lines
        # What rolled up from the cue before is neither new nor erased.
        words = " ".join(cue.lines[self._carried.get(key, 0) :]).split()
        start_ms = cue.start_ms - self._shift_ms if cue.op == "add" else None
        self.cues.show(at_s, key, [Shown(word, start_ms if at == 0 else None) for at, word in enumerate(words)])


def _rolled(before: tuple[str, ...], lines: tuple[str, ...]) -> int:
    """How many lines at the start of `lines` ended the cue before.

    >>> _rolled(("a", "b"), ("b", "c")), _rolled(("a",), ("b",))
    (1, 0)
    """
    for count in range(min(len(before), len(lines)), 0, -1):
        if before[-count:] == lines[:count]:
            return count
    return 0
