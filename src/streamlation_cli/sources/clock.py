"""How far a source has come on its own clock, which may jump, stand still or be damaged in one packet."""

from __future__ import annotations

_FAR_S = 10.0
"""A jump this long must be confirmed by a second packet: one alone is a damaged time."""
_NEAR_S = 0.1
_HOLE_S = 0.05
"""Less than this is how containers round their times."""


class Progress:
    """Follows the times of one stream's packets; `end_s` is where its media ends, `holes` where some is missing.

    >>> progress = Progress()
    >>> for start_s in (0.0, 1.0, 9999.0, 3.0, 5.0):
    ...     progress.follow(start_s, 1.0)
    >>> progress.end_s, progress.holes, progress.missing_s
    (6.0, 1, 1.0)
    """

    def __init__(self) -> None:
        self.end_s = 0.0
        self.holes = 0
        self.missing_s = 0.0
        self._begun = False
        self._offset_s = 0.0
        self._suspect_end_s: float | None = None
        self._last_start_s: float | None = None

    def follow(self, start_s: float | None, length_s: float) -> None:
        """Takes a packet that starts at `start_s` (None where it does not say) and lasts `length_s`."""
        if start_s == self._last_start_s:
            start_s = None  # a muxer that does not know the time writes the same one again and again
        else:
            self._last_start_s = start_s
        at_s = self.end_s if start_s is None else start_s + self._offset_s
        if not self._begun:
            self._begun = True
        elif abs(at_s - self.end_s) > _FAR_S:
            at_s = self._far(at_s, length_s)
        else:
            self._suspect_end_s = None
            if at_s - self.end_s > _HOLE_S:
                self.holes += 1
                self.missing_s += at_s - self.end_s
        self.end_s = max(self.end_s, at_s + length_s)

    def _far(self, at_s: float, length_s: float) -> float:
        confirmed = self._suspect_end_s is not None and abs(at_s - self._suspect_end_s) < _NEAR_S
        if not confirmed:
            self._suspect_end_s = at_s + length_s
            return self.end_s
        self._suspect_end_s = None
        if at_s < self.end_s:  # the clock was set back: what follows is new all the same
            self._offset_s += self.end_s - at_s
            return self.end_s
        return at_s
