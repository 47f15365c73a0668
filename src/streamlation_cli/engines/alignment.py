"""When tokens were said, from where the decoder looked when it found them.

Some heads of the decoder's attention follow the sound. Their mean, cleaned of what is the same for all tokens, is a map of tokens
and time, and the path through it along which they look most gives each token its time. As in Whisper's `timing.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

WIDTH = 7
"""Of the median filter, in positions."""


def first_positions(scores: Floats, before: int) -> npt.NDArray[np.int64]:
    """Where each token begins.

    `scores`: what heads give for each position of the sound before the softmax, a row for each token that was looked for; shape
    (heads, rows, positions). The first `before` rows are not of the text. Returns a position for each other row, not falling.
    """
    looks = np.exp(scores - scores.max(axis=2, keepdims=True))
    looks /= looks.sum(axis=2, keepdims=True)
    looks -= looks.mean(axis=1, keepdims=True)
    looks /= np.maximum(looks.std(axis=1, keepdims=True), 1e-10)
    looks = looks[:, before:]
    if looks.shape[2] > WIDTH:
        padded = np.pad(looks, ((0, 0), (0, 0), (WIDTH // 2, WIDTH // 2)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, WIDTH, axis=2)
        looks = np.partition(windows, WIDTH // 2, axis=3)[..., WIDTH // 2]
    return _path(-looks.mean(axis=0))


def _path(cost: Floats) -> npt.NDArray[np.int64]:
    """Dynamic time warping: the first column of each row on the cheapest way from one corner to the other.

    >>> _path(np.array([[0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], np.float32)).tolist()
    [0, 2, 3]
    """
    rows, columns = cost.shape
    total = np.empty((rows, columns), np.float64)
    stays = np.empty((rows, columns), bool)
    above = np.full(columns + 1, np.inf)
    above[0] = 0.0
    for row in range(rows):
        sums = np.concatenate([[0.0], np.cumsum(cost[row], dtype=np.float64)])
        # The row is entered in some column, from the one above or before it, and followed from there.
        enter = np.minimum(above[:-1], above[1:])
        along = np.minimum.accumulate(enter - sums[:-1])
        total[row] = sums[1:] + along
        stays[row] = along < enter - sums[:-1]
        above = np.concatenate([[np.inf], total[row]])
    first = np.zeros(rows, np.int64)
    column = columns - 1
    for row in range(rows - 1, -1, -1):
        while column > 0 and stays[row, column]:
            column -= 1
        first[row] = column
        if row and column and total[row - 1, column - 1] <= total[row - 1, column]:
            column -= 1
    return first
