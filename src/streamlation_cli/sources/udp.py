"""MPEG-TS over UDP, to this machine or a multicast group."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from urllib.parse import parse_qs, urlsplit

from ..errors import OfflineRefused, Unavailable, UsageError
from . import Request
from .demuxed import DemuxedFeed, broken
from .feeds import Feed, Lost

_DATAGRAM_BYTES = 1 << 16
_KERNEL_BYTES = 4 << 20
"""About a second of a fast stream: what comes between two tries, or while this process is not served."""
_TICK_S = 0.1


def connector(request: Request) -> Udp:
    """How to receive the stream; raises UsageError where the address has no port, OfflineRefused."""
    if request.offline:
        raise OfflineRefused(f"{request.input}: --offline was given and this address is on the network")
    try:
        port = urlsplit(request.input).port
    except ValueError:
        port = None
    if not port:
        raise UsageError(f"{request.input}: it needs a port, such as udp://0.0.0.0:1234 or udp://239.0.0.1:1234")
    return Udp(request, port)


class Udp:
    """A `Connector`: nobody is called, so a connection is that packets come. They never end, they only stop."""

    keeps = False
    listens = False

    def __init__(self, request: Request, port: int) -> None:
        self.name = request.input
        self._request = request
        self._port = port
        self._socket: socket.socket | None = None
        """Kept between two tries: what comes meanwhile waits in it."""
        self._cancelled = False

    def connect(self) -> Feed:
        """As `Connector` says."""
        if self._socket is None:
            self._socket = self._open()
        if self._cancelled:
            self._socket.close()
            raise Lost("cancelled")
        return DemuxedFeed(
            self._request,
            Datagrams(self._socket, self._request.timeout_s),
            name=self.name,
            failure=broken,
            format=self._request.format or "mpegts",
            find_s=1.0,
        )

    def cancel(self) -> None:
        """As `Connector` says."""
        self._cancelled = True
        if self._socket is not None:
            self._socket.close()

    def _open(self) -> socket.socket:
        parts = urlsplit(self._request.input)
        interface = parse_qs(parts.query).get("localaddr", [""])[0]
        try:
            return _socket((parts.hostname or "").lstrip("@"), self._port, interface)
        except OSError as error:
            why = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise Unavailable(f"{self.name}: it cannot be received: {why}") from error


class Datagrams:
    """What comes to a socket, as `Bytes`; the socket stays open when it is closed."""

    def __init__(self, opened: socket.socket, timeout_s: float) -> None:
        self._socket = opened
        self._timeout_s = timeout_s
        self._closed = False
        self._rest = b""
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As `Bytes` says; a stall is a failure."""
        if not self._rest:
            self._rest = self._receive()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _receive(self) -> bytes:
        until_s = time.monotonic() + self._timeout_s
        try:
            while not self._closed:
                if select.select([self._socket], [], [], _TICK_S)[0]:
                    if data := self._socket.recv(_DATAGRAM_BYTES):
                        return data
                elif time.monotonic() >= until_s:
                    self.failure = Lost("nothing came in time")
                    break
        except (OSError, ValueError) as error:
            if not self._closed:  # else it was closed under the wait
                self.failure = Lost(str(error))
        return b""

    def close(self) -> None:
        """As `Bytes` says."""
        self._closed = True


def _socket(host: str, port: int, interface: str) -> socket.socket:
    """A bound socket, a member of the group where `host` is one; `interface` is one of this machine's addresses."""
    family, _, _, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_DGRAM)[0]
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        packed = socket.inet_pton(family, str(address[0]))
        group = packed[0] >> 4 == 0xE if family == socket.AF_INET else packed[0] == 0xFF
        if group:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        if group and family == socket.AF_INET:
            opened.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed + socket.inet_aton(interface or "0.0.0.0")
            )
        elif group:
            index = socket.if_nametoindex(interface) if interface else 0
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("@I", index))
    except BaseException:
        opened.close()
        raise
    return opened
