"""One session's records joined into the units of a presentation, in order of time over all its tracks.

    packets ─► spool ─► video, original sound (copied, or encoded where the sink takes no such codec) ─┐
    speech ──► DubTrack (over the original where they are mixed) ─► AAC, a track a language ──────────┼─► units by dts_s
    transcripts, translations ─► Captioning ─► captions, a track a language ──────────────────────────┘

Packets come long before what was said in them is known, so they wait in a temporary file and memory does not grow with the
length. Two ways to say when they have waited enough:

A file (`live=False`): records say it themselves. Speech comes in order of time, so before the end of the last one none will
start, and so with captions. `feed` returns what has become certain, and `finish` the rest.

A live session (`live=True`): nobody can wait for what may never be said. `feed` returns nothing; `settle(until_ms)` declares
that the presentation is decided before that media time, and returns all of it up to there:

    what has come is there; the dubbed track and, where it is encoded, the original are padded with silence;
    speech that comes later is placed at `until_ms` or after the speech before it, whichever is later, and counted
    (`late_speech`, `worst_late_ms`); a caption that comes later starts at `until_ms` (`clipped_captions`), one of which too
    little would be left to read is shown from then on as long as it was to be (`late_captions`);
    copied packets that come later than that are returned by the next `settle`, in the order of their own track.

The caller decides how far: the newest media time less the delay that it holds. Calls with a smaller time return nothing.

    joiner = Joiner(header, takes, live=True)
    for record in records:
        joiner.feed(record)
        units = joiner.settle(newest_ms - delay_ms)
        if joiner.tracks and not opened: sink.open(joiner.tracks)
        for unit in units: sink.write(unit)

`tracks` is empty until it is known what tracks there are: in a file when each stage upstream has shown what it makes (or at
the end), in a live session at the first `settle`, from what the stages upstream announced (each says `status` running right
after the header) and from the languages that the header names: video, `dub-LANG` for each that `dub` speaks, original,
`captions-LANG` for each that is translated into and for the spoken one. It never changes afterwards, and no unit comes before it
is known. A language that is not known then is empty (`captions-und`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from .. import languages
from ..captions.session import Captioning
from ..captions.settings import Limits
from ..dubbing.bed import OriginalSound
from ..errors import DataError, UsageError
from ..records import (
    AudioStream,
    Cue,
    Discontinuity,
    Eos,
    Error,
    Header,
    Packet,
    Pcm,
    Speech,
    Status,
    StreamRecord,
    Transcript,
    Translation,
)
from ..sources.feeds import same_sound
from ..stages.subtitle import Options as Subtitles
from . import pictures, streams
from .copying import CopiedLane
from .encoding import SoundEncoder
from .lanes import CaptionLane, DubLane, Lane, SoundLane
from .settings import PresentationOptions
from .tracks import Takes, Track, Unit


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a presentation is made of."""

    mix: str = "replace"
    """As `dub` has it."""
    keep_side: str = "left"
    duck_db: float = 12.0
    limits: Limits = field(default_factory=Limits)
    """How captions read."""
    video_codec: str = pictures.COPY
    """Copied, or encoded; see `settings.VIDEO_CODECS`."""
    copy_audio: bool = True
    """False: the original is encoded in any case, which bridges gaps and changes of format in a live source."""

    @classmethod
    def of(cls, options: PresentationOptions, limits: Limits | None = None) -> Settings:
        """What the options of a stage say."""
        return cls(
            mix=options.mix, keep_side=options.keep_side, duck_db=options.duck_db, video_codec=options.video_codec,
            limits=limits or Limits(),
        )  # fmt: skip


class Joiner:
    """Joins the records of one session; see the module. Call `close` in any case.

    `feed`, `settle` and `finish` return iterators that are to be used up before the next call. Raises UsageError where the
    sink cannot take the video, or where the packets that the header announces do not come.
    """

    def __init__(self, header: Header, takes: Takes, settings: Settings | None = None, *, live: bool = False) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.counters: dict[str, int] = {
            "speech": 0, "late_speech": 0, "worst_late_ms": 0, "captions": 0, "clipped_captions": 0, "late_captions": 0,
        }  # fmt: skip
        """What came, and what came too late."""
        self.problem = ""
        """What of the input is missing in the units; empty where nothing is."""
        self._header = header
        self._takes = takes
        self._settings = settings or Settings()
        self._live = live
        self._upstream: set[str] = set()
        """Stages that announced themselves."""
        self._lanes: list[Lane] = []
        """Those of `tracks`, once these are known."""
        self._picture: pictures.EncodedPicture | None = None
        """Where the video is encoded anew."""
        self._video = self._video_lane()
        self._copied: CopiedLane | None = None
        self._encoded: OriginalSound | None = None
        self._under: list[OriginalSound] = []
        """The original as a dubbed track has it under its voice, one for each."""
        self._make_original()
        self._sound_came = False
        self._copied_on = True
        self._dubs: dict[str, DubLane] = {}
        """By the languages that `dub` announced."""
        self._captions: dict[str, CaptionLane] = {}
        """By what they show: `source`, `cues`, or the language that was translated into."""
        self._reached_ms = 0

    def feed(self, record: StreamRecord) -> Iterator[Unit]:
        """Takes a record; returns the units that have become certain, none in a live session."""
        match record:
            case Status() if record.state == "running":
                self._upstream.add(record.stage)
            case Packet():
                self._packet(record)
            case Discontinuity() if record.audio is not None:
                self._break(record, record.audio)
            case Pcm():
                for sound in self._decoded():
                    sound.feed(record)
            case Transcript() | Translation() if record.final:
                self._require_sound()
                self._text(record)
            case Cue():
                self._cue(record)
            case Speech():
                self._require_sound()
                self._speak(record)
        if self._live:
            return iter(())
        if not self.tracks and self._all_shown():
            self._open(expected=False)
        return self._released(math.inf) if self.tracks else iter(())

    def settle(self, until_ms: int) -> Iterator[Unit]:
        """Decides the presentation before media time `until_ms`; returns it up to there."""
        until_ms -= self._header.start_ms
        if until_ms <= 0:
            return iter(())
        if not self.tracks:
            self._open(expected=True)
        for lane in self._lanes:
            lane.settle(until_ms)
        return self._released(until_ms / 1000)

    def finish(self, end: Eos | Error) -> Iterator[Unit]:
        """Nothing more will come; returns the rest."""
        if isinstance(end, Eos):
            self._require_sound()
        if self._picture is not None and self._video is not None:
            for packet in self._picture.finish():
                self._video.feed(packet)
            self.counters |= self._picture.counters
        if not self.tracks:
            self._open(expected=self._live)
        # What stopped short is no longer than what came of it.
        known_ms = (end.duration_ms or self._header.duration_ms) if isinstance(end, Eos) else None
        duration_ms = known_ms or self._reached_ms
        for lane in self._lanes:
            lane.finish(end, max(0, duration_ms - self._header.start_ms))
        return self._released(math.inf)

    def close(self) -> None:
        """Frees what waits."""
        for lane in (self._video, self._copied, *self._dubs.values(), *self._lanes):
            if lane is not None:
                lane.close()
        for sound in self._decoded():
            sound.close()

    # Records in

    def _video_lane(self) -> CopiedLane | None:
        video = self._header.video
        if video is None:
            return None
        takes, header = self._takes, self._header
        codec = streams.canonical(video.codec)
        encodes = self._settings.video_codec != pictures.COPY
        written = pictures.CODEC if encodes else codec
        if not streams.can_copy(written) or (takes.video is not None and written not in takes.video):
            ways = [takes.instead] if takes.instead else []
            if takes.video is None or pictures.CODEC in takes.video:
                ways.insert(0, "--video-codec h264 encodes it anew")
            raise UsageError(f"{takes.name or 'the output'} takes no {written} video; {', or '.join(ways)}")
        if encodes:
            self._picture = pictures.EncodedPicture(
                video, self._settings.video_codec, live=self._live, keyframes_s=takes.keyframes_s, start_ms=header.start_ms,
                end_ms=header.end_ms,
            )  # fmt: skip
        track = Track(
            name="video", kind="video", codec=written, extradata=video.extradata, time_base=video.time_base, default=True,
            width=video.width, height=video.height, frame_rate=video.frame_rate, pixel_format=video.pixel_format,
            rotation=video.rotation,
        )  # fmt: skip
        return CopiedLane(track, self._header.start_ms, self._header.end_ms)

    def _make_original(self) -> None:
        header, audio = self._header, self._header.audio
        if audio is None:
            return
        if self._settings.mix != "replace":
            voices = max(1, len(set(header.dubbed)))
            self._under = [OriginalSound(audio, header.start_ms, header.end_ms) for _ in range(voices)]
        codec = streams.canonical(audio.codec)
        taken = self._takes.audio is None or codec in self._takes.audio
        if not (self._settings.copy_audio and taken and streams.can_copy(codec)):
            self._encoded = OriginalSound(audio, header.start_ms, header.end_ms)
            return
        track = Track(
            name="original", kind="audio", codec=codec, extradata=audio.extradata, time_base=audio.time_base,
            language=audio.language or header.language, title="Original", sample_rate_hz=audio.sample_rate_hz,
            channels=audio.channels, layout=audio.layout, bit_rate=audio.bit_rate,
        )  # fmt: skip
        self._copied = CopiedLane(track, header.start_ms, header.end_ms)

    def _packet(self, packet: Packet) -> None:
        if packet.pts is not None:
            end = packet.pts + packet.duration
            self._reached_ms = max(self._reached_ms, end * packet.time_base[0] * 1000 // packet.time_base[1])
        if packet.stream == "video":
            if self._video is not None:
                for one in self._picture.feed(packet) if self._picture is not None else (packet,):
                    self._video.feed(one)
            return
        self._sound_came = True
        if self._copied is not None and self._copied_on:
            self._copied.feed(packet)
        for sound in self._decoded():
            sound.feed(packet)

    def _decoded(self) -> list[OriginalSound]:
        """The original, for each track it is decoded for."""
        return [*self._under, self._encoded] if self._encoded is not None else self._under

    def _break(self, record: Discontinuity, audio: AudioStream) -> None:
        """The sound goes on in another format: it can be decoded, but no copied track can go on so."""
        for sound in self._decoded():
            sound.feed(record)
        old = self._header.audio
        if self._copied is None or (old is not None and same_sound(audio, old)):
            self._copied_on = True
            return
        self._copied_on = False
        self.problem = (
            f"{self._header.session}: at {record.at_ms / 1000:.1f} s the original sound goes on as another "
            f"({streams.canonical(audio.codec)}, {audio.sample_rate_hz} Hz, {audio.channels} channels), which a copied track cannot"
        )

    def _require_sound(self) -> None:
        if self._header.audio is not None and not self._sound_came:
            raise UsageError(
                f"{self._header.session}: the packets of the original sound are missing; run `normalize --keep-packets` upstream"
            )

    def _text(self, record: Transcript | Translation) -> None:
        if isinstance(record, Translation):
            self._caption(record.target_language, record.target_language, record)
            return
        self._caption("source", record.language or self._header.language, record)
        if self._header.audio is None:  # a subtitle file's captions keep their places in translation
            for target in self._header.targets:
                self._caption(target, target, record, own=False)

    def _cue(self, record: Cue) -> None:
        self._caption("cues", record.language or self._header.target_language or self._header.language, record)

    def _caption(self, shows: str, language: str, record: Transcript | Translation | Cue, *, own: bool = True) -> None:
        if not self._takes.text:
            return
        if self.tracks and shows not in self._captions:
            self.problem = (
                f"{self._header.session}: captions in {language or 'another language'} came too late for a track"
            )
            return
        self._caption_lane(shows, language).feed(record, own=own)

    def _speak(self, record: Speech) -> None:
        header = self._header
        language = record.language or header.target_language or header.language
        # What was not translated is one track, whatever languages are detected in it.
        untranslated = (name for name in self._announced_dubs() if name not in header.targets)
        name = language if language in header.targets else next(untranslated, language)
        if self.tracks and name not in self._dubs:
            self.problem = f"{header.session}: speech in {language or 'another language'} came too late for a track"
            return
        lane = self._dub_lane(name, language)
        end_ms = lane.speak(record)
        if not self._live:
            lane.settle(end_ms)

    # Tracks

    def _caption_lane(self, shows: str, language: str) -> CaptionLane:
        lane = self._captions.get(shows)
        if lane is None:
            header = self._header
            text = "transcript" if shows in ("source", "cues") else "translation"
            if text == "translation":
                header = msgspec.structs.replace(header, target_language=language)
            captioning = Captioning(header, Subtitles(text=text), self._settings.limits, to_stream=True)
            track = Track(
                name=f"captions-{language or 'und'}", kind="text", language=language, title=languages.name(language),
                source="laid-out",
            )  # fmt: skip
            lane = self._captions[shows] = CaptionLane(track, captioning, self.counters, header.start_ms)
        return lane

    def _dub_lane(self, name: str, language: str) -> DubLane:
        if name in self._dubs:
            return self._dubs[name]
        settings = self._settings
        under = self._under[len(self._dubs)] if self._under else None
        encoder = SoundEncoder(
            self._takes.encoder, 2, name=f"dub-{language or 'und'}", language=language, title="Dubbed", default=False,
            alike=under is None, steady=self._live or under is not None,
        )  # fmt: skip
        lane = DubLane(
            encoder, under, self.counters, self._header.start_ms, mix=settings.mix, keep_side=settings.keep_side,
            duck_db=settings.duck_db, live=self._live,
        )  # fmt: skip
        self._dubs[name] = lane
        return lane

    def _all_shown(self) -> bool:
        """Whether each stage upstream has shown what it makes."""
        if len(self._dubs) < len(self._announced_dubs()):
            return False
        texts = self._upstream & {"transcribe", "translate", "subtitle"} or self._header.audio is None
        if not self._takes.text or not texts:
            return bool(self._dubs)
        shown = {name for name, lane in self._captions.items() if lane.shown}
        missing = {*self._header.targets} - shown
        # Cues stand for the text of one language.
        return len(missing) < 2 if "cues" in shown else "source" in shown and not missing

    def _announced_dubs(self) -> list[str]:
        """The languages that `dub` announced, in the order of their tracks."""
        header = self._header
        before = [header.target_language or header.language] if "dub" in self._upstream else []
        return list(dict.fromkeys(header.dubbed)) or before

    def _open(self, *, expected: bool) -> None:
        """Decides what tracks there are; `expected`: those too that have shown nothing yet but were announced."""
        header = self._header
        announced = self._announced_dubs()
        if expected:
            if self._takes.text and self._upstream & {"transcribe", "translate"} and "cues" not in self._captions:
                self._caption_lane("source", header.language)
                for target in header.targets:
                    self._caption_lane(target, target)
            for language in announced:
                self._dub_lane(language, language)
        source = self._captions.get("source")
        spoken = header.language or (source.track.language if source else "")
        lanes: list[Lane] = []
        if self._video is not None:
            if self._picture is not None:
                self._video.track = self._picture.described(self._video.track)
            lanes.append(self._video)
        dubs = [self._dubs[name] for name in dict.fromkeys((*announced, *self._dubs)) if name in self._dubs]
        for dub in dubs:
            dub.track = dataclasses.replace(dub.track, default=dub is dubs[0])
        lanes += dubs
        if (original := self._original_lane(spoken)) is not None:
            lanes.append(original)
        names = [name for name in dict.fromkeys((*header.targets, *self._captions)) if name != "source"]
        found = [self._captions[name] for name in (*names, "source") if name in self._captions]
        captions = [lane for lane in found if lane.shown or expected]
        for lane in captions:
            default = not self._dubs and lane is captions[0] and lane is not source
            lane.track = dataclasses.replace(lane.track, default=default)
        lanes += captions
        if not lanes and (header.audio is not None or header.video is not None):
            raise DataError(f"{header.session}: there is nothing to write: no packets, no speech, no text")
        self._lanes = lanes
        self.tracks = tuple(lane.track for lane in lanes)

    def _original_lane(self, spoken: str) -> Lane | None:
        audio = self._header.audio
        if audio is None or not (self._sound_came or self._live):
            return None
        language, default = audio.language or spoken, not self._dubs
        if self._encoded is not None:
            encoder = SoundEncoder(
                self._takes.encoder,
                1 if audio.channels == 1 else 2,
                name="original",
                language=language,
                title="Original",
                default=default,
            )
            return SoundLane(encoder, self._encoded, self._header.start_ms)
        lane = self._copied
        assert lane is not None
        lane.track = dataclasses.replace(lane.track, language=language, default=default)
        lane.align()
        return lane

    # Units out

    def _released(self, until_s: float) -> Iterator[Unit]:
        """What is certain and to be decoded before `until_s`, in order."""
        while True:
            barrier_s, first_s, first = until_s, math.inf, None
            for lane in self._lanes:
                at_s = lane.peek()
                if at_s is None:
                    barrier_s = min(barrier_s, lane.settled_s())
                elif at_s < first_s:
                    first_s, first = at_s, lane
            if first is None or first_s >= barrier_s:
                return
            yield first.take()
