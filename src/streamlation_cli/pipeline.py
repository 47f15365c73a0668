"""The stages of one process: a thread each, bounded channels between them.

source ─► thread ─channel─► thread ─channel─► … ─channel─► the caller's loop
            │ a full channel makes the stage upstream wait; a consumer that goes away makes it stop
            ▼
      errors are records: a stage that fails ends its sessions with a fatal error, and the tail still comes through
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from . import memory
from .filter import Observer, contained
from .records import StreamRecord
from .sessions import Records, Stage, Wake

CAPACITY = 256
"""Records a channel holds; about two minutes of PCM, a few seconds of packets."""
LIGHT = ("ingest",)
"""Stages that have no thread of their own but run in that of the stage behind them. What they do is less than what it takes to wake a
thread for it, and a live source does that twenty times a second, whether anybody speaks or not."""


class Cancelled(Exception):
    """The consumer of a channel has gone away."""


class Channel:
    """A bounded queue between two threads whose either end can be closed."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._items: deque[Any] = deque()
        """Records, and `Wake`s for whoever asked for them."""
        self._capacity = capacity
        self._changed = threading.Condition()
        self._ended = False
        self._cancelled = False

    def put(self, item: StreamRecord) -> None:
        """Waits for room; raises Cancelled where nobody will take it."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._cancelled:
                self._changed.wait()
            if self._cancelled:
                raise Cancelled
            self._items.append(item)
            self._changed.notify_all()

    def wake(self, wake: Wake) -> None:
        """Adds what asks for attention, however full it is; see `sessions.Attentive`."""
        with self._changed:
            if not (self._ended or self._cancelled):
                self._items.append(wake)
                self._changed.notify_all()

    def end(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Nothing more will be taken."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Records:
        try:
            while True:
                with self._changed:
                    while not self._items and not self._ended:
                        self._changed.wait()
                    if not self._items:
                        return
                    item = self._items.popleft()
                    self._changed.notify_all()
                yield item
                del item
        finally:
            self.cancel()


def run(
    source: Iterable[StreamRecord], stages: Sequence[tuple[str, Stage]], *, observe: Observer | None = None
) -> Records:
    """What the last stage yields; `observe` is told of what every stage yields, in that stage's thread.

    Closing the returned iterator stops every thread.
    """
    memory.keep_little()
    threads = []
    upstream: Iterable[StreamRecord] = source
    for number, (name, stage) in enumerate(stages, 1):
        produced = contained(name, stage)(upstream)
        if name in LIGHT and number < len(stages):
            upstream = _observed(name, produced, observe)
            continue
        channel = Channel()
        threads.append(
            threading.Thread(
                target=_drive, args=(name, upstream, produced, channel, observe), name=f"stage {name}", daemon=True
            )
        )
        upstream = channel
    for thread in threads:
        thread.start()
    try:
        yield from upstream
    finally:
        for thread in threads:
            thread.join()


def _drive(
    name: str,
    upstream: Iterable[StreamRecord],
    produced: Records,
    channel: Channel,
    observe: Observer | None,
) -> None:
    try:
        for record in _observed(name, produced, observe):
            channel.put(record)
    except (Cancelled, BrokenPipeError):
        pass  # nobody takes more: whoever cancelled knows why; below the stages on both sides are told
    finally:
        if isinstance(upstream, Channel):
            upstream.cancel()
        produced.close()
        if isinstance(upstream, Generator):
            upstream.close()
        channel.end()


def _observed(name: str, produced: Records, observe: Observer | None) -> Records:
    """What a stage yields, each record told of first."""
    try:
        for record in produced:
            if observe is not None:
                observe(name, record)
            yield record
    finally:
        produced.close()
