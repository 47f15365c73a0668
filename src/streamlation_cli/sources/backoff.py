"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable

BASE_S = 0.25
"""Upper bound of the first wait: most connections that break are back at once."""


class Backoff:
    """Capped exponential backoff with full jitter: each wait is anywhere up to twice the last bound, at most `cap_s`.

    Jitter keeps many listeners of one server from coming back at the same moment.

    >>> waits = Backoff(2.0, random=lambda: 1.0)
    >>> [waits.next_s() for _ in range(6)]
    [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]
    >>> waits.reset()
    >>> waits.next_s()
    0.25
    """

    def __init__(self, cap_s: float, *, random: Callable[[], float] = random.random) -> None:
        self._cap_s = cap_s
        self._random = random
        self._bound_s = BASE_S

    def next_s(self) -> float:
        """The next wait in seconds."""
        bound_s = min(self._bound_s, self._cap_s)
        self._bound_s = min(self._bound_s * 2, self._cap_s)
        return self._random() * bound_s

    def reset(self) -> None:
        """It worked: the next failure begins anew."""
        self._bound_s = BASE_S
