"""The text of HLS playlists (RFC 8216 and its second edition)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Literal

VERSION = 7
"""EXT-X-MAP in playlists that are not of I-frames alone came with 6, fragmented MP4 with 7."""


PlaylistKind = Literal["", "EVENT", "VOD"]
"""What may still change: segments leave and come, only come, or neither (RFC 8216, section 4.3.3.5)."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One segment of a rendition."""

    number: int
    """Its media sequence number: the same in every rendition for the same time."""
    name: str
    start_s: Fraction
    """On the presentation's timeline."""
    duration_s: Fraction
    map: str = ""
    """Name of its initialization; WebVTT has none."""
    discontinuity: bool = False
    """Something other than time changes with it."""
    gap: bool = False
    """There is nothing for this time."""


@dataclass(frozen=True, kw_only=True)
class Rendition:
    """An alternative of a master playlist: a sound or captions."""

    kind: Literal["AUDIO", "SUBTITLES"]
    group: str
    name: str
    """Unique in its group."""
    language: str
    default: bool
    uri: str
    """Empty where the variant itself is this sound."""
    channels: int = 0


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a master playlist offers."""

    uri: str
    bandwidth: int
    """Bits a second of the busiest segment."""
    codecs: Sequence[str]
    average: int = 0
    width: int = 0
    height: int = 0
    frame_rate: Fraction = Fraction(0)


def media_playlist(
    segments: Iterable[Segment], *, target_s: int, sequence: int, discontinuities: int = 0,
    kind: PlaylistKind = "", ended: bool = False, started_at: float | None = None,
) -> str:  # fmt: skip
    """One rendition's playlist; `started_at` is the Unix time of second 0, and `discontinuities` those that have left it."""
    lines = [
        "#EXTM3U", f"#EXT-X-VERSION:{VERSION}", f"#EXT-X-TARGETDURATION:{target_s}", f"#EXT-X-MEDIA-SEQUENCE:{sequence}",
    ]  # fmt: skip
    if discontinuities:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}")
    if kind:
        lines.append(f"#EXT-X-PLAYLIST-TYPE:{kind}")
    known_map, first = "", True
    for segment in segments:
        if segment.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.map and segment.map != known_map:
            known_map = segment.map
            lines.append(f'#EXT-X-MAP:URI="{segment.map}"')
        if started_at is not None and (first or segment.discontinuity):
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{date_time(started_at + float(segment.start_s))}")
        if segment.gap:
            lines.append("#EXT-X-GAP")
        lines += [f"#EXTINF:{float(segment.duration_s):.6f},", segment.name]
        first = False
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def master_playlist(variant: Variant, renditions: Sequence[Rendition]) -> str:
    """The playlist that names the others."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += map(_media, renditions)
    fields = [f"BANDWIDTH={variant.bandwidth}"]
    if variant.average:
        fields.append(f"AVERAGE-BANDWIDTH={variant.average}")
    fields.append(f'CODECS="{",".join(variant.codecs)}"')
    if variant.width:
        fields.append(f"RESOLUTION={variant.width}x{variant.height}")
    if variant.frame_rate:
        fields.append(f"FRAME-RATE={float(variant.frame_rate):.3f}")
    for kind, group in dict.fromkeys((rendition.kind, rendition.group) for rendition in renditions):
        fields.append(f'{kind}="{group}"')
    return "\n".join([*lines, f"#EXT-X-STREAM-INF:{','.join(fields)},CLOSED-CAPTIONS=NONE", variant.uri]) + "\n"


def _media(rendition: Rendition) -> str:
    fields = [f"TYPE={rendition.kind}", f'GROUP-ID="{rendition.group}"', f"NAME={quoted(rendition.name)}"]
    if rendition.language:
        fields.append(f"LANGUAGE={quoted(rendition.language)}")
    fields += [f"DEFAULT={'YES' if rendition.default else 'NO'}", "AUTOSELECT=YES"]
    if rendition.kind == "SUBTITLES":
        fields.append("FORCED=NO")
    if rendition.channels:
        fields.append(f'CHANNELS="{rendition.channels}"')
    if rendition.uri:
        fields.append(f'URI="{rendition.uri}"')
    return "#EXT-X-MEDIA:" + ",".join(fields)


def quoted(text: str) -> str:
    r"""A quoted string, which can have neither quotes nor line breaks in it.

    >>> quoted('the "best"\nsound')
    '"the \'best\' sound"'
    """
    return '"' + text.replace('"', "'").replace("\r", " ").replace("\n", " ") + '"'


def date_time(unix_s: float) -> str:
    """A time by ISO 8601, to the millisecond.

    >>> date_time(1700000000.25)
    '2023-11-14T22:13:20.250Z'
    """
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
