"""The original sound under a dubbed voice: 48 kHz stereo on the media's timeline, decoded only when it is needed.

    packets (or pcm) ─► spool ─► decoder ─► resampler ─► pieces with their place ─► read()

Speech is known long after the sound it was heard in, so what waits is kept compressed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from ..media.decoding import PacketDecoder
from ..media.pcm import FULL_SCALE, samples_of
from ..records import SAMPLE_RATE_HZ, AudioStream, Discontinuity, Packet, Pcm
from .audiofile import SAMPLE_RATE_HZ as RATE_HZ
from .audiofile import Block
from .spool import Spool

if TYPE_CHECKING:
    import av

_TOLERANCE = RATE_HZ // 20
"""A frame this near to where the last one ended follows it, for containers round their times."""

_FADE = RATE_HZ // 200
"""At the edges of a gap."""

_CLOCK_RESET = 10 * RATE_HZ
"""A jump back that is longer is a clock that was set anew, and sound goes on where it was; as `normalize` has it."""


@dataclass
class _Piece:
    start: int
    samples: Block

    @property
    def end(self) -> int:
        return self.start + int(self.samples.shape[1])

    def fade_in(self) -> None:
        """Lets it begin without a click."""
        count = min(_FADE, self.samples.shape[1])
        self.samples = self.samples.copy()
        self.samples[:, :count] *= np.linspace(0, 1, count, endpoint=False, dtype=np.float32)

    def fade_out(self) -> None:
        """Lets it end without a click."""
        count = min(_FADE, self.samples.shape[1])
        self.samples = self.samples.copy()
        self.samples[:, self.samples.shape[1] - count :] *= np.linspace(1, 0, count, dtype=np.float32)


class OriginalSound:
    """The sound of one session from media time 0 on; `audio` says how its packets are decoded.

    What is outside of [`start_ms`, `end_ms`) is silence: packets from before the kept part only warm the decoder up.
    Whichever comes first, packets or `pcm`, is used and the other is left aside. Packets that cannot be decoded are silence.
    """

    def __init__(self, audio: AudioStream | None, start_ms: int = 0, end_ms: int | None = None) -> None:
        self._audio = audio
        self._stop = None if end_ms is None else end_ms * RATE_HZ // 1000
        self._spool = Spool()
        self._kind: type[Packet] | type[Pcm] | None = None
        self._decoder: PacketDecoder | None = None
        self._resampler: av.AudioResampler | None = None
        self._source: tuple[object, ...] = ()
        self._pieces: deque[_Piece] = deque()
        self._position = 0
        """The next sample that `read` gives."""
        self._end = start_ms * RATE_HZ // 1000
        """Where the sound decoded so far ends; what comes is not placed before it."""
        self._expected = 0.0
        """Where the next frame is due, in samples."""
        self._offset = 0.0
        self._fading_in = False
        """Whether the next sound comes behind a gap."""
        self._flushed = False

    @property
    def is_there(self) -> bool:
        """Whether any sound has come."""
        return self._kind is not None

    def feed(self, record: Packet | Pcm | Discontinuity) -> None:
        """Takes a packet of audio, a `pcm` record, or a break that says how the packets after it are decoded."""
        if isinstance(record, Discontinuity):
            if self._kind is not Pcm and record.audio is not None:
                self._spool.append(record)
            return
        if self._kind is None and (isinstance(record, Pcm) or self._audio is not None):
            self._kind = type(record)
        if isinstance(record, self._kind or ()):
            self._spool.append(record)

    def close(self) -> None:
        """Frees what waits."""
        self._spool.close()

    def read(self, count: int, *, last: bool) -> Block:
        """See `Bed`."""
        while self._end < self._position + count and self._decode_next(last=last):
            pass
        known = count if last else max(0, min(count, self._end - self._position))
        block: Block = np.zeros((2, known), np.float32)
        stop = self._position + known
        while self._pieces and self._pieces[0].start < stop:
            piece = self._pieces[0]
            start, end = max(piece.start, self._position), min(piece.end, stop)
            if start < end:
                block[:, start - self._position : end - self._position] = piece.samples[
                    :, start - piece.start : end - piece.start
                ]
            if piece.end > stop:
                break
            self._pieces.popleft()
        self._position = stop
        return block

    def _decode_next(self, *, last: bool) -> bool:
        """Decodes one record more; False where none waits."""
        record = self._spool.pop()
        if isinstance(record, Packet):
            if self._decoder is None:
                assert self._audio is not None
                self._decoder = PacketDecoder(self._audio)
            numerator, denominator = record.time_base
            self._place(self._decoder.decode(record) or (), numerator / denominator)
            return True
        if isinstance(record, Pcm):
            self._place([_frame(record)], 1 / 1000)
            return True
        if isinstance(record, Discontinuity):
            if self._decoder is not None:
                self._place(self._decoder.flush(), None)
            self._drain()
            self._decoder = None
            self._audio = record.audio
            return True
        if last and not self._flushed:
            self._flushed = True
            if self._decoder is not None:
                self._place(self._decoder.flush(), None)
            self._drain()
        return False

    def _place(self, frames: Iterable[av.AudioFrame], time_base_s: float | None) -> None:
        for frame in frames:
            start = self._expected
            if frame.pts is not None and time_base_s is not None:
                start = frame.pts * time_base_s * RATE_HZ + self._offset
            if start - self._expected < -_CLOCK_RESET:
                self._offset += self._expected - start
                start = self._expected
            source = (frame.sample_rate, frame.format.name, frame.layout.name)
            jumped = abs(start - self._expected) > _TOLERANCE
            if source != self._source or jumped:
                self._drain()
                if jumped and self._pieces:
                    self._pieces[-1].fade_out()
                self._begin(frame, source, start)
                self._fading_in = jumped
            self._expected += frame.samples * RATE_HZ / frame.sample_rate
            self._resample(frame)

    def _begin(self, frame: av.AudioFrame, source: tuple[object, ...], start: float) -> None:
        import av

        self._source = source
        self._expected = start
        self._next = round(start)
        # Mono is doubled below: FFmpeg would turn it down.
        self._layout = "mono" if len(frame.layout.channels) == 1 else "stereo"
        # 16 bits, for FFmpeg keeps a downmix below full scale only where the samples are whole numbers.
        self._resampler = av.AudioResampler("s16p", self._layout, RATE_HZ)

    def _resample(self, frame: av.AudioFrame | None) -> None:
        assert self._resampler is not None
        if frame is not None:
            frame.pts = None
        for made in self._resampler.resample(frame):
            samples = made.to_ndarray().astype(np.float32) / np.float32(FULL_SCALE)
            if samples.shape[0] == 1:
                samples = np.repeat(samples, 2, axis=0)
            start, self._next = self._next, self._next + samples.shape[1]
            late = max(0, self._end - start)  # time that came twice keeps what it had
            if self._stop is not None:
                samples = samples[:, : max(0, self._stop - start)]
            if late < samples.shape[1]:
                piece = _Piece(start + late, samples[:, late:])
                self._pieces.append(piece)
                if self._fading_in:
                    piece.fade_in()
                    self._fading_in = False
                self._end = start + samples.shape[1]

    def _drain(self) -> None:
        if self._resampler is not None:
            self._resample(None)
            self._resampler = None
            self._source = ()


def _frame(record: Pcm) -> av.AudioFrame:
    import av

    samples = samples_of(record.data)
    if not len(samples):
        raise DataError(f"pcm record {record.seq} of session {record.session!r} is empty")
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[np.newaxis]), format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    frame.pts = record.start_ms
    return frame
