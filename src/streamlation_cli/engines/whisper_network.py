"""Whisper for audio that grows, computed on a CPU by ONNX Runtime from the weights of a CTranslate2 model.

CTranslate2 is made for whole utterances. Live, the same few seconds are heard again and again, and three things are much cheaper
done otherwise:

- Words that are committed are told to the decoder. CTranslate2 takes them one by one, as if it had to find them; here they go
  through the decoder at once.
- The encoder hears the better the more silence follows the audio, best as much as makes 30 s, because it was trained so. Silence is
  the same each time, so what its positions offer to the others (keys and values) is computed once, and the audio attends to that.
- What was heard some seconds ago hardly changes by what is heard now. So it is encoded once and then known, as the silence is: only
  the last seconds of the audio, and a second behind it, are encoded each time, however long the audio is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import memory
from ..errors import Unavailable
from . import Samples, needs_extra
from .ct2_weights import Ct2Weights, Weights
from .mel import HOP, SOUNDLESS, MelSpectrogram, frames_of
from .whisper_decoder import Decoder, Offers, Said
from .whisper_encoder import EDGE, Encoder

with needs_extra("the whisper engine"):
    from tokenizers import Tokenizer

MULTILINGUAL_TOKENS = 51_865
"""A smaller vocabulary is English alone."""
AHEAD = 100
"""Positions (2 s) that must have followed one for it to be known: then the states are as near to those of a whole encoding as the
silence brings them (in two development recordings the norm of the difference is 0.07 to 0.08 of the norm; with 1 s 0.08 to 0.11, with
4 s 0.055)."""


@dataclass(kw_only=True)
class Heard:
    """Audio that was heard: for the decoder, and to be heard on when it has grown."""

    offers: Offers
    """What it offers to the decoder."""
    kept: int
    """Positions that are known by now."""
    known: list[Weights]
    """What these offer to the encoder; see `Encoder.encode`."""
    loudest: float
    """The largest number in the spectrogram, which scales it."""
    said: Said | None = None
    """The start of the text, as it has gone through the decoder."""


class WhisperNetwork:
    """Encoder and decoder of one model directory."""

    def __init__(self, model: Path, *, threads: int) -> None:
        """`threads`: for the encoder; raises Unavailable where the model cannot be read."""
        weights = Ct2Weights(model / "model.bin")
        settings = json.loads((model / "config.json").read_bytes())
        if not settings.get("alignment_heads"):
            raise Unavailable(
                f"{model} does not say which heads follow the sound; convert it again with CTranslate2 3.9 or later"
            )
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._mel = MelSpectrogram(weights.shape("encoder/conv1/weight")[1])
        self.multilingual = weights.shape("decoder/embeddings/weight")[0] >= MULTILINGUAL_TOKENS
        self._start, end = (_id(tokenizer, token) for token in ("<|startoftranscript|>", "<|endoftext|>"))
        self._languages = {
            int(token): str(tokenizer.id_to_token(token)).strip("<|>") for token in settings.get("lang_ids", ())
        }
        self.encoder = Encoder(weights, threads)
        memory.give_back()
        self.decoder = Decoder(
            weights, threads,
            never=settings.get("suppress_ids", ()), not_first=settings.get("suppress_ids_begin", ()),
            end=end,
            following=[(layer, head) for layer, head in settings["alignment_heads"]],
        )  # fmt: skip
        weights.forget()
        memory.give_back()

    def hear(self, samples: Samples, silence_s: float, before: Heard | None = None, *, silent: bool = True) -> Heard:
        """Samples in [-1, 1] and so much silence behind them, and further silence if `silent`.

        `before`: what was heard of the same audio when it was shorter.
        """
        kept = before.kept if before else 0
        mel, loudest = self._mel.part(
            samples, max(0, 2 * (kept - EDGE)), frames_of(len(samples), silence_s, step=2),
            before.loudest if before else SOUNDLESS,
        )  # fmt: skip
        known = before.known if before else []
        states, found = self.encoder.encode(mel, known, silent=silent)
        offers = self.decoder.offers(states)
        settled = max(0, len(samples) // (2 * HOP) - AHEAD - kept)
        found = [part[:, :settled] for part in found]
        if before:
            found = _joined(known, found)
            offers = _joined([part[:, :kept] for part in before.offers], offers)
        return Heard(
            offers=offers, kept=kept + settled, known=found, loudest=loudest, said=before.said if before else None
        )

    def language(self, heard: Heard) -> tuple[str, float]:
        """The language that is spoken, as a code, and how likely it is among all."""
        token, probability = self.decoder.likeliest(heard.offers, [self._start], list(self._languages))[0]
        return self._languages[token], probability


def _joined(ones: Sequence[Weights], others: Sequence[Weights]) -> list[Weights]:
    """What positions offer, those of `others` behind those of `ones`."""
    return [np.concatenate(both, axis=1) for both in zip(ones, others, strict=True)]


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise Unavailable(f"the model's tokenizer has no {token}")
    return int(found)
