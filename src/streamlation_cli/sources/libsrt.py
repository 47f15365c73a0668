"""The system's libsrt: sockets that receive, as what FFmpeg reads.

The library is C with a stable interface (1.4 and later); what is used of it is declared here.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import glob
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from .feeds import Lost

_NAMES = ("srt-gnutls", "srt-openssl", "srt")
_PLACES = (
    "/usr/lib/*/libsrt-gnutls.so.1*",
    "/usr/lib/*/libsrt-openssl.so.1*",
    "/usr/lib*/libsrt.so.1*",
    "/opt/homebrew/lib/libsrt*.dylib",
    "/usr/local/lib/libsrt*.dylib",
    "/usr/local/lib/libsrt.so*",
)

_RCVSYN, _RCVTIMEO, _CONNTIMEO = 2, 14, 36
_OPTIONS: dict[str, tuple[int, type]] = {
    "latency": (23, int),
    "rcvlatency": (43, int),
    "peerlatency": (44, int),
    "passphrase": (26, str),
    "pbkeylen": (27, int),
    "streamid": (46, str),
    "iptos": (30, int),
    "ipttl": (29, int),
    "mss": (0, int),
    "rcvbuf": (6, int),
    "enforcedencryption": (53, bool),
}
"""Parameters of an address, named as libsrt's own programs name them; times are milliseconds."""
_CONNECTING, _CONNECTED = 4, 5
_ASYNC_RECEIVE, _TIMEOUT, _CONNECTION_LOST, _NO_CONNECTION = 6002, 6003, 2001, 2002
_REJECTED_PASSPHRASE = (10, 11)
_LOG_CRITICAL = 2
STALL_S = 1.25
"""A stream pauses no longer than this. libsrt itself waits 5 s for a sign of life, which is long for captions."""
_QUIET_S = 0.5
"""A sender that says nothing for so long gives way to another that calls."""
_TICK_MS = 100
_POLL_S = 0.02
_MESSAGE_BYTES = 1456
"""The largest message of live mode."""


@lru_cache
def library() -> Any:
    """libsrt, started; raises OSError where there is none."""
    for name in _candidates():
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.srt_getlasterror_str.restype = ctypes.c_char_p
        found.srt_rejectreason_str.restype = ctypes.c_char_p
        found.srt_setloglevel(_LOG_CRITICAL)
        if found.srt_startup() < 0:
            continue
        return found
    raise OSError("libsrt is not installed")


def _candidates() -> Iterator[str]:
    for place in _PLACES:
        yield from sorted(glob.glob(place))  # noqa: PTH207 - absolute patterns
    for name in _NAMES:
        if found := ctypes.util.find_library(name):  # slow: it may ask the compiler
            yield found


def unknown(parameters: Mapping[str, str]) -> list[str]:
    """Which of these parameters of an address are none of libsrt's."""
    return [name for name in parameters if name not in _OPTIONS]


class Socket:
    """An SRT socket; raises Lost where libsrt refuses something, ValueError where a parameter has no sensible value."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._library = library()
        self.id: int = self._library.srt_create_socket()
        self._waiting: Socket | None = None
        try:
            self._set(_RCVSYN, False)
            for name, text in parameters.items():
                option, kind = _OPTIONS[name]
                value = int(text) if kind is int else text in ("1", "yes", "true", "on") if kind is bool else text
                self._set(option, value, name)
        except BaseException:
            self.close()
            raise

    def connect(self, host: str, port: int, timeout_s: float, cancelled: threading.Event) -> Receiver:
        """Calls; raises Lost where nobody answers in time or the call is refused."""
        self._set(_CONNTIMEO, round(timeout_s * 1000))
        address = _address(host, port)
        if self._library.srt_connect(self.id, address, len(address)) < 0:
            raise Lost(self._error())
        while (state := self._library.srt_getsockstate(self.id)) != _CONNECTED:
            if state > _CONNECTED:
                raise Lost(self._refusal())
            if cancelled.wait(_POLL_S):
                raise Lost("cancelled")
        return Receiver(self, timeout_s)

    def listen(self, host: str, port: int) -> None:
        """Takes callers from now on; raises OSError where the address is not to be had."""
        address = _address(host or "0.0.0.0", port)
        if self._library.srt_bind(self.id, address, len(address)) < 0 or self._library.srt_listen(self.id, 1) < 0:
            raise OSError(self._error())

    def accept(self, timeout_s: float, cancelled: threading.Event) -> Receiver:
        """The next caller, however long it takes; raises Lost after `cancelled`."""
        while (caller := self.caller()) is None:
            if cancelled.wait(_POLL_S):
                raise Lost("cancelled")
        return Receiver(caller, timeout_s, self)

    def caller(self) -> Socket | None:
        """Who has called and was not answered yet; raises Lost where nobody can any more."""
        if self._waiting is not None:
            caller, self._waiting = self._waiting, None
            return caller
        id = self._library.srt_accept(self.id, None, None)
        if id < 0:
            if self._library.srt_getlasterror(None) != _ASYNC_RECEIVE:
                raise Lost(self._error())
            return None
        accepted = Socket.__new__(Socket)
        accepted._library, accepted.id, accepted._waiting = self._library, id, None
        return accepted

    def somebody_waits(self) -> bool:
        """Whether there is a caller that was not answered yet."""
        self._waiting = self.caller()
        return self._waiting is not None

    def close(self) -> None:
        """From any thread."""
        self._library.srt_close(self.id)

    def _set(self, option: int, value: int | bool | str, name: str = "") -> None:
        data = value.encode() if isinstance(value, str) else struct.pack("?" if isinstance(value, bool) else "i", value)
        if self._library.srt_setsockflag(self.id, option, data, len(data)) < 0:
            raise ValueError(f"{name}: {self._error()}")

    def _error(self) -> str:
        return str(self._library.srt_getlasterror_str().decode(errors="replace")).strip()

    def _refusal(self) -> str:
        reason = self._library.srt_getrejectreason(self.id)
        if reason in _REJECTED_PASSPHRASE:
            return "the other side refuses the passphrase, or its lack"
        said = self._library.srt_rejectreason_str(reason).decode(errors="replace")
        return "nobody answers there" if reason in (0, 16) else f"the other side refuses: {said}"


class Receiver:
    """What comes over a connected socket, as `Bytes`; SRT knows no end but that the connection is closed or lost."""

    def __init__(self, connected: Socket, timeout_s: float, listener: Socket | None = None) -> None:
        self._socket = connected
        self._listener = listener
        self._library = library()
        self._timeout_s = timeout_s
        self._patience_s = timeout_s
        self._last_s = time.monotonic()
        self._closed = False
        self._buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._rest = b""
        self._socket._set(_RCVSYN, True)
        self._socket._set(_RCVTIMEO, _TICK_MS)
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As `Bytes` says; a stall is a failure."""
        while not self._rest and not self._closed and self.failure is None:
            got = self._library.srt_recvmsg(self._socket.id, self._buffer, _MESSAGE_BYTES)
            if got > 0:
                self._rest = self._buffer.raw[:got]
                self._last_s = time.monotonic()
                self._patience_s = min(self._timeout_s, STALL_S)
            elif (error := self._library.srt_getlasterror(None)) in (_TIMEOUT, _ASYNC_RECEIVE):
                quiet_s = time.monotonic() - self._last_s
                if quiet_s >= self._patience_s:
                    self.failure = Lost("nothing came in time")
                elif self._listener is not None and quiet_s >= _QUIET_S and self._listener.somebody_waits():
                    self.failure = Lost("another sender took over")
            elif error in (_CONNECTION_LOST, _NO_CONNECTION):
                self.failure = Lost("the other side hung up or is gone")
            else:
                self.failure = Lost(self._socket._error())
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        """As `Bytes` says."""
        self._closed = True
        self._socket.close()


def _address(host: str, port: int) -> bytes:
    """A `sockaddr`; raises Lost where the name cannot be resolved."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise Lost(f"{host}: {error.strerror or error}") from error
    # The BSDs and macOS have the length in a byte before that of the family.
    long = 28 if family == socket.AF_INET6 else 16
    has_length = sys.platform == "darwin" or "bsd" in sys.platform
    start = struct.pack("=BB", long, family) if has_length else struct.pack("=H", family)
    packed = socket.inet_pton(family, str(place[0]).partition("%")[0])
    if family == socket.AF_INET6:
        return start + struct.pack(">HI", port, 0) + packed + struct.pack("=I", int(place[3]) if len(place) > 3 else 0)
    return start + struct.pack(">H", port) + packed + bytes(8)
