"""Whisper on audio that grows: what follows the words that are committed already.

The committed words are forced at the start of decoding, so each decoding finds only what comes after them. Word times come from the
decoder's attention to the sound that is really there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import memory
from ..errors import ModelMissing, UsageError
from ..models import hardware
from . import FULL_S, Decoding, Hearing, Samples, SpokenWord
from .mel import ENCODED_S, HOP, SAMPLE_RATE_HZ, Mel, MelSpectrogram, frames_of
from .whisper_tokens import CONTEXT_TOKENS, UNSPACED, WhisperTokens

if TYPE_CHECKING:
    from .whisper import WhisperRecognizer

SILENCE_S = 2.0
"""Encoded behind the audio where the network adds silence itself: the least that mostly keeps the decoder from loops."""
LONG_SILENCE_S = 8.0
"""And where it does not: on a development recording of Portuguese, started at four places, 25.5 words of 106 were wrong with 2 s,
23.5 with 5 s, 21.5 with 8 s and 22.0 with all that makes 30 s."""
TOKENS_PER_SECOND = 5
"""As fast as people mostly speak. What is cut off comes with the next decoding; with more room (7 a second and more) the decoder goes
on with what it expects to hear, which costs time and makes for more errors."""
SPARE_TOKENS = 3
INT8 = ("", "int8", "int8_float32")
"""Compute types that the network here is; for any other, CTranslate2 computes."""
ENCODER_THREADS = 2
"""At most: the words wait for it."""
_SOUNDLESS = re.compile(r"\W*")

Times = npt.NDArray[np.int64]
"""Where each token begins, and what follows them, in positions of ENCODED_S."""


class _Backend(Protocol):
    """What computes."""

    silence_s: float
    bands: int
    """Of the spectrogram."""
    multilingual: bool

    def encode(self, mel: Mel, *, plain: bool) -> Any:
        """What the rest is given; `plain`: no silence is added to the spectrogram."""

    def language(self, encoded: Any) -> tuple[str, float]:
        """The likeliest, as a token, and how likely it is."""

    def follow(
        self, encoded: Any, start: list[int], prompt: list[int], told: list[int], expected: list[int], most: int, beam_size: int,
        frames: int,
    ) -> tuple[list[int], list[float], Times]:  # fmt: skip
        """Tokens behind those told, how likely each is, and where each token begins, those told first; of `frames` that are sound."""

    def close(self) -> None: ...


class WhisperListener:
    """Speech to text while it is spoken; see `LiveRecognizer`.

    On a CPU the network is computed here (`whisper_network`), which takes half the time that CTranslate2 takes for it; on a GPU, and for
    other numbers than 8-bit integers, CTranslate2 does it.
    """

    def __init__(self, *, model: Path, device: str = "auto", compute_type: str = "", threads: int = 0) -> None:
        """Loads `model`, a directory. `threads`: CPU threads altogether, 0 for one a core.

        Raises ModelMissing where the directory holds no model, Unavailable where it cannot be read or the device cannot be used.
        """
        model = Path(model)
        if not (model / "model.bin").is_file():
            raise ModelMissing(f"{model} is not a Whisper model: it has no model.bin")
        threads = threads or hardware.threads()
        memory.keep_little()
        self._backend: _Backend
        if hardware.device(device) == "cpu" and compute_type in INT8:
            self.workers = min(threads, 4)
            self._backend = _Network(model, min(threads, ENCODER_THREADS))
        else:
            from .whisper import WhisperRecognizer

            whole = WhisperRecognizer(model=model, device=device, compute_type=compute_type, threads=threads)
            self.workers = whole.workers
            self._backend = _Ct2(whole)
        self._tokens = WhisperTokens(model, self._backend.multilingual)
        self._mel = MelSpectrogram(self._backend.bands)

    def close(self) -> None:
        """Frees the model's memory."""
        self._backend.close()

    def listen(
        self, samples: Samples, said: Sequence[SpokenWord], expected: Sequence[SpokenWord], decoding: Decoding
    ) -> Hearing:
        """See `LiveRecognizer`; raises UsageError for a language the model does not know."""
        if decoding.language is not None and not self._tokens.knows(decoding.language):
            raise UsageError(f"this Whisper model does not know the language {decoding.language!r}")
        backend = self._backend
        seconds = len(samples) / SAMPLE_RATE_HZ
        # The language is the surer the less silence there is: of a Spanish sentence 0.80, 0.59 and 0.28 with 2, 8 and 26 s.
        unknown = decoding.language is None
        silence_s = FULL_S if decoding.context == "full" else SILENCE_S if unknown else backend.silence_s
        encoded = backend.encode(self._mel.one(samples, frames_of(len(samples), silence_s)), plain=unknown)
        language, language_probability = decoding.language or "en", 1.0
        if decoding.language is None and backend.multilingual:
            language, language_probability = backend.language(encoded)
        told = [token for word in said for token in word.tokens]
        prompt = self._tokens.prompt(language, decoding.task, decoding.initial_prompt, decoding.hotwords)
        room = SPARE_TOKENS + round(TOKENS_PER_SECOND * (seconds - (said[-1].end_s if said else 0.0)))
        found, likely, begins = backend.follow(
            encoded, self._tokens.start(language, decoding.task), prompt, told,
            [token for word in expected for token in word.tokens], min(room, CONTEXT_TOKENS - len(prompt) - len(told)),
            decoding.beam_size, max(2, len(samples) // HOP),
        )  # fmt: skip
        text = [token for token in found if token < self._tokens.end]
        mark = ""
        words: tuple[SpokenWord, ...] = ()
        if text:
            times = np.minimum(np.append(begins * ENCODED_S, seconds), seconds)[len(told) :]
            mark, words = self._words(bool(told), text, likely, times, language)
        return Hearing(
            text=self._tokens.text(text), words=words, mark=mark,
            language=language, language_probability=language_probability,
        )  # fmt: skip

    def _words(
        self, follows: bool, found: list[int], likely: list[float], times: npt.NDArray[np.float64], language: str
    ) -> tuple[str, tuple[SpokenWord, ...]]:
        """Punctuation that belongs to the last told word, and the words behind it."""
        words = self._tokens.words(found, language)
        starts = [word.first for word in words[1:]] + [len(found)]
        heard = []
        mark, begin = "", 0
        for index, (word, stop) in enumerate(zip(words, starts, strict=True)):
            if index == 0 and follows and not self._opens(found, language):
                # It goes on in the last told word, which cannot change any more.
                mark = word.text if _SOUNDLESS.fullmatch(word.text) else ""
                continue
            heard.append(
                SpokenWord(
                    text=word.text,
                    start_s=float(times[word.first]),
                    end_s=float(times[word.last]),
                    # Its least likely part: a word that is cut off is likely but for its end.
                    confidence=float(np.clip(min(likely[word.first : word.last], default=1.0), 0, 1)),
                    tokens=tuple(found[begin:stop]),
                )
            )
            begin = stop
        return mark, tuple(heard)

    def _opens(self, found: list[int], language: str) -> bool:
        """Whether a new word begins with the first of these tokens."""
        piece = self._tokens.piece(found[0])
        return piece.startswith(" ") or (language in UNSPACED and not _SOUNDLESS.fullmatch(piece))


class _Network:
    """The network here."""

    silence_s = SILENCE_S

    def __init__(self, model: Path, threads: int) -> None:
        from .whisper_network import WhisperNetwork

        self._network = WhisperNetwork(model, threads=threads)
        self.bands, self.multilingual = self._network.bands, self._network.multilingual

    def encode(self, mel: Mel, *, plain: bool) -> Any:
        return self._network.encoder.encode(mel, silent=not plain)

    def language(self, encoded: Any) -> tuple[str, float]:
        return self._network.language(encoded)

    def follow(
        self, encoded: Any, start: list[int], prompt: list[int], told: list[int], expected: list[int], most: int, beam_size: int,
        frames: int,
    ) -> tuple[list[int], list[float], Times]:  # fmt: skip
        from .alignment import first_positions

        followed = self._network.decoder.follow(
            encoded, prompt, told, expected, heard=frames // 2, most=most, beam_size=beam_size
        )
        return followed.tokens, followed.probabilities, first_positions(followed.looks, len(prompt) - 1)

    def close(self) -> None:
        del self._network


class _Ct2:
    """CTranslate2."""

    silence_s = LONG_SILENCE_S

    def __init__(self, whole: WhisperRecognizer) -> None:
        self._whole, self._model = whole, whole._model
        self.bands, self.multilingual = self._model.n_mels, self._model.is_multilingual

    def encode(self, mel: Mel, *, plain: bool) -> Any:
        import ctranslate2

        return self._model.encode(ctranslate2.StorageView.from_array(mel[None]))

    def language(self, encoded: Any) -> tuple[str, float]:
        [ranked] = self._model.detect_language(encoded)
        token, probability = ranked[0]
        return token.strip("<|>"), float(probability)

    def follow(
        self, encoded: Any, start: list[int], prompt: list[int], told: list[int], expected: list[int], most: int, beam_size: int,
        frames: int,
    ) -> tuple[list[int], list[float], Times]:  # fmt: skip
        [result] = self._model.generate(
            encoded, [[*prompt, *told]], beam_size=beam_size,
            max_length=min(CONTEXT_TOKENS, 2 * (len(told) + most)),  # CTranslate2 gives text half of it, what is told included
        )  # fmt: skip
        found = [token for token in result.sequences_ids[0][len(told) :] if token < self._whole._tokens.end]
        if not found:
            return [], [], np.zeros(0, np.int64)
        [aligned] = self._model.align(encoded, start, [[*told, *found]], [frames])
        pairs = np.array(aligned.alignments, np.int64).reshape(-1, 2)
        rows = np.searchsorted(pairs[:, 0], np.arange(len(told) + len(found)))
        return found, list(aligned.text_token_probs[len(told) :]), np.maximum.accumulate(pairs[rows, 1])

    def close(self) -> None:
        self._whole.close()
