"""The renditions of an HLS presentation: each track's samples or cues, cut into segments that go into a store.

`hls` says where a segment ends. Times are those of the presentation's units; what is written is `offset_s` later.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction

from ..captions.formats import Caption
from ..captions.writers import VttWriter, clock
from . import fragments
from .bitstreams import Bitstream
from .fragments import Initialization, Sample
from .hls_playlists import Segment
from .store import Store
from .tracks import Track, Unit

_SHORT_S = Fraction(1, 2)
"""A segment that is shorter says nothing of a peak, unless there is no other."""
_MPEG_CLOCK_HZ = 90_000
_MPEG_WRAP = 1 << 33


class Load:
    """Bits a second of a rendition."""

    def __init__(self) -> None:
        self.peak = 0
        """Of the busiest segment."""
        self._bits = 0
        self._seconds = Fraction(0)

    def add(self, size_bytes: int, duration_s: Fraction) -> None:
        """Counts a segment."""
        self._bits += 8 * size_bytes
        self._seconds += duration_s
        if duration_s >= _SHORT_S or not self.peak:
            self.peak = max(self.peak, math.ceil(8 * size_bytes / duration_s))

    @property
    def average(self) -> int:
        """Of all segments."""
        return math.ceil(self._bits / self._seconds) if self._seconds else 0


class _Rendition:
    """A track as a row of segments, with a playlist of its own."""

    def __init__(self, track: Track, stem: str) -> None:
        self.track = track
        self.playlist = f"{stem}-{track.name}.m3u8"
        """Its name."""
        self.segments: deque[Segment] = deque()
        """Those that its playlist has."""
        self.load = Load()
        self._stem = f"{stem}-{track.name}"


class MediaRendition(_Rendition):
    """A rendition of pictures or sound."""

    def __init__(self, track: Track, stem: str) -> None:
        super().__init__(track, stem)
        self.samples: list[Sample] = []
        """Of the segment that grows, and those that came after its end."""
        self.end_s = Fraction(0)
        """When the last of all samples is no longer shown or heard."""
        self._bitstream = Bitstream(track)
        self.codecs = fragments.initialization(track).codecs if self._bitstream.ready else ""
        """By RFC 6381; empty until it is known."""
        self._described: Track | None = None
        self._initialization: Initialization | None = None
        self._map = ""
        self._maps = 0
        self._written = 0

    def sample(self, unit: Unit) -> tuple[Sample | None, bool]:
        """The unit as a sample, where it can be decoded; and whether its configuration is a new one."""
        before = self._bitstream.track
        data = self._bitstream.convert(unit.data, unit.keyframe)
        if not self._bitstream.ready or not data:
            return None, False
        base = Fraction(*unit.track.time_base)
        sample = Sample(
            dts_s=unit.dts * base, pts_s=unit.pts * base, duration_s=unit.duration * base, data=data,
            keyframe=unit.keyframe or self.track.kind == "audio", track=self._bitstream.track,
        )  # fmt: skip
        return sample, self._bitstream.track is not before and bool(before.extradata)

    def drop_before(self, start_s: Fraction, offset_s: Fraction | None) -> None:
        """Sound from before the first segment has no place; a frame that reaches into it has, unless it begins before 0."""
        if self.track.kind == "audio":
            while self.samples and (self.samples[0].end_s <= start_s or self.samples[0].pts_s < -(offset_s or 0)):
                self.samples.pop(0)

    def close(
        self, number: int, start_s: Fraction, until_s: Fraction, offset_s: Fraction, store: Store, *, discontinuity: bool, last: bool
    ) -> None:  # fmt: skip
        """Writes a segment of what is decoded before `until_s`."""
        after = (at for at, one in enumerate(self.samples) if one.keyframe and one.pts_s >= until_s)
        count = next(after, len(self.samples))
        taken, self.samples = self.samples[:count], self.samples[count:]
        name = f"{self._stem}-{number}.m4s"
        if not taken:
            self.segments.append(
                Segment(
                    number=number, name=name, start_s=start_s + offset_s, duration_s=until_s - start_s, map=self._map,
                    discontinuity=discontinuity, gap=True,
                )
            )  # fmt: skip
            return
        if self._described is not taken[0].track:
            self._describe(taken[0].track, store)
        assert self._initialization is not None
        following = self.samples[0] if self.samples else None
        if following is not None:
            end_s = following.pts_s
        else:
            end_s = max(one.end_s for one in taken)
        if self.track.kind == "video" and not last:
            end_s = until_s
        first_s = taken[0].pts_s
        segment = Segment(
            number=number, name=name, start_s=first_s + offset_s, duration_s=max(end_s - first_s, Fraction(1, 1000)),
            map=self._map, discontinuity=discontinuity,
        )  # fmt: skip
        self._written += 1
        data = fragments.fragment(self._written, *self._timed(taken, following, offset_s))
        store.put(name, data)
        self.load.add(len(data), segment.duration_s)
        self.segments.append(segment)

    def trim(self, published: int) -> None:
        """Nothing more comes: what is missing at the end is no gap, but for the first `published` segments, which are out already."""
        while self.segments and self.segments[-1].gap and self.segments[-1].number >= published:
            self.segments.pop()

    def _describe(self, track: Track, store: Store) -> None:
        self._described = track
        self._initialization = fragments.initialization(track)
        self.codecs = self.codecs or self._initialization.codecs
        self._maps += 1
        self._map = f"{self._stem}-init-{self._maps}.mp4"
        store.put(self._map, self._initialization.data)

    def _timed(
        self, taken: list[Sample], following: Sample | None, offset_s: Fraction
    ) -> tuple[int, list[tuple[Sample, int, int]]]:
        """When the first sample is decoded, and each sample with its duration and when it is shown after that."""
        assert self._initialization is not None
        timescale = self._initialization.timescale
        decoded = [round((one.dts_s + offset_s) * timescale) for one in taken]
        end_s = following.dts_s if following is not None else taken[-1].dts_s + taken[-1].duration_s
        ends = [*decoded[1:], round((end_s + offset_s) * timescale)]
        shown = [round((one.pts_s + offset_s) * timescale) for one in taken]
        rows = [
            (one, max(0, end - at), show - at)
            for one, at, end, show in zip(taken, decoded, ends, shown, strict=True)
        ]  # fmt: skip
        return decoded[0], rows


class TextRendition(_Rendition):
    """A rendition of captions."""

    def __init__(self, track: Track, stem: str) -> None:
        super().__init__(track, stem)
        self.cues: deque[Unit] = deque()
        """Of the segment that grows, and those that came after its end."""

    def close(
        self, number: int, start_s: Fraction, until_s: Fraction, offset_s: Fraction, store: Store, *, discontinuity: bool
    ) -> None:  # fmt: skip
        """Writes the segment, with every cue that is on screen in it."""
        name = f"{self._stem}-{number}.vtt"
        data = vtt_segment(list(self._shown(start_s, until_s)), start_s + offset_s, offset_s)
        while self.cues and _end_s(self.cues[0]) <= until_s:
            self.cues.popleft()
        store.put(name, data)
        duration_s = until_s - start_s
        self.load.add(len(data), duration_s)
        self.segments.append(
            Segment(
                number=number, name=name, start_s=start_s + offset_s, duration_s=duration_s, discontinuity=discontinuity
            )
        )

    def _shown(self, start_s: Fraction, until_s: Fraction) -> Iterator[Unit]:
        for cue in self.cues:
            if cue.dts_s < until_s and _end_s(cue) > start_s:
                yield cue


def vtt_segment(cues: Sequence[Unit], start_s: Fraction, offset_s: Fraction = Fraction(0)) -> bytes:
    r"""A WebVTT segment that begins at `start_s`; its cues are `offset_s` later than they say.

    >>> vtt_segment([], Fraction(4))
    b'WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:360000,LOCAL:00:00:04.000\n\n'
    """
    start_ms = round(start_s * 1000)
    # Said anew in each segment, for the clock of MPEG-TS begins again every 26.5 hours and cues have no such clock.
    ticks = start_ms * _MPEG_CLOCK_HZ // 1000 % _MPEG_WRAP
    text = f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{ticks},LOCAL:{clock(start_ms)}\n\n"
    writer = VttWriter()
    for cue in cues:
        shown_ms = round((cue.dts_s + offset_s) * 1000)
        hidden_ms = round((_end_s(cue) + offset_s) * 1000)
        text += writer.caption(Caption(start_ms=shown_ms, end_ms=hidden_ms, lines=cue.lines))
    return text.encode()


def _end_s(cue: Unit) -> Fraction:
    return (cue.dts + cue.duration) * Fraction(*cue.track.time_base)
