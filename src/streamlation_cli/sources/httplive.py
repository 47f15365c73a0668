"""An endless stream over http, as Icecast and SHOUTcast send."""

from __future__ import annotations

from ..errors import OfflineRefused
from . import Elsewhere, Request, raw
from .demuxed import DemuxedFeed
from .feeds import Feed, Lost
from .fetching import Body, Fetcher
from .http import failure_of, module_of, public_name


def connector(request: Request) -> HttpLive:
    """How to reach the stream; raises OfflineRefused."""
    if request.offline:
        raise OfflineRefused(f"{public_name(request.input)}: --offline was given and this address is on the network")
    return HttpLive(request)


class HttpLive:
    """A `Connector`. The end of the body is the end only where the server announced a length and gave it."""

    keeps = False
    listens = False

    def __init__(self, request: Request) -> None:
        self.name = public_name(request.input)
        self._request = request
        self._fetcher = self._new_fetcher()
        self._cancelled = False
        self._begun = False

    def _new_fetcher(self) -> Fetcher:
        return Fetcher(self._request.input, timeout_s=self._request.timeout_s, headers=self._request.headers)

    def connect(self) -> Feed:
        """As `Connector` says; raises Elsewhere at first where the address leads to another transport."""
        if self._cancelled:
            raise Lost("cancelled")
        self._fetcher = self._new_fetcher()  # a feed that was closed has cancelled its own
        if not self._begun and (module := module_of(self._request, "")):
            raise Elsewhere(module)
        reply = self._fetcher.open(self._request.input)
        if not self._begun and (module := module_of(self._request, reply.headers.get_content_type())):
            reply.close()
            raise Elsewhere(module)
        self._begun = True
        endless = "Content-Length" not in reply.headers
        return DemuxedFeed(
            self._request,
            Body(self._fetcher, self._request.input, reply),
            name=self.name,
            failure=lambda error: failure_of(self.name, error),
            at_end=_closed if endless else lambda: None,
            format=self._request.format,
            options=raw.options(self._request),
        )

    def cancel(self) -> None:
        """As `Connector` says."""
        self._cancelled = True
        self._fetcher.cancel()


def _closed() -> None:
    raise Lost("the server closed the connection")
