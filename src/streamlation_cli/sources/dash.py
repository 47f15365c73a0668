"""DASH: a manifest that lists segments, live or whole.

FFmpeg as PyAV ships it has no DASH demuxer, so the manifest is read here (`mpd.py`) and each segment, fetched whole, is
demuxed behind its initialization by itself: a damaged one harms no other, memory does not grow, and what was not fetched
when the origin went away is fetched when it is back, by segment time.

    manifest ── periods, tracks ──► the segments after the last one ── fetch, demux ──► packets on the wall clock
        ▲                                                       │
        └───────────── read again every update period ──────────┘
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from fractions import Fraction
from http.client import HTTPException
from time import monotonic, time

import msgspec

from .. import languages
from ..errors import DataError, InputMissing, OfflineRefused, TryAgain, Unavailable
from ..records import AudioStream, Packet, VideoStream
from . import TIMEOUT_S, Request, mpd
from .feeds import Break, Lost
from .fetching import Fetcher
from .http import public_name
from .waiting import interruptibly

_logger = logging.getLogger("streamlation.ingest")

_MIN_BIT_RATE = 48_000
"""Speech coded with less loses what recognition needs."""
_UNDECODABLE = ("ac-4", "mha1", "mha2", "mhm1", "mhm2", "dtsx")
_POLL_S = (0.25, 1.0)
"""How often the manifest of a live presentation is read again, at most and at least, whatever it asks for."""
_SKEW_S = 2.0
"""A server's clock that differs by less is taken to be right: it shows whole seconds."""
_HOLE = Fraction(1, 20)
"""Less than this is how packagers round segment times."""
_FIRST_LOOK_SEGMENTS = 4
"""How far back the newest segment may be."""
_SET_BACK_SEGMENTS = 3
"""A presentation whose newest segment ended this many segments before what was heard is another one."""
FOREVER = Fraction(1 << 40)
_MOST_MANIFEST_BYTES = 16 << 20


def connector(request: Request) -> Dash:
    """A live presentation, by the address of its manifest; raises OfflineRefused under `--offline`."""
    return Dash(request)


def is_recording(request: Request) -> bool:
    """Whether the presentation is whole (`type="static"`), so that it is no live source; False where it cannot be had now."""
    dash = Dash(request)
    fetcher = dash.fetcher()
    try:
        return not interruptibly(lambda: dash.manifest(fetcher), fetcher.cancel).presentation.live
    except (Lost, TryAgain, Unavailable):
        return False


class Dash:
    """Keeps the place in the presentation from one connection to the next."""

    keeps = True
    listens = False

    def __init__(self, request: Request) -> None:
        self.name = public_name(request.input)
        if request.offline:
            raise OfflineRefused(f"{self.name}: --offline was given and this address is on the network")
        self.request = request
        self.zero_s: float | None = None
        """Unix time of the first presentation's start, which is 0 on the clock of every connection."""
        self.position: Fraction | None = None
        """Unix time at which the next segment to fetch starts; None before the first."""
        self.heard_to: Fraction | None = None
        """Unix time at which the last packets ended."""
        self._address = request.input
        self._warned = False
        self._cancelled = False
        self._lock = threading.Lock()
        self._fetcher: Fetcher | None = None

    def connect(self) -> DashFeed:
        """Reads the manifest and the next segment, which is the newest at first."""
        if self.request.with_video and not self._warned:
            _logger.warning("%s: --video: of DASH only the audio is read", self.name)
            self._warned = True
        return DashFeed(self, self.fetcher())

    def cancel(self) -> None:
        """Gives up what is being fetched."""
        with self._lock:
            self._cancelled = True
            if self._fetcher is not None:
                self._fetcher.cancel()

    def fetcher(self) -> Fetcher:
        """For the next connection."""
        request = self.request
        fetcher = Fetcher(request.input, timeout_s=request.timeout_s or TIMEOUT_S, headers=request.headers)
        with self._lock:
            self._fetcher = fetcher
            if self._cancelled:
                fetcher.cancel()
        return fetcher

    def manifest(self, fetcher: Fetcher) -> Manifest:
        """The manifest as it is now; raises what `Fetcher.open` raises, DataError where it is none."""
        with fetcher.open(self._address) as reply:
            try:
                data, address = reply.read(_MOST_MANIFEST_BYTES), reply.geturl()
            except (OSError, HTTPException) as error:
                raise fetcher.failure(self._address, error) from error
            skew_s = 0.0
            if date := reply.headers.get("Date"):
                skew_s = parsedate_to_datetime(date).timestamp() + 0.5 - time()
        try:
            presentation = mpd.parse(data, address)
        except ValueError as error:
            raise DataError(f"{self.name}: {error}") from error
        if presentation.location != address:
            self._address = presentation.location
        if self.zero_s is None:
            self.zero_s = presentation.availability_start_s
        return Manifest(presentation, skew_s if abs(skew_s) > _SKEW_S else 0.0)


@dataclass(frozen=True)
class Manifest:
    """A manifest and when it was true."""

    presentation: mpd.Presentation
    skew_s: float
    """How much the server's clock is ahead of this machine's."""

    @property
    def edge(self) -> Fraction:
        """Where the live edge is, in seconds of the presentation."""
        return Fraction(time() + self.skew_s - self.presentation.availability_start_s)


class DashFeed:
    """One stretch of reading without a break."""

    video: VideoStream | None = None
    counted = False

    def __init__(self, dash: Dash, fetcher: Fetcher) -> None:
        self._dash = dash
        self._fetcher = fetcher
        self._closed = threading.Event()
        self._manifest = dash.manifest(fetcher)
        self._heads: dict[tuple[str, str], bytes] = {}
        self._news_at = monotonic()
        self._set_back = self._was_set_back()
        part = self._next()
        while part is None:
            self._wait()
            part = self._next()
        self._first = part
        self.audio = part.audio

    def packets(self) -> Iterator[Packet | Break]:
        """Packets of segment after segment, on the clock that starts with the first presentation."""
        part: Part | None = self._first
        audio = self.audio
        if self._set_back:
            yield Break(reason="clock")
        while True:
            if part is not None:
                if part.audio != audio:
                    audio = part.audio
                    yield Break(reason="format", gap_s=part.gap_s, audio=audio)
                elif part.gap_s:
                    yield Break(reason="lost", gap_s=part.gap_s)
                yield from part.packets
            elif self._ended():
                return
            else:
                self._wait()
            part = self._next()

    def close(self) -> None:
        """As `Feed` says."""
        self._closed.set()
        self._fetcher.cancel()

    def _was_set_back(self) -> bool:
        """Whether the presentation began anew at an earlier time: then it is joined at its live edge."""
        dash, presentation = self._dash, self._manifest.presentation
        if dash.position is None or not presentation.live:
            return False
        start_s = Fraction(presentation.availability_start_s)
        position, dash.position = dash.position, None
        newest = next(self._ahead(), None)
        if newest is not None and position - (start_s + newest[1].end) > _SET_BACK_SEGMENTS * newest[1].duration:
            dash.heard_to = None
            return True
        dash.position = position
        return False

    def _next(self) -> Part | None:
        """The next segment's packets; None where it is not there yet."""
        dash, presentation = self._dash, self._manifest.presentation
        assert dash.zero_s is not None
        start_s = Fraction(presentation.availability_start_s)
        for track, segment in self._ahead():
            head = self._head(track)
            data = self._media(track, segment)
            if data is None and self._patient(track, segment):
                return None
            dash.position = start_s + segment.end
            try:
                if data is None:
                    continue
                shift = track.shift + start_s - Fraction(dash.zero_s)
                audio, packets = demux(head + data, track.container, shift, track.language)
            except DataError as error:
                _logger.warning("%s: %s", dash.name, error)
                continue
            gap = Fraction(0) if dash.heard_to is None else start_s + segment.start - dash.heard_to
            dash.heard_to = dash.position
            self._news_at = monotonic()
            return Part(audio, packets, float(gap) if gap > _HOLE else 0.0)
        return None

    def _ahead(self) -> Iterator[tuple[mpd.Track, mpd.Segment]]:
        """The segments after the last one, the newest alone at first (all of them where it is not live any more)."""
        presentation = self._manifest.presentation
        position = self._dash.position
        edge = self._manifest.edge if presentation.live else FOREVER
        from_s = Fraction(0)
        if position is not None:
            from_s = position - Fraction(presentation.availability_start_s)
        found: list[tuple[mpd.Track, mpd.Segment]] = []
        for period in presentation.periods:
            if (period.end is not None and period.end <= from_s) or period.start > edge:
                continue
            track = choose(period, self._dash.request.audio_stream, self._dash.name)
            since = from_s
            if position is None and presentation.live:
                since = edge - _FIRST_LOOK_SEGMENTS * Fraction(track.segment_s)
            for segment in track.segments(since, edge):
                # What a packager rounds differently is not delivered twice.
                if segment.start + segment.duration / 2 > since:
                    found.append((track, segment))
        return iter(found[-1:] if presentation.live and position is None else found)

    def _head(self, track: mpd.Track) -> bytes:
        if not track.initialization:
            return b""
        key = (track.initialization, track.initialization_range)
        if key not in self._heads:
            self._heads.clear()
            self._heads[key] = self._fetcher.get(track.initialization, **span(track.initialization_range))
        return self._heads[key]

    def _media(self, track: mpd.Track, segment: mpd.Segment) -> bytes | None:
        """The segment; None where the origin does not have it (yet, or any more)."""
        try:
            return self._fetcher.get(segment.address, **span(segment.range))
        except InputMissing:
            return None

    def _patient(self, track: mpd.Track, segment: mpd.Segment) -> bool:
        """Whether a segment that is not there may still come."""
        presentation = self._manifest.presentation
        late_s = float(self._manifest.edge - segment.end)
        return presentation.live and late_s < max(presentation.delay_s or 0, 3 * track.segment_s)

    def _ended(self) -> bool:
        """Whether the source said that this is all."""
        presentation = self._manifest.presentation
        if not presentation.live:
            return True
        if presentation.duration is None or self._dash.position is None:
            return False
        end = Fraction(presentation.availability_start_s) + presentation.duration
        return self._dash.position >= end - _HOLE

    def _wait(self) -> None:
        """Until the manifest may say something new, which it then is; raises Lost where it has not for too long."""
        presentation, dash = self._manifest.presentation, self._dash
        stale_s = monotonic() - self._news_at
        segment_s = self._segment_s()
        if stale_s > dash.request.timeout_s + segment_s:
            raise Lost(f"nothing new in the manifest for {stale_s:.0f} s")
        least_s, most_s = _POLL_S
        asked_s = segment_s / 2 if presentation.update_s is None else min(presentation.update_s, segment_s / 2)
        if self._closed.wait(min(max(asked_s, least_s), most_s)):
            raise Lost("cancelled")
        self._manifest = dash.manifest(self._fetcher)

    def _segment_s(self) -> float:
        return max((t.segment_s for p in self._manifest.presentation.periods[-1:] for t in p.tracks), default=2.0)


@dataclass(frozen=True)
class Part:
    """One segment, demuxed."""

    audio: AudioStream
    packets: list[Packet]
    gap_s: float
    """What is missing before it."""


def choose(period: mpd.Period, wanted: str, name: str) -> mpd.Track:
    """The audio to read: the first of the main ones, or that of a number or language; its lowest bit rate good for speech.

    Raises DataError where there is none.
    """
    if not period.tracks:
        raise DataError(f"{name}: no audio in the DASH manifest")
    tracks = [t for t in period.tracks if not t.encrypted and not t.codecs.startswith(_UNDECODABLE)]
    if not tracks:
        why = (
            "encrypted (DRM)"
            if period.tracks[0].encrypted
            else f"in a codec that is not known ({period.tracks[0].codecs})"
        )
        raise DataError(f"{name}: its audio is {why}")
    if wanted.isdigit():
        group = int(wanted)
    elif wanted:
        spoken = [t for t in tracks if t.language and languages.primary(t.language) == languages.primary(wanted)]
        group = spoken[0].group if spoken else -1
    else:
        group = next((t.group for t in tracks if t.main), tracks[0].group)
    of_group = [t for t in tracks if t.group == group]
    if not of_group:
        listed = ", ".join(dict.fromkeys(f"{t.group} ({t.language or 'no language'}, {t.codecs})" for t in tracks))
        raise DataError(f"{name}: no audio stream {wanted}; it has {listed}")
    good = [t for t in of_group if t.bit_rate >= _MIN_BIT_RATE]
    return min(good, key=lambda t: t.bit_rate) if good else max(of_group, key=lambda t: t.bit_rate)


def demux(data: bytes, container: str, shift: Fraction, language: str) -> tuple[AudioStream, list[Packet]]:
    """The audio of an initialization and a segment: how to decode it, and its packets with `shift` added to their times.

    Raises DataError where it is damaged.
    """
    import av

    from .container import describe_audio, packet_record

    packets = []
    try:
        with av.open(io.BytesIO(data), mode="r", format="matroska" if container == "webm" else container) as file:
            if not file.streams.audio:
                raise DataError("a segment has no audio; it is left out")
            stream = file.streams.audio[0]
            offset = -round(shift / (stream.time_base or Fraction(1, 1000)))
            for packet in file.demux(stream):
                if packet.size:
                    record = packet_record(packet, "", 0, True, offset)
                    # Demuxed alone, every segment seems to begin with the encoder's padding; that is before 0 alone.
                    if packet.pts is None or packet.pts >= 0:
                        record = msgspec.structs.replace(record, skip_samples=None)
                    packets.append(record)
            audio = describe_audio(stream)
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"a segment is damaged and left out: {error}") from error
    # The bit rate is measured and differs from segment to segment.
    return msgspec.structs.replace(audio, bit_rate=0, language=language or audio.language), packets


def span(range: str) -> dict[str, int]:
    """A byte range as `Fetcher` takes it.

    >>> span("100-199"), span("")
    ({'start': 100, 'length': 100}, {})
    """
    first, _, last = range.partition("-")
    return {"start": int(first), "length": int(last) - int(first) + 1} if last else {}
