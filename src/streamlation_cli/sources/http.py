"""Files behind http and https addresses."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from functools import partial
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from ..errors import DataError, InputMissing, OfflineRefused, StreamlationError, TryAgain, Unavailable
from . import Opening, Request, raw, text_format_of

_MAX_TEXT_BYTES = 64 * 1024 * 1024
_SECRET = re.compile(r"token|secret|signature|^sig$|password|passwd|^key$|api_?key|auth|credential", re.IGNORECASE)


def opening(request: Request) -> Opening:
    """How to open an address; raises OfflineRefused under `--offline`."""
    name = public_name(request.input)
    if request.offline:
        raise OfflineRefused(f"{name}: --offline was given and this address is on the network")
    return Opening(
        file=_ascii_only(request.input),
        name=name,
        failure=partial(_failure, name),
        options={
            # A connection that breaks is taken up where it broke, within a few seconds.
            "reconnect": "1", "reconnect_on_network_error": "0", "reconnect_delay_max": "2", "reconnect_max_retries": "2",
            **raw.options(request),
        },
        format=request.format or text_format_of(urlsplit(request.input).path),
        timeout=(request.timeout_s, request.timeout_s),
        remote=True,
        text=partial(_fetch, request.input, request.timeout_s),
    )  # fmt: skip


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


def _fetch(address: str, timeout_s: float) -> bytes:
    # The scheme is http or https: the registry of transports let nothing else through.
    with urllib.request.urlopen(_ascii_only(address), timeout=timeout_s) as reply:
        data: bytes = reply.read(_MAX_TEXT_BYTES + 1)
    if len(data) > _MAX_TEXT_BYTES:
        raise DataError(f"{public_name(address)}: too long to be a subtitle file")
    return data


def _failure(name: str, error: Exception) -> StreamlationError:
    if isinstance(error, StreamlationError):
        return error
    kind = type(error).__name__
    if isinstance(error, urllib.error.HTTPError):
        return _of_status(name, error.code)
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _failure(name, error.reason)
    if match := re.fullmatch(r"HTTP(\w+)Error", kind):
        statuses = {"BadRequest": 400, "Unauthorized": 401, "Forbidden": 403, "NotFound": 404, "TooManyRequests": 429}
        return _of_status(name, statuses.get(match[1], 500 if match[1] == "Server" else 410))
    if kind == "ExitError" or isinstance(error, TimeoutError):
        return TryAgain(f"{name}: the server stopped answering; try again, or give it longer with --timeout")
    if isinstance(error, ConnectionError):
        return TryAgain(f"{name}: no connection: {getattr(error, 'strerror', None) or error}; is the server running?")
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        return Unavailable(f"{name}: the server cannot be reached or broke off: {error.strerror or error}")
    return DataError(f"{name}: not media that can be read")


def _of_status(name: str, status: int) -> StreamlationError:
    if status in (401, 403):
        return InputMissing(f"{name}: the server refuses access (status {status})")
    if status in (408, 429) or status >= 500:
        said = f"status {status}" if status != 500 else "a server error"
        return TryAgain(f"{name}: the server cannot serve it now ({said}); try again later")
    return InputMissing(f"{name}: the server does not have it" + (" (status 404)" if status == 404 else ""))
