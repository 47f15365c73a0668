"""Files, texts and live streams under paths that cannot be guessed: whoever has the address may fetch it, a television too.

Browsers on other sites' pages and receivers need CORS for that, so all of it is given to any origin.
"""

from __future__ import annotations

import mimetypes
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

MEDIA = "/media"

_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml", ".m4s": "video/mp4", ".mp4": "video/mp4",
    ".m4v": "video/mp4", ".m4a": "audio/mp4", ".mkv": "video/x-matroska", ".webm": "video/webm", ".ts": "video/mp2t",
    ".mp3": "audio/mpeg", ".aac": "audio/aac", ".flac": "audio/flac", ".wav": "audio/wav", ".opus": "audio/ogg",
    ".ogg": "audio/ogg", ".vtt": "text/vtt; charset=utf-8", ".srt": "application/x-subrip; charset=utf-8",
    ".ttml": "application/ttml+xml", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
"""What receivers go by; the system's own table of types differs from one machine to the next."""

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Accept-Ranges",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_CORS_PREFLIGHT = CORS | {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "Range"}


class Stored(Protocol):
    """Where a packager puts its playlists and segments, as far as serving them goes."""

    def get(self, name: str) -> bytes | None:
        """What was put under a name, or None."""


def content_type_of(name: str) -> str:
    """The type that a name's extension stands for.

    >>> content_type_of("live/audio-pt.m3u8"), content_type_of("TALK.MP4"), content_type_of("x")
    ('application/vnd.apple.mpegurl', 'video/mp4', 'application/octet-stream')
    """
    extension = PurePosixPath(name).suffix.lower()
    return _TYPES.get(extension) or mimetypes.guess_type(name)[0] or "application/octet-stream"


@dataclass(frozen=True)
class _Text:
    data: bytes
    content_type: str


@dataclass(frozen=True)
class _File:
    path: Path
    content_type: str


class Media:
    """What is served to whoever has its address."""

    def __init__(self) -> None:
        self._served: dict[str, tuple[str, _Text | _File | Stored]] = {}
        """Key → name and what it is. A dict's items are set and taken in one step, so threads need no lock."""

    def add_file(self, path: Path, content_type: str = "") -> str:
        """The path of a file's address."""
        return self._add(path.name, _File(path, content_type or content_type_of(path.name)))

    def add_text(self, name: str, text: str, content_type: str = "") -> str:
        """The path of a text's address."""
        return self._add(name, _Text(text.encode(), content_type or content_type_of(name)))

    def add_store(self, store: Stored, name: str) -> str:
        """The path of the address of `name` in a store."""
        return self._add(name, store)

    def remove(self, address: str) -> None:
        """Forgets what has this address."""
        self._served.pop(urlsplit(address).path.removeprefix(f"{MEDIA}/").partition("/")[0], None)

    def _add(self, name: str, what: _Text | _File | Stored) -> str:
        key = secrets.token_urlsafe(16)
        self._served[key] = (name, what)
        return f"{MEDIA}/{key}/{quote(name)}"

    async def answer(self, request: Request) -> Response:
        """The response to a request for anything below `MEDIA`."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_CORS_PREFLIGHT)
        name, what = self._served.get(request.path_params["key"], ("", None))
        asked = request.path_params["name"]
        if isinstance(what, _File) and asked == name:
            if not what.path.is_file():
                return missing(CORS)
            return FileResponse(what.path, media_type=what.content_type, headers=CORS)
        if isinstance(what, _Text) and asked == name:
            return ranged(request, what.data, what.content_type, CORS)
        if what is None or isinstance(what, _File | _Text):
            return missing(CORS)
        data = what.get(asked)
        if data is None:
            return missing(CORS)
        # A playlist changes; what it lists never does.
        caching = {"Cache-Control": "no-cache" if asked.endswith((".m3u8", ".mpd")) else "max-age=3600"}
        return ranged(request, data, content_type_of(asked), CORS | caching)


def missing(headers: dict[str, str] | None = None) -> Response:
    """Says that there is no such thing."""
    return PlainTextResponse("There is nothing here.\n", 404, headers=headers)


def ranged(request: Request, data: bytes, content_type: str, headers: dict[str, str]) -> Response:
    """`data`, or the one range of it that is asked for; 416 where there is no such range."""
    headers = {"Accept-Ranges": "bytes"} | headers
    # Whoever wants a range only of what it has a part of already (If-Range) gets the whole: versions are not told apart here.
    asked = request.headers.get("range", "") if "if-range" not in request.headers else ""
    span = _span(asked, len(data)) if asked else (0, len(data))
    if span is None:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{len(data)}"})
    start, end = span
    if (start, end) != (0, len(data)):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return Response(data[start:end], 206, headers=headers, media_type=content_type)
    return Response(data, 200, headers=headers, media_type=content_type)


def _span(asked: str, length: int) -> tuple[int, int] | None:
    """Start and end of the range that a Range header asks for; the whole where it asks for several or is no range.

    >>> _span("bytes=2-3", 10), _span("bytes=8-", 10), _span("bytes=-3", 10), _span("bytes=10-", 10), _span("lines=1-2", 10)
    ((2, 4), (8, 10), (7, 10), None, (0, 10))
    """
    unit, _, spans = asked.partition("=")
    first, dash, last = spans.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not (first + last).isdecimal():
        return 0, length
    if not first:
        start, end = max(0, length - int(last)), length
    else:
        start, end = int(first), min(length, int(last) + 1) if last else length
    return (start, end) if start < end else None
