"""Sound encoded for a presentation: 48 kHz blocks in, units of an AAC or Opus track out."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..dubbing.audiofile import SAMPLE_RATE_HZ, Block
from .tracks import Track, Unit

if TYPE_CHECKING:
    import av

_ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "aac": ("aac", "fltp", {"aac_coder": "fast"}),
    "opus": ("libopus", "flt", {}),
}
"""Codec → FFmpeg's encoder, its sample format, its options; speech asks little of an encoder, so it may hurry."""
_BITS_PER_CHANNEL = {"aac": 80_000, "opus": 48_000}
"""As `dub` writes them."""
_BITS_ALIKE = {"aac": 96_000, "opus": 64_000}
"""Of two channels that have the same: coded as their sum, and a difference that is nothing."""
_VARIABLE = {"aac": {"flags": "+qscale", "global_quality": "160"}, "opus": {}}
"""Bits as the sound needs them, about as good as at the rate above: of AAC each frame is then coded once, not until its size fits."""
_BITEXACT = 1 << 23
_GLOBAL_HEADER = 1 << 22


class SoundEncoder:
    """An encoder of one track that starts at media time 0, at work in a thread of its own while others do theirs.

    `write` takes samples, `finish` ends them; `units` holds what they became, to be taken from its left. The encoder's padding
    is before time 0 (see `Track.padding_samples`). `alike` says that both channels have the same, which costs half.
    `steady` asks for a constant bit rate, which a stream's playlist promises; without it speech costs half again.
    """

    def __init__(
        self, codec: Literal["aac", "opus"], channels: int, *, name: str, language: str, title: str, default: bool,
        alike: bool = False, steady: bool = True,
    ) -> None:  # fmt: skip
        import av

        encoder, self._format, options = _ENCODERS[codec]
        self._layout = "mono" if channels == 1 else "stereo"
        context: Any = av.CodecContext.create(encoder, "w")
        context.sample_rate = SAMPLE_RATE_HZ
        context.layout = self._layout
        context.format = self._format
        context.bit_rate = _BITS_ALIKE[codec] if alike else _BITS_PER_CHANNEL[codec] * channels
        context.flags |= _BITEXACT | _GLOBAL_HEADER
        alike_options = {"aac_ms": "1"} if alike and codec == "aac" else {}
        context.options = options | alike_options | ({} if steady else _VARIABLE[codec])
        context.open()
        self._context = context
        self._frame_samples: int = context.frame_size
        self._waiting: Block = np.zeros((channels, 0), np.float32)
        self.written = 0
        """Samples that came in."""
        self._encoded = 0
        self._padding = _padding_samples(codec, context.extradata)
        self._worker = ThreadPoolExecutor(1, "encoder")
        self._jobs: deque[Future[list[Unit]]] = deque()
        self._units: deque[Unit] = deque()
        self._next_pts = -self._padding
        self.track = Track(
            name=name, kind="audio", language=language, title=title, default=default, codec=codec,
            extradata=context.extradata or b"", time_base=(1, SAMPLE_RATE_HZ), sample_rate_hz=SAMPLE_RATE_HZ,
            channels=channels, layout=self._layout, bit_rate=context.bit_rate, padding_samples=self._padding, source="encoded",
        )  # fmt: skip

    @property
    def units(self) -> deque[Unit]:
        """All that was written so far has become."""
        while self._jobs:
            self._collect()
        return self._units

    @property
    def is_busy(self) -> bool:
        """Whether samples are being encoded."""
        return bool(self._jobs)

    def ready(self) -> deque[Unit]:
        """What is there, or will be next: it waits only where there is nothing yet."""
        while self._jobs and (not self._units or self._jobs[0].done()):
            self._collect()
        return self._units

    @property
    def next_s(self) -> float:
        """When the unit after those in `units` begins; only while it is not busy."""
        return self._next_pts / SAMPLE_RATE_HZ

    def write(self, block: Block) -> None:
        """Appends samples."""
        self.written += block.shape[1]
        waiting = np.concatenate((self._waiting, block), axis=1)
        whole = waiting.shape[1] - waiting.shape[1] % self._frame_samples
        self._waiting = waiting[:, whole:].copy()
        if whole:
            self._jobs.append(self._worker.submit(self._encode, waiting[:, :whole], last=False))

    def finish(self) -> None:
        """Ends the track."""
        self._jobs.append(self._worker.submit(self._encode, self._waiting, last=True))
        self._waiting = self._waiting[:, :0]

    def close(self) -> None:
        """Ends the thread; what is still being encoded is dropped."""
        self._worker.shutdown(cancel_futures=True)

    def _collect(self) -> None:
        self._units += self._jobs.popleft().result()

    def _encode(self, block: Block, *, last: bool) -> list[Unit]:
        """In the encoder's thread: the units of whole frames, with `last` of a shorter one and of all that is held back."""
        units: list[Unit] = []
        for start in range(0, block.shape[1], self._frame_samples):
            units += self._units_of(self._context.encode(self._frame(block[:, start : start + self._frame_samples])))
        return [*units, *self._units_of(self._context.encode(None))] if last else units

    def _frame(self, block: Block) -> av.AudioFrame:
        import av

        if self._format.endswith("p"):
            data = np.ascontiguousarray(block)
        else:
            data = np.ascontiguousarray(block.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format=self._format, layout=self._layout)
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = self._encoded
        self._encoded += block.shape[1]
        return frame

    def _units_of(self, packets: list[av.Packet[Any]]) -> Iterator[Unit]:
        for packet in packets:
            pts = packet.pts if packet.pts is not None else self._next_pts
            duration = packet.duration or self._frame_samples
            skip = None
            if packet.has_sidedata("skip_samples"):
                start, end = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
                skip = (start, end)
            if pts == -self._padding and self._padding:
                skip = (self._padding, skip[1] if skip else 0)
            self._next_pts = pts + duration
            yield Unit(
                track=self.track,
                pts=pts,
                dts=pts,
                duration=duration,
                data=bytes(packet),
                keyframe=True,
                skip_samples=skip,
            )


def _padding_samples(codec: str, extradata: bytes | None) -> int:
    """What the encoder puts before the sound: a frame of AAC; of Opus, its header says (RFC 7845, section 5.1)."""
    if codec == "opus":
        assert extradata is not None
        return int.from_bytes(extradata[10:12], "little")
    return 1024
