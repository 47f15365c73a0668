"""Is what was recognised what was said? Signs of loops, guesses and silence, the same for every engine."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from enum import IntEnum

from .engines import Recognition


class Doubt(IntEnum):
    """How far a recognition is to be believed; the less the better."""

    NONE = 0
    SOME = 1
    """A second opinion is worth its time."""
    GRAVE = 2
    """A guess."""
    HOPELESS = 3
    """A loop, or a wild guess."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Thresholds; compression, log-probability and no-speech are used as Whisper's authors do."""

    most_compression: float = 2.4
    """Text that zlib shrinks by more than this repeats itself."""
    least_log_probability: float = -1.0
    """Mean log-probability a token below which the text is a guess."""
    hopeless_log_probability: float = -1.5
    """A guess above this is kept when nothing better was heard and it is no loop."""
    good_log_probability: float = -0.5
    """Below this it is worth a second opinion."""
    most_no_speech: float = 0.6
    """A guess with a higher no-speech probability than this is silence."""
    most_characters_a_second: float = 35.0
    """Nobody speaks faster."""
    least_bytes_a_second: float = 4.0
    """Longer utterances than SHORT_S with less text (in UTF-8: no script is as dense) have probably lost some."""

    def is_silence(self, heard: Recognition) -> bool:
        """Whether there is nothing, or a guess at nothing."""
        guessed = heard.average_log_probability < self.least_log_probability
        return not heard.text or (guessed and heard.no_speech_probability > self.most_no_speech)

    def doubt(self, heard: Recognition, seconds: float) -> Doubt:
        """How doubtful the text is for an utterance of this length."""
        hopeless = (
            heard.average_log_probability < self.hopeless_log_probability
            or compression_ratio(heard.text) > self.most_compression
            or len(heard.text) > 10 + self.most_characters_a_second * seconds
        )
        if hopeless:
            return Doubt.HOPELESS
        if heard.average_log_probability < self.least_log_probability:
            return Doubt.GRAVE
        some = (
            heard.average_log_probability < self.good_log_probability
            or says_twice(heard.text)
            or (seconds > SHORT_S and len(heard.text.encode()) < self.least_bytes_a_second * seconds)
        )
        return Doubt.SOME if some else Doubt.NONE


SHORT_S = 3.0


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes the text.

    >>> compression_ratio("so it goes") < 1 < 2.4 < compression_ratio("so it goes " * 20)
    True
    """
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def says_twice(text: str) -> bool:
    """Whether three or more words come twice in a row, or fewer words four times: how a short loop looks.

    >>> says_twice("He was not there. He was not there."), says_twice("no, no, it was not")
    (True, False)
    """
    words = re.findall(r"\w+", text.lower())
    for length in range(1, len(words) // 2 + 1):
        times = 2 if length >= 3 else 4
        for start in range(len(words) - length * times + 1):
            unit = words[start : start + length]
            if words[start : start + length * times] == unit * times:
                return True
    return False
