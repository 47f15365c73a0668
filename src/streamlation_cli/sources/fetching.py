"""HTTP for live sources: replies whose reading another thread can end."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import threading
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ..errors import InputMissing
from .feeds import Lost
from .http import failure_of, public_name

_BLOCK_BYTES = 1 << 16


class Fetcher:
    """Asks servers, one request at a time; `cancel` from another thread ends what is going on, and what comes after fails.

    User and password, where `address` has them, go to its host alone.
    """

    def __init__(self, address: str, *, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        user, _, self._host = urlsplit(address).netloc.rpartition("@")
        self._credentials = base64.b64encode(unquote(user).encode()).decode() if user else ""
        self._timeout_s = timeout_s
        self._headers = {"User-Agent": "streamlation", **(headers or {})}
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cancelled = False
        fetcher = self

        class Http(urllib.request.HTTPHandler):
            def http_open(self, request: urllib.request.Request) -> HTTPResponse:
                return self.do_open(cast(Any, _Plain), request, watch=fetcher._watch)

        class Https(urllib.request.HTTPSHandler):
            def https_open(self, request: urllib.request.Request) -> HTTPResponse:
                return self.do_open(cast(Any, _Secure), request, watch=fetcher._watch)

        self._opener = urllib.request.build_opener(Http, Https)

    def open(self, address: str, *, start: int | None = None, length: int | None = None) -> HTTPResponse:
        """The server's answer, its body not read yet; `start` and `length` ask for a part of it, in bytes.

        Raises TryAgain where it may work later, InputMissing or Unavailable where the server does not give it.
        """
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        headers = dict(self._headers)
        if self._credentials and host == self._host:
            headers["Authorization"] = f"Basic {self._credentials}"
        if start is not None:
            headers["Range"] = f"bytes={start}-" + (str(start + length - 1) if length is not None else "")
        plain = quote(urlunsplit((parts.scheme, host, parts.path, parts.query, "")), safe="!#$%&'()*+,/:;=?@[]~-._")
        if parts.scheme not in ("http", "https"):
            raise InputMissing(f"{public_name(address)}: no http address")
        try:
            return cast(
                HTTPResponse, self._opener.open(urllib.request.Request(plain, headers=headers), timeout=self._timeout_s)
            )
        except (OSError, ValueError, HTTPException) as error:
            raise self.failure(address, error) from error

    def get(self, address: str, *, start: int | None = None, length: int | None = None, most: int = 1 << 28) -> bytes:
        """A whole body; raises as `open` does, Lost where it breaks off or is longer than `most` bytes."""
        with self.open(address, start=start, length=length) as reply:
            try:
                body = reply.read(most + 1)
            except (OSError, ValueError, HTTPException) as error:
                raise self.failure(address, error) from error
        announced = reply.headers.get("Content-Length", "")
        if announced.isdigit() and len(body) < min(int(announced), most + 1):
            raise Lost("the server broke off")
        if len(body) > most:
            raise Lost(f"more than {most >> 20} MiB")
        return body

    def failure(self, address: str, error: Exception) -> Exception:
        """What went wrong, in the terms of `http.py`; Lost after `cancel`."""
        if self._cancelled:
            return Lost("cancelled")
        return failure_of(public_name(address), error)

    def cancel(self) -> None:
        """From any thread."""
        with self._lock:
            self._cancelled = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _watch(self, opened: socket.socket) -> None:
        with self._lock:
            if self._cancelled:
                opened.close()
                raise ConnectionAbortedError("cancelled")
            self._socket = opened


class Body:
    """The body of a reply as `Bytes` for FFmpeg; its end is that of the connection, which is for its user to judge."""

    def __init__(self, fetcher: Fetcher, address: str, reply: HTTPResponse) -> None:
        self._fetcher = fetcher
        self._address = address
        self._reply = reply
        self._closed = False
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As `Bytes` says."""
        if self._closed or self.failure is not None:
            return b""
        try:
            return self._reply.read1(min(size, _BLOCK_BYTES))
        except (OSError, ValueError, HTTPException) as error:
            self.failure = self._fetcher.failure(self._address, error)
            return b""

    def close(self) -> None:
        """As `Bytes` says."""
        self._closed = True
        self._fetcher.cancel()


class _Plain(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, watch: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch(self.sock)


class _Secure(http.client.HTTPSConnection):
    def __init__(self, *arguments: Any, watch: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch(self.sock)
