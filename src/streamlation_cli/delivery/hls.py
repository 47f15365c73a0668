"""A presentation as HLS: fragmented MP4 segments of each track, WebVTT segments of each language, and their playlists.

    video     k · · · · · k · · · · · k          the leading track (without video: the default sound) says where segments end:
    sound     | | | | | | | | | | | | |          at the first keyframe that is about `target_s` after the last end
    captions     ── cue ──   ·   ·               a segment without a cue is an empty WebVTT file, and holds nothing back
              └ segment 0 ┘└ segment 1 ┘         the same segments, with the same numbers, in every rendition

A live presentation is published as it grows: a sliding window, or everything so far (`window_s` 0). What has left the window
stays for as long again, for players that are late. A file's is published when it is whole.

Media times are the segments' own times, but that they have none before 0: everything is later by as much as the first frame is
decoded before that, which is a frame or two where frames are reordered, and more where a part of a file was kept.

Names: of `talk.m3u8`, the master playlist, come `talk-video.m3u8`, `talk-dub-pt.m3u8`, … (one for each track, by its name),
their segments `talk-video-17.m4s`, `talk-captions-pt-17.vtt`, and with several sounds `talk.pt.m3u8`, `talk.en.m3u8`: masters that
offer one sound each, for devices where no other can be chosen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePath

from .. import languages
from ..captions.writers import clock, vtt_text
from ..errors import UsageError
from . import fragments
from .bitstreams import Bitstream
from .fragments import Initialization, Sample
from .hls_playlists import PlaylistKind, Rendition, Segment, Variant, master_playlist, media_playlist
from .store import Store
from .tracks import Takes, Track, Unit

TARGET_S = 2.0
_EARLY = Fraction(9, 10)
"""A keyframe this much of the target after the last end may end a segment: keyframes every 1.98 s are meant to make 2 s."""
_OUTAGE_S = 2
"""A pause of the leading track that is longer, and ends with a keyframe, is a source that was away: a discontinuity."""
_LEAD_MAY_BE_LATE_S = 10
"""After a longer pause of the leading track the others go on without it."""
_LEAST_SEGMENTS = 3
"""A sliding window has no fewer (RFC 8216, section 6.2.2, in target durations)."""
_WAIT_FOR_SOUNDS = 4
"""So many segments a live master waits for each sound that does not say beforehand how it is coded."""
_PEAK_ROOM = 1.25
"""How much busier than so far a live presentation may become before its bandwidth is announced anew."""
_MPEG_CLOCK_HZ = 90_000
_MPEG_WRAP = 1 << 33

_VIDEO = frozenset({"h264", "hevc", "av1", "vp9"})
_AUDIO = frozenset({"aac"})
"""What plays everywhere; other sound is encoded."""


@dataclass(frozen=True, kw_only=True)
class HlsOptions:
    """How a presentation is cut and published."""

    name: str = "master.m3u8"
    """Name of the master playlist; what the other names begin with."""
    target_s: float = TARGET_S
    """How long segments are meant to be; keyframes that are further apart make longer ones."""
    window_s: float = 60.0
    """How far back a live presentation can be played; 0: to its beginning."""
    live: bool = False
    started_at: float | None = None
    """Unix time of media time 0, for EXT-X-PROGRAM-DATE-TIME."""


def takes(name: str, *, text: bool = True, target_s: float = TARGET_S) -> Takes:
    """What a presentation must be made of to become HLS with segments of that length."""
    return Takes(
        video=_VIDEO, audio=_AUDIO, encoder="aac", text=text, name=name, keyframes_s=target_s,
        instead="write an .mkv, which takes every codec",
    )  # fmt: skip


class HlsSink:
    """A `Sink` that is HLS in a store. `commit` and `abandon` end its playlists; those of a file appear only then.

    Of a file that was not whole the master is named `NAME.m3u8.part`.
    """

    def __init__(self, store: Store, options: HlsOptions) -> None:
        self._store = store
        self._options = options
        self._target = Fraction(options.target_s).limit_denominator(1000)
        self._stem = PurePath(options.name).stem
        self._media: list[_Media] = []
        self._texts: list[_Text] = []
        self._by_name: dict[str, _Media | _Text] = {}
        self._start_s: Fraction | None = None
        """Where the segment that grows begins; None before the first and after an outage."""
        self._boundary_s: Fraction | None = None
        """Where it ends, once that is known; it is closed when nothing of it can come any more."""
        self._number = 0
        self._discontinuity = False
        """The segment that grows begins with one."""
        self._changes = False
        """The one after it does."""
        self._offset_s: Fraction | None = None
        self._discontinuities_gone = 0
        self._leaving: deque[tuple[Fraction, str]] = deque()
        """Segments that have left the window, and until when they stay."""
        self._announced = 0
        """Bandwidth."""
        self._codecs: list[str] = []
        """Of each sound, as the masters have it."""
        self._target_duration_s = math.ceil(self._target)
        self._ended = False
        self.reached_s = Fraction(0)
        """How far it is published, in media time."""

    # Sink

    def open(self, tracks: Sequence[Track]) -> None:
        """See `Sink`."""
        for given in tracks:
            track = replace(given, language=languages.tag(given.language))
            if track.kind == "text":
                text = _Text(track, self._stem)
                self._texts.append(text)
                self._by_name[track.name] = text
            else:
                media = _Media(track, self._stem)
                self._media.append(media)
                self._by_name[track.name] = media
        if not self._media:
            raise UsageError(f"{self._options.name}: HLS needs a picture or sound, and there is neither")
        by_need = sorted(self._media, key=lambda one: (one.track.kind != "video", not one.track.default))
        self._lead = by_need[0]

    def write(self, unit: Unit) -> None:
        """See `Sink`."""
        at_s = unit.dts_s
        if self._boundary_s is not None and at_s >= self._boundary_s:
            self._close(self._boundary_s)
        rendition = self._by_name[unit.track.name]
        if isinstance(rendition, _Text):
            rendition.cues.append(unit)
            return
        sample, changes = rendition.sample(unit)
        if sample is None:
            return
        if rendition is self._lead:
            if not self._place(sample, changes):
                return
        else:
            self._go_on_alone(at_s)
        rendition.samples.append(sample)
        rendition.end_s = max(rendition.end_s, sample.end_s)
        if self._start_s is None:
            if self._options.live:
                rendition.drop_before(sample.pts_s - _LEAD_MAY_BE_LATE_S, self._offset_s)
        else:
            rendition.drop_before(self._start_s, self._offset_s)
        if self._boundary_s is not None and at_s >= self._boundary_s:
            self._close(self._boundary_s)

    def commit(self) -> None:
        """See `Sink`."""
        self._finish()
        self._publish_masters(self._options.name)

    def abandon(self) -> None:
        """See `Sink`."""
        if self._by_name and not self._ended and (self._number or self._start_s is not None):
            self._finish()
            if self._options.live:
                self._publish_masters(self._options.name)
            elif self._lead.segments:
                self._publish_masters(f"{self._options.name}.part")

    @property
    def masters(self) -> dict[str, str]:
        """Name of the master playlist that offers one sound alone, by the name of its track; empty where there is one sound."""
        sounds = self._sounds
        if len(sounds) < 2:
            return {}
        tags = [sound.track.language or sound.track.name for sound in sounds]
        return {
            sound.track.name: f"{self._stem}.{tag if tags.count(tag) == 1 else sound.track.name}.m3u8"
            for sound, tag in zip(sounds, tags, strict=True)
        }

    # Where segments end

    def _place(self, sample: Sample, changes: bool) -> bool:
        """Says what a sample of the leading track means for the segments; whether it is to be kept."""
        picture = self._lead.track.kind == "video"
        grows = self._start_s is not None and self._boundary_s is None and bool(self._lead.samples)
        if grows and sample.keyframe and sample.dts_s - self._lead.end_s > _OUTAGE_S:
            self._close(self._lead.end_s)
            self._start_s = None
            self._changes = False
            self._discontinuity = True
        if picture and not sample.keyframe and (self._start_s is None or not self._lead.samples):
            return False  # nothing can be decoded before a keyframe
        if self._start_s is None:
            self._begin(sample)
            return True
        if not self._lead.samples and sample.pts_s > self._start_s:  # it was away
            self._close(sample.pts_s)
            return True
        enough = self._target * (_EARLY if picture else 1)
        if (
            self._boundary_s is None
            and self._lead.samples
            and sample.keyframe
            and (changes or sample.pts_s - self._start_s >= enough)
        ):
            self._boundary_s = sample.pts_s
            self._changes = changes
        return True

    def _go_on_alone(self, at_s: Fraction) -> None:
        """Where the leading track has ended, or is away for long, the others are cut without it."""
        if self._start_s is None or self._boundary_s is not None:
            return
        end_s = max(self._lead.end_s, self._start_s)
        if at_s - end_s > _LEAD_MAY_BE_LATE_S:
            self._close(end_s if self._lead.samples else self._start_s + self._target, last=True)

    def _begin(self, sample: Sample) -> None:
        if self._offset_s is None:
            self._offset_s = max(Fraction(0), -sample.dts_s)
        start_s = sample.pts_s
        if not self._options.live and not self._discontinuity:
            waiting = [one.pts_s for media in self._media for one in media.samples if one.pts_s + self._offset_s >= 0]
            start_s = min([start_s, max(sample.dts_s, -self._offset_s), *waiting])
        self._start_s = start_s
        for media in self._media:
            media.drop_before(start_s, self._offset_s)

    def _close(self, until_s: Fraction, *, last: bool = False) -> None:
        """Ends the segment that grows at `until_s`; in a live presentation it is out at once."""
        self._cut(until_s, last=last)
        if self._options.live:
            self._slide()
            announced = bool(self._announced)
            if announced:  # a bandwidth is there before the segment that needs it
                self._announce()
            self._publish()
            if not announced:
                self._announce()
        self.reached_s = until_s

    def _cut(self, until_s: Fraction, *, last: bool = False) -> None:
        """Ends the segment that grows at `until_s`."""
        assert self._start_s is not None
        number, start_s, offset_s = self._number, self._start_s, self._offset_s or Fraction(0)
        for media in self._media:
            media.close(number, start_s, until_s, offset_s, self._store, discontinuity=self._discontinuity, last=last)
        for text in self._texts:
            text.close(number, start_s, until_s, offset_s, self._store, discontinuity=self._discontinuity)
        self._number += 1
        self._start_s, self._boundary_s = until_s, None
        self._discontinuity, self._changes = self._changes, False

    def _announce(self) -> None:
        """Writes the masters where they have something new to say.

        Players read a master once, so the first one waits a little for each sound to show how it is coded.
        """
        codecs = [sound.codecs for sound in self._sounds]
        if not all(codecs) and self._number < _WAIT_FOR_SOUNDS:
            return
        peak = self._bandwidth(None)[0]
        if peak > self._announced or codecs != self._codecs:
            self._codecs = codecs
            self._announced = max(self._announced, round(peak * _PEAK_ROOM))
            self._publish_masters(self._options.name)

    def _finish(self) -> None:
        """Publishes the rest and that it is the end, at once: players stop at the end that they are told."""
        if self._ended:
            return
        self._ended = True
        published = self._number if self._options.live else 0
        if self._start_s is not None:
            if self._boundary_s is not None:
                self._cut(self._boundary_s)
            while any(media.samples for media in self._media):
                # What goes on after the leading track has ended is cut in pieces too.
                end_s = max(media.end_s for media in self._media if media.samples)
                lead_s = self._lead.end_s if self._lead.samples else Fraction(0)
                assert self._start_s is not None
                self._cut(min(end_s, max(lead_s, self._start_s + self._target)), last=True)
            self.reached_s = self._start_s
        self._slide()
        for media in self._media:
            media.trim(published)
        self._publish()

    # Playlists

    @property
    def _renditions(self) -> list[_Media | _Text]:
        return [*self._media, *self._texts]

    @property
    def _sounds(self) -> list[_Media]:
        return [media for media in self._media if media.track.kind == "audio"]

    def _slide(self) -> None:
        """Takes out of the window what is older than it, and out of the store what left it long ago."""
        window_s = self._options.window_s
        if not window_s:
            return
        segments = self._lead.segments
        if not segments:
            return
        while (
            len(segments) > _LEAST_SEGMENTS
            and sum(one.duration_s for one in segments) - segments[0].duration_s >= window_s
        ):
            stays_s = segments[-1].start_s + segments[-1].duration_s + Fraction(window_s)
            self._discontinuities_gone += segments[0].discontinuity
            for rendition in self._renditions:
                gone = rendition.segments.popleft()
                self._leaving.append((stays_s, gone.name))
                following = rendition.segments[0].map if rendition.segments else gone.map
                if gone.map and gone.map != following:
                    self._leaving.append((stays_s, gone.map))
        now_s = segments[-1].start_s + segments[-1].duration_s
        while self._leaving and self._leaving[0][0] <= now_s:
            self._store.remove(self._leaving.popleft()[1])

    def _publish(self) -> None:
        kind: PlaylistKind = "VOD" if not self._options.live else "" if self._options.window_s else "EVENT"
        # A player begins with the leading one, so that is published when the others are.
        renditions = [one for one in self._renditions if one is not self._lead] + [self._lead]
        longest_s = max((one.duration_s for each in renditions for one in each.segments), default=Fraction(0))
        self._target_duration_s = max(self._target_duration_s, math.floor(longest_s + Fraction(1, 2)))
        for rendition in renditions:
            sequence = rendition.segments[0].number if rendition.segments else 0
            started_at = self._options.started_at
            if started_at is not None and self._offset_s:
                started_at -= float(self._offset_s)
            text = media_playlist(
                rendition.segments, target_s=self._target_duration_s, sequence=sequence, discontinuities=self._discontinuities_gone,
                kind=kind, ended=self._ended, started_at=started_at,
            )  # fmt: skip
            self._store.put(rendition.playlist, text.encode())

    def _publish_masters(self, name: str) -> None:
        sounds = self._sounds
        self._store.put(name, self._master(sounds).encode())
        if name == self._options.name:
            for sound in sounds:
                if own := self.masters.get(sound.track.name):
                    self._store.put(own, self._master([sound]).encode())

    def _master(self, sounds: list[_Media]) -> str:
        picture = self._lead if self._lead.track.kind == "video" else None
        first = next((sound for sound in sounds if sound.track.default), sounds[0] if sounds else None)
        names = _names([sound.track for sound in sounds])
        renditions = [
            Rendition(
                kind="AUDIO", group="audio", name=name, language=sound.track.language, default=sound is first,
                uri=sound.playlist if picture is not None or sound is not first else "", channels=sound.track.channels,
            )
            for sound, name in zip(sounds, names, strict=True)
        ]  # fmt: skip
        renditions += [
            Rendition(
                kind="SUBTITLES", group="captions", name=name, language=text.track.language, default=text.track.default,
                uri=text.playlist,
            )
            for text, name in zip(self._texts, _names([text.track for text in self._texts]), strict=True)
        ]  # fmt: skip
        lead = picture or first
        assert lead is not None
        played = [lead, *sounds] if picture else sounds
        track = lead.track
        numerator, denominator = track.frame_rate
        peak, average = self._bandwidth(sounds)
        variant = Variant(
            uri=lead.playlist, bandwidth=max(peak, self._announced), average=0 if self._options.live else average,
            codecs=list(dict.fromkeys(one.codecs for one in played if one.codecs)), width=track.width, height=track.height,
            frame_rate=Fraction(numerator, denominator) if picture and denominator else Fraction(0),
        )  # fmt: skip
        return master_playlist(variant, renditions)

    def _bandwidth(self, sounds: list[_Media] | None) -> tuple[int, int]:
        """Bits a second of the busiest segment, and of all of them, with the most demanding of these sounds."""
        sounds = self._sounds if sounds is None else sounds
        texts = max((text.load for text in self._texts), key=_peak, default=_Load())
        sound = max((one.load for one in sounds), key=_peak, default=_Load())
        picture = self._lead.load if self._lead.track.kind == "video" else _Load()
        loads = (picture, sound, texts)
        return max(1, sum(load.peak for load in loads)), max(1, sum(load.average for load in loads))


class _Load:
    """Bits a second of a rendition."""

    def __init__(self) -> None:
        self.peak = 0
        self._bits = 0
        self._seconds = Fraction(0)

    def add(self, size: int, duration_s: Fraction, target_s: Fraction = Fraction(1)) -> None:
        """Counts a segment; a very short one says nothing of a peak."""
        self._bits += 8 * size
        self._seconds += duration_s
        if duration_s >= target_s / 2 or not self.peak:
            self.peak = max(self.peak, math.ceil(8 * size / duration_s))

    @property
    def average(self) -> int:
        """Of all segments."""
        return math.ceil(self._bits / self._seconds) if self._seconds else 0


def _peak(load: _Load) -> int:
    return load.peak


class _Media:
    """A rendition of pictures or sound."""

    def __init__(self, track: Track, stem: str) -> None:
        self.track = track
        self.playlist = f"{stem}-{track.name}.m3u8"
        self.segments: deque[Segment] = deque()
        self.samples: list[Sample] = []
        """Of the segment that grows, and those that came after its end."""
        self.end_s = Fraction(0)
        """When the last of all samples is no longer shown or heard."""
        self.load = _Load()
        self._stem = f"{stem}-{track.name}"
        self._bitstream = Bitstream(track)
        self.codecs = fragments.initialization(track).codecs if self._bitstream.ready else ""
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
        """Nothing more comes: what is missing at the end is no gap, but for segments that are published already."""
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


class _Text:
    """A rendition of captions."""

    def __init__(self, track: Track, stem: str) -> None:
        self.track = track
        self.playlist = f"{stem}-{track.name}.m3u8"
        self.segments: deque[Segment] = deque()
        self.cues: deque[Unit] = deque()
        self.load = _Load()
        self._stem = f"{stem}-{track.name}"

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
    for cue in cues:
        shown_ms = round((cue.dts_s + offset_s) * 1000)
        hidden_ms = round((_end_s(cue) + offset_s) * 1000)
        lines = "\n".join(map(vtt_text, cue.lines))
        text += f"{clock(shown_ms)} --> {clock(hidden_ms)}\n{lines}\n\n"
    return text.encode()


def _end_s(cue: Unit) -> Fraction:
    return (cue.dts + cue.duration) * Fraction(*cue.track.time_base)


def _names(tracks: Sequence[Track]) -> list[str]:
    """A name for people for each track, none twice."""
    names: list[str] = []
    for track in tracks:
        language = languages.name(track.language) if track.language else ""
        name = language or track.title or track.name
        if track.kind == "audio" and track.name == "original":
            name = f"{language} (original)" if language else "Original"
        names.append(name if name not in names else f"{name} ({track.name})")
    return names
