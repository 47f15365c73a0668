"""WebRTC: `whep://host/path` (`wheps://` with TLS) plays a stream, `whip://0.0.0.0:8080/path --listen` takes a publisher's.

A token before the host (`whep://TOKEN@host/path`) is sent as `Authorization: Bearer`, user and password as Basic; with --listen
publishers must send it. No STUN server is asked, so both sides must see each other's addresses, as with a server on the
internet or in the same network.
"""

from __future__ import annotations

import contextlib
import hmac
import http.server
import logging
import queue
import secrets
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from ..errors import DataError, OfflineRefused, TryAgain, Unavailable, UsageError
from . import Request, peer
from .feeds import Feed, Lost
from .http import failure_of, public_name

_logger = logging.getLogger("streamlation.ingest")
_SDP = "application/sdp"
_MOST_BYTES = 1 << 18
_ANSWER_S = 10.0
_GOODBYE_S = 0.3


def connector(request: Request) -> Whep | Whip:
    """How to reach the stream; raises UsageError, OfflineRefused, or Unavailable where the extra is not installed."""
    name = public_name(request.input)
    if request.offline:
        raise OfflineRefused(f"{name}: --offline was given and this address is on the network")
    parts = urlsplit(request.input)
    if parts.scheme == "whip" and not request.listen:
        raise UsageError(
            f"{name}: whip:// is where a publisher sends to: add --listen to be that, or play from whep://"
        )
    peer.check(name)
    if request.with_video:
        _logger.warning("%s: --video: of WebRTC only the audio is read", name)
    return Whip(request, name) if parts.scheme == "whip" else Whep(request, name)


class Whep:
    """A `Connector` that asks a server for its stream."""

    keeps = False
    listens = False

    def __init__(self, request: Request, name: str) -> None:
        self.name = name
        self._timeout_s = request.timeout_s
        parts = urlsplit(request.input)
        user, _, host = parts.netloc.rpartition("@")
        scheme = "https" if parts.scheme == "wheps" else "http"
        self._address = urlunsplit((scheme, host, parts.path, parts.query, ""))
        self._headers = {"User-Agent": "streamlation", **request.headers}
        if user:
            self._headers["Authorization"] = authorization(user)
        self._loop = peer.Loop()
        self._peer: peer.Peer | None = None
        self._cancelled = False

    def connect(self) -> Feed:
        """As `Connector` says."""
        self._peer = connection = peer.Peer(self._loop)
        try:
            answer, session = self._ask(connection.offer())
            connection.answered(answer)
            if self._cancelled:
                raise Lost("cancelled")
            return connection.feed(self._timeout_s, lambda: self._hang_up(session))
        except BaseException:
            connection.close()
            raise

    def cancel(self) -> None:
        """As `Connector` says; a server that does not answer is left to its timeout."""
        self._cancelled = True
        if self._peer is not None:
            self._peer.end("cancelled")

    def _ask(self, offer: str) -> tuple[str, str]:
        """The server's answer, and the address of the session."""
        headers = self._headers | {"Content-Type": _SDP, "Accept": _SDP}
        request = urllib.request.Request(self._address, offer.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as reply:
                answer = reply.read(_MOST_BYTES).decode(errors="replace")
                session = urljoin(reply.geturl(), reply.headers.get("Location", ""))
                kind = reply.headers.get_content_type()
        except (OSError, ValueError, HTTPException) as error:
            failure = failure_of(self.name, error)
            if isinstance(failure, (TryAgain, Unavailable)):
                raise Lost(failure.message.removeprefix(f"{self.name}: ")) from error
            raise failure from error
        if kind != _SDP:
            raise DataError(f"{self.name}: no WHEP server: it answers with {kind}")
        return answer, session

    def _hang_up(self, session: str) -> None:
        """Says goodbye, without waiting long for an answer."""
        request = urllib.request.Request(session, headers=self._headers, method="DELETE")

        def goodbye() -> None:
            with contextlib.suppress(OSError, HTTPException), urllib.request.urlopen(request, timeout=self._timeout_s):
                pass

        thread = threading.Thread(target=goodbye, name="goodbye", daemon=True)
        thread.start()
        thread.join(_GOODBYE_S)


@dataclass(frozen=True)
class Offer:
    """A publisher's offer, and where the answer to it is awaited: status and body."""

    sdp: str
    answer: queue.SimpleQueue[tuple[int, str]] = field(default_factory=queue.SimpleQueue)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))


class Whip:
    """A `Connector` that is a small WHIP server; a new publisher takes over from the last one."""

    keeps = False
    listens = True

    def __init__(self, request: Request, name: str) -> None:
        self.name = name
        self._timeout_s = request.timeout_s
        parts = urlsplit(request.input)
        try:
            self._place = (parts.hostname or "0.0.0.0", parts.port or 8080)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error
        self.path = parts.path or "/"
        user = parts.netloc.rpartition("@")[0]
        self.authorization = authorization(user) if user else ""
        self._offers: queue.SimpleQueue[Offer | None] = queue.SimpleQueue()
        self._loop = peer.Loop()
        self._peer: peer.Peer | None = None
        self._session = ""
        self._server: http.server.ThreadingHTTPServer | None = None
        self._cancelled = False

    def connect(self) -> Feed:
        """As `Connector` says; raises Unavailable where the address cannot be listened at."""
        if self._server is None:
            self._server = self._serve()
        while True:
            offer = self._offers.get()
            if offer is None or self._cancelled:
                raise Lost("cancelled")
            connection = peer.Peer(self._loop)
            try:
                answer = connection.answer(offer.sdp)
            except (Lost, DataError) as error:  # whoever it was, the next one may do better
                connection.close()
                offer.answer.put((400, f"{error}\n"))
                continue
            self._peer, self._session = connection, offer.id
            offer.answer.put((201, answer))
            try:
                return connection.feed(self._timeout_s, lambda: None)
            except BaseException:
                connection.close()
                raise

    def cancel(self) -> None:
        """As `Connector` says."""
        self._cancelled = True
        self._offers.put(None)
        if self._peer is not None:
            self._peer.end("cancelled")
        if self._server is not None:
            server, self._server = self._server, None
            threading.Thread(target=server.shutdown, daemon=True).start()
            server.server_close()

    def publish(self, sdp: str) -> tuple[int, str, str]:
        """Takes a publisher: status, body, and name of its session."""
        if self._peer is not None:
            self._peer.end("another publisher took over")
        offer = Offer(sdp)
        self._offers.put(offer)
        try:
            status, body = offer.answer.get(timeout=_ANSWER_S)
        except queue.Empty:
            return 503, "busy\n", ""
        return status, body, offer.id

    def unpublish(self, session: str) -> bool:
        """A publisher has done; whether it was the present one."""
        if self._peer is None or session != self._session:
            return False
        self._peer.end("the publisher has ended")
        return True

    def _serve(self) -> http.server.ThreadingHTTPServer:
        whip = self

        class Handler(_Handler):
            owner = whip

        try:
            server = http.server.ThreadingHTTPServer(self._place, Handler)
        except OSError as error:
            raise Unavailable(
                f"{self.name}: publishers cannot be waited for there: {error.strerror or error}"
            ) from error
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return server


class _Handler(http.server.BaseHTTPRequestHandler):
    """WHIP (RFC 9725) without trickled candidates: an offer is answered with all of ours."""

    owner: Whip
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MOST_BYTES:
            self.close_connection = True
            self._answer(413 if length.isdigit() else 411)
            return
        body = self.rfile.read(int(length)).decode(errors="replace")
        if urlsplit(self.path).path != self.owner.path:
            self._answer(404)
        elif not self._allowed():
            self._answer(401, headers={"WWW-Authenticate": "Bearer"})
        elif self.headers.get_content_type() != _SDP:
            self._answer(415)
        else:
            status, answer, session = self.owner.publish(body)
            made = {"Location": f"{self.owner.path.rstrip('/')}/{session}"} if status == 201 else {}
            self._answer(status, answer, _SDP if status == 201 else "text/plain", made)

    def do_DELETE(self) -> None:
        if not self._allowed():
            self._answer(401, headers={"WWW-Authenticate": "Bearer"})
        else:
            self._answer(200 if self.owner.unpublish(self.path.rpartition("/")[2]) else 404)

    def do_OPTIONS(self) -> None:
        self._answer(
            204,
            headers={
                "Accept-Post": _SDP,
                "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
                "Access-Control-Allow-Headers": "Authorization, Content-Type",
            },
        )

    def _allowed(self) -> bool:
        given, wanted = self.headers.get("Authorization", ""), self.owner.authorization
        return not wanted or hmac.compare_digest(given.encode(), wanted.encode())

    def _answer(
        self, status: int, body: str = "", kind: str = "text/plain", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        # A page that publishes from a browser comes from elsewhere.
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Expose-Headers", "Location")
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        _logger.debug(format, *arguments)


def authorization(user: str) -> str:
    """The header for what stands before the host of an address: `user:password`, or else a token.

    >>> authorization("t%40ken"), authorization("a:b")
    ('Bearer t@ken', 'Basic YTpi')
    """
    plain = unquote(user)
    return f"Basic {b64encode(plain.encode()).decode()}" if ":" in user else f"Bearer {plain}"
