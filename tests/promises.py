"""What a stream of live text promises its readers, checked on records as they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamlation_cli.records import StreamRecord, Transcript, Translation


def check(records: Iterable[StreamRecord], *, whole: bool = True) -> None:
    """Fails where a committed word changes or goes away, a final one changes, a revision goes back, or time does.

    `whole`: the stream was not broken off, so that what is committed must have become final.
    """
    committed: dict[tuple[str, type, str], list[str]] = {}
    revisions: dict[tuple[str, type, str], int] = {}
    final: set[tuple[str, type, str]] = set()
    ends: dict[tuple[str, type], int] = {}
    for record in records:
        if not isinstance(record, Transcript | Translation):
            continue
        key = (record.session, type(record), record.id)
        assert key not in final, f"{record.id} goes on after it was final: {record}"
        assert record.rev > revisions.get(key, -1), f"{record.id}: revision {record.rev} after {revisions[key]}"
        revisions[key] = record.rev
        said = [word.text for word in record.words]
        before = committed.get(key, [])
        assert said[: len(before)] == before, f"{record.id}: committed {before}, now {said}"
        stable = len(said) if record.final else record.stable_words
        assert stable >= len(before), f"{record.id}: fewer words are committed than before"
        committed[key] = said[:stable]
        times = [time for word in record.words for time in (word.start_ms, word.end_ms)]
        assert times == sorted(times), f"{record.id}: times go back: {times}"
        stream = (record.session, type(record))
        if said:
            assert times[0] >= ends.get(stream, 0), f"{record.id} starts before what came before it ends"
        if record.final:
            final.add(key)
            ends[stream] = max(ends.get(stream, 0), times[-1] if times else 0)
    unfinished = whole and [key[2] for key, words in committed.items() if words and key not in final]
    assert not unfinished, f"committed but never final: {unfinished}"


def final_text(records: Iterable[Any]) -> str:
    """All final transcripts, joined."""
    return " ".join(record.text for record in records if isinstance(record, Transcript) and record.final)
