"""Committed and volatile words as transcript records: revisions of a sentence that grows, and its final form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..engines import SpokenWord
from ..lag import Lag
from ..records import Transcript, Word
from ..seams import joined
from .listener import Update, ends_sentence

LONGEST_MS = 15_000
"""A sentence without an end is cut at its longest pause beyond this."""
LEAST_WORDS = 4
"""So many words at least stand on each side of such a cut."""


class Transcripts:
    """Writes the transcripts of one session."""

    def __init__(self, session: str, lag: Lag, *, volatile: bool = True) -> None:
        self._session = session
        self._lag = lag
        self.volatile = volatile
        """Whether words that may change yet are written."""
        self._number = 1
        self._rev = 0
        self._shown = ""
        """Text of the last revision that was written."""
        self._open: list[Word] = []
        """Committed words of the sentence that is not final yet."""
        self._end_ms = 0
        """Where the last committed word ends."""
        self._now: float | None = None
        """When the update at hand is written, Unix time; None unless live."""
        self.words = 0
        """Words committed so far."""

    def write(self, update: Update, origin_ms: int) -> Iterator[Transcript]:
        """The records that an update makes. `origin_ms`: media time of the stretch's start."""
        fresh = _in_order([_word(spoken, origin_ms) for spoken in update.committed], self._end_ms)
        self._now = self._lag.emitted(*(word.end_ms for word in fresh))
        if self._open and _ends(update.mark):
            yield self._final(len(self._open), update.language)
        for word in fresh:
            self._open.append(word)
            self._end_ms = word.end_ms
            if ends_sentence(word.text):
                yield self._final(len(self._open), update.language)
        if update.last and self._open:
            yield self._final(len(self._open), update.language)
        while self._open and self._open[-1].end_ms - self._open[0].start_ms > LONGEST_MS and self._cut():
            yield self._final(self._cut(), update.language)
        self.words += len(fresh)
        tail = [] if update.last or not self.volatile else [_word(spoken, origin_ms) for spoken in update.volatile]
        words = (*self._open, *_in_order(tail, self._end_ms))
        text = joined(words, update.language)
        if text != self._shown or fresh:
            if not text and not self._shown:
                return
            yield self._revision(words, len(self._open), text, update.language)

    def _cut(self) -> int:
        """Words up to the longest pause of the open sentence; 0 where it has too few."""
        gaps = [
            (self._open[index].start_ms - self._open[index - 1].end_ms, index)
            for index in range(LEAST_WORDS, len(self._open) - LEAST_WORDS + 1)
        ]
        return max(gaps)[1] if gaps else 0

    def _final(self, count: int, language: str) -> Transcript:
        words = tuple(self._open[:count])
        del self._open[:count]
        record = self._record(words, len(words), joined(words, language), language, final=True)
        self._number += 1
        self._rev = 0
        self._shown = ""
        return record

    def _revision(self, words: Sequence[Word], stable: int, text: str, language: str) -> Transcript:
        record = self._record(tuple(words), stable, text, language, final=False)
        self._rev += 1
        self._shown = text
        return record

    def _record(self, words: tuple[Word, ...], stable: int, text: str, language: str, *, final: bool) -> Transcript:
        known = [word.confidence for word in words if word.confidence is not None]
        return Transcript(
            self._session, id=f"u{self._number}", rev=self._rev, final=final, stable_words=stable,
            start_ms=words[0].start_ms if words else self._end_ms, end_ms=words[-1].end_ms if words else self._end_ms,
            text=text, language=language, words=words,
            confidence=round(sum(known) / len(known), 3) if known else None,
            emitted_at=self._now,
        )  # fmt: skip


def _ends(mark: str) -> bool:
    return bool(mark) and ends_sentence(mark)


def _word(spoken: SpokenWord, origin_ms: int) -> Word:
    return Word(
        text=spoken.text,
        start_ms=origin_ms + round(spoken.start_s * 1000),
        end_ms=origin_ms + round(spoken.end_s * 1000),
        confidence=round(spoken.confidence, 3),
    )


def _in_order(words: Sequence[Word], earliest_ms: int) -> list[Word]:
    """The words, none of them before the one before it ends."""
    ordered = []
    for word in words:
        start_ms = max(word.start_ms, earliest_ms)
        earliest_ms = max(word.end_ms, start_ms)
        ordered.append(Word(text=word.text, start_ms=start_ms, end_ms=earliest_ms, confidence=word.confidence))
    return ordered
