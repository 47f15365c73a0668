"""Does recognition keep up, and what is given up, in this order, while it does not.

0 as asked ─► 1 longer steps ─► 2 no volatile words ─► 3 beam 1 ─► 4 the smaller model, where one is installed
"""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = ("as asked", "longer steps", "longer steps, no volatile words", "longer steps, no volatile words, beam 1",
          "longer steps, no volatile words, beam 1, the smaller model")  # fmt: skip
"""What each level of giving up is called in `status` records."""
LONGER = 2.0
"""How many times longer the steps are from level 1 on."""
SLOW = 1.5
"""A decoding that took so many times the step asked for is slow. One that takes the step and a little more only makes the next
step as much longer."""
BEHIND = 3
"""Slow decodings in a row before one level more is given up."""
AHEAD = 8
"""Decodings in a row that took less than half of it, before one level is taken back."""


@dataclass
class Load:
    """Follows one session's decodings."""

    highest: int = 3
    """The last level there is."""
    level: int = 0
    _behind: int = 0
    _ahead: int = 0

    def took(self, seconds: float, step_s: float) -> bool:
        """A decoding came back after so many seconds, waiting included; whether the level has changed.

        `step_s`: new audio that was to be worth a decoding.

        >>> load = Load()
        >>> [load.took(0.9, 0.5) for _ in range(3)], load.level
        ([False, False, True], 1)
        """
        allowed_s = SLOW * step_s if self.level == 0 else LONGER * step_s
        self._behind = self._behind + 1 if seconds > allowed_s else 0
        self._ahead = self._ahead + 1 if seconds < step_s / 2 else 0
        if self._behind >= BEHIND and self.level < self.highest:
            return self._move(1)
        if self._ahead >= AHEAD and self.level > 0:
            return self._move(-1)
        return False

    def _move(self, by: int) -> bool:
        self.level += by
        self._behind = self._ahead = 0
        return True
