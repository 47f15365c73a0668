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

The sink is here, and where segments end. `hls_renditions` makes the segments, `hls_masters` the master playlists, and
`hls_playlists` has the text of both kinds of playlist.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePath

from .. import languages
from ..errors import UsageError
from .fragments import Sample
from .hls_masters import Masters
from .hls_playlists import PlaylistKind, media_playlist
from .hls_renditions import MediaRendition, TextRendition
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
        self._media: list[MediaRendition] = []
        self._texts: list[TextRendition] = []
        self._by_name: dict[str, MediaRendition | TextRendition] = {}
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
        self._target_duration_s = math.ceil(self._target)
        self._ended = False
        self.reached_s = Fraction(0)
        """How far it is published, in media time."""
        self.masters: dict[str, str] = {}
        """Name of the master playlist that offers one sound alone, by the name of its track; empty where there is one sound."""

    # Sink

    def open(self, tracks: Sequence[Track]) -> None:
        """See `Sink`."""
        for given in tracks:
            track = replace(given, language=languages.tag(given.language))
            if track.kind == "text":
                text = TextRendition(track, self._stem)
                self._texts.append(text)
                self._by_name[track.name] = text
            else:
                media = MediaRendition(track, self._stem)
                self._media.append(media)
                self._by_name[track.name] = media
        if not self._media:
            raise UsageError(f"{self._options.name}: HLS needs a picture or sound, and there is neither")
        by_need = sorted(self._media, key=lambda one: (one.track.kind != "video", not one.track.default))
        self._lead = by_need[0]
        self._master_playlists = Masters(
            self._store, self._options.name, self._lead if self._lead.track.kind == "video" else None,
            [media for media in self._media if media.track.kind == "audio"], self._texts, live=self._options.live,
        )  # fmt: skip
        self.masters = self._master_playlists.alone

    def write(self, unit: Unit) -> None:
        """See `Sink`."""
        at_s = unit.dts_s
        if self._boundary_s is not None and at_s >= self._boundary_s:
            self._close(self._boundary_s)
        rendition = self._by_name[unit.track.name]
        if isinstance(rendition, TextRendition):
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
        self._master_playlists.publish()

    def abandon(self) -> None:
        """See `Sink`."""
        if self._by_name and not self._ended and (self._number or self._start_s is not None):
            self._finish()
            if self._options.live:
                self._master_playlists.publish()
            elif self._lead.segments:
                self._master_playlists.publish_part()

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
        if grows and sample.keyframe and (changes or sample.pts_s - self._start_s >= enough):
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
            announced = bool(self._master_playlists.announced)
            if announced:  # a bandwidth is there before the segment that needs it
                self._master_playlists.announce(self._number)
            self._publish()
            if not announced:
                self._master_playlists.announce(self._number)
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
    def _renditions(self) -> list[MediaRendition | TextRendition]:
        return [*self._media, *self._texts]

    def _slide(self) -> None:
        """Takes out of the window what is older than it, and out of the store what left it long ago."""
        window_s = self._options.window_s
        segments = self._lead.segments
        if not window_s or not segments:
            return
        now_s = segments[-1].start_s + segments[-1].duration_s
        while (
            len(segments) > _LEAST_SEGMENTS
            and sum(one.duration_s for one in segments) - segments[0].duration_s >= window_s
        ):
            stays_s = now_s + Fraction(window_s)
            self._discontinuities_gone += segments[0].discontinuity
            for rendition in self._renditions:
                gone = rendition.segments.popleft()
                self._leaving.append((stays_s, gone.name))
                following = rendition.segments[0].map if rendition.segments else gone.map
                if gone.map and gone.map != following:
                    self._leaving.append((stays_s, gone.map))
        while self._leaving and self._leaving[0][0] <= now_s:
            self._store.remove(self._leaving.popleft()[1])

    def _publish(self) -> None:
        kind: PlaylistKind = "VOD" if not self._options.live else "" if self._options.window_s else "EVENT"
        # A player begins with the leading one, so that is published when the others are.
        renditions = [one for one in self._renditions if one is not self._lead] + [self._lead]
        longest_s = max((one.duration_s for each in renditions for one in each.segments), default=Fraction(0))
        self._target_duration_s = max(self._target_duration_s, math.floor(longest_s + Fraction(1, 2)))
        started_at = self._options.started_at
        if started_at is not None and self._offset_s:
            started_at -= float(self._offset_s)
        for rendition in renditions:
            sequence = rendition.segments[0].number if rendition.segments else 0
            text = media_playlist(
                rendition.segments, target_s=self._target_duration_s, sequence=sequence, discontinuities=self._discontinuities_gone,
                kind=kind, ended=self._ended, started_at=started_at,
            )  # fmt: skip
            self._store.put(rendition.playlist, text.encode())
