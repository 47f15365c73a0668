"""Whisper's input: log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from . import Samples

SAMPLE_RATE_HZ = 16_000
HOP = 160
"""Samples a frame: 10 ms."""
FULL_FRAMES = 3000
"""What Whisper was trained on: 30 s."""
STEP_FRAMES = 40
"""Lengths are rounded up to multiples of this. oneDNN, below CTranslate2, compiles its convolutions for each length (4 ms)
and keeps the last thousand (0.7 MiB a length), so over hours of all lengths it would take hundreds of MiB."""
ENCODED_S = 2 * HOP / SAMPLE_RATE_HZ
"""Time that one position of the encoder's output stands for."""
FFT = 400
SOUNDLESS = -10.0
"""Logarithm of what is no sound at all."""
BLOCK = 8
"""Frames multiplied at once: so few that OpenBLAS starts no threads, which would only take time from the decoder's."""

Mel = npt.NDArray[np.float32]


class MelSpectrogram:
    """Log-mel features as Whisper was trained on."""

    def __init__(self, bands: int) -> None:
        self.bands = bands
        self._window = np.hanning(FFT + 1)[:-1].astype(np.float32)
        self._filters = mel_filters(bands)

    def batch(self, utterances: Sequence[Samples], frames: int) -> Mel:
        """Shape (utterances, bands, frames): each utterance followed by silence up to `frames`, normalised by itself."""
        return np.stack([self.one(samples, frames) for samples in utterances])

    def one(self, samples: Samples, frames: int) -> Mel:
        """Shape (bands, frames)."""
        return self.part(samples, 0, frames)[0]

    def part(self, samples: Samples, first: int, frames: int, loudest: float = SOUNDLESS) -> tuple[Mel, float]:
        """The frames from `first` up to `frames`, and the largest logarithm in them or `loudest`, that of those before.

        Only the frames that hold sound are transformed; silence is known beforehand.
        """
        heard = max(0, min(frames, len(samples) // HOP + 2) - first)
        padded = np.zeros(heard * HOP + FFT, np.float32)
        begin = first * HOP - FFT // 2
        centred = samples[max(0, begin) : begin + len(padded)]
        padded[max(0, -begin) : max(0, -begin) + len(centred)] = centred
        if begin < 0 and len(samples) > FFT // 2:
            padded[:-begin] = samples[-begin:0:-1]
        framed = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP][:heard]
        spectrum = np.fft.rfft(framed * self._window, axis=1)
        power = np.zeros((-(-heard // BLOCK) * BLOCK, FFT // 2 + 1), np.float32)
        power[:heard] = spectrum.real**2 + spectrum.imag**2
        mel = (power.reshape(-1, BLOCK, FFT // 2 + 1) @ self._filters.T).reshape(-1, self.bands)[:heard]
        out = np.full((self.bands, frames - first), SOUNDLESS, np.float32)
        out[:, :heard] = np.log10(np.maximum(mel, 10**SOUNDLESS)).T
        loudest = max(loudest, float(out.max(initial=SOUNDLESS)))
        np.maximum(out, loudest - 8.0, out=out)
        out += 4.0
        out /= 4.0
        return out, loudest


def frames_of(samples: int, silence_s: float, step: int = STEP_FRAMES) -> int:
    """Frames of so many samples and the silence after them, or a little more: whole steps, at most FULL_FRAMES.

    >>> frames_of(16_000, 2.0), frames_of(16_000, 30.0), frames_of(16_000, 2.0, step=2)
    (320, 3000, 300)
    """
    whole = -(-(samples + round(silence_s * SAMPLE_RATE_HZ)) // (step * HOP))
    return min(FULL_FRAMES, whole * step)


def mel_filters(bands: int) -> Mel:
    """Triangular filters on Slaney's mel scale, each of unit area: shape (bands, FFT // 2 + 1)."""
    hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE_HZ / 2), bands + 2))
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE_HZ)
    widths = np.diff(hz)
    slopes = hz[:, None] - bins[None, :]
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (hz[2:] - hz[:-2]))[:, None]).astype(np.float32)


_LINEAR_HZ = 200.0 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + float(np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    linear = mel * _LINEAR_HZ
    bent = _BREAK_HZ * np.exp(_LOG_STEP * np.maximum(0.0, mel - _BREAK_HZ / _LINEAR_HZ))
    return np.where(mel < _BREAK_HZ / _LINEAR_HZ, linear, bent)
