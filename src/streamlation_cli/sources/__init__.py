"""Where sessions come from: one module per transport behind one small interface.

A transport's `opening(request) -> Opening` says what to hand to the demuxer and how its failures are to be told.
`open_media` picks the transport by the input's form; what can be demuxed becomes packets (`container.py`), what is a
subtitle file becomes transcripts (`captions.py`).
"""

from __future__ import annotations

import importlib
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol

from ..errors import StreamlationError, UsageError
from ..records import Header, StreamRecord

STDIN = "-"

TIMEOUT_S = 10.0
LIVE_TIMEOUT_S = 5.0
"""A live source that says nothing for so long is connected to again: its listeners notice sooner."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be ingested."""

    input: str
    """A path, an address, or `-`."""
    session: str
    language: str = ""
    """Spoken language; empty when it is to be detected."""
    format: str = ""
    """Container or raw format in FFmpeg's terms, `srt` or `vtt`; empty to find out."""
    sample_rate_hz: int | None = None
    """Of raw PCM."""
    channels: int | None = None
    """Of raw PCM."""
    with_video: bool = False
    audio_stream: str = ""
    """Index among the audio streams or language tag; empty for the default one."""
    start_ms: int = 0
    end_ms: int | None = None
    offline: bool = False
    timeout_s: float = 0.0
    """How long a network source may stall; 0: as long as its kind does by default."""
    live: bool = False
    """The input is live although its form does not say so (standard input, an endless http stream)."""
    listen: bool = False
    """Wait for a publisher instead of connecting."""
    retry: float = 120
    """Tries in a row to (re)connect a live source; infinity: for ever."""
    retry_max_s: float = 1.0
    """Longest wait between two tries: what comes back is heard within 3 s, connecting and looking for its sound included."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """To send with each http request."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How to open one input."""

    file: str | BinaryIO
    """Path or address for FFmpeg, or an object with `read` (and `seek`, where that works)."""
    name: str
    """The input in messages and in the header, credentials removed."""
    failure: Callable[[Exception], StreamlationError]
    """The transport's word on an error of opening or reading."""
    options: Mapping[str, str] = field(default_factory=dict)
    format: str = ""
    timeout: tuple[float, float] | None = None
    """Seconds to open, seconds a read may stall."""
    seekable: bool = True
    """Whether one can go back and forth in it."""
    remote: bool = False
    """An error while reading is the network's, not damage."""
    path: str = ""
    """Path of a local file."""
    text: Callable[[], bytes] | None = None
    """Reads the whole input; for subtitle files."""

    def raise_failure(self) -> None:
        """Raises what went wrong in `file.read`, which could not raise it through FFmpeg."""
        failure: BaseException | None = getattr(self.file, "failure", None)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Lets go of what was opened to be read."""
        if not isinstance(self.file, str):
            self.file.close()


class Media(Protocol):
    """An opened input."""

    header: Header

    @property
    def end_ms(self) -> int | None:
        """Media time at which what was yielded so far ends."""

    def records(self) -> Iterator[StreamRecord]:
        """What follows the header, `eos` excluded; raises StreamlationError where the rest cannot be had."""

    def metrics(self) -> dict[str, int | float]:
        """What is known of the source beyond its records, for a `status`."""

    def close(self) -> None:
        """Lets go of the input."""


SCHEMES: dict[str, str] = {
    "http": "http",
    "https": "http",
    "file": "file",
    "": "file",
    STDIN: "stdin",
    "rtmp": "rtmp",
    "rtmps": "rtmp",
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "srt": "srt",
    "udp": "udp",
    "whep": "webrtc",
    "wheps": "webrtc",
    "whip": "webrtc",
    "alsa": "capture",
    "pulse": "capture",
    "avfoundation": "capture",
    "dshow": "capture",
    "page": "page",
}
"""Address scheme → transport module of this package.

A file-like transport has `opening(request) -> Opening`, a live one `connector(request) -> Connector` (see `feeds.py`). An
http address may turn out to be another's: see `http.py`.
"""

LISTENING = ("rtmp", "rtsp", "srt", "whip")
"""Schemes of addresses that a publisher can push to."""

SUBTITLE_FORMATS = ("srt", "vtt")

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):(?=//)|^(file|alsa|pulse|avfoundation|dshow|page):")


def scheme_of(name: str) -> str:
    """The scheme of an address in lower case, `-` for standard input, empty for a path.

    >>> scheme_of("HTTP://a/b.mp3"), scheme_of("C:/a.mp3"), scheme_of("a: b.mp3"), scheme_of("-")
    ('http', '', '', '-')
    """
    if name == STDIN:
        return STDIN
    match = _SCHEME.match(name)
    return (match[1] or match[2]).lower() if match else ""


class Elsewhere(Exception):
    """What an address leads to is another transport's; never leaves this package."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.module = module


def open_media(request: Request) -> Media:
    """Opens the input.

    Raises UsageError for an address of an unknown kind, InputMissing, DataError, OfflineRefused, Unavailable or TryAgain
    where it cannot be opened.
    """
    module = transport_of(request)
    try:
        return _open(request, module)
    except Elsewhere as elsewhere:
        module = elsewhere.module
    if module == "page":
        return open_media(importlib.import_module(".page", __name__).resolve(request))
    return _open(request, module)


def _open(request: Request, module: str) -> Media:
    transport = importlib.import_module(f".{module}", __name__)
    if hasattr(transport, "connector"):
        return _open_live(request, transport)
    return _open_file(replace(request, timeout_s=request.timeout_s or TIMEOUT_S), transport)


def _open_live(request: Request, transport: ModuleType) -> Media:
    from . import raw
    from .live import LiveMedia

    if request.start_ms or request.end_ms is not None:
        raise UsageError(f"--start and --duration are for recordings, and {request.input} is live")
    raw.check_known(request)
    request = replace(request, timeout_s=request.timeout_s or LIVE_TIMEOUT_S)
    return LiveMedia(request, transport.connector(request))


def _open_file(request: Request, transport: ModuleType) -> Media:
    if SCHEMES[scheme_of(request.input)] == "http":
        from .waiting import interruptibly

        opening: Opening = interruptibly(lambda: transport.opening(request), lambda: None)
    else:
        opening = transport.opening(request)
    if opening.format in SUBTITLE_FORMATS:
        from .captions import Captions

        return Captions(request, opening)
    from .container import Container

    try:
        return Container(request, opening)
    except BaseException:
        opening.close()
        raise


def transport_of(request: Request) -> str:
    """The transport module that opens an input, as far as its form tells; raises UsageError where there is none."""
    name = request.input
    scheme = scheme_of(name)
    if scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES if scheme not in ("", STDIN))
        raise UsageError(f"{scheme}: addresses cannot be opened; a path, - and {known} can")
    if request.listen and scheme not in LISTENING:
        raise UsageError(f"--listen: a publisher can be waited for at {', '.join(f'{s}://' for s in LISTENING)} only")
    if request.live and (scheme == STDIN or (SCHEMES[scheme] == "file" and _is_a_stream(request))):
        return "pipe"
    if request.live and SCHEMES[scheme] == "http":
        return "httplive"
    return SCHEMES[scheme]


def _is_a_stream(request: Request) -> bool:
    """Whether a path leads to a pipe or a character device, whose data come when they come, and not to a file."""
    from .file import path_of

    try:
        mode = Path(path_of(request.input)).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def text_format_of(path: str) -> str:
    """`srt` or `vtt` by the end of a name, else empty.

    >>> text_format_of("a.SRT"), text_format_of("a.mp3")
    ('srt', '')
    """
    extension = path.rpartition(".")[2].lower()
    return extension if extension in SUBTITLE_FORMATS else ""
