"""RTMP: a stream pulled from a server, or with `--listen` one that a publisher pushes here."""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from urllib.parse import urlsplit

from ..errors import DataError, OfflineRefused, UsageError
from . import Request
from .demuxed import DemuxedFeed, broken
from .feeds import Feed, Lost
from .http import public_name

_PORT = {"rtmp": 1935, "rtmps": 443}
_LONG_LOOK_S = 5.0


def connector(request: Request) -> Rtmp:
    """How to reach the stream; raises UsageError, OfflineRefused."""
    if request.offline and not request.listen:
        raise OfflineRefused(f"{public_name(request.input)}: --offline was given and this address is on the network")
    if request.listen and urlsplit(request.input).scheme == "rtmps":
        raise UsageError("--listen: rtmps cannot be listened on; use rtmp, behind a proxy that does TLS where needed")
    return Rtmp(request)


class Rtmp:
    """A `Connector`. FFmpeg never tells the end of a stream from its loss: whether the server still has it tells."""

    keeps = False

    def __init__(self, request: Request) -> None:
        self.name = public_name(request.input)
        self.listens = request.listen
        self._request = request
        self._find_s = _LONG_LOOK_S if request.with_video else 0.5
        self._cancelled = False

    def connect(self) -> Feed:
        """As `Connector` says."""
        if self._cancelled:
            raise Lost("cancelled")
        request = self._request
        options = {"listen": "1"} if self.listens else {"rtmp_live": "live"}
        try:
            return DemuxedFeed(
                request,
                request.input,
                name=self.name,
                failure=partial(_failure, self.listens),
                format="flv",
                options=options,
                timeout=(None if self.listens else request.timeout_s, request.timeout_s),
                find_s=self._find_s,
            )
        except DataError as error:
            if self._find_s == _LONG_LOOK_S:
                raise
            self._find_s = _LONG_LOOK_S  # its sound may begin later than its pictures
            raise Lost("no sound in it yet") from error

    def cancel(self) -> None:
        """As `Connector` says; a listening FFmpeg comes back when someone calls."""
        self._cancelled = True
        if self.listens:
            wake(self._request.input, _PORT["rtmp"])


def wake(address: str, default_port: int) -> None:
    """Calls whoever listens on an address of this machine, and hangs up."""
    parts = urlsplit(address)
    host = parts.hostname or "127.0.0.1"
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    with contextlib.suppress(OSError):
        socket.create_connection((here, parts.port or default_port), timeout=0.5).close()


def _failure(listens: bool, error: Exception) -> Exception:
    if isinstance(error, PermissionError) and listens and getattr(error, "errno", 0) == 13:
        return UsageError(f"--listen: no permission to listen there ({error.strerror}); take a port above 1023")
    if isinstance(error, PermissionError):
        return Lost("the server has no such stream", gone=True)
    return broken(error)
