"""The server: a socket, a thread with an event loop, and what is served on it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..engines import needs_extra
from ..errors import Unavailable, UsageError

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from .media import Stored

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080
_MOST_SENT = 4096
"""Bytes of a WebSocket message that somebody sends us: a page reports how its player is, no more."""
_STOP_S = 0.5
"""How long a download that is under way may hold up the end."""


def parse_bind(text: str, usual_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `HOST` (at `usual_port`) or `PORT`; raises UsageError.

    >>> parse_bind("0.0.0.0:80"), parse_bind("[::1]:8081"), parse_bind("9000"), parse_bind("localhost")
    (('0.0.0.0', 80), ('::1', 8081), ('127.0.0.1', 9000), ('localhost', 8080))
    >>> parse_bind("::1", usual_port=0)
    ('::1', 0)
    """
    host, port = DEFAULT_HOST, str(usual_port)
    if text.isdigit():
        port = text
    elif text.startswith("[") and "]" in text:
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") > 1:
        host = text
    else:
        name, _, number = text.partition(":")
        host, port = name or host, number or port
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"{text}: not an address to serve on; give HOST:PORT, with a port from 0 (any free one) to 65535"
        )
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server on `host`.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_towards(peer: str) -> str:
    """This machine's own address on the way to `peer`, a name or an address. Nothing is sent.

    Raises Unavailable where there is no way.
    """
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(peer, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Unavailable(f"{peer}: no way there from this machine ({error.strerror or error})") from error


_ELSEWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses of no machine (RFC 5737, RFC 3849): the way to them is the way out of this one."""


class Server:
    """Serves while its `with` block runs. Every method may be called from any thread.

    `port` 0 takes any free port. `routes` are served behind `guard`, which wraps the whole application; media only by the
    paths that the `serve_…` methods return. Entering raises Unavailable where the address cannot be served on.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        routes: Sequence[BaseRoute] = (),
        guard: Callable[[ASGIApp], ASGIApp] | None = None,
        before_stop: Callable[[], None] | None = None,
    ) -> None:
        with needs_extra("serving"):
            import uvicorn
            from starlette.applications import Starlette
            from starlette.routing import Route

            from .media import MEDIA, Media
        self._host = host
        self._before_stop = before_stop
        self._media = Media()
        app: ASGIApp = Starlette(
            routes=[Route(f"{MEDIA}/{{key}}/{{name:path}}", self._media.answer, methods=["GET", "OPTIONS"]), *routes]
        )
        if guard is not None:
            app = guard(app)
        config = uvicorn.Config(
            app, http="h11", ws="websockets-sansio", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, ws_max_size=_MOST_SENT, timeout_graceful_shutdown=_STOP_S,  # type: ignore[arg-type]
        )  # fmt: skip
        self._uvicorn = uvicorn.Server(config)
        self._wanted_port = port
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._started = threading.Event()

    def __enter__(self) -> Self:
        for name in ("uvicorn.error", "asyncio"):
            logger = logging.getLogger(name)
            logger.handlers[:] = logging.getLogger("streamlation").handlers
            logger.setLevel(logging.WARNING)
            logger.propagate = False
            logger.addFilter(_is_our_fault)
        self._socket = listening(self._host, self._wanted_port)
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._before_stop is not None:
            self._before_stop()
        self._uvicorn.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        async def main() -> None:
            assert self._socket is not None
            self.loop = asyncio.get_running_loop()
            self._started.set()
            await self._uvicorn.serve(sockets=[self._socket])

        try:
            asyncio.run(main())
        finally:
            self._started.set()

    @property
    def port(self) -> int:
        """The port it is served on."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    @property
    def address(self) -> str:
        """`http://HOST:PORT`, with an address of this machine that others reach where it is served to all of them."""
        host = self._host
        if host in ("0.0.0.0", "::"):
            host = own_address(6 if host == "::" else 4)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def serve_file(self, path: str | Path, content_type: str = "") -> str:
        """Address of a file, with range requests; its type is that of its extension where it is not given."""
        return self.address + self._media.add_file(Path(path), content_type)

    def serve_text(self, name: str, text: str, content_type: str = "") -> str:
        """Address of a text, such as subtitles: its path ends in `name`."""
        return self.address + self._media.add_text(name, text, content_type)

    def serve_store(self, store: Stored, name: str = "master.m3u8") -> str:
        """Address of `name` in a store; whatever else the store has lies beside it."""
        return self.address + self._media.add_store(store, name)

    def withdraw(self, address: str) -> None:
        """What one of the `serve_…` methods gave this address is served no more."""
        self._media.remove(address)


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Whether a line of the log is about us: what a client sends that is no UTF-8 is its own affair, and no traceback of ours."""
    return not (record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError))


def own_address(version: int = 4) -> str:
    """The address that other machines reach this one by, `localhost` where it is on no network."""
    try:
        return address_towards(_ELSEWHERE[version == 6])
    except Unavailable:
        return "localhost"


def listening(host: str, port: int) -> socket.socket:
    """A listening socket; raises Unavailable that says what is wrong with the address."""
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        server = socket.socket(family, kind, protocol)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(target)
            server.listen(128)
        except BaseException:
            server.close()
            raise
    except socket.gaierror as error:
        raise Unavailable(f"cannot serve on {where}: no machine is called {host!r}") from error
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "another program serves there; give another port, or 0 for any free one",
            errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 is all it has",
            errno.EACCES: "no permission; ports below 1024 are the system's",
        }
        raise Unavailable(
            f"cannot serve on {where}: {reasons.get(error.errno or 0, error.strerror or error)}"
        ) from error
    return server
