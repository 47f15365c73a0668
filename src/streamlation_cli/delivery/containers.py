"""Presentations written as files, or to standard output: MP4, QuickTime, Matroska, WebM, MPEG-TS.

A file is written beside its target and gets its name when it is whole. Packets are written as they are; the container's own
form is FFmpeg's business (an MPEG-TS has no lengths before its NAL units, an MP4 has).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from .. import languages
from ..artefacts import STDOUT, Artefact
from ..captions.formats import Caption
from ..captions.writers import AssWriter, srt_text, vtt_text
from ..errors import UsageError
from ..media.libav import Pipe, muxing
from . import mp4_flags, streams
from .tracks import Takes, Track, Unit

if TYPE_CHECKING:
    from av.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Container:
    """How FFmpeg is to write one kind of file."""

    muxer: str
    video: frozenset[str] | None = frozenset()
    audio: frozenset[str] | None = frozenset()
    encoder: Literal["aac", "opus"] = "aac"
    captions: Literal["mov_text", "subrip", "ass", "webvtt", ""] = ""
    options: tuple[tuple[str, str], ...] = ()
    instead: str = "write an .mkv, which takes every codec"


_IN_MP4 = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video"})
_HEARD_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
_MP4 = Container(
    muxer="mp4", video=_IN_MP4, audio=_HEARD_IN_MP4, captions="mov_text", options=(("movflags", "+faststart"),)
)
_MATROSKA = Container(
    muxer="matroska",
    video=None,
    audio=None,
    captions="subrip",
    instead="",
)
CONTAINERS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": Container(
        muxer="mov",
        video=frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mjpeg", "prores"}),
        audio=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"}),
        captions="mov_text",
        options=(("movflags", "+faststart"),),
    ),
    ".mkv": _MATROSKA,
    ".webm": Container(
        muxer="webm",
        video=frozenset({"vp8", "vp9", "av1"}),
        audio=frozenset({"opus", "vorbis"}),
        encoder="opus",
        captions="webvtt",
        instead="write an .mp4 or .mkv",
    ),
    ".ts": Container(
        muxer="mpegts",
        video=frozenset({"h264", "hevc", "mpeg2video", "mpeg1video", "mpeg4"}),
        audio=frozenset({"aac", "mp3", "mp2", "ac3", "eac3"}),
    ),
    ".m4a": Container(
        muxer="ipod", audio=frozenset({"aac", "alac"}), options=(("movflags", "+faststart"),), instead="write an .mp4"
    ),
    ".mka": Container(muxer="matroska", audio=None, captions="subrip", instead="write an .mkv"),
}
"""Extension → container. FLAC, Opus and MP3 in MP4 are in its standards and play in browsers and FFmpeg."""

FORMATS = {"mpegts": ".ts", "matroska": ".mkv"}
"""What standard output can get: formats that need not be sought in."""

_INTERLEAVE_US = "500000"
"""Units come in order, so FFmpeg need not wait for each stream, least of all for captions."""


def container_of(target: str, format: str = "mpegts", captions: str = "") -> Container:
    """The container of a target by its extension, of standard output by `format`.

    `captions` chooses the format of captions in Matroska. Raises UsageError for an extension that none has.
    """
    extension = FORMATS[format] if target == STDOUT else PurePath(target).suffix.lower()
    if extension not in CONTAINERS:
        known = ", ".join(name.lstrip(".") for name in CONTAINERS)
        raise UsageError(f"{target}: the extension says what to write, and it must be one of {known}")
    container = CONTAINERS[extension]
    if captions and captions != container.captions:
        if container.muxer != "matroska":
            raise UsageError(f"{target}: {captions} captions have a place in .mkv and .mka only")
        assert captions in ("ass", "subrip")
        container = replace(container, captions=captions)  # type: ignore[arg-type]
    return container


def takes(target: str, container: Container, *, text: bool = True) -> Takes:
    """What a presentation must be made of to be written there; without captions where `text` is False."""
    name = f"standard output as {container.muxer}" if target == STDOUT else target
    return Takes(
        video=container.video, audio=container.audio, encoder=container.encoder, text=text and bool(container.captions), name=name,
        instead=container.instead,
    )  # fmt: skip


class ContainerFile:
    """A `Sink` that is one file or standard output. Raises OutputFailed where the system refuses."""

    def __init__(self, target: str, container: Container) -> None:
        import av

        self._target = target
        self._kind = container
        self.artefact = Artefact(target)
        self._streams: dict[str, Stream] = {}
        self._captions: dict[str, int] = {}
        self._written = False
        self._hidden: set[int] = set()
        """Numbers, from 1, of tracks that are not shown unless asked for."""
        file: Any = Pipe(self.artefact) if target == STDOUT else str(self.artefact.part)
        # Without the muxer's name, version and random numbers in it, the same input gives the same bytes everywhere.
        options = {"fflags": "+bitexact", "max_interleave_delta": _INTERLEAVE_US, **dict(container.options)}
        with muxing(self._target):
            self._container = av.open(file, "w", format=container.muxer, options=options)

    def open(self, tracks: Sequence[Track]) -> None:
        """See `Sink`."""
        with muxing(self._target):
            for track in tracks:
                stream = self._text_stream(track) if track.kind == "text" else self._copied_stream(track)
                self._streams[track.name] = stream
                self._describe(stream, track)
            # FFmpeg enables the first text track of an MP4 where none is the default.
            self._hidden = {at + 1 for at, track in enumerate(tracks) if track.kind == "text" and not track.default}
            self._container.start_encoding()

    def write(self, unit: Unit) -> None:
        """See `Sink`."""
        stream = self._streams[unit.track.name]
        packet = self._caption(unit, stream) if unit.track.kind == "text" else streams.packet_of(unit, stream)
        with muxing(self._target):
            self._container.mux_one(packet)
        self._written = True

    def commit(self) -> None:
        """See `Sink`."""
        with muxing(self._target):
            self._container.close()
            if self._kind.captions == "mov_text":
                mp4_flags.disable(self.artefact.part, self._hidden)
        self.artefact.commit()

    def abandon(self) -> None:
        """See `Sink`; what was written stays as `NAME.part`."""
        with contextlib.suppress(Exception):  # what led here is already being reported
            self._container.close()
        self.artefact.abandon(keep=self._written)

    def _copied_stream(self, track: Track) -> Stream:
        try:
            stream = streams.add_copied(self._container, track)
        except UsageError as error:
            raise UsageError(f"{self._target}: {error.message}; {self._kind.instead}") from error
        if track.codec == "hevc" and self._kind.muxer in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # the only one that Apple's players know
        return stream

    def _text_stream(self, track: Track) -> Stream:
        stream: Any = self._container.add_stream(self._kind.captions)
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.subtitle_header = subtitle_header()
        self._captions[track.name] = 0
        return stream  # type: ignore[no-any-return]

    def _describe(self, stream: Stream, track: Track) -> None:
        from av.stream import Disposition

        if track.language:
            stream.metadata["language"] = languages.iso639_2(track.language)
        if track.title:
            stream.metadata["title"] = track.title
            if self._kind.captions == "mov_text" or self._kind.muxer == "ipod":
                stream.metadata["handler_name"] = track.title  # what players show
        disposition = Disposition.default if track.default else Disposition(0)
        if track.kind == "audio":
            disposition |= Disposition.original if track.name == "original" else Disposition.dub
        stream.disposition = disposition

    def _caption(self, unit: Unit, stream: Stream) -> Any:
        import av

        number = self._captions[unit.track.name]
        self._captions[unit.track.name] += 1
        packet: Any = av.Packet(caption_bytes(unit, self._kind.captions, number))
        packet.stream = stream
        packet.time_base = stream.time_base
        packet.pts = packet.dts = unit.pts
        packet.duration = unit.duration
        packet.is_keyframe = True
        return packet


def subtitle_header() -> bytes:
    """What FFmpeg wants to know of any text track, though only ASS has it."""
    return AssWriter().header("").replace("\n", "\r\n").encode()


def caption_bytes(unit: Unit, format: str, number: int) -> bytes:
    r"""A caption as the payload of a packet.

    >>> track = Track(name="captions-en", kind="text")
    >>> unit = Unit(track=track, pts=0, dts=0, duration=1000, lines=("a <b>", "c"))
    >>> caption_bytes(unit, "mov_text", 0)
    b'\x00\x07a <b>\nc'
    >>> caption_bytes(unit, "webvtt", 0)
    b'a &lt;b&gt;\nc'
    >>> caption_bytes(unit, "ass", 3)
    b'3,0,Default,,0,0,0,,a <b>\\Nc'
    """
    match format:
        case "mov_text":
            text = "\n".join(unit.lines).encode()
            return struct.pack(">H", len(text)) + text
        case "webvtt":
            return "\n".join(map(vtt_text, unit.lines)).encode()
        case "ass":
            caption = Caption(start_ms=unit.pts, end_ms=unit.pts + unit.duration, lines=unit.lines)
            text_field = AssWriter().caption(caption).split(",", 9)[9].rstrip("\n")
            return f"{number},0,Default,,0,0,0,,{text_field}".encode()
        case _:
            return "\n".join(map(srt_text, unit.lines)).encode()
