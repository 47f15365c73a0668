"""Sessions of one stream kept apart: a stage written for one session serves many.

header a ─┐                       ┌─► Handler("a") ─┐
header b ─┼─► by_session(Handler) ┤                 ├─► one stream, order kept
pcm a …  ─┘                       └─► Handler("b") ─┘
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from .errors import StreamlationError, UsageError
from .records import Eos, Error, Header, StreamRecord, Unknown, ends_session

Records = Generator[StreamRecord, None, None]
"""What a stage yields; closing it ends the stage's work."""
Stage = Callable[[Iterable[StreamRecord]], Records]
"""What a verb does: records in, records out; the end of the input is the end of the loop."""


class Handler(Protocol):
    """A stage's work on one session."""

    def feed(self, record: StreamRecord) -> Iterable[StreamRecord]:
        """What becomes of `record` (the header first); a record that is not handled is yielded as it came."""

    def finish(self, end: Eos | Error) -> Iterable[StreamRecord]:
        """The tail, `end` itself excluded, which follows it. `end` is a fatal error where the session is not whole."""


@dataclass(frozen=True)
class Wake:
    """Among the records of a channel, and no record itself: a handler asked for it, to go on with what another thread has done."""

    session: str


@runtime_checkable
class Waking(Protocol):
    """What records come through, where it can say more."""

    def wake(self, wake: Wake) -> None:
        """From any thread: it comes out among the records."""


@runtime_checkable
class Attentive(Handler, Protocol):
    """A handler that has work done in other threads."""

    def attend(self, wake: Callable[[], None]) -> None:
        """`wake`, called from any thread, has `woken` called soon. It comes where the records go through a channel: in `run`, and in a
        stage module that is `attentive`."""

    def woken(self) -> Iterable[StreamRecord]:
        """What has become of the work, though no record came."""


@runtime_checkable
class Holder(Handler, Protocol):
    """A handler that holds what must be let go: files, voices, a device."""

    def abandon(self) -> None:
        """The session is over, however it ended: what is not whole by now never will be. Once is as good as twice."""


def fails(stage: str, record: StreamRecord) -> bool:
    """Whether `stage` itself could not go on with the session."""
    return isinstance(record, Error) and record.fatal and record.stage == stage


def refuses(stage: str, record: StreamRecord) -> bool:
    """Whether `stage` does not take the session, and never will: where it takes no other, whoever works upstream need not."""
    return isinstance(record, Error) and fails(stage, record) and record.code == UsageError.code


def by_session(
    stage: str, make: Callable[[Header], Handler]
) -> Callable[[Iterable[StreamRecord]], Generator[StreamRecord, None, None]]:
    """The stage that gives each session a handler of its own, made from its header.

    A StreamlationError in a handler ends that session with a fatal `error` record of `stage`; the other sessions go on. A `Holder` is
    abandoned before the record that ends its session goes on, or when the stream stops short. An `Attentive` one can be woken where the
    records come through a channel.
    """

    def run(records: Iterable[StreamRecord]) -> Generator[StreamRecord, None, None]:
        handlers: dict[str, Handler] = {}
        try:
            yield from through(records, handlers)
        finally:
            for session in list(handlers):
                over(handlers, session)

    def over(handlers: dict[str, Handler], session: str) -> None:
        handler = handlers.pop(session, None)
        if isinstance(handler, Holder):
            handler.abandon()

    def attend(handler: Handler, session: str, records: Iterable[StreamRecord | Wake]) -> None:
        if isinstance(handler, Attentive) and isinstance(records, Waking):
            handler.attend(partial(records.wake, Wake(session)))

    def through(records: Iterable[StreamRecord | Wake], handlers: dict[str, Handler]) -> Iterator[StreamRecord]:
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
                    over(handlers, session)
                    handlers[session] = make(record)
                    attend(handlers[session], session, records)
                handler = handlers.get(session)
                if isinstance(record, Wake):
                    yield from handler.woken() if isinstance(handler, Attentive) else ()
                elif handler is None or isinstance(record, Unknown):
                    yield record
                elif ends_session(record):
                    assert isinstance(record, Eos | Error)
                    yield from handler.finish(record)
                    over(handlers, session)
                    yield record
                else:
                    yield from handler.feed(record)
            except StreamlationError as error:
                over(handlers, session)
                failed.add(session)
                yield Error(session, stage=stage, code=error.code, message=error.message, fatal=True)

    return run
