"""A sound that says at every moment which moment it is, so that what was heard can be told apart from what was repeated or lost.

Every block of 80 ms is two tones whose frequencies spell the block's number; that survives any speech codec.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

BLOCK_S = 0.08
_STEPS = 24
_LOW_HZ, _HIGH_HZ, _STEP_HZ = 500.0, 2300.0, 62.5
_HOP_S = 0.02

Floats = np.ndarray[Any, np.dtype[np.float32]]
Samples = np.ndarray[Any, np.dtype[np.int16]]


def beacon(start_s: float, seconds: float, rate: int) -> Floats:
    """The sound from a moment on, float in [-1, 1]; it begins again after 46 s."""
    t = (round(start_s * rate) + np.arange(round(seconds * rate))) / rate
    block = np.floor(t / BLOCK_S + 1e-9).astype(int)
    low = _LOW_HZ + _STEP_HZ * (block % _STEPS)
    high = _HIGH_HZ + _STEP_HZ * (block // _STEPS % _STEPS)
    inside = t - block * BLOCK_S
    fade = np.minimum(1.0, np.minimum(inside, BLOCK_S - inside) / 0.004)
    tones = np.sin(2 * math.pi * low * inside) + np.sin(2 * math.pi * high * inside)
    return (0.3 * fade * tones).astype(np.float32)


def heard(samples: Samples, rate: int = 16000) -> list[tuple[int, float]]:
    """Each block that is heard, in order: its number and when it was in the middle, in seconds of `samples`."""
    size, hop = round(BLOCK_S * 0.8 * rate), round(_HOP_S * rate)
    if len(samples) < size:
        return []
    pieces = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop].astype(np.float64)
    window = np.hanning(size)
    t = np.arange(size) / rate
    found: list[tuple[int, float, float]] = []
    tones = [
        np.abs(pieces @ (np.exp(-2j * math.pi * np.outer(t, base + np.arange(_STEPS) * _STEP_HZ)) * window[:, None]))
        for base in (_LOW_HZ, _HIGH_HZ)
    ]
    power = np.sqrt((pieces**2 @ window) * size) + 1.0
    for index, (lows, highs) in enumerate(zip(*tones, strict=True)):
        purity = float((lows.max() + highs.max()) / power[index])
        # 0.71 for a block alone; two blocks in one window leave each tone less than that.
        if purity > 0.55 and min(lows.max(), highs.max()) > 0.4 * max(lows.max(), highs.max()):
            found.append((int(highs.argmax()) * _STEPS + int(lows.argmax()), (index * hop + size / 2) / rate, purity))
    blocks: list[tuple[int, float, float]] = []
    for block, at_s, purity in found:
        if blocks and blocks[-1][0] == block and at_s - blocks[-1][1] < BLOCK_S:
            if purity > blocks[-1][2]:
                blocks[-1] = (block, at_s, purity)
        else:
            blocks.append((block, at_s, purity))
    return [(block, at_s) for block, at_s, _ in blocks]


def holes(blocks: list[int]) -> list[tuple[int, int]]:
    """Where what is heard does not go on with the next block: the last before and the first after, in order.

    >>> holes([3, 4, 5, 9, 10])
    [(5, 9)]
    """
    return [(before, after) for before, after in itertools.pairwise(blocks) if after != before + 1]
