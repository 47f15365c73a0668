"""Is anyone speaking, right now: Silero on the audio as it is and on a levelled copy, window by window, no looking ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..voice_activity import CONTEXT, WINDOW, Leveller, Samples

Pcm16 = npt.NDArray[np.int16]


class LiveActivity:
    """Speech probabilities of a stream: the larger of the two of a window. Silero's state is carried on."""

    def __init__(self, session: Any) -> None:
        """`session`: from `voice_activity.open_silero`; it may be shared."""
        self._leveller = Leveller()
        self._plain = _Stream(session)
        self._levelled = _Stream(session)
        self._rest = np.zeros(0, np.int16)

    def push(self, samples: Pcm16, least: int = 1) -> Samples:
        """Takes the next samples; returns the probabilities of the windows that are whole, in order, when there are `least`."""
        heard = np.concatenate([self._rest, samples])
        count = len(heard) // WINDOW
        count = count if count >= least else 0
        self._rest = heard[count * WINDOW :]
        if not count:
            return np.zeros(0, np.float32)
        windows = heard[: count * WINDOW].astype(np.float32).reshape(-1, WINDOW) / np.float32(32768)
        levelled = self._leveller.level(windows, windows[:0])
        return np.maximum(self._plain.judge(windows), self._levelled.judge(levelled))


class _Stream:
    """Silero's memory of one version of the audio."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._context = np.zeros(CONTEXT, np.float32)
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)

    def judge(self, windows: Samples) -> Samples:
        tails = np.concatenate([self._context[None], windows[:-1, -CONTEXT:]])
        self._context = windows[-1, -CONTEXT:]
        inputs = {"input": np.concatenate([tails, windows], axis=1), "h": self._h, "c": self._c}
        probabilities, self._h, self._c = self._session.run(None, inputs)
        return np.asarray(probabilities, np.float32).reshape(-1)
