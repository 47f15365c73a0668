"""Where a presentation is watched and heard: one module per kind of device behind one small interface.

    file, address ─► `preparing` ─► Media, served to the device ─┐
    records ─► live HLS in memory ─► Media ──────────────────────┼─► `casting` ─► a Receiver ─► the device
    keys, signals ───────────────────────────────────────────────┘       └─► `status` records

A receiver does what it is told and says how the device is. When to start, to start again, or to give up is `casting`'s work,
the same for every kind. Importing this module imports no device library.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..errors import Unavailable


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device as it was found or named."""

    kind: str
    name: str
    """What its owner calls it; its address where that is not known."""
    host: str
    """Name or address of the machine."""
    port: int = 0
    location: str = ""
    """Of a DLNA device: the address of its description."""
    model: str = ""
    identifier: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    """What the device announced of itself."""

    @property
    def uri(self) -> str:
        """What `--to` takes for this very device.

        >>> Device(kind="airplay", name="Kitchen", host="192.0.2.7", port=7000).uri
        'airplay://192.0.2.7:7000'
        """
        if self.location:
            return f"{self.kind}:{self.location}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Subtitle:
    """Subtitles that the device can show beside the picture."""

    address: str
    """Of a WebVTT file."""
    language: str
    name: str
    """For people: `Portuguese`."""
    srt_address: str = ""
    """The same as SubRip."""


@dataclass(frozen=True, kw_only=True)
class Media:
    """What a device is to play."""

    address: str
    """An HTTP address that the device itself fetches."""
    content_type: str
    title: str
    live: bool = False
    duration_ms: int | None = None
    has_video: bool = True
    subtitles: tuple[Subtitle, ...] = ()
    subtitle: int | None = None
    """Which of them is shown from the start."""
    audio_language: str = ""
    """Of the sounds in it, the one that is to be heard where this process sends it; empty for the first one."""
    start_ms: int = 0
    """Where playback is to begin."""

    @property
    def is_hls(self) -> bool:
        """Whether it is a playlist of segments."""
        return "mpegurl" in self.content_type.lower()


State = Literal["idle", "loading", "buffering", "playing", "paused", "ended", "stopped", "replaced", "failed", "lost"]


@dataclass(frozen=True, kw_only=True)
class Playback:
    """How a device is."""

    state: State
    """`idle`: nothing is loaded; `stopped`: somebody else stopped it; `replaced`: it plays something else; `lost`: it does not
    answer, and may again."""
    position_ms: int | None = None
    duration_ms: int | None = None
    volume: float | None = None
    """0 to 1."""
    title: str = ""
    detail: str = ""
    """What the device said was wrong."""
    counters: tuple[tuple[str, int | float], ...] = ()
    """What is known of this kind of device alone."""


class Refused(Unavailable):
    """The device does not want to play this; the message says why, as far as it said so."""


class Receiver(Protocol):
    """One device, connected to. Methods raise Unavailable where it is gone or cannot do that."""

    device: Device

    def load(self, media: Media, volume: float | None) -> None:
        """Starts to play, or raises Refused; returns when the device has taken it. May be called again."""

    def playback(self) -> Playback:
        """How it is now. Asks the device at most once a second."""

    def pause(self) -> None:
        """Stops for now."""

    def resume(self) -> None:
        """Goes on."""

    def seek(self, position_ms: int) -> None:
        """Goes on from there."""

    def set_volume(self, volume: float) -> None:
        """0 is silent, 1 as loud as the device goes."""

    def show_subtitle(self, index: int | None) -> None:
        """Shows those of the loaded media's subtitles, or none."""

    def stop(self) -> None:
        """Ends playback; the device shows what it shows when nobody uses it."""

    def close(self) -> None:
        """Lets go of the device, which goes on with what it does where it can do that alone."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One row of the registry."""

    name: str
    module: str
    """Below this package; has `connect(device, timeout_s) -> Receiver` and `discover(timeout_s, found)`, which calls `found(device)`."""
    what: str
    """For people: several of them."""
    video: frozenset[str] = frozenset()
    """Codecs that every device of this kind plays, by FFmpeg's names."""
    perhaps: frozenset[str] = frozenset()
    """Codecs that newer ones play."""
    audio: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    """Extensions of files that it plays as they are."""
    buffer_ms: int = 0
    """How much of a live stream must be there before the device is told of it, so that it does not stall at once."""
    subtitles: bool = True
    """It shows them."""
    pulls: bool = True
    """It fetches what it plays over HTTP; else this process sends the sound."""
    tells_media_time: bool = False
    """The position it tells of a live stream is on the stream's own timeline."""
    many: bool = False
    """Several sessions can be cast to one at the same time."""

    def load(self) -> Any:
        """Its module; raises Unavailable where its library is not installed."""
        from ..engines import needs_extra

        own = logging.getLogger("streamlation")
        for library in ("pychromecast", "zeroconf", "pyatv", "async_upnp_client"):
            # What they have to say is said by what they raise; their own lines are for who asks for everything (-vv).
            logger = logging.getLogger(library)
            logger.propagate = False
            logger.handlers[:] = own.handlers if own.isEnabledFor(logging.DEBUG) else [logging.NullHandler()]
            logger.setLevel(own.level if own.isEnabledFor(logging.DEBUG) else logging.NOTSET)
        with needs_extra(f"casting to {self.what}"):
            return importlib.import_module(f".{self.module}", __name__)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="chromecast", module="chromecast", what="Chromecast devices",
            # https://developers.google.com/cast/docs/media: what all generations have in common, and what the later ones add
            video=frozenset({"h264", "vp8"}), perhaps=frozenset({"hevc", "vp9", "av1"}),
            audio=frozenset({"aac", "mp3", "opus", "vorbis", "flac", "pcm_s16le"}),
            containers=frozenset({".mp4", ".m4v", ".m4a", ".webm", ".mp3", ".wav", ".flac", ".ogg", ".opus", ".m3u8"}),
            tells_media_time=True, buffer_ms=6000,  # three segments of 2 s, the least that its HLS player starts with
        ),
        Kind(
            name="airplay", module="airplay", what="AirPlay devices",
            buffer_ms=4000, subtitles=False, pulls=False, tells_media_time=True,
        ),
        Kind(
            name="dlna", module="dlna", what="DLNA devices",
            video=frozenset({"h264", "mpeg2video", "mpeg4"}), perhaps=frozenset({"hevc", "vp8", "vp9", "av1"}),
            audio=frozenset({"aac", "mp3", "ac3", "pcm_s16le", "flac", "mp2"}),
            containers=frozenset({".mp4", ".m4v", ".m4a", ".mkv", ".ts", ".mp3", ".wav", ".flac", ".m3u8"}),
            buffer_ms=6000,
        ),
        Kind(
            name="stub", module="stub", what="stubs",
            video=frozenset({"h264"}), audio=frozenset({"aac", "mp3"}), containers=frozenset({".mp4", ".mp3", ".m3u8"}), many=True,
        ),
    )
}  # fmt: skip
"""Kind → what is known of it. A kind of device is listed here or it does not exist."""

IN_BROWSER = Kind(
    name="browser", module="browser", what="browsers",
    video=frozenset({"h264", "vp8", "vp9", "av1"}), perhaps=frozenset({"hevc"}),
    audio=frozenset({"aac", "mp3", "opus", "vorbis", "flac", "pcm_s16le"}),
    containers=frozenset({".mp4", ".m4v", ".m4a", ".webm", ".mp3", ".wav", ".flac", ".ogg", ".opus", ".m3u8"}),
)  # fmt: skip
"""What browsers have in common; it is no device that is connected to."""

DISCOVERED = ("chromecast", "airplay", "dlna")
"""Kinds that announce themselves on the network."""
