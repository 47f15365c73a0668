"""Sessions of one stream kept apart: a stage written for one session serves many.

header a ─┐                       ┌─► Handler("a") ─┐
header b ─┼─► by_session(Handler) ┤                 ├─► one stream, order kept
pcm a …  ─┘                       └─► Handler("b") ─┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from .errors import StreamlationError
from .records import Eos, Error, Header, StreamRecord, Unknown, ends_session

Stage = Callable[[Iterable[StreamRecord]], Iterator[StreamRecord]]
"""What a verb does: records in, records out; the end of the input is the end of the loop."""


class Handler(Protocol):
    """A stage's work on one session."""

    def feed(self, record: StreamRecord) -> Iterable[StreamRecord]:
        """What becomes of `record` (the header first); a record that is not handled is yielded as it came."""

    def finish(self, end: Eos | Error) -> Iterable[StreamRecord]:
        """The tail, `end` itself excluded, which follows it. `end` is a fatal error where the session is not whole."""


def by_session(stage: str, make: Callable[[Header], Handler]) -> Stage:
    """The stage that gives each session a handler of its own, made from its header.

    A StreamlationError in a handler ends that session with a fatal `error` record of `stage`; the other sessions go on.
    """

    def run(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
        handlers: dict[str, Handler] = {}
        failed: set[str] = set()
        for record in records:
            session = record.session
            if session in failed:
                if isinstance(record, Header):
                    failed.discard(session)
                else:
                    continue
            try:
                if isinstance(record, Header):
                    handlers[session] = make(record)
                handler = handlers.get(session)
                if handler is None or isinstance(record, Unknown):
                    yield record
                elif ends_session(record):
                    assert isinstance(record, Eos | Error)
                    del handlers[session]
                    yield from handler.finish(record)
                    yield record
                else:
                    yield from handler.feed(record)
            except StreamlationError as error:
                handlers.pop(session, None)
                failed.add(session)
                yield Error(session, stage=stage, code=error.code, message=error.message, fatal=True)

    return run
