"""Tracks of a presentation and the units they are made of: what every way of delivery takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol


@dataclass(frozen=True, kw_only=True)
class Track:
    """One track of a presentation."""

    name: str
    """Unique in the presentation and fit for a file name: `video`, `original`, `dub-pt`, `captions-en`."""
    kind: Literal["video", "audio", "text"]
    language: str = ""
    """Language tag, such as `pt` or `pt-BR`; empty where it is not known."""
    title: str = ""
    """For people: `Original`, `Dubbed`."""
    default: bool = False
    """Played unless the viewer chooses another of its kind."""
    codec: str = ""
    """FFmpeg's canonical name of the codec of its packets (`h264`, `aac`, never a decoder's); empty for text."""
    extradata: bytes = b""
    time_base: tuple[int, int] = (1, 1000)
    """Numerator and denominator, in seconds, of the unit of `Unit.pts`, `dts` and `duration`."""
    sample_rate_hz: int = 0
    channels: int = 0
    layout: str = ""
    width: int = 0
    height: int = 0
    frame_rate: tuple[int, int] = (0, 1)
    pixel_format: str = ""
    rotation: int = 0
    """See `records.VideoStream`."""
    bit_rate: int = 0
    padding_samples: int = 0
    """Of audio: samples that the encoder put before the sound (1024 in AAC). The first unit has them as `skip_samples` and
    begins that much before its sound, so that in a track whose sound begins at 0 its `pts` is negative."""
    source: Literal["copied", "encoded", "laid-out"] = "copied"
    """Copied packets are those of the input, byte for byte."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A compressed packet of a video or audio track, or a caption of a text track, on the media's timeline."""

    track: Track
    pts: int
    """When it is shown or heard, in the track's time base."""
    dts: int
    """When it must be decoded; never smaller than that of the unit of the same track before it."""
    duration: int
    data: bytes = b""
    keyframe: bool = False
    skip_samples: tuple[int, int] | None = None
    """See `records.Packet`."""
    lines: tuple[str, ...] = ()
    """Of a caption."""

    @property
    def dts_s(self) -> Fraction:
        """`dts` in seconds."""
        return Fraction(self.dts) * Fraction(*self.track.time_base)


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What a sink takes, by FFmpeg's canonical names of codecs."""

    video: frozenset[str] | None = frozenset()
    """Whose packets are copied into it; None for all; a video of another codec is encoded where that is asked for, else refused."""
    keyframes_s: float = 0.0
    """How far apart keyframes are to be in a video that is encoded; 0 for no matter."""
    audio: frozenset[str] | None = frozenset()
    """Whose packets are copied into it; None for all; sound of another codec is encoded."""
    encoder: Literal["aac", "opus"] = "aac"
    """What sound is encoded in: the dubbed track, and an original that is not copied."""
    text: bool = True
    """Whether captions have a place in it."""
    name: str = ""
    """What a refusal calls it: `.webm`."""
    instead: str = ""
    """What a refusal names as the way out: `write an .mkv`."""


class Sink(Protocol):
    """Where a presentation ends: a file, a live stream."""

    def open(self, tracks: Sequence[Track]) -> None:
        """All tracks there will be, before the first unit; raises UsageError where one cannot be taken."""

    def write(self, unit: Unit) -> None:
        """The next unit; over all tracks in order of `dts_s`. A text track may have none for as long as it likes."""

    def commit(self) -> None:
        """The presentation is whole."""

    def abandon(self) -> None:
        """It will not be whole."""
