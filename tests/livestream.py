"""Live transcripts without a recogniser: what `transcribe --live` says while the words of a recording are spoken.

word is spoken ─ 0.5 s ─► shown, maybe misheard at first ─ 0.5 s ─► committed ─► its sentence ends: final
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from streamlation_cli import ndjson
from streamlation_cli.records import Eos, Header, Status, StreamRecord, Transcript, Translation, Unknown, Word

STARTED_AT = 1_700_000_000.0
"""Unix time of media time 0."""
_MISHEARD = ("the", "in", "end", "a", "so", "is", "two", "for", "not")


@dataclass(frozen=True, kw_only=True)
class Live:
    """How the recogniser behaves."""

    step_ms: int = 500
    """Media time between two hypotheses."""
    shown_ms: int = 500
    """How long after its end a word is first in a hypothesis."""
    committed_ms: int = 1000
    """How long after its end it is committed."""
    pause_ms: int = 800
    """Silence that ends an utterance."""
    wrong: float = 0.3
    """Share of words that are misheard until they are committed."""
    heartbeat_ms: int = 1000
    """Media time between two heartbeats of the source."""
    seed: int = 0


def spoken(lines: Sequence[str], *, characters_per_second: float = 15, pause_ms: int = 350) -> list[list[Word]]:
    """Sentences as words said one after the other at an even pace."""
    sentences, at = [], 500.0
    for line in lines:
        words = []
        for text in line.split():
            length = (len(text) + 1) * 1000 / characters_per_second
            words.append(Word(text=text, start_ms=round(at), end_ms=round(at + length * 0.95)))
            at += length
        sentences.append(words)
        at += pause_ms
    return sentences


def sentences_of(words: Sequence[Word]) -> list[list[Word]]:
    """Words of a recording, cut after full stops and at long pauses, as finals are."""
    sentences: list[list[Word]] = [[]]
    for word in words:
        if sentences[-1] and (
            sentences[-1][-1].text[-1] in ".?!" or word.start_ms - sentences[-1][-1].end_ms >= Live.pause_ms
        ):
            sentences.append([])
        sentences[-1].append(word)
    return [sentence for sentence in sentences if sentence]


def live(
    sentences: Sequence[Sequence[Word]], language: str, how: Live = Live(), session: str = "a", **of_header: object
) -> Iterator[StreamRecord]:
    """The session's records, in the order they come; `emitted_at` says when."""
    yield Header(
        session, proto=1, source="live", live=True, started_at=STARTED_AT, language=language, **of_header  # type: ignore[arg-type]
    )  # fmt: skip
    dice = random.Random(how.seed)
    misheard = {
        (at, index): dice.choice(_MISHEARD)
        for at, sentence in enumerate(sentences)
        for index in range(len(sentence))
        if dice.random() < how.wrong
    }
    open_at, rev, before = 0, 0, None
    duration_ms = sentences[-1][-1].end_ms + 2000
    for now_ms in range(0, duration_ms, how.step_ms):
        if now_ms % how.heartbeat_ms == 0:
            yield Status(session, stage="ingest", state="running", lag_ms=0, emitted_at=STARTED_AT + now_ms / 1000)
        while open_at < len(sentences):
            sentence = sentences[open_at]
            following = sentences[open_at + 1][0].start_ms if open_at + 1 < len(sentences) else None
            over_ms = sentence[-1].end_ms
            paused = following is None or following - over_ms >= how.pause_ms
            committed = sum(word.end_ms + how.committed_ms <= now_ms for word in sentence)
            shown = [word for word in sentence if word.end_ms + how.shown_ms <= now_ms]
            if paused and now_ms >= over_ms + how.pause_ms:
                committed, shown = len(sentence), list(sentence)
            final = committed == len(sentence)
            if not shown:
                break
            words = tuple(
                word
                if index < committed or (open_at, index) not in misheard
                else replace_text(word, misheard[open_at, index])
                for index, word in enumerate(shown)
            )
            state = (committed, words)
            if state != before:
                yield Transcript(
                    session, id=f"u{open_at + 1}", rev=rev, final=final, stable_words=0 if final else committed,
                    start_ms=words[0].start_ms, end_ms=words[-1].end_ms, text=" ".join(word.text for word in words),
                    words=words, language=language, emitted_at=STARTED_AT + now_ms / 1000,
                )  # fmt: skip
                rev, before = rev + 1, state
            if not final:
                break
            open_at, rev, before = open_at + 1, 0, None
    yield Eos(session, duration_ms=duration_ms)


def at(record: Translation | Status, emitted_at: float) -> Translation | Status:
    """The record, emitted at another time."""
    return msgspec.structs.replace(record, emitted_at=emitted_at)


def encoded(records: Iterable[StreamRecord]) -> Iterator[bytes]:
    """The records as lines."""
    return (ndjson.encode(record) for record in records if not isinstance(record, Unknown))


def moved(records: Iterable[StreamRecord], seconds: float) -> Iterator[StreamRecord]:
    """The records as of so many seconds later."""
    for record in records:
        if isinstance(record, Header) and record.started_at is not None:
            yield msgspec.structs.replace(record, started_at=record.started_at + seconds)
        elif isinstance(record, Status | Transcript | Translation) and record.emitted_at is not None:
            yield msgspec.structs.replace(record, emitted_at=record.emitted_at + seconds)
        else:
            yield record


def replace_text(word: Word, text: str) -> Word:
    """The word, heard as `text`."""
    return Word(text=text, start_ms=word.start_ms, end_ms=word.end_ms, confidence=word.confidence)
