"""pychromecast's connection, made fit to be used by two threads.

The library reads in a thread of its own and writes in whichever thread asks for something. A TLS connection of OpenSSL is not made
for that: a read and a write at the same time, or two writes, now and then mix up its state, and the connection breaks off (`bad
record mac`, `bad length`, `EOF occurred in violation of protocol`). Here each message is sent alone; reading and writing take turns.
"""

from __future__ import annotations

import select
import ssl
import threading
from typing import Any

from pychromecast.socket_client import SocketClient


class TurnTaking:
    """A connected TLS socket, as far as the library uses one. A turn is a step that never waits, so neither side holds up the other."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._timeout_s = connection.gettimeout()
        self._lock = threading.Lock()
        connection.settimeout(0)

    def fileno(self) -> int:
        """As a socket's."""
        return self._connection.fileno()

    def recv(self, size: int) -> bytes:
        """As a socket's; raises TimeoutError, OSError."""
        while True:
            with self._lock:
                try:
                    return self._connection.recv(size)
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
            self._wait(wanted)

    def sendall(self, data: bytes) -> None:
        """As a socket's; raises TimeoutError, OSError. One caller at a time, or messages are mixed up."""
        rest = memoryview(data)
        while rest:
            with self._lock:
                try:
                    rest = rest[self._connection.send(rest) :]
                    continue
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
            self._wait(wanted)

    def close(self) -> None:
        """As a socket's."""
        self._connection.close()

    def _wait(self, wanted: int) -> None:
        poll = select.poll()
        try:
            poll.register(self._connection, wanted)
        except ValueError as error:  # closed meanwhile by the other thread
            raise ConnectionAbortedError("the connection is closed") from error
        if not poll.poll(None if self._timeout_s is None else self._timeout_s * 1000):
            raise TimeoutError("the device does not answer")


class Turns:
    """Has a client's messages sent one at a time. `take_turns` is to be called whenever it is connected anew, in its thread."""

    def __init__(self, client: SocketClient) -> None:
        self._client: Any = client
        self._sending = threading.RLock()  # a message may open a channel first, which is a message too
        self._send = client.send_message
        self._client.send_message = self._send_alone  # type: ignore[method-assign]

    def take_turns(self) -> None:
        """The connection of now is read from and written to in turns."""
        if isinstance(self._client.socket, ssl.SSLSocket):
            self._client.socket = TurnTaking(self._client.socket)

    def _send_alone(self, *args: Any, **kwargs: Any) -> None:
        with self._sending:
            self._send(*args, **kwargs)
