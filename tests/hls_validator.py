"""Checks of HLS as a player has to rely on: what the playlists say against what is in the segments.

`Validator` reads one state of a presentation, `follows` compares two states of a live one.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import av

from streamlation_cli.delivery import fragments

Get = Callable[[str], bytes | None]
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]+)')
ROUNDED_S = 0.002
"""Times in milliseconds, as some containers have them, and durations with six decimals."""


@dataclass
class Part:
    """One segment of a playlist."""

    number: int
    name: str
    duration_s: float
    map: str
    discontinuity: bool
    gap: bool
    date: str


@dataclass
class Playlist:
    """A media playlist."""

    target_s: int = 0
    sequence: int = 0
    discontinuity_sequence: int = 0
    kind: str = ""
    ended: bool = False
    parts: list[Part] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(part.duration_s for part in self.parts)


@dataclass
class Content:
    """What is in a segment."""

    start_s: float
    """When its first picture or sample is shown or heard."""
    end_s: float
    tfdt: int
    decoded_end: int
    timescale: int
    samples: int
    first_is_keyframe: bool


def attributes(line: str) -> dict[str, str]:
    """The attributes of a tag."""
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.partition(":")[2])}


def media_playlist(text: str) -> Playlist:
    """A media playlist read by RFC 8216; fails on what is not allowed in it."""
    lines = text.split("\n")
    assert lines[0] == "#EXTM3U"
    assert text.endswith("\n")
    playlist = Playlist()
    seen: set[str] = set()
    duration, known_map, discontinuity, gap, date = None, "", False, False, ""
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        if tag in (
            "#EXT-X-TARGETDURATION",
            "#EXT-X-MEDIA-SEQUENCE",
            "#EXT-X-ENDLIST",
            "#EXT-X-PLAYLIST-TYPE",
            "#EXT-X-VERSION",
        ):
            assert tag not in seen, f"{tag} twice"
        seen.add(tag)
        assert not playlist.ended or not line, f"after the end: {line}"
        match tag:
            case "#EXT-X-TARGETDURATION":
                playlist.target_s = int(value)
            case "#EXT-X-MEDIA-SEQUENCE":
                assert not playlist.parts
                playlist.sequence = int(value)
            case "#EXT-X-DISCONTINUITY-SEQUENCE":
                assert not playlist.parts
                playlist.discontinuity_sequence = int(value)
            case "#EXT-X-PLAYLIST-TYPE":
                playlist.kind = value
            case "#EXT-X-ENDLIST":
                playlist.ended = True
            case "#EXT-X-MAP":
                known_map = attributes(line)["URI"]
            case "#EXT-X-DISCONTINUITY":
                discontinuity = True
            case "#EXT-X-GAP":
                gap = True
            case "#EXT-X-PROGRAM-DATE-TIME":
                date = value
            case "#EXTINF":
                duration = float(value.rstrip(","))
            case _ if line and not line.startswith("#"):
                assert duration is not None, f"{line} has no EXTINF"
                number = playlist.sequence + len(playlist.parts)
                playlist.parts.append(Part(number, line, duration, known_map, discontinuity, gap, date))
                duration, discontinuity, gap, date = None, False, False, ""
            case _:
                assert tag in ("", "#EXT-X-VERSION", "#EXTM3U"), f"an unknown tag: {line}"
    assert {"#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-VERSION"} <= seen
    for part in playlist.parts:
        assert math.floor(part.duration_s + 0.5) <= playlist.target_s, (part, playlist.target_s)
    return playlist


def content_of(initialization: bytes, segment: bytes) -> Content:
    """The times in a segment, read from its boxes, and that FFmpeg decodes as many frames from it as it has samples."""
    data = initialization + segment
    timescale_at = fragments.find(data, b"moov", b"trak", b"mdia", b"mdhd")
    assert timescale_at is not None
    timescale = int.from_bytes(data[timescale_at[0] + 12 : timescale_at[0] + 16], "big")
    tfdt_at = fragments.find(segment, b"moof", b"traf", b"tfdt")
    run_at = fragments.find(segment, b"moof", b"traf", b"trun")
    data_at = fragments.find(segment, b"mdat")
    assert tfdt_at is not None
    assert run_at is not None
    assert data_at is not None
    tfdt = int.from_bytes(segment[tfdt_at[0] + 4 : tfdt_at[1]], "big")
    run = segment[run_at[0] : run_at[1]]
    count = int.from_bytes(run[4:8], "big")
    rows = [run[12 + 16 * at : 28 + 16 * at] for at in range(count)]
    durations = [int.from_bytes(row[0:4], "big") for row in rows]
    assert sum(int.from_bytes(row[4:8], "big") for row in rows) == data_at[1] - data_at[0]
    shown, at = [], tfdt
    for row, duration in zip(rows, durations, strict=True):
        shown.append((at + int.from_bytes(row[12:16], "big", signed=True), duration))
        at += duration
    keyframe = not int.from_bytes(rows[0][8:12], "big") & 0x10000
    with av.open(io.BytesIO(data)) as container:
        frames = sum(1 for _ in container.decode(container.streams[0]))
    assert frames == count, f"{frames} frames from {count} samples"
    return Content(
        start_s=shown[0][0] / timescale, end_s=max(start + duration for start, duration in shown) / timescale, tfdt=tfdt,
        decoded_end=at, timescale=timescale, samples=count, first_is_keyframe=keyframe,
    )  # fmt: skip


class Validator:
    """One state of a presentation, checked as it is read."""

    def __init__(self, get: Get, master: str = "master.m3u8", *, cut_short: bool = False) -> None:
        self._get = get
        self.text = self._text(master)
        self.renditions: list[dict[str, str]] = []
        self.variant: dict[str, str] = {}
        self.variant_uri = ""
        self._master()
        names = [self.variant_uri, *(one["URI"] for one in self.renditions if "URI" in one)]
        self.playlists = {name: media_playlist(self._text(name)) for name in dict.fromkeys(names)}
        self.contents: dict[str, list[Content | None]] = {}
        self.cues: dict[str, list[tuple[int, float, float, str]]] = {}
        """Of each caption playlist: number of the segment, start and end in seconds, text."""
        self._same_for_all(cut_short)
        for name, playlist in self.playlists.items():
            if playlist.parts and playlist.parts[0].name.endswith(".vtt"):
                self._captions(name, playlist)
            else:
                self._segments(name, playlist)
        self._together()

    def _text(self, name: str) -> str:
        return self._bytes(name).decode()

    def _bytes(self, name: str) -> bytes:
        data = self._get(name)
        assert data is not None, f"{name} is listed and not there"
        return data

    def _master(self) -> None:
        lines = self.text.split("\n")
        assert lines[0] == "#EXTM3U"
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            if line.startswith("#EXT-X-MEDIA:"):
                self.renditions.append(attributes(line))
            if line.startswith("#EXT-X-STREAM-INF:"):
                assert not self.variant
                self.variant, self.variant_uri = attributes(line), following
        assert int(self.variant["BANDWIDTH"]) > 0
        assert self.variant["CODECS"]
        for kind in ("AUDIO", "SUBTITLES"):
            group = [one for one in self.renditions if one["TYPE"] == kind]
            assert {one["GROUP-ID"] for one in group} == ({self.variant[kind]} if kind in self.variant else set())
            assert len({one["NAME"] for one in group}) == len(group), "names must differ"
            assert sum(one["DEFAULT"] == "YES" for one in group) <= 1
            for one in group:
                assert one["DEFAULT"] == "NO" or one["AUTOSELECT"] == "YES"

    def _same_for_all(self, cut_short: bool) -> None:
        """What RFC 8216, section 6.2.4, wants to be the same in all renditions."""
        all_ = list(self.playlists.values())
        assert len({playlist.target_s for playlist in all_}) == 1
        assert len({playlist.ended for playlist in all_}) == 1
        assert len({playlist.sequence for playlist in all_}) == 1
        assert len({playlist.discontinuity_sequence for playlist in all_}) == 1
        if not all_[0].ended:
            assert len({len(playlist.parts) for playlist in all_}) == 1
        for parts in zip(*(playlist.parts for playlist in all_), strict=False):
            assert len({part.discontinuity for part in parts}) == 1, parts
            assert len({bool(part.date) for part in parts}) == 1, parts

    def _segments(self, name: str, playlist: Playlist) -> None:
        contents: list[Content | None] = []
        before: Content | None = None
        busiest = 0.0
        for part in playlist.parts:
            if part.gap:
                contents.append(None)
                before = None
                continue
            data = self._bytes(part.name)
            content = content_of(self._bytes(part.map), data)
            contents.append(content)
            assert content.first_is_keyframe, f"{part.name} begins without a keyframe"
            length = content.end_s - content.start_s
            assert abs(part.duration_s - length) <= ROUNDED_S + 1 / 24, (
                f"{part.name}: {part.duration_s} s, and {length} s in it"
            )
            if before is not None and not part.discontinuity:
                hole = content.tfdt / content.timescale - before.decoded_end / before.timescale
                assert abs(hole) <= ROUNDED_S, f"{part.name} begins {hole} s after the one before it ended"
            before = content
            if part.duration_s > 0.5 * playlist.target_s:
                busiest = max(busiest, 8 * len(data) / part.duration_s)
        assert busiest <= int(self.variant["BANDWIDTH"])
        self.contents[name] = contents

    def _captions(self, name: str, playlist: Playlist) -> None:
        cues: list[tuple[int, float, float, str]] = []
        for part in playlist.parts:
            head, *blocks = self._text(part.name).strip("\n").split("\n\n")
            signature, stamp = head.split("\n")
            assert signature == "WEBVTT"
            match = re.fullmatch(r"X-TIMESTAMP-MAP=MPEGTS:(\d+),LOCAL:([\d:.]+)", stamp)
            assert match, stamp
            ticks, local = int(match[1]), seconds(match[2])
            assert 0 <= ticks < 1 << 33
            for block in blocks:
                times, *lines = block.split("\n")
                start, end = map(seconds, times.split(" --> "))
                assert end > start
                assert lines
                map_s = ticks / 90_000 - local
                cues.append((part.number, start + map_s, end + map_s, "\n".join(lines)))
                assert end > local - ROUNDED_S, "a cue that is over"
                assert start < local + part.duration_s + ROUNDED_S, "a cue that is yet to come"
        self.cues[name] = cues

    def _together(self) -> None:
        """Segments of the same number are of the same time."""
        for contents in zip(*self.contents.values(), strict=False):
            starts = [content.start_s for content in contents if content is not None]
            assert not starts or max(starts) - min(starts) < 0.13, starts


def seconds(clock: str) -> float:
    """A time of WebVTT in seconds."""
    value = Fraction(0)
    for part in clock.split(":"):
        value = value * 60 + Fraction(part)
    return float(value)


def follows(before: Playlist, after: Playlist) -> None:
    """What may change in a live playlist: segments are added at its end and leave at its beginning, and nothing else."""
    assert not before.ended
    assert after.sequence >= before.sequence
    assert after.target_s >= before.target_s
    left = {part.number: part for part in after.parts}
    gone = [part for part in before.parts if part.number < after.sequence]
    gone_discontinuities = sum(part.discontinuity for part in gone)
    assert after.discontinuity_sequence == before.discontinuity_sequence + gone_discontinuities
    for part in before.parts[len(gone) :]:
        same = left[part.number]
        assert (same.name, same.duration_s, same.map, same.gap) == (part.name, part.duration_s, part.map, part.gap)
    assert not after.kind or not gone
