"""Loudness and peaks of sound that passes by: measured as the standard has it, evened out, and kept below a ceiling.

    mix ─► Leveller (a gain that moves slowly) ─► Limiter (a gain that moves for milliseconds) ─► file   (both: `Mastering`)

All of it works on a fixed grid of the sample clock, so that the same sound gives the same samples however it is handed over.
Blocks have shape (channels, samples), float32 at 48 kHz; full scale is 1.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

RATE_HZ = 48_000

TARGET_LUFS = -16.0
"""Integrated loudness of what is written (EBU R 128, ITU-R BS.1770), the usual one for speech that is streamed."""

CEILING_DBTP = -2.0
"""True peak of what is written: a decibel below what is promised, which lossy codecs may take."""

Block = npt.NDArray[np.float32]

_HOP = RATE_HZ // 10
"""The standard measures 400 ms that overlap by three quarters."""
_TAPS = RATE_HZ // 20
"""The K filter's impulse response is over, to −100 dB, after this long."""
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = 10.0
_BINS_PER_LU = 20
_BINS = 80 * _BINS_PER_LU


def k_weights(size: int, sample_rate_hz: int) -> npt.NDArray[np.complex64]:
    """The K filter's response at each frequency of a real transform of `size` samples: the standard's filters at 48 kHz."""
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size, 1 / sample_rate_hz) / RATE_HZ)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high_pass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    response: npt.NDArray[np.complex64] = (shelf * high_pass).astype(np.complex64)
    return response


_cached_weights = functools.lru_cache(maxsize=4)(k_weights)


class Gated:
    """Integrated loudness of tenths of seconds whose K-weighted power is known. Memory does not grow: it keeps a histogram."""

    def __init__(self) -> None:
        self._hops: deque[float] = deque(maxlen=4)
        self._counts = np.zeros(_BINS)
        self._energies = np.zeros(_BINS)

    def add(self, power: float) -> None:
        """Takes the power of the next tenth of a second, summed over the channels."""
        self._hops.append(power)
        if len(self._hops) < 4:
            return
        energy = sum(self._hops) / 4
        loudness = _lufs(energy)
        if loudness > _ABSOLUTE_GATE_LUFS:
            at = min(_BINS - 1, int((loudness - _ABSOLUTE_GATE_LUFS) * _BINS_PER_LU))
            self._counts[at] += 1
            self._energies[at] += energy

    @property
    def seconds(self) -> float:
        """How much of it was louder than the gates."""
        return float(self._counts[self._gate() :].sum()) / 10

    @property
    def integrated_lufs(self) -> float | None:
        """Gated as the standard has it; None where nothing was loud enough to count."""
        if not self._counts.any():
            return None
        gate = self._gate()
        return _lufs(float(self._energies[gate:].sum() / self._counts[gate:].sum()))

    def _gate(self) -> int:
        """The first bin above both gates."""
        if not self._counts.any():
            return 0
        relative = _lufs(float(self._energies.sum() / self._counts.sum())) - _RELATIVE_GATE_LU
        return max(0, int((relative - _ABSOLUTE_GATE_LUFS) * _BINS_PER_LU))


class Meter(Gated):
    """Integrated loudness of everything fed so far."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self._before: Block = np.zeros((channels, _TAPS), np.float32)
        """What the filter still remembers."""
        self._waiting: Block = np.zeros((channels, 0), np.float32)

    def feed(self, block: Block) -> list[float]:
        """Takes samples; returns the powers of the tenths of seconds that are whole now."""
        waiting = np.concatenate((self._waiting, block), axis=1)
        whole = waiting.shape[1] - waiting.shape[1] % _HOP
        self._waiting = waiting[:, whole:].copy()
        powers: list[float] = []
        for start in range(0, whole, 10 * _HOP):
            powers += self._measure(waiting[:, start : min(whole, start + 10 * _HOP)])
        return powers

    def _measure(self, block: Block) -> list[float]:
        known = np.concatenate((self._before, block), axis=1)
        self._before = known[:, -_TAPS:].copy()
        size = known.shape[1] + known.shape[1] % 2
        heard = np.fft.irfft(np.fft.rfft(known, size) * _cached_weights(size, RATE_HZ), size)[:, _TAPS : known.shape[1]]
        powers = (heard.reshape(heard.shape[0], -1, _HOP).astype(np.float64) ** 2).mean(axis=2).sum(axis=0).tolist()
        for power in powers:
            self.add(power)
        return list(powers)


def _lufs(energy: float) -> float:
    return -0.691 + 10 * float(np.log10(max(energy, 1e-20)))


def integrated_lufs(block: Block) -> float | None:
    """Loudness of sound that silence surrounds, as a meter of the whole would have it; None for silence."""
    meter = Meter(block.shape[0])
    silence = np.zeros((block.shape[0], 3 * _HOP), np.float32)
    meter.feed(np.concatenate((silence, block, silence, silence[:, : -block.shape[1] % _HOP]), axis=1))
    return meter.integrated_lufs


class Leveller:
    """Brings sound to a loudness with one gain that moves slowly, so that what is soft within it stays soft.

    It looks `ahead_s` ahead: sound that is no longer comes out at exactly `target_lufs`, as far as the bounds allow. Sound
    that is longer starts at the loudness of its first `ahead_s`, follows what all of it so far turns out to be, and makes up for
    what is lacking of what came out so far.
    """

    def __init__(
        self, *, ahead_s: float, most_up_db: float, most_down_db: float, target_lufs: float = TARGET_LUFS
    ) -> None:
        self._ahead = round(ahead_s * RATE_HZ / _HOP)
        self._bounds = (-most_down_db, most_up_db)
        self._target = target_lufs
        self._meter = Meter()
        self._given = Gated()
        """What came out so far."""
        self._power = 0.0
        """Of the last hop."""
        self._waiting: Block = np.zeros((2, 0), np.float32)
        self._hops: deque[tuple[Block, float]] = deque()
        self._gain_db: float | None = None

    def push(self, block: Block, *, last: bool = False) -> Block:
        """Takes samples, gives those whose gain is decided; with `last` all that are left."""
        out = []
        for hop in self.hops(block, last=last):
            self.given(1.0)
            out.append(hop)
        return _joined(out)

    def given(self, share: float) -> None:
        """Says how much of the power of the last hop came out in the end."""
        self._given.add(self._power * share)

    def hops(self, block: Block, *, last: bool = False) -> Iterator[Block]:
        """Like `push`, a tenth of a second at a time; `given` is to be called for each before the next."""
        waiting = np.concatenate((self._waiting, block), axis=1)
        whole = waiting.shape[1] - waiting.shape[1] % _HOP
        self._waiting = waiting[:, whole:].copy()
        for start in range(0, whole, _HOP):
            hop = waiting[:, start : start + _HOP]
            (power,) = self._meter.feed(hop)
            self._hops.append((hop, power))
            if len(self._hops) > self._ahead:
                yield self._levelled()
        if last:
            if self._waiting.shape[1]:
                self._hops.append((self._waiting, 0.0))
                self._waiting = self._waiting[:, :0]
            while self._hops:
                yield self._levelled()

    def _levelled(self) -> Block:
        hop, power = self._hops.popleft()
        wanted = self._wanted_db()
        before = wanted if self._gain_db is None else self._gain_db
        step = _SLEW_DB_PER_S * _HOP / RATE_HZ
        self._gain_db = min(before + step, max(before - step, wanted))
        self._power = power * 10 ** ((before + self._gain_db) / 20)
        ramp = np.linspace(before, self._gain_db, hop.shape[1], endpoint=False)
        levelled: Block = hop * (10 ** (ramp / 20)).astype(np.float32)
        return levelled

    def _wanted_db(self) -> float:
        loudness = self._meter.integrated_lufs
        if loudness is None or (not self._ahead and self._meter.seconds < _SURE_S):
            return self._gain_db or 0.0
        owed = 0.0
        # Before that, what came out is only the beginning of what the gain is for.
        if self._given.seconds > max(_SURE_S, self._ahead * _HOP / RATE_HZ):
            given = self._given.integrated_lufs or self._target
            owed = min(_MOST_OWED_DB, max(-_MOST_OWED_DB, _OWED_TIMES * (self._target - given)))
        return min(self._bounds[1], max(self._bounds[0], self._target - loudness + owed))


def _joined(blocks: Iterable[Block]) -> Block:
    return np.concatenate((np.zeros((2, 0), np.float32), *blocks), axis=1)


_SLEW_DB_PER_S = 0.5
_SURE_S = 3.0
"""Where nothing is known ahead, this much is heard before the gain moves."""
_OWED_TIMES = 3
_MOST_OWED_DB = 2.0
"""What is lacking so far is made up for three times over, for a while is already gone, but never by more than this."""


class Limiter:
    """Turns peaks above a ceiling down, beginning 10 ms before them so that nothing is cut; true peaks, four times oversampled.

    What comes out is up to 22 ms behind what goes in.
    """

    def __init__(self, ceiling_dbtp: float = CEILING_DBTP) -> None:
        self._ceiling = 10 ** (ceiling_dbtp / 20)
        self._held: Block = np.zeros((2, 0), np.float32)
        """Samples that are not given yet; they begin with a frame."""
        self._before: Block = np.zeros((2, _REACH), np.float32)
        """The samples before the first whose peak is not known."""
        self._measured = 0
        """How many frames of `_held` have a known peak."""
        self._needed = [1.0] * (2 * _LOOK)
        """The gain that each frame's peak asks for, from `2 * _LOOK` frames before the first of `_held`."""
        self._last_gain = 1.0
        """The gain of the frame before the first of `_held`."""
        self.kept = 1.0
        """The share of the power that came out of the last `push`."""

    def push(self, block: Block, *, last: bool = False) -> Block:
        """Takes samples, gives those whose gain is decided; with `last` all that are left."""
        self._held = np.concatenate((self._held, block), axis=1)
        length = self._held.shape[1]
        if last:  # silence behind the end, so that the last frames are decided
            self._held = np.pad(self._held, ((0, 0), (0, (2 * _LOOK + 3) * FRAME + -length % FRAME)))
        self._measure()
        count = len(self._needed) - 4 * _LOOK - 1
        if count <= 0:
            return np.zeros((2, 0), np.float32)
        gains = _smoothed(np.array(self._needed), _LOOK)
        out = self._held[:, : count * FRAME]
        if min(self._last_gain, gains[: count + 1].min()) < 1:
            power = float(np.square(out).sum())
            out = out * ramps(np.concatenate(([self._last_gain], gains[: count + 1])), FRAME)
            self.kept = float(np.square(out).sum()) / power if power else 1.0
        else:
            self.kept = 1.0
        self._last_gain = float(gains[count - 1])
        self._held = self._held[:, count * FRAME :].copy()
        self._measured -= count
        del self._needed[:count]
        return out[:, :length] if last else out

    def _measure(self) -> None:
        known = self._measured * FRAME
        frames = (self._held.shape[1] - known - _REACH) // FRAME
        if frames <= 0:
            return
        new = self._held[:, known : known + frames * FRAME + _REACH]
        peaks = true_peaks(np.concatenate((self._before, new), axis=1), FRAME)
        self._needed += np.minimum(1.0, self._ceiling / np.maximum(peaks, 1e-9)).tolist()
        self._before = self._held[:, known + frames * FRAME - _REACH : known + frames * FRAME].copy()
        self._measured += frames


class Mastering:
    """A leveller and a limiter behind it, whose losses the leveller makes up for."""

    def __init__(self, *, ahead_s: float, most_up_db: float, most_down_db: float) -> None:
        self._leveller = Leveller(ahead_s=ahead_s, most_up_db=most_up_db, most_down_db=most_down_db)
        self._limiter = Limiter()

    def push(self, block: Block, *, last: bool = False) -> Block:
        """Takes samples, gives those that are finished; with `last` all that are left."""
        out = _joined(map(self._limited, self._leveller.hops(block, last=last)))
        return np.concatenate((out, self._limiter.push(out[:, :0], last=True)), axis=1) if last else out

    def _limited(self, hop: Block) -> Block:
        limited = self._limiter.push(hop)
        self._leveller.given(self._limiter.kept)
        return limited


FRAME = RATE_HZ // 1000
"""Samples that share a peak."""
_LOOK = 5
_REACH = 8
"""Samples each side that a value between two samples is interpolated from."""


def limited(samples: Block, sample_rate_hz: int, ceiling: float) -> Block:
    """Sound of shape (samples,) at any rate with its true peaks turned down to `ceiling`."""
    frame = max(_REACH, sample_rate_hz // 1000)
    edge = np.zeros(_REACH, np.float32)
    whole = np.concatenate((edge, samples, np.zeros(-len(samples) % frame, np.float32), edge))
    needed = np.minimum(1.0, ceiling / np.maximum(true_peaks(whole[np.newaxis], frame), 1e-9))
    if needed.min(initial=1.0) >= 1:
        return samples
    gains = _smoothed(np.pad(needed, 2 * _LOOK, constant_values=1.0), _LOOK)
    turned_down: Block = samples * ramps(np.concatenate(([1.0], gains, [1.0])), frame)[: len(samples)]
    return turned_down


def true_peaks(block: Block, frame: int) -> npt.NDArray[np.float64]:
    """The highest true peak of each frame over all channels, four times oversampled.

    `block` has `_REACH` samples more before its first frame and behind its last one.
    """
    inner = np.abs(block[:, _REACH:-_REACH])
    peaks = inner.max(axis=0)
    if 4 * peaks.max(initial=0.0) > 1:  # between samples, speech and music rise by half at most
        for phase in _PHASES:
            for channel in block:
                between = np.abs(np.correlate(channel, phase, "valid"))[1 : len(peaks) + 1]
                np.maximum(peaks, between, out=peaks)
    framed: npt.NDArray[np.float64] = peaks.reshape(-1, frame).max(axis=1).astype(np.float64)
    return framed


def _phases() -> list[npt.NDArray[np.float32]]:
    """Windowed sinc filters that interpolate a quarter, a half and three quarters of a sample later."""
    phases = []
    for quarter in (1, 2, 3):
        at = np.arange(-_REACH + 1, _REACH + 1) - quarter / 4
        taps = np.sinc(at) * np.cos(np.pi * at / (2 * _REACH)) ** 2
        phases.append((taps / taps.sum()).astype(np.float32))
    return phases


_PHASES = _phases()


def _smoothed(needed: npt.NDArray[np.float64], look: int) -> npt.NDArray[np.float64]:
    """A gain for all frames but the first and last `2 * look`: never more than needed, changing by little from one to the next."""
    windows = np.lib.stride_tricks.sliding_window_view
    lowest = windows(needed, 2 * look + 1).min(axis=1)
    gains: npt.NDArray[np.float64] = windows(lowest, 2 * look + 1).mean(axis=1)
    return gains


def ramps(gains: npt.NDArray[np.float64], frame: int) -> Block:
    """A gain a sample for all frames but the first and the last of `gains`, without a step and nowhere above the frame's own."""
    edges = np.minimum(gains[:-1], gains[1:])
    count = len(edges) - 1
    sloped: Block = np.interp(np.arange(count * frame) / frame, np.arange(count + 1), edges).astype(np.float32)
    return sloped
