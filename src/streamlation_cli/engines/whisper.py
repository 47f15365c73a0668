"""Whisper through CTranslate2, with the encoder's context cut to what is said.

Whisper is trained on 30 s windows, and encoding 30 s for 3 s of speech is most of its cost on a CPU. CTranslate2
takes shorter input: the utterance and a margin of silence, without which the decoder runs into loops. The result is
worse now and then; the stage notices (see `guard`) and asks again with more context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import memory
from ..errors import ModelMissing, Unavailable, UsageError
from ..models import hardware
from . import SILENCE_S, Decoding, Recognition, Samples, SpokenWord, needs_extra
from .mel import ENCODED_S, HOP, SAMPLE_RATE_HZ, MelSpectrogram, frames_of

hardware.allow_avx512()
with needs_extra("the whisper engine"):
    import ctranslate2

    from .whisper_tokens import CONTEXT_TOKENS, WhisperTokens

TOKENS_PER_SECOND = 20
"""More than anyone says; a transcript that goes on is a loop and is cut off."""
SPARE_TOKENS = 20


@dataclass(frozen=True, kw_only=True)
class _Hypothesis:
    """What was decoded for one utterance, without special tokens."""

    tokens: list[int]
    language: str
    language_probability: float
    average_log_probability: float
    no_speech_probability: float


class WhisperRecognizer:
    """A Whisper model in CTranslate2 form.

    `recognize` may be called from `workers` threads at once: that many batches are computed side by side, which makes
    better use of a few cores than splitting each batch between them.
    """

    def __init__(self, *, model: Path, device: str = "auto", compute_type: str = "", threads: int = 0) -> None:
        """Loads `model`, a directory. `threads`: CPU threads altogether, 0 for one a core.

        Raises ModelMissing where the directory holds no model, Unavailable where the device cannot be used.
        """
        model = Path(model)
        if not (model / "model.bin").is_file():
            raise ModelMissing(f"{model} is not a Whisper model: it has no model.bin")
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        threads = threads or hardware.threads()
        memory.keep_little()
        self.workers = 1 if device == "cuda" else min(threads, 4)
        try:
            self._model = ctranslate2.models.Whisper(
                str(model), device=device, compute_type=compute_type or ("float16" if device == "cuda" else "int8"),
                inter_threads=self.workers, intra_threads=max(1, threads // self.workers),
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            raise Unavailable(f"cannot load {model} on {device}: {error}") from error
        self._tokens = WhisperTokens(model, self._model.is_multilingual)
        self._mel = MelSpectrogram(self._model.n_mels)

    def close(self) -> None:
        """Frees the model's memory."""
        self._model.unload_model()

    def recognize(self, utterances: Sequence[Samples], decoding: Decoding) -> list[Recognition]:
        """One recognition an utterance, in order; utterances are 16 kHz and at most 30 s long.

        Raises UsageError for a language the model does not know.
        """
        if not utterances:
            return []
        if decoding.language is not None and not self._tokens.knows(decoding.language):
            raise UsageError(f"this Whisper model does not know the language {decoding.language!r}")
        encoded = self._encode(utterances, SILENCE_S[decoding.context])
        hypotheses = self._decode(encoded, utterances, self._languages(encoded, decoding, len(utterances)), decoding)
        words = self._words(encoded, utterances, hypotheses, decoding)
        return [
            Recognition(
                text=self._tokens.text(hypothesis.tokens),
                language=hypothesis.language,
                language_probability=hypothesis.language_probability,
                average_log_probability=hypothesis.average_log_probability,
                no_speech_probability=hypothesis.no_speech_probability,
                words=spoken,
            )
            for hypothesis, spoken in zip(hypotheses, words, strict=True)
        ]

    def _encode(self, utterances: Sequence[Samples], silence_s: float) -> Any:
        """The encoder's output, shape (utterances, positions, width): all as long as the longest one needs."""
        frames = frames_of(max(len(samples) for samples in utterances), silence_s)
        if self._model.device != "cpu":
            features = self._mel.batch(utterances, frames)
            # Several GPUs take turns, so what one has encoded must be in the memory that the others reach too.
            to_cpu = len(self._model.device_index) > 1
            return self._model.encode(ctranslate2.StorageView.from_array(features), to_cpu=to_cpu)
        # One by one they fit a CPU's caches: a third faster than together, in an eighth of the memory. Each is encoded
        # at its own length; what it lacks to the longest is filled with its last position, which stands for silence.
        positions = frames // 2
        filled = []
        for samples in utterances:
            own = frames_of(len(samples), silence_s)
            features = self._mel.one(samples, own)[None]
            states = np.asarray(self._model.encode(ctranslate2.StorageView.from_array(features)))
            filled.append(np.pad(states, ((0, 0), (0, positions - states.shape[1]), (0, 0)), mode="edge"))
        return ctranslate2.StorageView.from_array(np.concatenate(filled))

    def _languages(self, encoded: Any, decoding: Decoding, count: int) -> list[tuple[str, float]]:
        """Language and its probability, an utterance."""
        if not self._model.is_multilingual:
            return [("en", 1.0)] * count
        if decoding.language is not None:
            return [(decoding.language, 1.0)] * count
        found = []
        for ranked in self._model.detect_language(encoded):
            token, probability = ranked[0]
            found.append((token.strip("<|>"), float(probability)))
        return found

    def _decode(
        self,
        encoded: Any,
        utterances: Sequence[Samples],
        languages: list[tuple[str, float]],
        decoding: Decoding,
    ) -> list[_Hypothesis]:
        prompts = [
            self._tokens.prompt(language, decoding.task, decoding.initial_prompt, decoding.hotwords)
            for language, _ in languages
        ]
        longest = max(len(samples) for samples in utterances) / SAMPLE_RATE_HZ
        sampling: dict[str, Any] = {"beam_size": decoding.beam_size}
        if decoding.temperature > 0:
            # Sampling would differ from run to run (CTranslate2 has a generator a thread); these break loops as well.
            sampling |= {"repetition_penalty": 1 + decoding.temperature / 2, "no_repeat_ngram_size": 3}
        room = len(max(prompts, key=len)) + SPARE_TOKENS + round(TOKENS_PER_SECOND * longest)
        results = self._model.generate(
            encoded, prompts, max_length=min(CONTEXT_TOKENS, room),
            return_scores=True, return_no_speech_prob=True, **sampling,
        )  # fmt: skip
        hypotheses = []
        for result, (language, probability) in zip(results, languages, strict=True):
            tokens = result.sequences_ids[0]
            hypotheses.append(
                _Hypothesis(
                    tokens=[token for token in tokens if token < self._tokens.end],
                    language=language,
                    language_probability=probability,
                    # CTranslate2 leaves the end token out of the length that it divides by.
                    average_log_probability=float(result.scores[0]) * len(tokens) / (len(tokens) + 1),
                    no_speech_probability=float(result.no_speech_prob),
                )
            )
        return hypotheses

    def _words(
        self, encoded: Any, utterances: Sequence[Samples], hypotheses: list[_Hypothesis], decoding: Decoding
    ) -> list[tuple[SpokenWord, ...]]:
        """The words of each hypothesis with their times, from the decoder's attention to the encoder's output."""
        words: list[tuple[SpokenWord, ...]] = [()] * len(hypotheses)
        for language in sorted({hypothesis.language for hypothesis in hypotheses}):
            # One call of align takes one opening; the rows of other languages go along with nothing to align.
            mine = [hypothesis.tokens if hypothesis.language == language else [] for hypothesis in hypotheses]
            if not any(mine):
                continue
            aligned = self._model.align(
                encoded,
                self._tokens.start(language, decoding.task),
                mine,
                [max(2, len(samples) // HOP) for samples in utterances],
            )
            for index, (tokens, result) in enumerate(zip(mine, aligned, strict=True)):
                if tokens:
                    words[index] = self._spoken(tokens, result, language, len(utterances[index]) / SAMPLE_RATE_HZ)
        return words

    def _spoken(self, tokens: list[int], result: Any, language: str, seconds: float) -> tuple[SpokenWord, ...]:
        pairs = np.array(result.alignments, np.int64).reshape(-1, 2)
        # The first position that attends to a token is where it starts; behind the last token stands the end token.
        first = np.searchsorted(pairs[:, 0], np.arange(len(tokens) + 1))
        times = np.append(pairs[:, 1] * ENCODED_S, seconds)[first]
        times = np.minimum(np.maximum.accumulate(times), seconds)
        return tuple(
            SpokenWord(
                text=word.text,
                start_s=float(times[word.first]),
                end_s=float(times[word.last]),
                confidence=float(np.clip(np.mean(result.text_token_probs[word.first : word.last]), 0, 1)),
            )
            for word in self._tokens.words(tokens, language)
        )
