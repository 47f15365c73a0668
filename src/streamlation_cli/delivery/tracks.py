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
    """FFmpeg's name of the codec of its packets; empty for text."""
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
    bit_rate: int = 0


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
