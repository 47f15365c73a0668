"""Live HLS: the playlist is watched, and each segment is read once.

    playlist ─► Origin.next() ─► Run (the bytes of segments of one clock) ─► FFmpeg ─► packets
                  │ knows the number of the last segment taken, so that after a reconnect nothing is lost or repeated
                  └ tells the end (ENDLIST) from a playlist that went stale and from an origin that is gone

FFmpeg's own reader of playlists takes all three for the end.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from .. import languages
from ..errors import DataError, OfflineRefused, StreamlationError, TryAgain
from ..records import AudioStream, Packet, VideoStream
from . import Request
from .demuxed import DemuxedFeed
from .feeds import Break, Feed, Lost, same_sound
from .fetching import Fetcher
from .http import failure_of, public_name
from .m3u8 import Key, Master, Part, Playlist, Segment, has_audio, parse

_MAX_PLAYLIST_BYTES = 16 << 20
_STALE_TARGETS = 3.0
"""A playlist must change within 1.5 target durations (RFC 8216, section 6.2.1)."""
_MOST_TRIES = 3
"""Times that a listed segment is asked for before it is left out."""
_MOST_REDIRECTIONS = 3
_RUN_S = 300.0
"""How much fragmented MP4 one demuxer gets: it remembers every packet it has seen."""


def connector(request: Request) -> Hls:
    """How to reach the stream; raises OfflineRefused."""
    if request.offline:
        raise OfflineRefused(f"{public_name(request.input)}: --offline was given and this address is on the network")
    return Hls(request)


def is_recording(request: Request) -> bool:
    """Whether the playlist is complete, so that it is no live source; False where it cannot be had now."""
    hls = connector(request)
    try:
        return hls.origin.look().ended
    except (Lost, TryAgain):
        return False


class Hls:
    """A `Connector`."""

    keeps = True
    listens = False

    def __init__(self, request: Request) -> None:
        self.name = public_name(request.input)
        self._request = request
        self._feed: HlsFeed | None = None
        self.origin = Origin(request)

    def connect(self) -> Feed:
        """As `Connector` says."""
        self.origin.reconnect()
        if self.origin.next() is None and self._feed is not None:
            return _Nothing(self._feed.audio, self._feed.video)  # it ended while it could not be reached
        self._feed = HlsFeed(self._request, self.origin, self.name)
        return self._feed

    def cancel(self) -> None:
        """As `Connector` says."""
        self.origin.cancel()


@dataclass(frozen=True)
class _Nothing:
    """A `Feed` that has ended."""

    audio: AudioStream
    video: VideoStream | None
    counted = False

    def packets(self) -> Iterator[Packet | Break]:
        """As `Feed` says."""
        return iter(())

    def close(self) -> None:
        """As `Feed` says."""


class HlsFeed:
    """A `Feed` of one run of segments after the other."""

    counted = False  # what stands still is told by the playlist

    def __init__(self, request: Request, origin: Origin, name: str) -> None:
        self._request = request
        self._origin = origin
        self._name = name
        self._open()
        self.audio = self._demuxed.audio
        self.video = self._demuxed.video

    def _open(self) -> None:
        """A demuxer for the segments up to the next change of clock or codecs."""
        self._run = Run(self._origin)
        self._demuxed = DemuxedFeed(
            self._request,
            self._run,
            name=self._name,
            failure=lambda error: failure_of(self._name, error),
            format="mp4" if self._run.has_header else "",
        )

    def packets(self) -> Iterator[Packet | Break]:
        """As `Feed` says."""
        while True:
            mark = self._run.mark
            changed = None if same_sound(self._demuxed.audio, self.audio) else self._demuxed.audio
            if mark is not None or changed is not None:
                mark = mark or Break(reason="format", gap_s=0.0)
                yield Break(reason=mark.reason, gap_s=mark.gap_s, audio=changed)
                self.audio = changed or self.audio
            for item in self._demuxed.packets():
                # Priming was at the start of the broadcast, not where this reader came in.
                yield msgspec.structs.replace(item, skip_samples=None) if isinstance(item, Packet) else item
            if self._origin.cancelled or not self._origin.has_more:
                return
            self._open()

    def close(self) -> None:
        """As `Feed` says."""
        self._demuxed.close()


class Run:
    """The bytes of segments of one clock, as `Bytes`; begins with the segment that comes next."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._closed = False
        self.failure: BaseException | None = None
        self._header: Part | None = None
        self._read_s = 0.0
        self._rest = memoryview(b"")
        first = origin.next()
        self.has_header = first is not None and first.header is not None
        self.mark = origin.pending_break
        """What lies between the last run and this one."""
        if first is not None:
            self._load(first)

    def _load(self, segment: Segment) -> None:
        data = self._origin.load(segment)
        if segment.header is not None and segment.header != self._header:
            data = self._origin.load_part(segment.header, None, 0) + data
            self._header = segment.header
        self._read_s += segment.length_s
        self._rest = memoryview(data)
        self._origin.done(segment)

    def read(self, size: int) -> bytes:
        """As `Bytes` says; waits for the next segment."""
        while not self._rest and not self._closed and self.failure is None:
            try:
                segment = self._origin.next()
                if segment is None or self._ends_before(segment):
                    self._closed = True
                else:
                    self._load(segment)
            except (Lost, StreamlationError) as error:
                self.failure = error
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def _ends_before(self, segment: Segment) -> bool:
        if self._origin.pending_break is not None or segment.header != self._header:
            return True
        return self.has_header and self._read_s >= _RUN_S

    def close(self) -> None:
        """As `Bytes` says."""
        self._closed = True


class Origin:
    """What is known of the stream, over all connections: the segment that comes next, and what is missing before it."""

    def __init__(self, request: Request, clock: Callable[[], float] = time.monotonic) -> None:
        self._request = request
        self._clock = clock
        self._fetcher = Fetcher(request.input, timeout_s=request.timeout_s, headers=request.headers)
        self._cancelled = threading.Event()
        self._media = ""
        self._queue: deque[Segment] = deque()
        self._last: Segment | None = None
        self._listed: dict[int, str] = {}
        self._target_s = 2.0
        self._ended = False
        self._tries: dict[int, int] = {}
        self._missing_s = 0.0
        self._began_anew = False
        self._keys: dict[str, bytes] = {}
        self._loaded_s = float("-inf")
        self._changed = True
        self._taken_s = 0.0
        self._edge_s: float | None = None
        self._delivered_s = 0.0
        self.pending_break: Break | None = None
        """What lies between the segment taken last and the one that comes next."""

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    @property
    def has_more(self) -> bool:
        """Whether a segment is waiting."""
        return bool(self._queue)

    def cancel(self) -> None:
        """From any thread."""
        self._cancelled.set()
        self._fetcher.cancel()

    def reconnect(self) -> None:
        """Begins again after the segment taken last: the address may lead elsewhere now."""
        self._media = ""
        self._ended = False
        self._queue.clear()
        self.pending_break = None
        self._loaded_s = float("-inf")
        self._changed = True
        self._taken_s = self._clock()

    def look(self) -> Playlist:
        """Loads the playlist, choosing a stream where there are several."""
        address = self._media or self._request.input
        for _ in range(_MOST_REDIRECTIONS):
            parsed = self._playlist(address)
            if isinstance(parsed, Playlist):
                self._media = address
                return parsed
            address = choose(parsed, self._request)
        raise DataError(f"{public_name(self._request.input)}: its playlists lead in circles")

    def _playlist(self, address: str) -> Playlist | Master:
        with self._fetcher.open(address) as reply:
            where = reply.geturl()
            try:
                text = reply.read(_MAX_PLAYLIST_BYTES).decode("utf-8", "replace")
            except (OSError, ValueError) as error:
                raise self._fetcher.failure(address, error) from error
        try:
            return parse(text, where)
        except (ValueError, KeyError) as error:
            raise DataError(f"{public_name(address)}: not an HLS playlist: {error}") from error

    def next(self) -> Segment | None:
        """The next segment, which stays the next one until `done`; None after the last of a stream that has ended.

        Raises Lost where the playlist has not changed for too long, and what `Fetcher` raises.
        """
        while True:
            while self._queue and self._queue[0].missing:
                self._skip()
            if self._queue:
                break
            if self._ended:
                return None
            self._wait()
            self._refresh()
            stale_s = max(self._request.timeout_s, _STALE_TARGETS * self._target_s)
            if not self._queue and not self._ended and self._clock() - self._taken_s > stale_s:
                raise Lost(f"its playlist names nothing new for {stale_s:.0f} s")
        if self.pending_break is None:
            self.pending_break = self._before(self._queue[0])
        return self._queue[0]

    def done(self, segment: Segment) -> None:
        """The segment has been read."""
        mark, self.pending_break = self.pending_break, None
        self._queue.popleft()
        self._last = segment
        self._tries.clear()
        self._missing_s, self._began_anew = 0.0, False
        self._taken_s = self._clock()
        self._delivered_s += segment.length_s + (mark.gap_s or 0.0 if mark is not None else 0.0)
        if not self._queue:
            edge_s = self._taken_s - self._delivered_s
            self._edge_s = edge_s if self._edge_s is None else min(edge_s, self._edge_s)

    def _skip(self) -> None:
        """The next segment cannot be had."""
        segment = self._queue.popleft()
        self._tries.clear()
        self.pending_break = None
        if self._last is not None:
            self._missing_s += segment.length_s + (segment.number - self._last.number - 1) * segment.length_s
            self._last = segment

    def _wait(self) -> None:
        """Until the playlist may be asked for again: RFC 8216, section 6.3.4."""
        due_s = self._loaded_s + self._target_s * (1.0 if self._changed else 0.5)
        if self._last is not None and self._changed:
            due_s = self._loaded_s + min(self._target_s, max(self._last.length_s, 0.25))
        self._cancelled.wait(max(0.0, min(due_s - self._clock(), self._target_s)))
        if self.cancelled:
            raise Lost("cancelled")

    def _refresh(self) -> None:
        self._loaded_s = self._clock()
        playlist = self.look()
        self._target_s = playlist.target_s or self._target_s
        self._ended = playlist.ended
        new = self._new(playlist)
        self._changed = bool(new)
        self._queue.extend(new)
        self._listed = {segment.number: segment.part.address for segment in playlist.segments}

    def _new(self, playlist: Playlist) -> tuple[Segment, ...]:
        """The segments that come after the last one taken; at the start the newest one, which is the live edge."""
        segments = playlist.segments
        if self._last is None:
            return segments if playlist.ended else segments[-1:]
        if not self._began_anew and self._counts_anew(segments):
            self._began_anew = True
        if self._began_anew:
            return segments
        last = self._last.number
        return tuple(segment for segment in segments if segment.number > last)

    def _counts_anew(self, segments: tuple[Segment, ...]) -> bool:
        """Whether the origin began anew; an old copy of its playlist names the same segments as before."""
        assert self._last is not None
        both = [s for s in segments if s.number in self._listed]
        if both:
            return not any(self._listed[s.number] == s.part.address for s in both)
        return bool(segments) and segments[-1].number < self._last.number

    def _before(self, segment: Segment) -> Break | None:
        """What lies between the last segment taken and this one, if anything does."""
        if self._last is None:
            return None
        late_s = self._late_s()
        stood_still = late_s > max(2.0, self._target_s)
        if self._began_anew:
            return Break(reason="restart", gap_s=late_s if stood_still else 0.0)
        missed = segment.number - self._last.number - 1
        if missed > 0 or self._missing_s:
            return Break(reason="lost", gap_s=self._missing_s + missed * self._last.length_s)
        if segment.discontinuity:
            return Break(reason="ad-break", gap_s=late_s if stood_still else 0.0)
        waited_s = self._clock() - self._taken_s
        if stood_still and waited_s > 2 * self._target_s:
            return Break(reason="gap", gap_s=late_s)
        return None

    def _late_s(self) -> float:
        """How much later the live edge is than it was at its earliest: for so long the broadcast stood still."""
        if self._edge_s is None:
            return 0.0
        listed_s = sum(segment.length_s for segment in self._queue)
        return max(0.0, self._clock() - self._delivered_s - listed_s - self._edge_s)

    def load(self, segment: Segment) -> bytes:
        """A segment's bytes; one that its origin does not have at the third time is left out. Raises what `Fetcher` raises."""
        tries = self._tries[segment.number] = self._tries.get(segment.number, 0) + 1
        try:
            return self.load_part(segment.part, segment.key, segment.number)
        except StreamlationError as error:
            if tries >= _MOST_TRIES and error.code == "no-input":
                self._skip()
            raise

    def load_part(self, part: Part, key: Key | None, number: int) -> bytes:
        """A resource's bytes, decrypted."""
        data = self._fetcher.get(part.address, start=part.start, length=part.length)
        return data if key is None else self._decrypt(data, key, number)

    def _decrypt(self, data: bytes, key: Key, number: int) -> bytes:
        if key.method != "AES-128":
            raise DataError(f"{public_name(self._request.input)}: encrypted with {key.method}, which cannot be read")
        if key.address not in self._keys:
            self._keys.clear()
            self._keys[key.address] = self._fetcher.get(key.address, most=64)
        iv = key.iv if key.iv is not None else number.to_bytes(16, "big")
        return decrypt_cbc(data, self._keys[key.address], iv)


def decrypt_cbc(data: bytes, key: bytes, iv: bytes) -> bytes:
    """AES-128-CBC with PKCS7 padding, by FFmpeg's `crypto` protocol.

    >>> decrypt_cbc(bytes.fromhex("9834ed518cbc8fbe9af3c6ecb75eb8c0"), bytes(16), bytes(16))
    b'hello'
    """
    import av

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        options = {"decryption_key": key.hex(), "decryption_iv": iv.hex()}
        with av.open(f"crypto:{file.name}", format="data", options=options) as container:
            return b"".join(bytes(packet) for packet in container.demux() if packet.size)


def choose(master: Master, request: Request) -> str:
    """The address to listen to: an audio track of its own where there is one, else the smallest stream with sound.

    With video the first stream that has both, as the author of the playlist ordered them. Raises DataError where the track
    that was asked for is not there.
    """
    wanted = request.audio_stream
    if master.renditions and not request.with_video:
        tracks = [r for r in master.renditions if r.group == master.renditions[0].group]
        if wanted.isdigit() and int(wanted) < len(tracks):
            return tracks[int(wanted)].address
        if wanted:
            for track in tracks:
                if track.language and languages.primary(track.language) == languages.primary(wanted):
                    return track.address
            listed = ", ".join(f"{i} ({t.language or t.name})" for i, t in enumerate(tracks))
            raise DataError(f"{public_name(request.input)}: no audio stream {wanted}; it has {listed}")
        return next((t for t in tracks if t.default), tracks[0]).address
    with_sound = [v for v in master.variants if has_audio(v)] or list(master.variants)
    if request.with_video:
        return with_sound[0].address
    return min(with_sound, key=lambda v: v.bandwidth).address
