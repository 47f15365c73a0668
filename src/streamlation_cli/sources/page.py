"""Pages with a player in them (YouTube, Twitch and a thousand more), through yt-dlp.

yt-dlp finds the address of the stream behind a page; that address is then opened as if it had been given. Nothing is downloaded
by it. It runs in a process of its own, for it prints, may take long, and cannot be interrupted.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputMissing, OfflineRefused, TryAgain, Unavailable
from . import Elsewhere, Opening, Request
from .http import public_name
from .waiting import interruptibly

_PREFIX = "page:"
_MODULE, _PROGRAM = "yt_dlp", "yt-dlp"
_FORMATS = "ba[protocol^=m3u8]/b[protocol^=m3u8][height<=?480]/w*[acodec!=none][protocol^=m3u8]/ba/w*[acodec!=none]/b"
"""Sound alone where it is to be had, else with a small picture; HLS first, for its live streams survive everything."""
_FORMATS_WITH_VIDEO = "b[protocol^=m3u8]/b"
_LIMIT_S = 60.0
_SENT = ("Referer", "Cookie", "Origin", "User-Agent")
"""Headers that a stream's server may insist on."""
_LATER = ("timed out", "Connection refused", "HTTP Error 429", "HTTP Error 5", "Temporary failure")


def opening(request: Request) -> Opening:
    """What the prefix `page:` says: this is a page, whatever the server says of it."""
    raise Elsewhere("page")


def resolve(request: Request) -> Request:
    """The request for the stream behind a page.

    Raises Unavailable where yt-dlp is not installed, InputMissing where it finds no stream, TryAgain where the site does not
    answer, OfflineRefused.
    """
    address = request.input.removeprefix(_PREFIX)
    name = public_name(address)
    if request.offline:
        raise OfflineRefused(f"{name}: --offline was given and this address is on the network")
    finder = Finder(name, address, request)
    found = interruptibly(finder.find, finder.cancel)
    stream = found.get("url")
    if not isinstance(stream, str) or not stream.startswith(("http://", "https://")) or stream == address:
        raise InputMissing(f"{name}: no stream found behind this page")
    headers = {key: str(value) for key, value in found.get("http_headers", {}).items() if key in _SENT}
    live = request.live or bool(found.get("is_live"))
    return replace(request, input=stream, headers={**headers, **request.headers}, live=live)


@dataclass
class Finder:
    """yt-dlp at work."""

    name: str
    address: str
    request: Request
    process: subprocess.Popen[bytes] | None = None

    def find(self) -> dict[str, Any]:
        """What it knows of the one format that was chosen."""
        command = [
            *_program(self.name), "--ignore-config", "--no-warnings", "--no-playlist", "--no-cache-dir", "--no-update",
            "--skip-download", "--socket-timeout", f"{self.request.timeout_s or 10:g}",
            "--format", _FORMATS_WITH_VIDEO if self.request.with_video else _FORMATS,
            "--dump-single-json", "--", self.address,
        ]  # fmt: skip
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            output, errors = self.process.communicate(timeout=_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            self.cancel()
            raise TryAgain(f"{self.name}: yt-dlp found nothing within {_LIMIT_S:g} s") from error
        except OSError as error:
            raise Unavailable(f"{self.name}: yt-dlp cannot be started: {error.strerror}") from error
        said = errors.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("ERROR: ")
        if self.process.returncode:
            kind = TryAgain if any(sign in said for sign in _LATER) else InputMissing
            raise kind(f"{self.name}: no stream found behind this page: {said or 'yt-dlp does not say why'}")
        try:
            found = json.loads(output)
        except ValueError as error:
            raise InputMissing(f"{self.name}: yt-dlp's answer makes no sense") from error
        # A page may be a list of which one entry is played.
        while isinstance(found, dict) and found.get("entries"):
            found = found["entries"][0]
        return found if isinstance(found, dict) else {}

    def cancel(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.kill()


def _program(name: str) -> list[str]:
    if importlib.util.find_spec(_MODULE) is not None:
        return [sys.executable, "-m", _MODULE]
    if program := shutil.which(_PROGRAM):
        return [program]
    raise Unavailable(f"{name}: this is a page; to find the stream in it, run pip install 'streamlation[pages]'")
