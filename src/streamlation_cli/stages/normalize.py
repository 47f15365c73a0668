"""Decodes audio packets to 16 kHz mono PCM on the source's timeline.

Audio that starts at 3 s starts at 3 s. Gaps become silence up to --max-gap, longer ones a `discontinuity` record. Packets that
cannot be decoded are left out, counted and reported; everything else is kept. Each `pcm` record carries its RMS and peak level.
In a live session a gap that the source marks stays a gap, whatever its length, and the audio after it may be of another kind.

    streamlation ingest talk.mp4 | streamlation normalize | jq -r 'select(.type=="pcm") | .data' | base64 -d > talk.s16le
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..errors import DataError, UsageError
from ..options import option
from ..records import SAMPLE_RATE_HZ, Discontinuity, Eos, Error, Header, Packet, Pcm, State, Status, StreamRecord
from ..sessions import Stage, by_session

if TYPE_CHECKING:
    import av
    import numpy as np
    import numpy.typing as npt

    from ..media.decoding import PacketDecoder
    from ..media.pcm import Channel, Leveller, Mono, Samples16
    from ..media.timeline import Jump, Piece

_STAGE = "normalize"
_STATUS_EVERY_MS = 10_000
_SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
CHUNK_MS = 500
LIVE_CHUNK_MS = 50
"""Of live sessions at least: shorter ones cost more. What comes together stays together, for to wait for a length is to be late."""
_LEAST_CHUNK_MS = 10


@dataclass(frozen=True, kw_only=True)
class Options:
    """How PCM is made."""

    chunk_ms: int = option(
        "--chunk-ms",
        0,
        metavar="MS",
        minimum=0,
        maximum=30_000,
        help=f"length of a pcm record; the last is shorter; 0: {CHUNK_MS}, in live sessions at least {LIVE_CHUNK_MS}, as it comes",
    )
    channel: str = option(
        "--channel", "mix", choices=("mix", "left", "right"), help="mix all channels, or take the left or right one"
    )
    loudness: str = option(
        "--loudness",
        "off",
        choices=("off", "ebu-r128"),
        help="level speech to −16 LUFS by EBU R 128, or leave levels alone",
    )
    max_gap: float = option(
        "--max-gap", 10.0, metavar="SECONDS", minimum=0, maximum=3600, help="longest gap that is filled with silence"
    )
    keep_packets: bool = option(
        "--keep-packets", False, help="forward the audio packets too, for a stage that mixes them"
    )


def stage(options: Options) -> Stage:
    """Audio packets in, pcm out; everything else passes. Raises UsageError."""
    if 0 < options.chunk_ms < _LEAST_CHUNK_MS:
        raise UsageError(f"--chunk-ms: {options.chunk_ms} is out of range; it must be at least {_LEAST_CHUNK_MS}, or 0")
    return by_session(_STAGE, lambda header: Normalizer(header, options))


class Normalizer:
    """One session; raises DataError where its audio cannot be decoded at all."""

    def __init__(self, header: Header, options: Options, clock: Callable[[], float] = time.time) -> None:
        from ..media.chunks import Chunks

        self._header = header
        self._options = options
        self._clock = clock
        self._session = header.session
        self._decoder: PacketDecoder | None = None
        self._after_loss = False
        prompt = header.live and not options.chunk_ms
        self._chunks = Chunks(
            header.session, options.chunk_ms or (LIVE_CHUNK_MS if prompt else CHUNK_MS), prompt=prompt
        )
        self._leveller: Leveller | None = None
        self._levelled_to = 0
        self._last_pts: int | None = None
        self._packet_end: int | None = None
        self._jumps = 0
        self._next_status_ms = 0
        self._silent = False

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """The header opens the decoder; audio packets become pcm."""
        if isinstance(record, Header):
            yield record
            if record.audio is not None:
                self._open(record)
                yield Status(self._session, stage=_STAGE, state="running")
        elif self._decoder is None:
            yield record
        elif isinstance(record, Packet) and record.stream == "audio":
            if self._options.keep_packets:
                yield record
            self._silent = False
            yield from self._packet(record)
        elif isinstance(record, Discontinuity):
            yield from self._begin_anew(record)
            yield record
        elif isinstance(record, Status) and record.state == "running":
            # A second without a packet: what waits for its chunk to be full is wanted now.
            if self._silent and self._header.live:
                yield from self._chunks.cut()
            self._silent = True
            yield record
        else:
            yield record

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """What decoder, resampler and the last chunk hold, the count of damaged packets, the counters."""
        if self._decoder is None:
            return
        for frame in self._decoder.flush():
            yield from self._placed(self._timeline.place(frame, self._start_s(frame)))
        yield from self._placed(self._timeline.flush())
        yield from self._level_out()
        yield from self._chunks.flush()
        yield self._status("completed" if isinstance(end, Eos) else "failed")
        bad, packets = self._decoder.bad_packets, self._decoder.packets
        if bad:
            if not self._decoder.frames:
                raise DataError(f"{self._header.source}: none of its {packets} audio packets can be decoded")
            message = f"{self._header.source}: {bad} of {packets} audio packets are damaged; the rest is kept"
            yield Error(self._session, stage=_STAGE, code="damaged", message=message, fatal=False)

    def _begin_anew(self, record: Discontinuity) -> Iterator[StreamRecord]:
        """All of what came before the source's discontinuity; then a decoder that knows nothing of it."""
        decoder = self._decoder
        assert decoder is not None
        for frame in decoder.flush():
            yield from self._placed(self._timeline.place(frame, self._start_s(frame)))
        yield from self._placed(self._timeline.restart())
        yield from self._level_out()
        yield from self._chunks.flush()
        self._decoder = decoder.successor(record.audio)
        self._after_loss = False
        self._last_pts = self._packet_end = None
        self._jumps += 1

    def _open(self, header: Header) -> None:
        from ..media.decoding import PacketDecoder
        from ..media.timeline import Timeline

        assert header.audio is not None
        self._base = header.audio.time_base
        self._decoder = PacketDecoder(header.audio)
        self._timeline = Timeline(
            channel=cast("Channel", self._options.channel),
            max_gap_ms=round(self._options.max_gap * 1000),
            start_ms=header.start_ms,
            end_ms=header.end_ms,
            floats=self._options.loudness != "off",
            prompt=header.live,
        )

    def _packet(self, record: Packet) -> Iterator[StreamRecord]:
        assert self._decoder is not None
        self._base = record.time_base
        at = record.pts if record.pts is not None else record.dts
        warming_up = at is not None and at * self._base[0] * 1000 < self._header.start_ms * self._base[1]
        frames = self._decoder.decode(record, warming_up=warming_up)
        if frames is None:
            self._after_loss = True
            return
        follows = record.pts is not None and self._packet_end is not None and abs(record.pts - self._packet_end) <= 1
        self._packet_end = None if record.pts is None else record.pts + record.duration
        for frame in frames:
            placed = self._timeline.place(frame, self._start_s(frame), after_loss=self._after_loss, follows=follows)
            yield from self._placed(placed)
            self._after_loss = False
        if self._header.live and self._chunks.end_ms >= self._next_status_ms:
            self._next_status_ms = self._chunks.end_ms + _STATUS_EVERY_MS
            yield self._status("running")

    def _start_s(self, frame: av.AudioFrame) -> float | None:
        # A muxer that does not know the time writes the same one again and again.
        pts, self._last_pts = None if frame.pts == self._last_pts else frame.pts, frame.pts
        return None if pts is None else pts * self._base[0] / self._base[1]

    def _placed(self, pieces: Iterator[Piece | Jump]) -> Iterator[StreamRecord]:
        from ..media.timeline import Jump

        for piece in pieces:
            if not isinstance(piece, Jump):
                yield from self._piece(piece)
                continue
            yield from self._level_out()
            yield from self._chunks.flush() if piece.reason == "gap" else self._chunks.cut()
            self._jumps += 1
            at_ms, gap_ms = piece.at // _SAMPLES_PER_MS, round(piece.gap / _SAMPLES_PER_MS)
            yield Discontinuity(self._session, at_ms=at_ms, gap_ms=gap_ms, reason=piece.reason)

    def _piece(self, piece: Piece) -> Iterator[Pcm]:
        if self._options.loudness == "off":
            yield from self._chunks.add(piece.start, cast("Samples16", piece.samples))
            return
        from ..media.pcm import Leveller

        if self._leveller is None:
            self._leveller = Leveller()
            self._levelled_to = piece.start
        yield from self._levelled(self._leveller.push(cast("npt.NDArray[np.float32]", piece.samples)))

    def _level_out(self) -> Iterator[Pcm]:
        """What the leveller looks ahead at; it starts anew after a jump."""
        if self._leveller is not None:
            leveller, self._leveller = self._leveller, None
            yield from self._levelled(leveller.flush())

    def _levelled(self, ready: list[Mono]) -> Iterator[Pcm]:
        for samples in ready:
            yield from self._chunks.add(self._levelled_to, cast("Samples16", samples))
            self._levelled_to += len(samples)

    def _status(self, state: State) -> Status:
        assert self._decoder is not None
        lag_ms = None
        if self._header.live and self._header.started_at is not None:
            lag_ms = max(0, round((self._clock() - self._header.started_at) * 1000) - self._chunks.end_ms)
        counters: dict[str, int | float] = {
            "packets": self._decoder.packets,
            "bad_packets": self._decoder.bad_packets,
            "silence_ms": self._timeline.silence // _SAMPLES_PER_MS,
            "dropped_ms": self._timeline.dropped // _SAMPLES_PER_MS,
            "discontinuities": self._jumps,
        }
        return Status(self._session, stage=_STAGE, state=state, lag_ms=lag_ms, counters=counters)
