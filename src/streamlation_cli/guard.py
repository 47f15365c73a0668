"""Is what was recognised what was said? Signs of loops, guesses and silence, the same for every engine."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

from .engines import Recognition

Verdict = Literal["accept", "retry", "silence"]


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Thresholds; the first three are those that Whisper's authors use."""

    most_compression: float = 2.4
    """Text that zlib shrinks by more than this repeats itself."""
    least_log_probability: float = -1.0
    """Mean log-probability a token below which the text is a guess."""
    most_no_speech: float = 0.6
    """A guess with a higher no-speech probability than this is silence."""
    most_characters_a_second: float = 40.0
    """Nobody speaks faster."""

    def verdict(self, heard: Recognition, seconds: float) -> Verdict:
        """What to do with a recognition of an utterance of this length."""
        guessed = heard.average_log_probability < self.least_log_probability
        if not heard.text or (guessed and heard.no_speech_probability > self.most_no_speech):
            return "silence"
        if guessed or self.repeats(heard.text) or len(heard.text) > 10 + self.most_characters_a_second * seconds:
            return "retry"
        return "accept"

    def repeats(self, text: str) -> bool:
        """Whether the text is a loop."""
        return compression_ratio(text) > self.most_compression


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes the text.

    >>> compression_ratio("so it goes") < 1 < 2.4 < compression_ratio("so it goes " * 20)
    True
    """
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0
