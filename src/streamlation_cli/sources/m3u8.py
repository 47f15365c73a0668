"""HLS playlists (RFC 8216) as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin


@dataclass(frozen=True)
class Part:
    """A resource, or a part of it."""

    address: str
    start: int | None = None
    """First byte; None for the whole."""
    length: int | None = None


@dataclass(frozen=True)
class Key:
    """How a segment is encrypted."""

    method: str
    address: str
    iv: bytes | None
    """Initialisation vector; None: the segment's number."""


@dataclass(frozen=True)
class Segment:
    """A piece of the stream."""

    number: int
    part: Part
    length_s: float
    discontinuity: bool
    """Its clock and codecs have nothing to do with those of the segment before."""
    header: Part | None
    """Initialisation section that goes before it."""
    key: Key | None
    missing: bool
    """The origin says that it has none."""


@dataclass(frozen=True)
class Playlist:
    """A media playlist."""

    segments: tuple[Segment, ...]
    target_s: float
    ended: bool


@dataclass(frozen=True)
class Variant:
    """One quality of a stream, or one of its audio tracks."""

    address: str
    bandwidth: int = 0
    codecs: str = ""
    audio_group: str = ""


@dataclass(frozen=True)
class Rendition:
    """An audio track of its own."""

    address: str
    group: str
    name: str
    language: str
    default: bool


@dataclass(frozen=True)
class Master:
    """What there is to choose from."""

    variants: tuple[Variant, ...]
    renditions: tuple[Rendition, ...]


_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_AUDIO_CODECS = ("mp4a", "opus", "ac-3", "ec-3", "flac", "alac", "mp3", "vorbis", "ac-4")


def parse(text: str, address: str) -> Playlist | Master:
    """The playlist that was loaded from `address`; raises ValueError where it is none.

    >>> parse("#EXTM3U\\n#EXT-X-TARGETDURATION:2\\n#EXTINF:1.5,\\na.ts\\n#EXT-X-ENDLIST", "http://h/x/p.m3u8").segments[0].part.address
    'http://h/x/a.ts'
    """
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    if not lines or not lines[0].startswith("#EXTM3U"):
        raise ValueError("it does not begin with #EXTM3U")
    if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
        return _master(lines, address)
    return _media(lines, address)


def _master(lines: list[str], address: str) -> Master:
    variants: list[Variant] = []
    renditions: list[Rendition] = []
    pending: Mapping[str, str] | None = None
    for line in lines:
        tag, _, rest = line.partition(":")
        if tag == "#EXT-X-STREAM-INF":
            pending = attributes(rest)
        elif tag == "#EXT-X-MEDIA":
            given = attributes(rest)
            if given.get("TYPE") == "AUDIO" and given.get("URI"):
                renditions.append(
                    Rendition(
                        address=urljoin(address, given["URI"]),
                        group=given.get("GROUP-ID", ""),
                        name=given.get("NAME", ""),
                        language=given.get("LANGUAGE", ""),
                        default=given.get("DEFAULT") == "YES",
                    )
                )
        elif line and not line.startswith("#") and pending is not None:
            bandwidth = pending.get("BANDWIDTH", "0")
            variants.append(
                Variant(
                    address=urljoin(address, line),
                    bandwidth=int(bandwidth) if bandwidth.isdigit() else 0,
                    codecs=pending.get("CODECS", ""),
                    audio_group=pending.get("AUDIO", ""),
                )
            )
            pending = None
    if not variants:
        raise ValueError("it lists no stream")
    return Master(tuple(variants), tuple(renditions))


def has_audio(variant: Variant) -> bool:
    """Whether a variant's own segments may hold sound, by the codecs it names.

    >>> has_audio(Variant("a", codecs="avc1.4d,mp4a.40.2")), has_audio(Variant("a", codecs="avc1.4d")), has_audio(Variant("a"))
    (True, False, True)
    """
    return not variant.codecs or any(c.strip().lower().startswith(_AUDIO_CODECS) for c in variant.codecs.split(","))


def _media(lines: list[str], address: str) -> Playlist:
    segments: list[Segment] = []
    target_s, number, length_s = 0.0, 0, 0.0
    discontinuity = ended = missing = False
    header: Part | None = None
    key: Key | None = None
    byte_range: tuple[int | None, int] | None = None
    range_end = 0
    for line in lines:
        tag, _, rest = line.partition(":")
        if tag == "#EXT-X-TARGETDURATION":
            target_s = float(rest)
        elif tag == "#EXT-X-MEDIA-SEQUENCE":
            number = int(rest)
        elif tag == "#EXTINF":
            length_s = float(rest.partition(",")[0] or 0)
        elif tag == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif tag == "#EXT-X-GAP":
            missing = True
        elif tag == "#EXT-X-ENDLIST":
            ended = True
        elif tag == "#EXT-X-KEY":
            key = _key(attributes(rest), address)
        elif tag == "#EXT-X-MAP":
            given = attributes(rest)
            start, length = _range(given["BYTERANGE"]) if "BYTERANGE" in given else (None, None)
            header = Part(urljoin(address, given["URI"]), (start or 0) if length is not None else None, length)
        elif tag == "#EXT-X-BYTERANGE":
            byte_range = _range(rest)
        elif line and not line.startswith("#"):
            where = urljoin(address, line)
            part = Part(where)
            if byte_range is not None:
                start = byte_range[0] if byte_range[0] is not None else range_end
                part = Part(where, start, byte_range[1])
                range_end = start + byte_range[1]
            segments.append(Segment(number, part, length_s, discontinuity, header, key, missing))
            number, byte_range, discontinuity, missing = number + 1, None, False, False
    longest_s = max((segment.length_s for segment in segments), default=0.0)
    return Playlist(tuple(segments), target_s or longest_s, ended)


def attributes(text: str) -> dict[str, str]:
    """A tag's attribute list.

    >>> attributes('TYPE=AUDIO,NAME="a, b",DEFAULT=YES')
    {'TYPE': 'AUDIO', 'NAME': 'a, b', 'DEFAULT': 'YES'}
    """
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def _range(text: str) -> tuple[int | None, int]:
    length, _, start = text.partition("@")
    return (int(start) if start else None), int(length)


def _key(given: Mapping[str, str], address: str) -> Key | None:
    method = given.get("METHOD", "NONE")
    if method == "NONE":
        return None
    iv = given.get("IV")
    return Key(
        method, urljoin(address, given.get("URI", "")), bytes.fromhex(iv[2:].zfill(32)) if iv is not None else None
    )
