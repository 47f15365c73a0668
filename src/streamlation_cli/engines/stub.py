"""Engines that compute nothing and always answer the same: for tests of everything around an engine.

They are chosen like any other (`--engine stub`) and walk the same path. What a stub hears is a function of the audio
bytes and the seed, what it translates comes from a small dictionary, what it says is a tone a word.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import TryAgain
from . import Decoding, Hearing, Recognition, Samples, Sound, SpokenWord

_SECONDS_PER_WORD = 0.4

_VOCABULARY = {
    "en": "the boat left early and nobody saw it go . we waited by the old bridge until morning . it was cold".split(),
    "es": "el barco salió temprano y nadie lo vio partir . esperamos junto al puente viejo . hacía frío".split(),
}

_DICTIONARY = {
    "es": dict(
        the="el", boat="barco", left="salió", early="temprano", nobody="nadie", saw="vio", it="lo", go="partir", we="nosotros",
        waited="esperamos", by="junto", old="viejo", bridge="puente", until="hasta", morning="mañana", was="era", cold="frío",
        hello="hola", world="mundo", good="bueno", day="día", thank="gracias", you="usted", yes="sí", no="no",
        el="the", barco="boat", temprano="early", nadie="nobody", viejo="old", puente="bridge",
    ),
    "fr": dict(
        the="le", boat="bateau", left="partit", early="tôt", nobody="personne", saw="vit", it="le", go="partir", we="nous",
        waited="attendîmes", by="près", old="vieux", bridge="pont", until="jusqu'au", morning="matin", was="était", cold="froid",
        hello="bonjour", world="monde", good="bon", day="jour", thank="merci", you="vous", yes="oui", no="non",
    ),
}  # fmt: skip
_DICTIONARY["en"] = {foreign: english for english, foreign in _DICTIONARY["es"].items()}
"""Target language → word → word; en→es and en→fr are the dictionaries, es→en is the first one turned round."""


class _Stub:
    """Delay and failures on demand, the same for the same seed."""

    def __init__(self, *, delay_ms: int = 0, error_rate: float = 0.0, seed: int = 0) -> None:
        self._delay_s = delay_ms / 1000
        self._error_rate = error_rate
        self._random = random.Random(seed)
        self._seed = seed

    def _call(self, what: str) -> None:
        if self._delay_s:
            threading.Event().wait(self._delay_s)
        if self._random.random() < self._error_rate:
            raise TryAgain(f"the stub {what} failed, as --stub-error-rate asks it to")

    def close(self) -> None:
        """Nothing to free."""


class StubRecognizer(_Stub):
    """Words drawn by the hash of the samples, one for each 0.4 s."""

    workers = 1

    def recognize(self, utterances: Sequence[Samples], decoding: Decoding) -> list[Recognition]:
        """One recognition an utterance; the language is the asked-for one, `en` where it is to be detected."""
        self._call("recognizer")
        return [self._hear(samples, decoding.language or "en") for samples in utterances]

    def _hear(self, samples: Samples, language: str) -> Recognition:
        vocabulary = _VOCABULARY.get(language, _VOCABULARY["en"])
        first = int.from_bytes(self._digest(samples)[:4], "little") % len(vocabulary)
        seconds = len(samples) / 16_000
        count = max(1, int(seconds / _SECONDS_PER_WORD))
        step = seconds / count
        texts = [vocabulary[(first + i) % len(vocabulary)] for i in range(count)]
        words: list[SpokenWord] = []
        for i, text in enumerate(texts):
            if text == ".":
                if words:
                    words[-1] = SpokenWord(
                        text=words[-1].text + ".", start_s=words[-1].start_s, end_s=(i + 1) * step, confidence=0.9
                    )
                continue
            starts_sentence = not words or words[-1].text.endswith(".")
            words.append(
                SpokenWord(
                    text=text.capitalize() if starts_sentence else text,
                    start_s=i * step,
                    end_s=(i + 1) * step,
                    confidence=0.9,
                )
            )
        text = " ".join(word.text for word in words)
        return Recognition(text=text, language=language, average_log_probability=-0.1, words=tuple(words))

    def listen(
        self, samples: Samples, said: Sequence[SpokenWord], expected: Sequence[SpokenWord], decoding: Decoding,
        heard: Any = None, goes_on: bool = False,
    ) -> Hearing:  # fmt: skip
        """A word for each whole 0.4 s behind those said, drawn by the hash of its sound."""
        self._call("recognizer")
        language = decoding.language or "en"
        vocabulary = _VOCABULARY.get(language, _VOCABULARY["en"])
        first_s = said[-1].end_s if said else 0.0
        words = []
        for index in range(int((len(samples) / 16_000 - first_s) / _SECONDS_PER_WORD)):
            start_s = first_s + index * _SECONDS_PER_WORD
            sound = samples[round(start_s * 16_000) : round((start_s + _SECONDS_PER_WORD) * 16_000)]
            number = int.from_bytes(self._digest(sound)[:4], "little") % len(vocabulary)
            words.append(
                SpokenWord(text=vocabulary[number], start_s=start_s, end_s=start_s + _SECONDS_PER_WORD, confidence=0.9)
            )
        return Hearing(text=" ".join(word.text for word in words), words=tuple(words), language=language)

    def _digest(self, samples: Samples) -> bytes:
        data = np.round(samples * 32768).astype("<i2").tobytes()
        return hashlib.sha256(data + self._seed.to_bytes(8, "little", signed=True)).digest()


class StubTranslator(_Stub):
    """Word for word by the dictionary; a word it lacks stays as it is."""

    def __init__(self, *, source: str, target: str, delay_ms: int = 0, error_rate: float = 0.0, seed: int = 0) -> None:
        super().__init__(delay_ms=delay_ms, error_rate=error_rate, seed=seed)
        self._words = _DICTIONARY.get(target, {})
        self.identity = f"stub:{source}-{target}:{seed}"

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """One translation a sentence, punctuation and capitals kept."""
        self._call("translator")
        return [re.sub(r"\w+", self._word, sentence) for sentence in sentences]

    def _word(self, match: re.Match[str]) -> str:
        word = match.group()
        translated = self._words.get(word.lower(), word)
        return translated.capitalize() if word[0].isupper() else translated


class StubSynthesizer(_Stub):
    """A tone a word, its pitch by the word's letters, 60 ms a letter."""

    is_slow = False

    def __init__(
        self, *, language: str = "en", voice: str = "tone", delay_ms: int = 0, error_rate: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(delay_ms=delay_ms, error_rate=error_rate, seed=seed)
        self.voice = voice
        self.identity = f"stub:{language}:{voice}:{seed}"

    def synthesize(self, text: str, tempo: float = 1.0) -> Sound:
        """16 kHz tones with 40 ms between words, at tempo 1."""
        self._call("synthesizer")
        parts: list[Samples] = []
        for word in re.findall(r"\w+", text):
            pitch_hz = 200 + 20 * (sum(map(ord, word)) % 20)
            samples = int(16_000 * 0.06 * len(word) / tempo)
            tone = 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(samples) / 16_000)
            parts += [tone.astype(np.float32), np.zeros(int(16_000 * 0.04 / tempo), dtype=np.float32)]
        return Sound(samples=np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32), sample_rate_hz=16_000)
