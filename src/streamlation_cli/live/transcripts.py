"""Committed and volatile words as transcript records: revisions of a sentence that grows, and its final form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..engines import SpokenWord
from ..lag import Lag
from ..records import Transcript, Word
from ..seams import joined
from ..translating.sentences import CLAUSE_MARKS
from .listener import Update, ends_sentence

CLAUSE_MS = 11_000
"""A sentence without an end is cut behind a clause, or at a pause, from this length on."""
LONGEST_MS = 15_000
"""And from this length on between any two words."""
LEAST_WORDS = 4
"""So many words at least stand before such a cut."""
PAUSE_MS = 350
"""A pause at which people take breath, and what a clause's mark is worth beside a pause."""
_MARKS = tuple("".join(CLAUSE_MARKS))


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
        self._promised = 0
        """And how many of its words are committed: a cut before the last of them would take some back."""
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
        while count := self._cut():
            yield self._final(count, update.language)
        self.words += len(fresh)
        tail = [] if update.last or not self.volatile else [_word(spoken, origin_ms) for spoken in update.volatile]
        words = (*self._open, *_in_order(tail, self._end_ms))
        text = joined(words, update.language)
        if text != self._shown or fresh:
            if not text and not self._shown:
                return
            yield self._revision(words, len(self._open), text, update.language)

    def _cut(self) -> int:
        """Words of the open sentence before the best place to cut it, where it is too long; 0 where it need not be cut yet."""
        length_ms = self._open[-1].end_ms - self._open[0].start_ms if self._open else 0
        if length_ms <= CLAUSE_MS:
            return 0
        breaks = []
        for index in range(max(LEAST_WORDS, self._promised), len(self._open)):
            before, after = self._open[index - 1], self._open[index]
            clause = before.text.endswith(_MARKS)
            breaks.append((after.start_ms - before.end_ms + (PAUSE_MS if clause else 0), index))
        worth_ms, index = max(breaks, default=(-1, 0))
        return index if worth_ms >= PAUSE_MS or length_ms > LONGEST_MS else 0

    def _final(self, count: int, language: str) -> Transcript:
        words = tuple(self._open[:count])
        del self._open[:count]
        record = self._record(words, len(words), joined(words, language), language, final=True)
        self._number += 1
        self._rev = self._promised = 0
        self._shown = ""
        return record

    def _revision(self, words: Sequence[Word], stable: int, text: str, language: str) -> Transcript:
        record = self._record(tuple(words), stable, text, language, final=False)
        self._rev += 1
        self._shown, self._promised = text, stable
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
