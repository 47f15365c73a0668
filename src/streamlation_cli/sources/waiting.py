"""Waiting for what blocks, without being deaf to the signals that ask for the end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from .. import stdio

T = TypeVar("T")
_TICK_S = 0.1


def interruptibly(work: Callable[[], T], cancel: Callable[[], None]) -> T:
    """What `work` returns or raises, done in a thread; a signal calls `cancel`, leaves it behind and raises Interrupted."""
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run, name="interruptibly", daemon=True).start()
    while True:
        if code := stdio.interrupt_requested():
            cancel()
            raise stdio.Interrupted(code)
        try:
            result, error = outcome.get(timeout=_TICK_S)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        return result  # type: ignore[return-value]
