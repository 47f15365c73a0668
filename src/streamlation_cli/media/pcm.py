"""16 kHz mono signed 16-bit samples: levels, times, and the resampler that makes them of any decoded audio."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..records import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import av

Samples16 = npt.NDArray[np.int16]
"""Mono audio at 16 kHz, shape (samples,), native-endian int16."""

Mono = npt.NDArray[np.int16] | npt.NDArray[np.float32]
"""Mono audio at 16 kHz, shape (samples,), int16 or float32 in [-1, 1]."""

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
    little_endian: np.dtype[np.int16] = np.dtype("<i2")
    return np.frombuffer(data, dtype=little_endian, count=len(data) // BYTES_PER_SAMPLE)


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
    rounded: Samples16 = np.clip(np.rint(floats * FULL_SCALE), -32768, 32767).astype(np.int16)
    return rounded


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

    def __init__(
        self,
        rate_hz: int,
        sample_format: str,
        layout: str,
        channel: Channel = "mix",
        *,
        floats: bool = False,
        skip: int = 0,
        prompt: bool = False,
    ) -> None:
        """`skip` source samples are left out first; `prompt`: what is ready comes out with each frame."""
        self.source = (rate_hz, sample_format, layout)
        """What the frames must be."""
        self._is_done = self.source == (SAMPLE_RATE_HZ, "s16", "mono") and not (floats or skip)
        """Whether there is nothing to do."""
        # Frames are joined: taking each one out costs more than resampling it.
        joined = ("asetnsamples", f"n={SAMPLE_RATE_HZ // 10}:p=0")
        filters = [("aresample", str(SAMPLE_RATE_HZ)), _to_mono("flt" if floats else "s16")]
        filters += [] if prompt else [joined]
        if channel != "mix":
            filters.insert(0, ("pan", f"mono|c0=c{_channel_index(channel, layout)}"))
        if skip:
            filters.insert(0, ("atrim", f"start_sample={skip}"))
        self._filters = _Filters(rate_hz, sample_format, layout, filters, np.float32 if floats else np.int16)
        self._pull_every = 0.0 if prompt else self._PULL_EVERY_S * rate_hz
        self._waiting = 0

    def push(self, frame: av.AudioFrame) -> list[Mono]:
        """Takes a frame (its time is overwritten) and returns what is ready."""
        if self._is_done:
            return [_samples(frame, np.int16)]
        self._filters.push(frame)
        self._waiting += frame.samples
        if self._waiting < self._pull_every:
            return []
        self._waiting = 0
        return self._filters.pull()

    def flush(self) -> list[Mono]:
        """What was still inside; nothing may be pushed after it."""
        return self._filters.flush()


class Leveller:
    """Loudness by EBU R 128 to −16 LUFS, true peaks below −1.5 dBTP, in one pass with 3 s of look-ahead.

    As many samples come out as go in, each in its place. Gain follows the talker; silence is not raised.
    """

    def __init__(self) -> None:
        loudnorm = ("loudnorm", "I=-16:TP=-1.5:LRA=11")
        to_rate = ("aresample", str(SAMPLE_RATE_HZ))  # loudnorm works at 192 kHz
        self._filters = _Filters(SAMPLE_RATE_HZ, "flt", "mono", [loudnorm, to_rate, _to_mono("s16")], np.int16)

    def push(self, samples: npt.NDArray[np.float32]) -> list[Mono]:
        """Takes samples and returns what is ready."""
        from av import AudioFrame

        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None, :], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        self._filters.push(frame)
        return self._filters.pull()

    def flush(self) -> list[Mono]:
        """What was still inside; nothing may be pushed after it."""
        return self._filters.flush()


class _Filters:
    """A chain of FFmpeg audio filters with mono output."""

    def __init__(
        self, rate_hz: int, sample_format: str, layout: str, filters: list[tuple[str, str]], dtype: type[Any]
    ) -> None:
        from av.error import BlockingIOError, EOFError
        from av.filter import Graph

        self._nothing_ready = (BlockingIOError, EOFError)
        self._dtype = dtype
        self._time_base = Fraction(1, rate_hz)
        self._graph = Graph()
        self._input = self._graph.add_abuffer(
            sample_rate=rate_hz, format=sample_format, layout=layout, time_base=self._time_base
        )
        self._output = self._graph.add("abuffersink")
        chain = [self._graph.add(name, arguments) for name, arguments in filters]
        self._graph.link_nodes(self._input, *chain, self._output)
        self._graph.configure()
        self._pushed = 0

    def push(self, frame: av.AudioFrame) -> None:
        frame.pts = self._pushed
        frame.time_base = self._time_base
        self._pushed += frame.samples
        self._input.push(frame)

    def pull(self) -> list[Mono]:
        """Every frame that is ready."""
        ready: list[Mono] = []
        while True:
            try:
                frame: Any = self._output.pull()
            except self._nothing_ready:
                return ready
            ready.append(_samples(frame, self._dtype))

    def flush(self) -> list[Mono]:
        self._input.push(None)
        return self.pull()


def _samples(frame: av.AudioFrame, dtype: type[Any]) -> Mono:
    """A mono frame's samples."""
    # A plane is longer than its samples, and is freed with its frame.
    plane: Any = frame.planes[0]
    samples: Mono = np.frombuffer(plane, dtype=dtype, count=frame.samples).copy()
    return samples


def _to_mono(sample_format: str) -> tuple[str, str]:
    return "aformat", f"sample_fmts={sample_format}:channel_layouts=mono:sample_rates={SAMPLE_RATE_HZ}"


def _channel_index(channel: Channel, layout: str) -> int:
    from av import AudioLayout

    return 0 if channel == "left" or AudioLayout(layout).nb_channels == 1 else 1
