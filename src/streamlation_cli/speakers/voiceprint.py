"""What a voice sounds like, as 256 numbers: a network trained to bring recordings of one person together and those of
others apart (Wan et al., “Generalized End-to-End Loss for Speaker Verification”, 2018), in the weights of Resemblyzer.

    16 kHz ─► 40 mel bands every 10 ms ─► windows of 1.6 s ─► LSTM × 3 ─► linear, ReLU ─► length 1 ─► their mean, length 1

It is small enough for numpy: a second of speech takes about 20 ms of one core.
"""

from __future__ import annotations

import functools
import pickle
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engines import Samples
from ..errors import ModelMissing

RATE_HZ = 16_000
SIZE = 256

Floats = npt.NDArray[np.float32]

_WINDOW = 400
_HOP = 160
_BANDS = 40
_FRAMES = 160
"""Frames of 10 ms that the network was trained on at once."""
_STEP = 80
_LEVEL_DBFS = -30.0
"""What is softer is turned up to this, as in training."""
_LAYERS = 3
_MAGIC = 0x1950A86A20F9469CFC6C
"""First in a file that PyTorch saved before its version 1.6."""
_FLOATS: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "DoubleStorage": np.dtype("<f8"),
}


class VoicePrinter:
    """The network. Raises ModelMissing where `folder` holds no such weights. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        weights = read_weights(folder / "pretrained.pt")
        try:
            self._layers = [
                (
                    weights[f"lstm.weight_ih_l{layer}"].T.copy(),
                    _columns(weights[f"lstm.weight_hh_l{layer}"].T),
                    weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"],
                )
                for layer in range(_LAYERS)
            ]
            self._linear, self._bias = weights["linear.weight"].T.copy(), weights["linear.bias"]
        except KeyError as error:
            raise ModelMissing(f"{folder}: not the weights of a voice encoder: {error.args[0]} is not in it") from None

    def prints(self, stretches: Sequence[Samples]) -> Floats:
        """One print a stretch of speech (16 kHz mono), shape (stretches, 256), each of length 1."""
        windows: list[Floats] = []
        owners: list[int] = []
        for index, samples in enumerate(stretches):
            for window in _windows(mel(levelled(samples))):
                windows.append(window)
                owners.append(index)
        found = np.zeros((len(stretches), SIZE), np.float32)
        for start in range(0, len(windows), _BATCH):
            batch = self._run(np.stack(windows[start : start + _BATCH]))
            np.add.at(found, owners[start : start + _BATCH], batch)
        return unit(found)

    def _run(self, frames: Floats) -> Floats:
        """Frames of shape (windows, 160, 40) to prints of shape (windows, 256)."""
        for input_weights, state_weights, bias in self._layers:
            count, steps, _ = frames.shape
            driven = frames @ input_weights + bias
            hidden = np.zeros((count, SIZE), np.float32)
            cell = np.zeros((count, SIZE), np.float32)
            out = np.empty((count, steps, SIZE), np.float32)
            for step in range(steps):
                gates = driven[:, step] + np.concatenate([hidden @ columns for columns in state_weights], axis=1)
                opened = _sigmoid(gates)
                candidate = np.tanh(gates[:, 2 * SIZE : 3 * SIZE])
                cell = opened[:, SIZE : 2 * SIZE] * cell + opened[:, :SIZE] * candidate
                hidden = opened[:, 3 * SIZE :] * np.tanh(cell)
                out[:, step] = hidden
            frames = out
        return unit(np.maximum(frames[:, -1] @ self._linear + self._bias, 0))


_BATCH = 8
_COLUMNS = 64
"""A product so small is made by one thread: for these, starting others costs several times what they do."""


def _columns(weights: Floats) -> list[Floats]:
    return [weights[:, start : start + _COLUMNS].copy() for start in range(0, weights.shape[1], _COLUMNS)]


def _sigmoid(values: Floats) -> Floats:
    result: Floats = 0.5 * (np.tanh(0.5 * values) + 1)
    return result


def unit(rows: Floats) -> Floats:
    """Rows brought to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    result: Floats = rows / np.maximum(lengths, 1e-9)
    return result


def levelled(samples: Samples) -> Samples:
    """Turned up to the level of the training's recordings where it is softer."""
    power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    if power <= 0:
        return samples
    gain_db = _LEVEL_DBFS - 10 * np.log10(power)
    louder: Samples = samples * np.float32(10 ** (gain_db / 20)) if gain_db > 0 else samples
    return louder


def mel(samples: Samples) -> Floats:
    """Power in 40 mel bands, shape (frames, 40), a frame each 10 ms."""
    padded = np.pad(samples, _WINDOW // 2)
    if len(padded) < _WINDOW:
        return np.zeros((0, _BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    bands: Floats = (power @ _filters()).astype(np.float32)
    return bands


@functools.cache
def _filters() -> Floats:
    """Slaney's mel filters of equal area, shape (201, 40), from 0 to 8 kHz."""
    hertz = _to_hertz(np.linspace(0, _to_mel(RATE_HZ / 2), _BANDS + 2))
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    rising = (bins[:, None] - hertz[None, :-2]) / np.diff(hertz)[None, :-1]
    falling = (hertz[None, 2:] - bins[:, None]) / np.diff(hertz)[None, 1:]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (hertz[2:] - hertz[:-2]))[None, :]
    result: Floats = filters.astype(np.float32)
    return result


_LINEAR_TO_HZ = 1000.0
_MELS_PER_HZ = 3 / 200
_LOG_STEP = np.log(6.4) / 27


def _to_mel(hertz: float) -> float:
    """Slaney's scale: even up to 1 kHz, logarithmic above."""
    return _LINEAR_TO_HZ * _MELS_PER_HZ + float(np.log(hertz / _LINEAR_TO_HZ)) / float(_LOG_STEP)


def _to_hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    knee = _LINEAR_TO_HZ * _MELS_PER_HZ
    hertz: npt.NDArray[np.float64] = np.where(
        mels < knee, mels / _MELS_PER_HZ, _LINEAR_TO_HZ * np.exp(_LOG_STEP * (mels - knee))
    )
    return hertz


def _windows(frames: Floats) -> list[Floats]:
    """Windows of `_FRAMES` that overlap by half; a stretch that is shorter is repeated to fill one."""
    if not len(frames):
        return []
    if len(frames) < _FRAMES:
        times = -(-_FRAMES // len(frames))
        return [np.tile(frames, (times, 1))[:_FRAMES]]
    starts = list(range(0, len(frames) - _FRAMES + 1, _STEP))
    if starts[-1] + _FRAMES < len(frames) - _STEP // 2:
        starts.append(len(frames) - _FRAMES)
    return [frames[start : start + _FRAMES] for start in starts]


def read_weights(path: Path) -> dict[str, Floats]:
    """The tensors of `model_state` in a file that PyTorch saved in its old form, by name; no code in it is run.

    Raises ModelMissing where the file is not there or is something else.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except FileNotFoundError:
        raise ModelMissing(f"{path} is missing; it holds the weights that tell voices apart") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelMissing(f"{path}: not the weights of a voice encoder: {error}") from error


class _Plain(pickle.Unpickler):
    """Reads the tensors' names and shapes, and nothing that could be called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name.endswith("Storage"):
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, count, *_ = pid
        return str(key), str(kind), int(count)


def _tensor(
    storage: tuple[str, str, int], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Any:
    return storage, int(offset), tuple(shape), tuple(stride)


def _read(file: Any) -> dict[str, Floats]:
    if _Plain(file).load() != _MAGIC:
        raise ValueError("it is no file of PyTorch's old form")
    _Plain(file).load()  # its version
    _Plain(file).load()  # what machine it was made on
    state = _Plain(file).load()["model_state"]
    stored = {}
    kinds = {storage[0]: storage[1] for storage, *_ in state.values()}
    for key in _Plain(file).load():
        count = int.from_bytes(file.read(8), "little")
        kind = _FLOATS[kinds[key]] if key in kinds else np.dtype("<f4")
        stored[key] = np.frombuffer(file.read(count * kind.itemsize), kind)
    tensors = {}
    for name, (storage, offset, shape, stride) in state.items():
        values = stored[storage[0]][offset:]
        if values.size < int(np.prod(shape)) or stride != _row_by_row(shape):
            raise ValueError(f"{name} is not stored as expected")
        tensors[name] = values[: int(np.prod(shape))].reshape(shape).astype(np.float32)
    return tensors


def _row_by_row(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps = [1]
    for size in reversed(shape[1:]):
        steps.append(steps[-1] * size)
    return tuple(reversed(steps[: len(shape)])) if shape else ()


_opened: dict[Path, VoicePrinter] = {}
_opening = threading.Lock()


def opened(folder: Path) -> VoicePrinter:
    """The network with these weights, loaded once in a process."""
    with _opening:
        if folder not in _opened:
            _opened[folder] = VoicePrinter(folder)
        return _opened[folder]
