"""Standard input as a live source: samples or a container, as they come."""

from __future__ import annotations

import os
import select

from ..errors import DataError, InputMissing
from . import Request, raw
from .demuxed import DemuxedFeed
from .feeds import Feed
from .stdin import NAME, failure_of

_TICK_S = 0.1


def connector(request: Request) -> Stdin:
    """How to read standard input; raises InputMissing where it is closed, UsageError where it is a terminal."""
    from ..stdio import stdin

    return Stdin(request, stdin().fileno())


class Stdin:
    """A `Connector`: one connection, whose end is the end. Nothing that comes is lost, for a pipe waits."""

    name = NAME
    keeps = True
    listens = False

    def __init__(self, request: Request, descriptor: int) -> None:
        self._request = request
        self._bytes = Descriptor(descriptor)
        self._opened = False

    def connect(self) -> Feed:
        """As `Connector` says; a second time there is nothing."""
        if self._opened:
            raise DataError(f"{NAME}: it broke off in the middle of the stream")
        self._opened = True
        return DemuxedFeed(
            self._request,
            self._bytes,
            name=NAME,
            failure=failure_of,
            format=self._request.format,
            options=raw.options(self._request),
        )

    def cancel(self) -> None:
        """As `Connector` says."""
        self._bytes.close()


class Descriptor:
    """A file descriptor as `Bytes`; that nothing comes is no failure."""

    name = NAME

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._closed = False
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As `Bytes` says."""
        try:
            while not self._closed:
                if select.select([self._descriptor], [], [], _TICK_S)[0]:
                    return os.read(self._descriptor, size)
        except OSError as error:
            self.failure = InputMissing(f"{NAME}: cannot be read: {error.strerror}")
        return b""

    def close(self) -> None:
        """As `Bytes` says; the descriptor stays open, it is not ours."""
        self._closed = True
