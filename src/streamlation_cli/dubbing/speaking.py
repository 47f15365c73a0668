"""One voice at work: text to speech that fits its time, with what was synthesized before taken from the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..cache import Cache, key_of
from ..engines import Synthesizer
from ..errors import TryAgain
from . import timefit, waveform
from .lexicon import Lexicon
from .phrases import Phrase
from .timefit import MAX_TEMPO, MIN_TEMPO, Placed, Slot
from .waveform import Mono

CACHE_BYTES = 512 * 1024 * 1024
"""The cache's bound: about five hours of speech."""

_BREATH_MS = 120
"""Pause after a phrase that another of the same utterance follows; trimming took what the engine had there."""

_INAUDIBLE = 0.03
"""A change of tempo smaller than this is not worth synthesizing again."""

_STRETCHED = 0.1
"""A voice that takes long to synthesize is stretched for a change up to this, at which nobody hears a difference."""

_TRIES = 3
"""How often an engine is asked that says it failed only for now."""

_CACHE_VERSION = "speech 1"
"""Changed when what is done to a phrase before it is kept changes."""


@dataclass(frozen=True)
class Spoken:
    """An utterance as it is heard."""

    samples: npt.NDArray[np.int16]
    """Mono, shape (samples,), from `start_ms` on, pauses between its phrases included."""
    sample_rate_hz: int
    start_ms: int
    tempo: float
    drift_ms: int
    wording: int = 0
    """Which of the wordings it was."""

    @property
    def end_ms(self) -> int:
        """When it is over, rounded up."""
        return self.start_ms + -(-len(self.samples) * 1000 // self.sample_rate_hz)

    def resampled(self, sample_rate_hz: int) -> Mono:
        """The samples as float32 in [-1, 1] at another rate."""
        return waveform.resampled(waveform.from_s16(self.samples.tobytes()), self.sample_rate_hz, sample_rate_hz)


@dataclass(frozen=True)
class _Reading:
    """An utterance at the voice's own pace."""

    phrases: list[Phrase]
    slots: list[Slot]
    sounds: list[Mono]
    rate: int
    natural_ms: list[float]
    limit_ms: int
    needed_tempo: float
    """At which it would be over in time."""


class Speaker:
    """An engine's voice with its cache. Not for use from several threads at once."""

    def __init__(self, engine: Synthesizer, lexicon: Lexicon, *, caching: bool = True) -> None:
        self._engine = engine
        self._lexicon = lexicon
        self._cache = Cache("speech", CACHE_BYTES) if caching else None
        self.voice = engine.voice

    def close(self) -> None:
        """Frees the voice."""
        self._engine.close()
        if self._cache is not None:
            self._cache.close()

    def speak(
        self, wordings: Sequence[Sequence[Phrase]], free_ms: int, next_start_ms: int | None, *, last: bool = False
    ) -> Spoken | None:
        """The first of these wordings that fits its time, else the one that is shortest, not before `free_ms`.

        `next_start_ms` is when the next utterance starts, or the media ends with `last`. None where the voice makes no sound of
        the first wording.
        """
        reading = self._read(wordings[0], free_ms, next_start_ms)
        if reading is None:
            return None
        number = 0
        for other in range(1, len(wordings)):
            if reading.needed_tempo <= MAX_TEMPO:
                break
            shorter = self._read(wordings[other], free_ms, next_start_ms)
            if shorter is not None and sum(shorter.natural_ms) < sum(reading.natural_ms):
                reading, number = shorter, other
        return replace(self._fitted(reading, free_ms, next_start_ms, last=last), wording=number)

    def _read(self, phrases: Sequence[Phrase], free_ms: int, next_start_ms: int | None) -> _Reading | None:
        """The phrases at the voice's own pace; None where it makes no sound of any."""
        natural = [self._sound(phrase.text, 1.0) for phrase in phrases]
        heard = [(phrase, sound) for phrase, sound in zip(phrases, natural, strict=True) if len(sound[0])]
        if not heard:
            return None
        rate = heard[0][1][1]
        sounds = _with_breaths([samples for _, (samples, _) in heard], rate)
        slots = [phrase.slot for phrase, _ in heard]
        natural_ms = _lengths_ms(sounds, rate)
        limit = timefit.limit_ms(slots[-1].end_ms, next_start_ms)
        return _Reading(
            [phrase for phrase, _ in heard], slots, sounds, rate, natural_ms, limit,
            timefit.needed_tempo(slots, natural_ms, free_ms, limit),
        )  # fmt: skip

    def _fitted(self, reading: _Reading, free_ms: int, next_start_ms: int | None, *, last: bool) -> Spoken:
        slots, natural_ms, rate, sounds = reading.slots, reading.natural_ms, reading.rate, reading.sounds
        tempo = timefit.wanted_tempo(slots, natural_ms, free_ms, reading.limit_ms)
        if abs(tempo - 1) < _INAUDIBLE:
            pass
        elif abs(tempo - 1) <= _STRETCHED and self._engine.is_slow:
            sounds = [waveform.stretched(sound, rate, tempo) for sound in sounds]
        else:
            sounds = self._at_tempo(reading.phrases, tempo, natural_ms, rate, free_ms, reading.limit_ms)
        lengths_ms = _lengths_ms(sounds, rate)
        placed = timefit.lay(slots, lengths_ms, free_ms)
        if last and next_start_ms is not None:
            earlier = timefit.pulled_back(slots, placed, free_ms, next_start_ms)
            placed = timefit.lay(earlier, lengths_ms, free_ms)
        return self._joined(sounds, rate, slots, placed, sum(natural_ms) / sum(lengths_ms))

    def _at_tempo(
        self, phrases: Sequence[Phrase], tempo: float, natural_ms: Sequence[float], rate: int, free_ms: int, limit: int
    ) -> list[Mono]:
        """The phrases synthesized again at `tempo`, and stretched where the engine's idea of it is not good enough."""
        again = [self._sound(phrase.text, tempo)[0] for phrase in phrases]
        sounds = _with_breaths(again, rate)
        lengths_ms = _lengths_ms(sounds, rate)
        slots = [phrase.slot for phrase in phrases]
        reached = sum(natural_ms) / sum(lengths_ms)
        late = timefit.lay(slots, lengths_ms, free_ms)[-1].end_ms > limit and reached < tempo
        if late or abs(reached / tempo - 1) >= _INAUDIBLE or not MIN_TEMPO <= reached <= MAX_TEMPO:
            sounds = [waveform.stretched(sound, rate, tempo / reached) for sound in sounds]
        return sounds

    def _joined(
        self,
        sounds: Sequence[Mono],
        rate: int,
        slots: Sequence[Slot],
        placed: Sequence[Placed],
        tempo: float,
    ) -> Spoken:
        start_ms = placed[0].start_ms
        starts = [(place.start_ms - start_ms) * rate // 1000 for place in placed]
        whole = np.zeros(starts[-1] + len(sounds[-1]), np.float32)
        for start, sound in zip(starts, sounds, strict=True):
            whole[start : start + len(sound)] += waveform.faded(sound, rate)
        whole = waveform.levelled(whole, rate)
        return Spoken(
            samples=waveform.to_s16(whole), sample_rate_hz=rate, start_ms=start_ms, tempo=round(tempo, 3),
            drift_ms=timefit.drift_ms(slots, placed),
        )  # fmt: skip

    def _sound(self, text: str, tempo: float) -> tuple[Mono, int]:
        """Speech of `text` without silence around it, and its sample rate."""
        text = self._lexicon.spoken(text)
        if self._cache is None:
            exact, rate = self._synthesized(text, tempo)
        else:
            key = key_of(_CACHE_VERSION, self._engine.identity, text, f"{tempo:.2f}")
            kept = self._cache.get_many([key]).get(key)
            if kept is not None:
                exact, rate = waveform.unpacked(kept)
            else:
                exact, rate = self._synthesized(text, tempo)
                self._cache.put_many({key: waveform.packed(exact, rate)})
        return waveform.from_s16(exact.tobytes()), rate

    def _synthesized(self, text: str, tempo: float) -> tuple[npt.NDArray[np.int16], int]:
        """What the engine makes of `text`, trimmed, in the 16 bits that the cache keeps, so that both ways sound the same."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(TryAgain):
                sound = self._engine.synthesize(text, tempo)
                break
        else:
            sound = self._engine.synthesize(text, tempo)
        return waveform.to_s16(waveform.trimmed(sound.samples, sound.sample_rate_hz)), sound.sample_rate_hz


def _with_breaths(sounds: Sequence[Mono], rate: int) -> list[Mono]:
    breath = np.zeros(rate * _BREATH_MS // 1000, np.float32)
    return [*(np.concatenate((sound, breath)) for sound in sounds[:-1]), sounds[-1]]


def _lengths_ms(sounds: Sequence[Mono], rate: int) -> list[float]:
    return [len(sound) * 1000 / rate for sound in sounds]
