"""Standard input, a guarded standard output, and the signals that interrupt them.

Standard output carries records or the asked-for artefact and nothing else: `guard` moves it to a descriptor of our
own and points descriptor 1 at standard error, so a library that prints, in Python or in C, cannot corrupt the stream.

SIGINT and SIGTERM ask for an orderly end. A process that is waiting for input is woken at once; one that is at work
finishes the record at hand. Either way the stage then yields its tail. A second signal ends the process where it is.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import BinaryIO

from .errors import InputMissing, UsageError


class Interrupted(BaseException):
    """A signal asked for the end; `code` is `interrupted` (SIGINT) or `terminated` (SIGTERM)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


_CODES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class _State:
    requested: str | None = None
    waiting = False
    stdin_closed = False
    stdout: BinaryIO | None = None


_state = _State()


def guard() -> None:
    """Takes over standard output and the signals; call once, before any library is imported that might print."""
    for descriptor in (0, 1, 2):  # a closed one would be handed to the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            # Opened the wrong way round, so that using it fails as a closed one would.
            os.open(os.devnull, os.O_WRONLY if descriptor == 0 else os.O_RDONLY)
            _state.stdin_closed |= descriptor == 0
    own = os.dup(1)
    os.dup2(2, 1)
    _state.stdout = os.fdopen(own, "wb", buffering=1 << 16)
    sys.stdout = sys.stderr
    for number in _CODES:
        signal.signal(number, _on_signal)


def stdout() -> BinaryIO:
    """The real standard output (binary); flush it after each record."""
    return _state.stdout if _state.stdout is not None else sys.stdout.buffer


def stdout_is_terminal() -> bool:
    """Whether a person reads standard output."""
    return stdout().isatty()


def discard_stdout() -> None:
    """Forgets what could not be written, so that closing at exit does not fail a second time."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stdout().fileno())
    os.close(devnull)


def interrupt_requested() -> str | None:
    """The code of the signal that asked for the end, if one has."""
    return _state.requested


@contextlib.contextmanager
def woken_by_signals() -> Iterator[None]:
    """Within the block, which is to do nothing but wait, a signal raises Interrupted at once; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _state.requested is not None:
        raise Interrupted(_state.requested)
    _state.waiting = True
    try:
        yield
    finally:
        _state.waiting = False


def _on_signal(number: int, _frame: FrameType | None) -> None:
    code = _CODES[signal.Signals(number)]
    again = _state.requested is not None
    _state.requested = code
    if again or _state.waiting:
        _state.waiting = False
        raise Interrupted(code)


class _Stdin(io.RawIOBase):
    """Standard input whose reads a signal can interrupt."""

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0

    def readinto(self, buffer: object) -> int:
        if _state.requested is not None:
            raise Interrupted(_state.requested)
        _state.waiting = True
        try:
            return os.readv(0, [buffer])  # type: ignore[list-item]
        finally:
            _state.waiting = False


def stdin() -> io.BufferedReader:
    """Standard input, binary and buffered; raises InputMissing where it is closed, UsageError where it is a terminal."""
    if _state.stdin_closed:
        raise InputMissing("standard input is closed; pipe something in, or name a file")
    if os.isatty(0):
        raise UsageError("standard input is a terminal; pipe something in (see --help for an example)")
    return io.BufferedReader(_Stdin(), buffer_size=1 << 16)
