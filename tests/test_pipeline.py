"""Stages on threads: order, bounds, failures, and nobody left waiting. Threads are stepped by events, never slept on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import pytest

from streamlation_cli import pipeline
from streamlation_cli.errors import DataError
from streamlation_cli.pipeline import Cancelled, Channel
from streamlation_cli.records import Discontinuity, Eos, Error, Header, StreamRecord
from streamlation_cli.sessions import Stage, by_session
from streamlation_cli.stages.run import merge, session_names


def gap(number: int, session: str = "a") -> Discontinuity:
    return Discontinuity(session, at_ms=number, gap_ms=0, reason="test")


def source(session: str = "a", count: int = 5) -> Iterator[StreamRecord]:
    yield Header(session, proto=1, source="test")
    for number in range(count):
        yield gap(number, session)
    yield Eos(session)


def endless(closed: threading.Event) -> Iterator[StreamRecord]:
    """A source that goes on until it is `closed`."""
    yield Header("a", proto=1, source="test")
    try:
        while True:
            yield gap(0)
    finally:
        closed.set()


def same(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
    yield from records


def test_records_come_through_in_order() -> None:
    out = list(pipeline.run(source(count=2000), [("one", same), ("two", same), ("three", same)]))
    assert [record.at_ms for record in out if isinstance(record, Discontinuity)] == list(range(2000))
    assert isinstance(out[-1], Eos)
    assert out[-1].counts == {"header": 1, "discontinuity": 2000}


def test_a_full_channel_makes_the_producer_wait() -> None:
    channel = Channel(capacity=2)
    put: list[int] = []
    third = threading.Event()

    def produce() -> None:
        for number in range(3):
            channel.put(gap(number))
            put.append(number)
        third.set()

    thread = threading.Thread(target=produce)
    thread.start()
    taken = iter(channel)
    next(taken)
    assert third.wait(5), "room was made, and the producer did not go on"
    next(taken)
    next(taken)
    thread.join(5)
    assert put == [0, 1, 2]


def test_a_consumer_that_leaves_frees_the_producer() -> None:
    channel = Channel(capacity=1)
    channel.put(gap(0))
    failures: list[type[BaseException]] = []

    def produce() -> None:
        try:
            channel.put(gap(1))
        except Cancelled as cancelled:
            failures.append(type(cancelled))

    thread = threading.Thread(target=produce)
    thread.start()
    channel.cancel()
    thread.join(5)
    assert failures == [Cancelled]


def test_closing_the_output_stops_an_endless_source() -> None:
    closed = threading.Event()
    before = threading.active_count()
    output = pipeline.run((), [("source", lambda _: endless(closed)), ("one", same), ("two", same)])
    next(output)
    output.close()
    assert closed.wait(5)
    assert threading.active_count() == before


def test_a_light_stage_shares_a_thread_and_is_told_of_and_stopped_like_any_other() -> None:
    closed = threading.Event()
    threads: dict[str, set[str]] = {}

    def observe(name: str, record: StreamRecord) -> None:
        threads.setdefault(name, set()).add(threading.current_thread().name)

    output = pipeline.run((), [("ingest", lambda _: endless(closed)), ("one", same), ("two", same)], observe=observe)
    for _ in range(5):
        next(output)
    output.close()
    assert closed.wait(5)
    assert threads == {"ingest": {"stage one"}, "one": {"stage one"}, "two": {"stage two"}}


def test_a_bug_in_a_stage_ends_its_sessions_and_the_tail_comes_through(caplog: pytest.LogCaptureFixture) -> None:
    def broken(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
        for record in records:
            if isinstance(record, Discontinuity) and record.at_ms == 3:
                raise ZeroDivisionError("a bug")
            yield record

    out = list(pipeline.run(source(count=100_000), [("one", same), ("two", broken), ("three", same)]))
    assert [type(record) for record in out] == [Header, Discontinuity, Discontinuity, Discontinuity, Error]
    error = out[-1]
    assert isinstance(error, Error)
    assert (error.stage, error.code, error.fatal) == ("two", "internal", True)
    assert "ZeroDivisionError: a bug" in error.message


class _Attentive:
    """Says at the header that it wants to be woken, and what it has to say when it is."""

    def __init__(self, wakes: list[Callable[[], None]]) -> None:
        self._wakes = wakes

    def attend(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def feed(self, record: StreamRecord) -> Iterable[StreamRecord]:
        return (record,)

    def woken(self) -> Iterable[StreamRecord]:
        return (gap(7),)

    def finish(self, end: Eos | Error) -> Iterable[StreamRecord]:
        return ()


def test_a_handler_that_asks_for_it_is_woken_though_nothing_comes() -> None:
    wakes: list[Callable[[], None]] = []
    said = threading.Event()

    def silent() -> Iterator[StreamRecord]:
        yield Header("a", proto=1, source="test")
        assert said.wait(5)
        yield Eos("a")

    stages: list[tuple[str, Stage]] = [
        ("source", lambda _: silent()),
        ("one", by_session("one", lambda _: _Attentive(wakes))),
    ]
    output = pipeline.run((), stages)
    assert isinstance(next(output), Header)
    wakes[0]()
    woken = next(output)
    assert isinstance(woken, Discontinuity)
    assert woken.at_ms == 7
    said.set()
    assert [type(record) for record in output] == [Eos]
    wakes[0]()  # who comes too late is heard by nobody


class _Picky:
    """Fails on one session's third record."""

    def __init__(self, header: Header) -> None:
        self.finished = False

    def feed(self, record: StreamRecord) -> Iterable[StreamRecord]:
        if record.session == "bad" and isinstance(record, Discontinuity) and record.at_ms == 1:
            raise DataError("this session cannot go on")
        return (record,)

    def finish(self, end: Eos | Error) -> Iterable[StreamRecord]:
        return (gap(99, end.session),)


def test_a_failed_session_leaves_the_others_alone() -> None:
    both = merge([source("bad"), source("good")], jobs=2)
    out = list(pipeline.run(both, [("picky", by_session("picky", _Picky))]))
    good = [record for record in out if record.session == "good"]
    bad = [record for record in out if record.session == "bad"]
    assert isinstance(good[-1], Eos)
    assert [record.at_ms for record in good if isinstance(record, Discontinuity)] == [0, 1, 2, 3, 4, 99]
    assert isinstance(bad[-1], Error)
    assert len(bad) == 3


def test_a_session_can_come_again_after_it_failed() -> None:
    twice = [*source("bad"), *source("bad", count=1)]
    out = list(by_session("picky", _Picky)(twice))
    assert [type(record).__name__ for record in out] == [
        "Header", "Discontinuity", "Error", "Header", "Discontinuity", "Discontinuity", "Eos",
    ]  # fmt: skip


@pytest.mark.parametrize(("jobs", "first"), [(1, "aaa"), (2, "aba")])
def test_sources_take_turns(jobs: int, first: str) -> None:
    merged = list(merge([source("a"), source("b"), source("c")], jobs))
    assert "".join(record.session for record in merged)[:3] == first
    assert len(merged) == 21


def test_names_of_sessions_are_unique() -> None:
    assert session_names(["x.wav", "y/x.mp3", "x", "http://h/live/x.m3u8?k=1", "-"]) == [
        "x",
        "x-2",
        "x-3",
        "x-4",
        "stdin",
    ]


class _Holding(_Picky):
    """Says when it is let go."""

    abandoned: ClassVar[list[str]] = []

    def __init__(self, header: Header) -> None:
        super().__init__(header)
        self._name = header.session

    def abandon(self) -> None:
        self.abandoned.append(self._name)


def test_what_a_handler_holds_is_let_go_before_its_end_goes_on_and_when_the_stream_stops_short() -> None:
    _Holding.abandoned = []
    good, bad = source("good", 1), source("bad", 5)
    unended = [Header("open", proto=1, source="test")]
    stream = by_session("picky", _Holding)([*good, *bad, *unended, gap(0, "open")])
    let_go_by = {
        (record.session, type(record)): list(_Holding.abandoned)
        for record in stream
        if isinstance(record, Header | Eos | Error)
    }
    assert let_go_by[("good", Eos)] == ["good"]
    assert let_go_by[("bad", Error)] == ["good", "bad"]
    assert _Holding.abandoned == ["good", "bad", "open"]


def test_a_stream_that_is_closed_lets_go_of_what_is_open() -> None:
    _Holding.abandoned = []
    stream = by_session("picky", _Holding)(source("a"))
    next(stream)
    assert _Holding.abandoned == []
    stream.close()
    assert _Holding.abandoned == ["a"]
