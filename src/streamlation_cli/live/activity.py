"""Is anyone speaking, right now: Silero on the audio as it is and on a levelled copy, window by window, no looking ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..voice_activity import CONTEXT, WINDOW, Leveller, Samples

Pcm16 = npt.NDArray[np.int16]


IDLE_WINDOWS = 8
"""Windows that are judged at once while nobody speaks. One by one they take three times as long, and no word is later for it, since a
decoding waits for far more sound."""
QUIET = 0.1
"""While the levelled copy is less likely than this to be speech and nobody speaks, the audio as it is is not judged: in 124 stretches of
development recordings, as loud as they are and at an eighth of it, speech began and ended where it did otherwise, to 0.2 s, and
none was missed."""
RECALLED = 16
"""Windows that are then heard again before: the network needs to have heard what came before."""


class LiveActivity:
    """Speech probabilities of a stream: the larger of the two of a window. Silero's state is carried on."""

    def __init__(self, session: Any) -> None:
        """`session`: from `voice_activity.open_silero`; it may be shared."""
        self._leveller = Leveller()
        self._plain = _Stream(session)
        self._levelled = _Stream(session)
        self._rest = np.zeros(0, np.int16)
        self._unheard = np.zeros((0, WINDOW), np.float32)
        """The last windows that were judged by their levelled copy alone."""

    def push(self, samples: Pcm16, *, idle: bool = False) -> Samples:
        """Takes the next samples; returns the probabilities of the windows that are decided, in order.

        `idle`: nobody speaks so far, so it can take its time: whole windows are decided IDLE_WINDOWS together.
        """
        heard = np.concatenate([self._rest, samples])
        count = len(heard) // WINDOW
        if count < (IDLE_WINDOWS if idle else 1):
            self._rest = heard
            return np.zeros(0, np.float32)
        self._rest = heard[count * WINDOW :]
        windows = heard[: count * WINDOW].astype(np.float32).reshape(-1, WINDOW) / np.float32(32768)
        levelled = self._levelled.judge(self._leveller.level(windows, windows[:0]))
        if idle and levelled.max() < QUIET:
            self._unheard = np.concatenate([self._unheard, windows])[-RECALLED:]
            return levelled
        if len(self._unheard):
            self._plain.judge(self._unheard)
            self._unheard = self._unheard[:0]
        return np.maximum(levelled, self._plain.judge(windows))


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
