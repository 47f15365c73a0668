"""MPEG-TS over SRT: `srt://host:port?mode=caller|listener&latency=120&passphrase=…&streamid=…`.

FFmpeg as PyAV ships it has no SRT, so the system's libsrt is used, or, where only its program is installed,
`srt-live-transmit` in a process of its own. Parameters are named as there; times are milliseconds.
"""

from __future__ import annotations

import shutil
import threading
from urllib.parse import parse_qsl, urlsplit

from ..errors import OfflineRefused, Unavailable, UsageError
from . import Request, libsrt
from .child import Child
from .demuxed import Bytes, DemuxedFeed, broken
from .feeds import Feed, Lost
from .http import public_name

PROGRAM = "srt-live-transmit"
_MISSING = (
    "SRT needs libsrt or srt-live-transmit, and neither is installed "
    "(Debian, Ubuntu: apt install libsrt1.5-gnutls or srt-tools; macOS: brew install srt)"
)
_MODES = ("caller", "listener")
_IGNORED = ("transtype", "conntimeo", "timeout")
"""Parameters that other programs know and that change nothing here."""


def connector(request: Request) -> Srt:
    """How to reach the stream; raises UsageError where the address makes no sense, OfflineRefused."""
    name = public_name(request.input)
    if request.offline:
        raise OfflineRefused(f"{name}: --offline was given and this address is on the network")
    parts = urlsplit(request.input)
    # A stream id in access-control syntax begins with `#!::`, which need not be escaped elsewhere.
    query = parts.query + (f"#{parts.fragment}" if parts.fragment else "")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    mode = parameters.pop("mode", "listener" if request.listen or not parts.hostname else "caller")
    for ignored in _IGNORED:
        parameters.pop(ignored, None)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not port:
        raise UsageError(f"{name}: it needs a port, such as srt://host:9000 or srt://0.0.0.0:9000?mode=listener")
    if mode not in _MODES:
        raise UsageError(f"{name}: mode={mode}: it is caller or listener")
    if request.listen and mode == "caller":
        raise UsageError(f"{name}: --listen waits for callers, and mode=caller calls")
    if wrong := libsrt.unknown(parameters):
        raise UsageError(f"{name}: {wrong[0]} is no parameter of SRT that is known")
    if len(parameters.get("passphrase", "x" * 10)) not in range(10, 80):
        raise UsageError(f"{name}: passphrase: it has 10 to 79 characters")
    return Srt(request, name, parts.hostname or "", port, mode, parameters)


class Srt:
    """A `Connector`: calls, or waits for callers one after the other."""

    keeps = False

    def __init__(
        self, request: Request, name: str, host: str, port: int, mode: str, parameters: dict[str, str]
    ) -> None:
        self.name = name
        self.listens = mode == "listener"
        self._request = request
        self._host = host
        self._port = port
        self._parameters = parameters
        self._cancelled = threading.Event()
        self._listener: libsrt.Socket | None = None
        self._bytes: Bytes | None = None

    def connect(self) -> Feed:
        """As `Connector` says; raises Unavailable where there is no SRT on this machine."""
        self._bytes = opened = self._open()
        if self._cancelled.is_set():
            opened.close()
            raise Lost("cancelled")
        return DemuxedFeed(
            self._request,
            opened,
            name=self.name,
            failure=broken,
            at_end=_hung_up,
            format=self._request.format or "mpegts",
            # Sound is described in every packet of it; a picture only at its key frames.
            find_s=1.0 if self._request.with_video else 0.25,
        )

    def cancel(self) -> None:
        """As `Connector` says."""
        self._cancelled.set()
        if self._bytes is not None:
            self._bytes.close()

    def _open(self) -> Bytes:
        try:
            libsrt.library()
        except OSError:
            return self._program()
        timeout_s = self._request.timeout_s
        try:
            if self.listens:
                if self._listener is None:
                    listener = libsrt.Socket(self._parameters)
                    listener.listen(self._host, self._port)
                    self._listener = listener
                return self._listener.accept(timeout_s, self._cancelled)
            caller = libsrt.Socket(self._parameters)
        except OSError as error:
            raise Unavailable(f"{self.name}: callers cannot be waited for there: {error}") from error
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from error
        try:
            return caller.connect(self._host, self._port, timeout_s, self._cancelled)
        except BaseException:
            caller.close()
            raise

    def _program(self) -> Bytes:
        program = shutil.which(PROGRAM)
        if program is None:
            raise Unavailable(f"{self.name}: {_MISSING}")
        mode = "listener" if self.listens else "caller"
        # The program takes values as they are: it does not decode percent signs.
        query = "&".join(f"{key}={value}" for key, value in {"mode": mode, **self._parameters}.items())
        address = f"srt://{self._host}:{self._port}?{query}"
        command = [program, "-quiet", "-loglevel:fatal", "-autoreconnect:no", "-chunk:1456", address, "file://con"]
        timeout_s = self._request.timeout_s
        # Whoever waits for callers waits for ever.
        waits_s = float("inf") if self.listens else timeout_s
        return Child(command, timeout_s=waits_s, stall_s=min(timeout_s, libsrt.STALL_S))


def _hung_up() -> None:
    raise Lost("the other side hung up")
