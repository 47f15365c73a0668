"""One verb as a process: stdin ─► decode ─► stage ─► encode ─► stdout.

Failures travel as records. A line that cannot be read becomes a fatal `error` for every open session, so the stage
yields its tail and the stage downstream learns why the stream ends; the exit status is that of the first error that
passes, here or upstream.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgspec

from . import ndjson, render, stdio
from .artefacts import writing
from .errors import StreamlationError
from .records import AnyRecord, Eos, Error, Header, Status, StreamRecord, Unknown, ends_session, type_name
from .sessions import Records, Stage

Observer = Callable[[str, StreamRecord], None]
"""Called with a stage's name and each record it yields."""


def contained(name: str, stage: Stage) -> Stage:
    """`stage` so wrapped that it ends every session it began, counts what it wrote, and reports its own errors.

    A bug in the stage becomes a fatal `internal` error for each open session instead of a traceback in mid-stream.
    """
    logger = logging.getLogger(f"streamlation.{name}")

    def run(records: Iterable[StreamRecord]) -> Records:
        counts: dict[str, dict[str, int]] = {}
        try:
            for record in stage(records):
                yield _counted(record, counts)
                if isinstance(record, Error) and record.stage == name:
                    logger.error("%s", record.message)
        except (GeneratorExit, BrokenPipeError):
            raise
        except stdio.Interrupted as interrupted:
            yield from _fatal(counts, name, interrupted.code, "interrupted")
        except StreamlationError as error:
            logger.error("%s", error.message)
            yield from _fatal(counts, name, error.code, error.message)
        except Exception as error:
            message = f"internal error, please report it: {type(error).__name__}: {error}"
            logger.error("%s", message, exc_info=logger.isEnabledFor(logging.INFO))
            yield from _fatal(counts, name, "internal", message)

    return run


def _counted(record: StreamRecord, counts: dict[str, dict[str, int]]) -> StreamRecord:
    if isinstance(record, Unknown):
        return record
    session = record.session
    if ends_session(record):
        seen = counts.pop(session, {})
        if isinstance(record, Eos) and record.counts != seen:
            return msgspec.structs.replace(record, counts=seen)
        return record
    if isinstance(record, Header):
        counts[session] = {}
    if session in counts:
        name = type_name(record)
        counts[session][name] = counts[session].get(name, 0) + 1
    return record


def _fatal(open_sessions: Iterable[str], stage: str, code: str, message: str) -> Iterator[Error]:
    for session in list(open_sessions) or [""]:
        yield Error(session, stage=stage, code=code, message=" ".join(message.split()), fatal=True)


def incoming(reader: ndjson.Reader, name: str) -> Iterator[StreamRecord]:
    """The reader's records; what stops it becomes a fatal error of stage `name` for each session still open."""
    try:
        yield from reader
    except stdio.Interrupted as interrupted:
        yield from _fatal(reader.open_sessions, name, interrupted.code, "interrupted")
    except StreamlationError as error:
        yield from _fatal(reader.open_sessions, name, error.code, error.message)


class Outcome:
    """The first error code among the records seen."""

    def __init__(self) -> None:
        self.code: str | None = None

    def see(self, record: StreamRecord) -> None:
        """Notes an `error` record, fatal or not."""
        if isinstance(record, Error) and self.code is None:
            self.code = record.code


def run(
    name: str, stage: Stage, *, upstream: BinaryIO | None, records_out: bool, as_text: bool, events: Observer,
    attentive: bool = False,
) -> str | None:  # fmt: skip
    """Runs `stage` between `upstream` (None for a source) and standard output; returns the first error code, or None.

    `attentive`: its handlers want to be woken (`sessions.Attentive`). Raises BrokenPipeError where nobody reads standard output any more,
    OutputFailed where it takes no more.
    """
    reader = ndjson.Reader(upstream) if upstream is not None else None
    outcome = Outcome()

    def work(records: Iterable[StreamRecord]) -> None:
        produced = contained(name, stage)(records)
        try:
            for record in produced:
                outcome.see(record)
                events(name, record)
                if records_out:
                    write(record, as_text=as_text, line=reader.line_of(record) if reader is not None else None)
        finally:
            produced.close()

    if reader is None:
        work(())
    elif attentive:
        _through_a_channel(incoming(reader, name), work)
    else:
        work(incoming(reader, name))
    return outcome.code


def _through_a_channel(records: Iterable[StreamRecord], work: Callable[[Iterable[StreamRecord]], None]) -> None:
    """`work` in a thread of its own. The records are read in this one, where signals end the wait for the next."""
    from .pipeline import Cancelled, Channel

    channel = Channel()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work(channel)
        except BaseException as error:
            failures.append(error)
        finally:
            channel.cancel()

    thread = threading.Thread(target=run, name="stage", daemon=True)
    thread.start()
    try:
        for record in records:
            channel.put(record)
    except Cancelled:
        pass  # `failures` says why
    finally:
        channel.end()
    thread.join()
    if failures:
        raise failures[0]


def write(record: StreamRecord, *, as_text: bool, line: bytes | None = None) -> None:
    """Writes a record to standard output: for a person, or as `line`, the bytes it was read from, or encoded anew."""
    out = stdio.stdout()
    with writing("standard output"):
        out.write(render.line(record).encode() if as_text else line or encode(record))
        out.flush()


def encode(record: StreamRecord) -> bytes:
    """One line; a record of unknown type has no bytes but those it was read from."""
    assert not isinstance(record, Unknown)
    known: AnyRecord = record
    return ndjson.encode(known)


def is_status(stage: str, record: StreamRecord) -> bool:
    """Whether `--events` is to have it: what `stage` says of itself, not what it passes along."""
    return isinstance(record, Status | Error) and record.stage == stage
