"""16 kHz mono signed 16-bit samples: levels, times, and the resampler that makes them of any decoded audio."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from .records import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import av
    from av.filter.context import FilterContext

Samples16 = npt.NDArray[np.int16]
"""Mono audio at 16 kHz, shape (samples,), native-endian int16."""

Channel = Literal["mix", "left", "right"]

BYTES_PER_SAMPLE = 2
SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
FULL_SCALE = 32768.0
SILENCE_DBFS = -120.0
"""The level that digital silence is given; no s16 signal but silence is below −91 dBFS."""


def samples_of(data: bytes) -> Samples16:
    """The samples of a `pcm` record's `data`, read-only; an odd last byte is left out.

    >>> samples_of(b"\\x01\\x00\\xff\\xff").tolist()
    [1, -1]
    """
    return np.frombuffer(data, dtype="<i2", count=len(data) // BYTES_PER_SAMPLE)


def floats_of(data: bytes) -> npt.NDArray[np.float32]:
    """The samples of a `pcm` record's `data` as float32 in [-1, 1).

    >>> floats_of(b"\\x00\\x80\\x00\\x40").tolist()
    [-1.0, 0.5]
    """
    return samples_of(data).astype(np.float32) / np.float32(FULL_SCALE)


def s16_of(floats: npt.NDArray[np.floating]) -> Samples16:
    """Float samples rounded to int16, those outside [-1, 1) held at full scale.

    >>> s16_of(np.array([0.5, 1.5, -2.0])).tolist()
    [16384, 32767, -32768]
    """
    return np.clip(np.rint(floats * FULL_SCALE), -32768, 32767).astype(np.int16)


def levels(samples: Samples16) -> tuple[float, float]:
    """RMS and peak in dBFS, rounded to 0.01 dB; −120 for silence and for no samples.

    >>> levels(np.array([-32768, 32767], dtype=np.int16))
    (-0.0, 0.0)
    >>> levels(np.zeros(3, dtype=np.int16))
    (-120.0, -120.0)
    """
    if not len(samples):
        return SILENCE_DBFS, SILENCE_DBFS
    wide = samples.astype(np.float64)
    rms = math.sqrt(float(np.dot(wide, wide)) / len(wide))
    return _dbfs(rms), _dbfs(float(np.max(np.abs(wide))))


def _dbfs(amplitude: float) -> float:
    return round(20 * math.log10(amplitude / FULL_SCALE), 2) if amplitude > 0 else SILENCE_DBFS


class Resampler:
    """Frames of one rate, sample format and layout to 16 kHz mono, in order, no sample lost.

    `mix` is the downmix of all channels scaled so that it cannot clip; `left` and `right` take one channel of the first
    two (a mono source has one). Output sample n is the sound at n/16000 s after the first input sample. A few
    milliseconds of input stay inside until `flush`.
    """

    _PULL_EVERY_S = 0.1  # reaching into the filter graph for every frame costs more than the resampling

    def __init__(self, rate_hz: int, sample_format: str, layout: str, channel: Channel = "mix") -> None:
        from av.filter import Graph

        self.source = (rate_hz, sample_format, layout)
        """What the frames must be."""
        self._rate_hz = rate_hz
        self._time_base = Fraction(1, rate_hz)
        self._graph = Graph()
        self._input = self._graph.add_abuffer(
            sample_rate=rate_hz, format=sample_format, layout=layout, time_base=self._time_base
        )
        chain = [self._input]
        if channel != "mix":
            chain.append(self._graph.add("pan", f"mono|c0=c{_channel_index(channel, layout)}"))
        chain.append(self._graph.add("aresample", str(SAMPLE_RATE_HZ)))
        chain.append(self._graph.add("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={SAMPLE_RATE_HZ}"))
        self._output = self._graph.add("abuffersink")
        self._graph.link_nodes(*chain, self._output)
        self._graph.configure()
        self._pushed = 0
        self._since_pull = 0

    def push(self, frame: av.AudioFrame) -> list[Samples16]:
        """Takes a frame (its time is overwritten) and returns what is ready."""
        frame.pts = self._pushed
        frame.time_base = self._time_base
        self._pushed += frame.samples
        self._since_pull += frame.samples
        self._input.push(frame)
        if self._since_pull < self._PULL_EVERY_S * self._rate_hz:
            return []
        self._since_pull = 0
        return pull_all(self._output, np.int16)

    def flush(self) -> list[Samples16]:
        """What was still inside; nothing may be pushed after it."""
        self._input.push(None)
        return pull_all(self._output, np.int16)


def pull_all(sink: FilterContext, dtype: type[np.generic]) -> list[npt.NDArray[np.generic]]:
    """Every mono frame that a filter graph has ready, as arrays of shape (samples,)."""
    from av.error import BlockingIOError, EOFError

    pull: Callable[[], av.AudioFrame] = sink.pull  # type: ignore[assignment]
    ready = []
    while True:
        try:
            frame = pull()
        except (BlockingIOError, EOFError):
            return ready
        # A plane is longer than its samples, and is freed with its frame.
        ready.append(np.frombuffer(frame.planes[0], dtype=dtype, count=frame.samples).copy())


def _channel_index(channel: Channel, layout: str) -> int:
    from av import AudioLayout

    return 0 if channel == "left" or AudioLayout(layout).nb_channels == 1 else 1
