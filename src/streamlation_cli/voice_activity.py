"""Voice activity: how likely each 32 ms window is speech, by Silero VAD on levelled audio.

Silero misses a clear talker who is merely quiet, so the audio is levelled first: each window gets the gain that brings
the loudest moment around it near full scale. Nothing is ever judged by its raw level.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .engines import needs_extra
from .errors import Unavailable
from .records import SAMPLE_RATE_HZ

WINDOW = 512
"""Samples a window: the one length that Silero takes at 16 kHz."""
CONTEXT = 64
"""Samples before the window that Silero sees too."""
BLOCK = 32
"""Windows judged in one call of the network."""
LOOKAHEAD = 16
"""Windows (half a second) whose level is known before a window gets its gain."""

Samples = npt.NDArray[np.float32]
Pcm16 = npt.NDArray[np.int16]


class ActivityDetector(Protocol):
    """Speech probabilities of a stream of audio."""

    def push(self, samples: Pcm16) -> Samples:
        """Takes the next samples; returns the probabilities of the windows that are decided, in order."""

    def flush(self) -> Samples:
        """The end: returns the probabilities of the windows that are left, the last one padded with zeros."""


class Leveller:
    """Gain that follows the loudness of speech: down ahead of a loud sound, up again by `recovery_db_s` in quiet."""

    def __init__(self, target_dbfs: float = -6.0, most_db: float = 42.0, recovery_db_s: float = 20.0) -> None:
        self._target = target_dbfs
        self._floor = target_dbfs - most_db
        self._step = recovery_db_s * WINDOW / SAMPLE_RATE_HZ
        self._envelope = self._floor
        self._gain: float | None = None

    def level(self, windows: Samples, ahead: Samples) -> Samples:
        """The windows with their gain, shape (n, WINDOW) in [-1, 1]; `ahead`: the windows that follow, for their level.

        The level is carried to the next call.
        """
        peaks = np.abs(np.concatenate([windows, ahead])).max(axis=1)
        loudest = np.lib.stride_tricks.sliding_window_view(np.pad(peaks, (0, LOOKAHEAD)), LOOKAHEAD + 1).max(axis=1)
        gains = np.empty(len(windows), np.float32)
        for index, level in enumerate(20 * np.log10(np.maximum(loudest[: len(windows)], 1e-6))):
            self._envelope = max(float(level), self._envelope - self._step, self._floor)
            gains[index] = 10 ** ((self._target - self._envelope) / 20)
        before = np.concatenate([[gains[0] if self._gain is None else self._gain], gains[:-1]]).astype(np.float32)
        self._gain = float(gains[-1])
        ramp = np.linspace(0, 1, WINDOW, dtype=np.float32)
        return np.clip(windows * (before[:, None] * (1 - ramp) + gains[:, None] * ramp), -1, 1)


class SileroDetector:
    """Silero VAD on levelled audio, its state carried from window to window."""

    def __init__(self, session: Any) -> None:
        """`session`: from `open_silero`; it may be shared."""
        self._session = session
        self._leveller = Leveller()
        self._rest = np.zeros(0, np.int16)
        self._context = np.zeros(CONTEXT, np.float32)
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)

    def push(self, samples: Pcm16) -> Samples:
        """See `ActivityDetector`; decides blocks of BLOCK windows when LOOKAHEAD windows more are there."""
        self._rest = np.concatenate([self._rest, samples])
        decided = [np.zeros(0, np.float32)]
        while len(self._rest) >= (BLOCK + LOOKAHEAD) * WINDOW:
            decided.append(self._judge(BLOCK, self._rest[: (BLOCK + LOOKAHEAD) * WINDOW]))
            self._rest = self._rest[BLOCK * WINDOW :]
        return np.concatenate(decided)

    def flush(self) -> Samples:
        """See `ActivityDetector`."""
        padded = np.pad(self._rest, (0, -len(self._rest) % WINDOW))
        self._rest = self._rest[:0]
        return self._judge(len(padded) // WINDOW, padded) if len(padded) else np.zeros(0, np.float32)

    def _judge(self, count: int, samples: Pcm16) -> Samples:
        """Probabilities of the first `count` windows of whole ones."""
        windows = samples.astype(np.float32).reshape(-1, WINDOW) / np.float32(32768)
        levelled = self._leveller.level(windows[:count], windows[count:])
        tails = np.concatenate([self._context[None], levelled[:-1, -CONTEXT:]])
        self._context = levelled[-1, -CONTEXT:]
        inputs = {"input": np.concatenate([tails, levelled], axis=1), "h": self._h, "c": self._c}
        probabilities, self._h, self._c = self._session.run(None, inputs)
        return np.asarray(probabilities, np.float32).reshape(-1)


def open_silero() -> Any:
    """The Silero VAD network that faster-whisper ships, on one thread; raises Unavailable where it is not installed."""
    with needs_extra("voice activity detection"):
        import onnxruntime

        # Importing faster_whisper itself would take a second and 60 MB for one file beside it.
        package = importlib.util.find_spec("faster_whisper")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("No module named 'faster_whisper'", name="faster_whisper")
    path = Path(package.origin).parent / "assets" / "silero_vad_v6.onnx"
    if not path.is_file():
        raise Unavailable(f"{path} is missing; install faster-whisper 1.2 or a later 1.x")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
