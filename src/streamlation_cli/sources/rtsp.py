"""RTSP: a camera or server's stream, over TCP or with `?udp` over UDP; with `--listen` one that is announced here."""

from __future__ import annotations

from functools import partial

from ..errors import InputMissing, OfflineRefused
from . import Request
from .demuxed import DemuxedFeed, broken
from .feeds import Feed, Lost
from .http import public_name
from .rtmp import wake

_PORT = 554
_WAIT_S = 1_000_000
"""How long one wait for a publisher is, as long as FFmpeg can; then the next begins."""
_TRANSPORTS = ("udp", "tcp", "udp_multicast", "http", "https")


def connector(request: Request) -> Rtsp:
    """How to reach the stream; raises OfflineRefused."""
    if request.offline and not request.listen:
        raise OfflineRefused(f"{public_name(request.input)}: --offline was given and this address is on the network")
    return Rtsp(request)


class Rtsp:
    """A `Connector`. A closed connection and a goodbye look the same to FFmpeg: only a recording ends."""

    keeps = False

    def __init__(self, request: Request) -> None:
        self.name = public_name(request.input)
        self.listens = request.listen
        self._request = request
        self._address, self._transport = transport_of(request.input)
        self._cancelled = False

    def connect(self) -> Feed:
        """As `Connector` says."""
        if self._cancelled:
            raise Lost("cancelled")
        timeout_s = self._request.timeout_s
        if self.listens:
            options = {"rtsp_flags": "listen", "listen_timeout": str(_WAIT_S)}
        else:
            options = {"rtsp_transport": self._transport, "timeout": str(round(timeout_s * 1_000_000))}
        feed = DemuxedFeed(
            self._request,
            self._address,
            name=self.name,
            failure=partial(_failure, self.name),
            at_end=lambda: _at_end(feed),
            format="rtsp",
            options=options,
            timeout=(None if self.listens else timeout_s, timeout_s),
        )
        return feed

    def cancel(self) -> None:
        """As `Connector` says; a listening FFmpeg comes back when someone calls."""
        self._cancelled = True
        if self.listens:
            wake(self._address, _PORT)


def transport_of(address: str) -> tuple[str, str]:
    """An address without FFmpeg's `?udp` and the like at its end, and the transport: TCP unless it says so.

    >>> transport_of("rtsp://a/b?udp"), transport_of("rtsp://a/b?x=1")
    (('rtsp://a/b', 'udp'), ('rtsp://a/b?x=1', 'tcp'))
    """
    head, mark, last = address.rpartition("?")
    if not mark or last not in _TRANSPORTS:
        return address, "tcp"
    return head, last


def _at_end(feed: DemuxedFeed) -> None:
    if feed.announced_s is None:
        raise Lost("the server closed the connection")


def _failure(name: str, error: Exception) -> Exception:
    kind = type(error).__name__
    if kind in ("HTTPUnauthorizedError", "HTTPForbiddenError"):
        return InputMissing(f"{name}: the server refuses access; put user:password@ before the host")
    if kind == "HTTPNotFoundError":
        return InputMissing(f"{name}: the server does not have it (status 404)")
    return broken(error)
