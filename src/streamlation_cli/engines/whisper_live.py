"""Whisper on audio that grows: what follows the words that are committed already.

The committed words are forced at the start of decoding, so each decoding finds only what comes after them. Word times come from the
decoder's attention to the sound that is really there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import memory
from ..errors import ModelMissing, UsageError
from ..models import hardware
from . import FULL_S, Decoding, Hearing, Samples, SpokenWord
from .mel import ENCODED_S, HOP, SAMPLE_RATE_HZ, MelSpectrogram, frames_of
from .whisper_tokens import CONTEXT_TOKENS, UNSPACED, WhisperTokens

if TYPE_CHECKING:
    from .whisper import WhisperRecognizer

SILENCE_S = 2.0
"""Encoded behind the audio while the language is unknown, and after a loop: the least that mostly keeps the decoder from them."""
SHORT_SILENCE_S = 1.0
"""And then, where the network adds silence itself: 2 s change the states by a hundredth."""
LONG_SILENCE_S = 8.0
"""And where it adds none: on a development recording of Portuguese, started at four places, 25.5 words of 106 were wrong with 2 s,
23.5 with 5 s, 21.5 with 8 s and 22.0 with all that makes 30 s."""
TOKENS_PER_SECOND = 5
"""As fast as people mostly speak. What is cut off comes with the next decoding; with more room (7 a second and more) the decoder goes
on with what it expects to hear, which costs time and makes for more errors."""
SPARE_TOKENS = 3
INT8 = ("", "int8", "int8_float32")
"""Compute types that the network here is; for any other, CTranslate2 computes."""
ENCODER_THREADS = 2
"""At most: the words wait for it."""
ALIGNED = 4
"""Told words that are found in the sound again, so that those behind them begin where they end."""
_SOUNDLESS = re.compile(r"\W*")

Times = npt.NDArray[np.int64]
"""Where each token begins, and what follows them, in positions of ENCODED_S."""


class _Backend(Protocol):
    """What computes."""

    silence_s: float
    most_silence_s: float
    """Where all the context there is is asked for."""
    multilingual: bool

    def hear(self, samples: Samples, silence_s: float, before: Any, *, plain: bool) -> Any:
        """What the rest is given, of samples and so much silence behind them.

        `before`: what this gave of the same audio when it was shorter; `plain`: no further silence is added.
        """

    def language(self, heard: Any) -> tuple[str, float]:
        """The likeliest, as a token, and how likely it is."""

    def follow(
        self, heard: Any, start: list[int], prompt: list[int], told: list[int], expected: list[int], *,
        most: int, beam_size: int, positions: int, known: tuple[int, int], goes_on: bool,
    ) -> tuple[list[int], list[float], Times]:  # fmt: skip
        """Tokens behind those told, how likely each is, and where each of them begins; so many positions are sound.

        `known`: so many of the told tokens end before that position; `goes_on`: see `LiveRecognizer`.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Heard:
    """What a backend has made of some audio; another one can make nothing of it."""

    backend: _Backend
    of_backend: Any


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

    def close(self) -> None:
        """Frees the model's memory."""
        self._backend.close()

    def listen(
        self, samples: Samples, said: Sequence[SpokenWord], expected: Sequence[SpokenWord], decoding: Decoding,
        heard: Any = None, goes_on: bool = False,
    ) -> Hearing:  # fmt: skip
        """See `LiveRecognizer`; raises UsageError for a language the model does not know."""
        if decoding.language is not None and not self._tokens.knows(decoding.language):
            raise UsageError(f"this Whisper model does not know the language {decoding.language!r}")
        backend = self._backend
        seconds = len(samples) / SAMPLE_RATE_HZ
        # The language is the surer the less silence there is: of a Spanish sentence 0.80, 0.59 and 0.28 with 2, 8 and 26 s.
        unknown = decoding.language is None
        whole = decoding.context == "full"
        silence_s = backend.most_silence_s if whole else SILENCE_S if unknown else backend.silence_s
        anew = unknown or whole
        before = heard.of_backend if heard and heard.backend is backend and not anew else None
        now = backend.hear(samples, silence_s, before, plain=unknown)
        language, language_probability = decoding.language or "en", 1.0
        if unknown and backend.multilingual:
            language, language_probability = backend.language(now)
        told = [token for word in said for token in word.tokens]
        prompt = self._tokens.prompt(language, decoding.task, decoding.initial_prompt, decoding.hotwords)
        room = SPARE_TOKENS + round(TOKENS_PER_SECOND * (seconds - (said[-1].end_s if said else 0.0)))
        found, likely, begins = backend.follow(
            now, self._tokens.start(language, decoding.task), prompt, told,
            [token for word in expected for token in word.tokens],
            most=min(room, CONTEXT_TOKENS - len(prompt) - len(told)), beam_size=decoding.beam_size,
            positions=max(1, len(samples) // (2 * HOP)), known=_known(said), goes_on=goes_on,
        )  # fmt: skip
        text = [token for token in found if token < self._tokens.end]
        mark = ""
        words: tuple[SpokenWord, ...] = ()
        if text:
            times = np.minimum(np.append(begins * ENCODED_S, seconds), seconds)
            mark, words = self._words(bool(told), text, likely, times, language)
        return Hearing(
            text=self._tokens.text(text), words=words, mark=mark,
            language=language, language_probability=language_probability, heard=None if anew else _Heard(backend, now),
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
            text = word.text
            if index == 0 and follows and not self._opens(found, language):
                if _SOUNDLESS.fullmatch(text):
                    mark = text
                    continue
                if not text.startswith("-"):
                    continue  # the end of the last told word, which cannot change any more
                text = text.lstrip("-")  # the next part of a compound
            heard.append(
                SpokenWord(
                    text=text,
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


def _known(said: Sequence[SpokenWord]) -> tuple[int, int]:
    """How many tokens are those of words whose times need not be looked for again, and the position where these end."""
    before = said[:-ALIGNED]
    return sum(len(word.tokens) for word in before), int(before[-1].end_s / ENCODED_S) if before else 0


class _Network:
    """The network here."""

    silence_s = SHORT_SILENCE_S
    most_silence_s = SILENCE_S

    def __init__(self, model: Path, threads: int) -> None:
        from .whisper_network import WhisperNetwork

        self._network = WhisperNetwork(model, threads=threads)
        self.multilingual = self._network.multilingual

    def hear(self, samples: Samples, silence_s: float, before: Any, *, plain: bool) -> Any:
        return self._network.hear(samples, silence_s, before, silent=not plain)

    def language(self, heard: Any) -> tuple[str, float]:
        return self._network.language(heard)

    def follow(
        self, heard: Any, start: list[int], prompt: list[int], told: list[int], expected: list[int], *,
        most: int, beam_size: int, positions: int, known: tuple[int, int], goes_on: bool,
    ) -> tuple[list[int], list[float], Times]:  # fmt: skip
        from .alignment import first_positions

        tokens, position = known
        followed = self._network.decoder.follow(
            heard.offers, prompt, told, expected, heard=positions, most=most, beam_size=beam_size, goes_on=goes_on,
            before=heard.said, lasting=tokens,
        )  # fmt: skip
        heard.said = followed.said
        aligned = len(prompt) - 1 + tokens - followed.skipped
        begins = position + first_positions(followed.looks[:, :, position:], aligned)
        return followed.tokens, followed.probabilities, begins[len(told) - tokens :]

    def close(self) -> None:
        del self._network


class _Ct2:
    """CTranslate2."""

    silence_s = LONG_SILENCE_S
    most_silence_s = FULL_S

    def __init__(self, whole: WhisperRecognizer) -> None:
        self._whole, self._model = whole, whole._model
        self._mel = MelSpectrogram(self._model.n_mels)
        self.multilingual = self._model.is_multilingual

    def hear(self, samples: Samples, silence_s: float, before: Any, *, plain: bool) -> Any:
        import ctranslate2

        mel = self._mel.one(samples, frames_of(len(samples), silence_s))
        return self._model.encode(ctranslate2.StorageView.from_array(mel[None]))

    def language(self, heard: Any) -> tuple[str, float]:
        [ranked] = self._model.detect_language(heard)
        token, probability = ranked[0]
        return token.strip("<|>"), float(probability)

    def follow(
        self, heard: Any, start: list[int], prompt: list[int], told: list[int], expected: list[int], *,
        most: int, beam_size: int, positions: int, known: tuple[int, int], goes_on: bool,
    ) -> tuple[list[int], list[float], Times]:  # fmt: skip
        [result] = self._model.generate(
            heard, [[*prompt, *told]], beam_size=beam_size,
            max_length=min(CONTEXT_TOKENS, 2 * (len(told) + most)),  # CTranslate2 gives text half of it, what is told included
        )  # fmt: skip
        found = [token for token in result.sequences_ids[0][len(told) :] if token < self._whole._tokens.end]
        if not found:
            return [], [], np.zeros(0, np.int64)
        [aligned] = self._model.align(heard, start, [[*told, *found]], [2 * positions])
        pairs = np.array(aligned.alignments, np.int64).reshape(-1, 2)
        rows = np.searchsorted(pairs[:, 0], np.arange(len(told) + len(found)))
        begins = np.maximum.accumulate(pairs[rows, 1])
        return found, list(aligned.text_token_probs[len(told) :]), begins[len(told) :]

    def close(self) -> None:
        self._whole.close()
