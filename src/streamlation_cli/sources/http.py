"""Files behind http and https addresses, and what else such an address may lead to.

.m3u8, or a reply of type …mpegurl    a recording for FFmpeg, or live: `hls.py`
.mpd, or a reply of type dash+xml     a recording: `dashfile.py`, or live: `dash.py`
a reply of type text/html             a page with a player in it: `page.py`
anything with --live                  an endless stream: `httplive.py`
"""

from __future__ import annotations

import base64
import errno
import os
import re
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import partial
from http.client import HTTPException, HTTPResponse, InvalidURL
from typing import BinaryIO, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ..errors import DataError, InputMissing, OfflineRefused, StreamlationError, TryAgain, Unavailable
from . import SUBTITLE_FORMATS, Elsewhere, Opening, Request, raw, text_format_of

_BLOCK_BYTES = 1 << 16
_RECONNECT = {
    "reconnect": "1",
    "reconnect_on_network_error": "1",
    "reconnect_delay_max": "2",
    "reconnect_max_retries": "2",
}
_MAX_TEXT_BYTES = 64 * 1024 * 1024
_SECRET = re.compile(
    r"token|secret|passphrase|signature|^sig$|password|passwd|^key$|api_?key|auth|credential", re.IGNORECASE
)


def opening(request: Request) -> Opening:
    """How to open an address.

    Raises OfflineRefused under `--offline`, InputMissing, Unavailable or TryAgain where the server does not give it, Elsewhere
    where it leads to another transport.
    """
    name = public_name(request.input)
    if request.offline:
        raise OfflineRefused(f"{name}: --offline was given and this address is on the network")
    failure = partial(failure_of, name)
    _by_extension(request)
    try:
        reply = _ask(request.input, request.timeout_s, request.headers)
    except (OSError, ValueError, HTTPException) as error:
        raise failure(error) from error
    if elsewhere := _by_reply(request, reply.headers.get_content_type()):
        reply.close()
        raise Elsewhere(elsewhere)
    format = request.format or text_format_of(urlsplit(request.input).path)
    length = reply.headers.get("Content-Length", "")
    file: str | BinaryIO
    playlist = reply.headers.get_content_type().endswith("mpegurl") or _ends(request, ".m3u8", ".m3u")
    if format in SUBTITLE_FORMATS or reply.status == 206 or not length.isdigit() or playlist:
        file = _ascii_only(request.input)
        if format not in SUBTITLE_FORMATS:
            reply.close()
    else:
        file = cast(BinaryIO, Spool(reply, int(length)))
    return Opening(
        file=file,
        seekable=not isinstance(file, str) or reply.status == 206,
        name=name,
        failure=failure,
        # A connection that breaks is taken up where it broke, within a few seconds. Without the second option FFmpeg loses
        # the first packet of an MP4 whose index is at the end.
        options={**_RECONNECT, **raw.options(request)} if isinstance(file, str) else raw.options(request),
        format=format,
        timeout=(request.timeout_s, request.timeout_s),
        remote=True,
        text=partial(_text, reply, name),
    )


def _by_extension(request: Request) -> None:
    """Raises Elsewhere where the address's end says what it leads to, and that is no file."""
    if module := _transport(request, module_of(request, "")):
        raise Elsewhere(module)


def _by_reply(request: Request, content_type: str) -> str:
    """The module that a reply of this type is for; empty where it is a file."""
    return "" if module_of(request, "") else _transport(request, module_of(request, content_type))


def _transport(request: Request, module: str) -> str:
    """A recording's module in place of the live one; empty where FFmpeg reads it by its address."""
    if module == "dash":
        from . import dash

        return "dashfile" if dash.is_recording(request) else "dash"
    if module == "hls":
        from . import hls

        return "" if hls.is_recording(request) else "hls"
    return module


def module_of(request: Request, content_type: str) -> str:
    """The module for an address and what its server calls it, by these alone; empty where neither tells.

    >>> module_of(Request(input="http://h/live.m3u8?x=1", session="s"), ""), module_of(Request(input="http://h/", session="s"), "text/html")
    ('hls', 'page')
    """
    if request.format:
        return ""
    if content_type == "application/dash+xml" or _ends(request, ".mpd"):
        return "dash"
    if content_type.endswith("mpegurl") or _ends(request, ".m3u8", ".m3u"):
        return "hls"
    return "page" if content_type == "text/html" else ""


def _ends(request: Request, *extensions: str) -> bool:
    return urlsplit(request.input).path.lower().endswith(extensions)


class Spool:
    """What a server that cannot send parts of a file is sending, kept in a nameless temporary file so that one can go back.

    FFmpeg must go back in some files, such as an MP4 with its index at the end.
    """

    def __init__(self, reply: HTTPResponse, length: int) -> None:
        self._reply = reply
        self._length = length
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        self._fetched = 0
        self._position = 0
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """At most `size` bytes from where it stands; none at the end and after a failure, which `failure` then holds."""
        try:
            if self.failure is None:
                self._fetch(min(self._position + size, self._length))
        except OSError as error:  # raised here, it could be printed by PyAV
            self.failure = error
        except HTTPException as error:
            self.failure = ConnectionResetError(errno.ECONNRESET, f"the server broke off ({type(error).__name__})")
        self._file.seek(self._position)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place as files do."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where it stands."""
        return self._position

    def close(self) -> None:
        """Hangs up."""
        self._reply.close()
        self._file.close()

    def _fetch(self, end: int) -> None:
        self._file.seek(self._fetched)
        while self._fetched < end:
            block = self._reply.read(min(_BLOCK_BYTES, self._length - self._fetched))
            if not block:
                raise ConnectionResetError(errno.ECONNRESET, "the server broke off")
            self._file.write(block)
            self._fetched += len(block)


def public_name(address: str) -> str:
    """The address without user, password and the values of parameters that look secret.

    >>> public_name("https://me:pw@host:8080/a.mp3?token=s3cret&x=1")
    'https://host:8080/a.mp3?token=***&x=1'
    """
    parts = urlsplit(address)
    query = parts.query
    if any(_SECRET.search(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        pairs = [(n, "***" if _SECRET.search(n) else v) for n, v in parse_qsl(query, keep_blank_values=True)]
        query = urlencode(pairs, safe="*")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _ascii_only(address: str) -> str:
    """The address as it may stand in a request: spaces and letters beyond ASCII percent-encoded, the rest as it is."""
    return quote(address, safe="!#$%&'()*+,/:;=?@[]~-._")


def _ask(address: str, timeout_s: float, more: Mapping[str, str]) -> HTTPResponse:
    """The server's answer to a request for the input from its first byte; status 206 where it can send parts."""
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    headers = {"Range": "bytes=0-", "User-Agent": "streamlation", **more}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(unquote(user).encode()).decode()
    plain = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    # The scheme is http or https: the registry of transports let nothing else through.
    reply = urllib.request.urlopen(urllib.request.Request(_ascii_only(plain), headers=headers), timeout=timeout_s)
    return cast(HTTPResponse, reply)


def _text(reply: HTTPResponse, name: str) -> bytes:
    with reply:
        data = reply.read(_MAX_TEXT_BYTES + 1)
    if len(data) > _MAX_TEXT_BYTES:
        raise DataError(f"{name}: too long to be a subtitle file")
    return data


def failure_of(name: str, error: Exception) -> StreamlationError:
    """What went wrong with an http address that messages call `name`."""
    if isinstance(error, StreamlationError):
        return error
    kind = type(error).__name__
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return _of_status(name, error.code)
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return failure_of(name, error.reason)
    if match := re.fullmatch(r"HTTP(\w+)Error", kind):
        statuses = {"BadRequest": 400, "Unauthorized": 401, "Forbidden": 403, "NotFound": 404, "TooManyRequests": 429}
        return _of_status(name, statuses.get(match[1], 500 if match[1] == "Server" else 410))
    if isinstance(error, ssl.SSLError):
        return Unavailable(f"{name}: no secure connection: {error.reason or error}")
    if kind == "ExitError" or isinstance(error, TimeoutError):
        return TryAgain(f"{name}: the server stopped answering; try again, or give it longer with --timeout")
    if isinstance(error, ConnectionError):
        return TryAgain(f"{name}: no connection: {getattr(error, 'strerror', None) or error}; is the server running?")
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        return Unavailable(f"{name}: the server cannot be reached or broke off: {error.strerror or error}")
    if isinstance(error, InvalidURL):
        return InputMissing(f"{name}: not a valid address: {error}")
    if isinstance(error, HTTPException):
        return Unavailable(f"{name}: the server does not speak HTTP: {type(error).__name__}")
    return DataError(f"{name}: not media that can be read")


def _of_status(name: str, status: int) -> StreamlationError:
    if status in (401, 403):
        return InputMissing(f"{name}: the server refuses access (status {status})")
    if status in (408, 429) or status >= 500:
        said = f"status {status}" if status != 500 else "a server error"
        return TryAgain(f"{name}: the server cannot serve it now ({said}); try again later")
    return InputMissing(f"{name}: the server does not have it" + (" (status 404)" if status == 404 else ""))
