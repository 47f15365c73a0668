"""Samples of speech: trimmed, levelled, stretched, resampled and kept small.

Mono audio throughout, shape (samples,), float32 in [-1, 1] unless said otherwise.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from . import loudness

Mono = npt.NDArray[np.float32]

SPEECH_LUFS = loudness.TARGET_LUFS - 3.01
"""Loudness of dubbed speech by ITU-R BS.1770, as one channel: `TARGET_LUFS` where two channels have it."""

PEAK = 0.7
"""Ceiling of its true peaks, 3 dB below full scale."""

LIMITED_DB = 6.0
"""How far peaks are turned down to reach it; a voice with higher ones stays softer."""

_FRAME_S = 0.01
_LOUDNESS_FRAME_S = 0.1
_LEVELLINGS = 3
_SILENCE_BELOW_PEAK_DB = 40.0
_ABSOLUTE_SILENCE = 1e-4
_KEPT_EDGE_S = 0.02
_FADE_S = 0.005
_STRETCH_TAIL_S = 0.2


def trimmed(samples: Mono, sample_rate_hz: int) -> Mono:
    """Without the silence before and after; 20 ms of it is kept, so that soft consonants stay whole, and faded.

    Empty where all is silent.
    """
    frame = max(1, int(sample_rate_hz * _FRAME_S))
    levels = _frame_peaks(samples, frame)
    floor = max(_ABSOLUTE_SILENCE, levels.max(initial=0.0) * 10 ** (-_SILENCE_BELOW_PEAK_DB / 20))
    loud = np.flatnonzero(levels > floor)
    if loud.size == 0:
        return samples[:0]
    edge = int(sample_rate_hz * _KEPT_EDGE_S)
    return faded(samples[max(0, int(loud[0]) * frame - edge) : (int(loud[-1]) + 1) * frame + edge], sample_rate_hz)


def _frame_peaks(samples: Mono, frame: int) -> Mono:
    padded = np.pad(np.abs(samples), (0, -len(samples) % frame))
    peaks: Mono = padded.reshape(-1, frame).max(axis=1, initial=0.0)
    return peaks


def loudness_lufs(samples: Mono, sample_rate_hz: int) -> float:
    """Loudness by ITU-R BS.1770 of sound that silence surrounds: K-weighted and gated; −120 for silence."""
    size = 1 << max(1, len(samples) - 1).bit_length()
    spectrum = np.fft.rfft(samples, size)
    heard = np.fft.irfft(spectrum * _k_weights(size, sample_rate_hz), size)[: len(samples)]
    frame = max(1, int(sample_rate_hz * _LOUDNESS_FRAME_S))
    hops = (np.pad(heard, (0, -len(heard) % frame)).reshape(-1, frame) ** 2).mean(axis=1)
    powers = np.convolve(hops, np.full(4, 0.25))  # 400 ms that overlap by three quarters
    powers = powers[powers > 10 ** ((-70 + 0.691) / 10)]
    if powers.size == 0:
        return -120.0
    powers = powers[powers > powers.mean() / 10]
    return float(-0.691 + 10 * np.log10(powers.mean()))


@functools.lru_cache(maxsize=8)
def _k_weights(size: int, sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """Gain of the K filter at each frequency; its phase does not matter to a loudness."""
    gains: npt.NDArray[np.float32] = np.abs(loudness.k_weights(size, sample_rate_hz))
    return gains


def levelled(samples: Mono, sample_rate_hz: int) -> Mono:
    """At `SPEECH_LUFS`, true peaks limited to `PEAK`; softer where that would take more than `LIMITED_DB` of limiting."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0:
        return samples
    most = PEAK / peak * 10 ** (LIMITED_DB / 20)
    gain = 1.0
    made = samples
    for _ in range(_LEVELLINGS):  # limiting takes some loudness, which is given back
        gain *= 10 ** ((SPEECH_LUFS - loudness_lufs(made, sample_rate_hz)) / 20)
        made = loudness.limited(samples * np.float32(min(gain, most)), sample_rate_hz, PEAK)
        if gain >= most:
            break
    return made


def faded(samples: Mono, sample_rate_hz: int) -> Mono:
    """With 5 ms of fading in and out, so that it joins silence without a click."""
    fade = min(len(samples) // 2, int(sample_rate_hz * _FADE_S))
    ramp = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
    made: Mono = samples.copy()
    made[:fade] *= ramp
    made[len(made) - fade :] *= ramp[::-1]
    return made


def stretched(samples: Mono, sample_rate_hz: int, tempo: float) -> Mono:
    """`tempo` times as fast at the same pitch, its length to the sample."""
    import av
    from av.filter import Graph

    graph = Graph()
    source = graph.add_abuffer(sample_rate=sample_rate_hz, format="flt", layout="mono", time_base=None)
    stretch = graph.add("atempo", f"{tempo:.6f}")
    sink = graph.add("abuffersink")
    graph.link_nodes(source, stretch, sink).configure()
    # The filter keeps some of what it was given last to itself: let that be silence.
    padded = np.pad(samples, (0, int(sample_rate_hz * _STRETCH_TAIL_S)))
    frame = av.AudioFrame.from_ndarray(padded[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = sample_rate_hz
    frame.pts = 0
    source.push(frame)
    source.push(None)
    pull: Callable[[], av.AudioFrame] = sink.pull  # type: ignore[assignment]
    parts: list[Mono] = []
    while True:
        try:
            parts.append(pull().to_ndarray()[0])
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    return _of_length(np.concatenate(parts) if parts else samples[:0], round(len(samples) / tempo))


def _of_length(samples: Mono, length: int) -> Mono:
    fitted: Mono = np.pad(samples[:length], (0, max(0, length - len(samples))))
    return fitted


def resampled(samples: Mono, from_hz: int, to_hz: int) -> Mono:
    """The same sound at another rate, its length rounded to the nearest sample."""
    if from_hz == to_hz or samples.size == 0:
        return samples
    import av

    resampler = av.AudioResampler("flt", "mono", to_hz)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[np.newaxis]), format="flt", layout="mono")
    frame.sample_rate = from_hz
    made = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))]
    return _of_length(np.concatenate(made), round(len(samples) * to_hz / from_hz))


def to_s16(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Signed 16-bit, rounded to the nearest and clipped."""
    rounded: npt.NDArray[np.int16] = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
    return rounded


def from_s16(data: bytes) -> Mono:
    """Float samples of signed 16-bit little-endian bytes."""
    samples: Mono = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
    return samples


def packed(samples: npt.NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """Lossless and about half as large (FLAC)."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=sample_rate_hz, layout="mono")
        step = 4096
        for start in range(0, len(samples), step):
            block = np.ascontiguousarray(samples[np.newaxis, start : start + step])
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate = sample_rate_hz
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def unpacked(data: bytes) -> tuple[npt.NDArray[np.int16], int]:
    """Samples and their rate; what `packed` was given."""
    import av

    with av.open(io.BytesIO(data), "r", format="flac") as container:
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    return (np.concatenate(parts) if parts else np.zeros(0, np.int16)), int(rate)
