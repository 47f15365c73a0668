"""Standard input or a named pipe as a live source: samples or a container, as they come."""

from __future__ import annotations

import os
import select
import threading
from functools import partial

from ..errors import DataError, InputMissing
from . import STDIN, Request, raw
from .demuxed import DemuxedFeed
from .feeds import Feed
from .file import failure_of as failure_of_path
from .file import path_of
from .samples import SamplesFeed
from .stdin import NAME, failure_of

_TICK_S = 0.1


def connector(request: Request) -> Pipe:
    """How to read standard input or a named pipe.

    Raises InputMissing where it is closed or cannot be read, UsageError where it is a terminal.
    """
    if request.input == STDIN:
        from ..stdio import stdin

        return Pipe(request, Descriptor(NAME, stdin().fileno()))
    return Pipe(request, Descriptor(request.input, _opened(request), ours=True))


def _opened(request: Request) -> int:
    """A pipe's reading end. Without O_NONBLOCK, opening would wait for a writer where nothing can interrupt it."""
    try:
        descriptor = os.open(path_of(request.input), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise failure_of_path(request.input, error) from error
    return descriptor


class Pipe:
    """A `Connector`: one connection, whose end is the end. Nothing that comes is lost, for a pipe waits."""

    keeps = True
    listens = False

    def __init__(self, request: Request, data: Descriptor) -> None:
        self._request = request
        self._bytes = data
        self._opened = False
        self.name = data.name

    def connect(self) -> Feed:
        """As `Connector` says; a second time there is nothing."""
        if self._opened:
            raise DataError(f"{self.name}: it broke off in the middle of the stream")
        self._opened = True
        if self._request.format in raw.FORMATS:
            return SamplesFeed(self._bytes, format=self._request.format, options=raw.options(self._request))
        return DemuxedFeed(
            self._request,
            self._bytes,
            name=self.name,
            failure=failure_of if self._request.input == STDIN else partial(failure_of_path, self.name),
            format=self._request.format,
        )

    def cancel(self) -> None:
        """As `Connector` says."""
        self._bytes.close()


class Descriptor:
    """A file descriptor as `Bytes`; that nothing comes, or that nobody has opened the other end yet, is no failure."""

    def __init__(self, name: str, descriptor: int, *, ours: bool = False) -> None:
        """`ours`: to be closed when it is no longer read."""
        self.name = name
        self._descriptor = descriptor
        self._ours = ours
        self._reading = threading.Lock()
        self._closed = False
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As `Bytes` says."""
        try:
            while not self._closed:
                with self._reading:
                    if not self._closed and select.select([self._descriptor], [], [], _TICK_S)[0]:
                        return os.read(self._descriptor, size)
        except OSError as error:
            self.failure = InputMissing(f"{self.name}: cannot be read: {error.strerror}")
        return b""

    def close(self) -> None:
        """As `Bytes` says; standard input stays open, it is not ours."""
        closed, self._closed = self._closed, True
        if self._ours and not closed:
            with self._reading:
                os.close(self._descriptor)
