"""Whisper on audio that grows: what follows the words that are committed already.

The committed words are forced at the start of decoding, so each decoding finds only what comes after them; word times
come from one alignment of the whole text to the sound that is really there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ctranslate2
import numpy as np

from . import Decoding, Hearing, Samples, SpokenWord
from .mel import HOP, SAMPLE_RATE_HZ
from .whisper_tokens import UNSPACED

if TYPE_CHECKING:
    from .whisper import WhisperRecognizer

SILENCE_S = {"short": 2.0, "long": 8.0, "full": 30.0}
"""Silence behind the audio. The encoder hears better the more there is: on a development recording of Portuguese, started at four
places, 25.5 words of 106 were wrong with 2 s, 23.5 with 5 s, 21.5 with 8 s and 22.0 with 30 s. But it costs time at every step, so
the short one is the least that mostly keeps the decoder from loops, and the listener asks for the long one where words are in doubt."""
TOKENS_PER_SECOND = 5
"""As fast as people mostly speak. What is cut off comes with the next decoding; with more room (7 a second and more) the decoder goes
on with what it expects to hear, which costs time and makes for more errors."""
SPARE_TOKENS = 3
CONTEXT_TOKENS = 448
ENCODED_S = 2 * HOP / SAMPLE_RATE_HZ
_SOUNDLESS = re.compile(r"\W*")


def listen(whisper: WhisperRecognizer, samples: Samples, said: Sequence[SpokenWord], decoding: Decoding) -> Hearing:
    """See `Recognizer.listen`."""
    model, vocabulary = whisper._model, whisper._tokens
    seconds = len(samples) / SAMPLE_RATE_HZ
    frames = whisper._frames(len(samples), SILENCE_S[decoding.context])
    encoded = model.encode(ctranslate2.StorageView.from_array(whisper._mel.one(samples, frames)[None]))
    [(language, language_probability)] = whisper._languages(encoded, decoding, 1)
    told = [token for word in said for token in word.tokens]
    prompt = vocabulary.prompt(language, decoding.task, decoding.initial_prompt, decoding.hotwords)
    new_s = seconds - (said[-1].end_s if said else 0.0)
    room = len(told) + SPARE_TOKENS + round(TOKENS_PER_SECOND * new_s)
    options: dict[str, Any] = {"beam_size": decoding.beam_size}
    if decoding.temperature > 0:
        options |= {"repetition_penalty": 1 + decoding.temperature / 2, "no_repeat_ngram_size": 3}
    [result] = model.generate(
        encoded, [[*prompt, *told]],
        max_length=min(CONTEXT_TOKENS, 2 * room),  # CTranslate2 gives text half of it, what is told included
        return_scores=True, return_no_speech_prob=True, **options,
    )  # fmt: skip
    heard = [token for token in result.sequences_ids[0] if token < vocabulary.end]
    found = heard[len(told) :]  # CTranslate2 gives what was forced back as well
    mark = ""
    words: tuple[SpokenWord, ...] = ()
    if found:
        [aligned] = model.align(
            encoded, vocabulary.start(language, decoding.task), [[*told, *found]], [max(2, len(samples) // HOP)]
        )
        mark, words = _heard(whisper, told, found, aligned, language, seconds)
    return Hearing(
        text=vocabulary.text(found), words=words, mark=mark, language=language, language_probability=language_probability,
        average_log_probability=float(result.scores[0]) * len(heard) / (len(heard) + 1),
        no_speech_probability=float(result.no_speech_prob),
    )  # fmt: skip


def _heard(
    whisper: WhisperRecognizer, told: list[int], found: list[int], aligned: Any, language: str, seconds: float
) -> tuple[str, tuple[SpokenWord, ...]]:
    """Punctuation that belongs to the last told word, and the words behind it."""
    count = len(told) + len(found)
    pairs = np.array(aligned.alignments, np.int64).reshape(-1, 2)
    first = np.searchsorted(pairs[:, 0], np.arange(count + 1))
    times = np.append(pairs[:, 1] * ENCODED_S, seconds)[first]
    times = np.minimum(np.maximum.accumulate(times), seconds)[len(told) :]
    probabilities = np.array(aligned.text_token_probs[len(told) :])
    words = whisper._tokens.words(found, language)
    starts = [word.first for word in words[1:]] + [len(found)]
    heard = []
    mark, begin = "", 0
    for index, (word, stop) in enumerate(zip(words, starts, strict=True)):
        if index == 0 and told and not _opens(whisper, found, language):
            # It goes on in the last told word, which cannot change any more.
            mark = word.text if _SOUNDLESS.fullmatch(word.text) else ""
            continue
        heard.append(
            SpokenWord(
                text=word.text,
                start_s=float(times[word.first]),
                end_s=float(times[word.last]),
                # Its least likely part: a word that is cut off is likely but for its end.
                confidence=float(np.clip(np.min(probabilities[word.first : word.last], initial=1.0), 0, 1)),
                tokens=tuple(found[begin:stop]),
            )
        )
        begin = stop
    return mark, tuple(heard)


def _opens(whisper: WhisperRecognizer, found: list[int], language: str) -> bool:
    """Whether a new word begins with the first of these tokens."""
    piece = whisper._tokens._tokenizer.decode(found[:1])
    return piece.startswith(" ") or (language in UNSPACED and not _SOUNDLESS.fullmatch(piece))
