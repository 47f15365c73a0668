"""A microphone, line input or monitor of this machine.

alsa:default  alsa:hw:1,0      Linux, through `arecord`
pulse:default  pulse:NAME      PulseAudio or PipeWire, through `parec`
avfoundation::0                macOS, through FFmpeg: the number or name of the audio device
dshow:audio=NAME               Windows, through FFmpeg
"""

from __future__ import annotations

import shutil
import threading

from ..errors import Unavailable, UsageError
from . import Request
from .child import Child
from .demuxed import DemuxedFeed, broken
from .feeds import Feed, Lost
from .samples import SamplesFeed

RATE_HZ = 48_000
"""Every device has it; 16 kHz many have not."""
_PROGRAMS = {
    "alsa": ("arecord", "alsa-utils"),
    "pulse": ("parec", "pulseaudio-utils"),
}
"""Scheme → the program that records and the package (Debian, Ubuntu, Fedora, Arch) that has it."""
_DEFAULTS = {"alsa": "default", "pulse": "", "avfoundation": ":default", "dshow": ""}
_STALL_S = 2.0
"""A device has sound all the time; one that pauses longer hangs."""
_PERIOD_US = 50_000
_BUFFER_US = 1_000_000
"""What may wait in the driver while this machine is busy."""


def connector(request: Request) -> Capture:
    """How to record; raises UsageError where no device is named, Unavailable where the program that records is not installed."""
    scheme, _, device = request.input.partition(":")
    scheme, device = scheme.lower(), device.removeprefix("//") or _DEFAULTS[scheme.lower()]
    if scheme == "dshow" and not device:
        raise UsageError(f"{request.input}: name the device, such as dshow:audio=Microphone")
    rate, channels = request.sample_rate_hz or RATE_HZ, request.channels or 1
    command: list[str] = []
    if scheme in _PROGRAMS:
        program, package = _PROGRAMS[scheme]
        found = shutil.which(program)
        if found is None:
            raise Unavailable(f"{request.input}: {program} is not installed; it is in the package {package}")
        command = [found, *_arguments(program, device, rate, channels)]
    return Capture(request, scheme, device, command, rate, channels)


class Capture:
    """A `Connector`: a recording that goes on until it is stopped, begun again where it breaks off."""

    keeps = False
    listens = False

    def __init__(
        self, request: Request, scheme: str, device: str, command: list[str], rate: int, channels: int
    ) -> None:
        self.name = request.input
        self._request = request
        self._scheme = scheme
        self._device = device
        self._command = command
        self._raw = {"sample_rate": str(rate), "ch_layout": {1: "mono", 2: "stereo"}.get(channels, f"{channels}C")}
        self._recorded = False
        self._cancelled = threading.Event()
        self._child: Child | None = None

    def connect(self) -> Feed:
        """As `Connector` says; raises Unavailable where the device cannot be recorded from at first."""
        try:
            feed = self._record() if self._command else self._demux()
        except Lost as error:
            if self._recorded or self._cancelled.is_set():
                raise
            raise Unavailable(f"{self.name}: cannot be recorded from: {error.reason}") from error
        self._recorded = True
        return feed

    def cancel(self) -> None:
        """As `Connector` says."""
        self._cancelled.set()
        if self._child is not None:
            self._child.close()

    def _record(self) -> Feed:
        try:
            timeout_s = self._request.timeout_s
            self._child = child = Child(self._command, timeout_s=timeout_s, stall_s=min(timeout_s, _STALL_S))
        except OSError as error:
            raise Unavailable(f"{self.name}: {self._command[0]} cannot be started: {error.strerror}") from error
        if self._cancelled.is_set():
            child.close()
        return SamplesFeed(child, format="s16le", options=self._raw)

    def _demux(self) -> Feed:
        timeout_s = self._request.timeout_s
        return DemuxedFeed(
            self._request,
            self._device,
            name=self.name,
            failure=_absent,
            at_end=_stopped,
            format=self._scheme,
            timeout=(timeout_s, timeout_s),
        )


def _arguments(program: str, device: str, rate: int, channels: int) -> list[str]:
    if program == "arecord":
        shape = ["-f", "S16_LE", "-r", str(rate), "-c", str(channels)]
        times = [f"--period-time={_PERIOD_US}", f"--buffer-time={_BUFFER_US}"]
        return ["-q", "-D", device, "-t", "raw", *shape, *times]
    place = [] if device in ("", "default") else [f"--device={device}"]
    shape = ["--format=s16le", f"--rate={rate}", f"--channels={channels}"]
    return ["--raw", *place, *shape, f"--latency-msec={_PERIOD_US // 1000}", "--client-name=streamlation"]


def _absent(error: Exception) -> Exception:
    if isinstance(error, ValueError) and "no container format" in str(error):
        return Lost("this system has no such kind of device")
    return broken(error)


def _stopped() -> None:
    raise Lost("the device stopped")
