"""CTranslate2 translation models with SentencePiece: OPUS-MT, NLLB and M2M-100 folders, told apart by their files.

layout   SentencePiece model                  language tokens                        looks like
opus     source.spm, target.spm               none, or >>por<< before the text       opus-mt-en-pt, opus-mt-en-ROMANCE
nllb     one, such as sentencepiece.bpe.model eng_Latn before the text and as prefix nllb-200-distilled-600M
m2m      one                                  __en__ before the text and as prefix   m2m100_418M
"""

from __future__ import annotations

import functools
import json
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ModelMissing, PairMissing, Unavailable, UsageError
from ..languages import primary
from . import needs_extra

_END = "</s>"
_MOST_PIECES = 200
"""A longer sentence goes in parts: models have an end of their positions, from 256 in small ones to 1024."""
_TOKENS: dict[Literal["nllb", "m2m", "opus"], re.Pattern[str]] = {
    "nllb": re.compile(r"([a-z]{3})_[A-Z][a-z]{3}"),
    "m2m": re.compile(r"__([a-z]{2,3})__"),
    "opus": re.compile(r">>([a-z]{2,3})(?:_[A-Za-z]+)?<<"),
}
_USUAL = {
    "arb": "ar", "swh": "sw", "zsm": "ms", "pes": "fa", "lvs": "lv", "npi": "ne", "azj": "az", "uzn": "uz", "khk": "mn",
    "als": "sq", "gaz": "om", "plt": "mg", "pbt": "ps", "ydd": "yi", "ory": "or", "nob": "no", "ekk": "et", "cmn": "zh",
}  # fmt: skip
"""Codes of the usual variety of a language → what everyone calls it."""


@dataclass(frozen=True)
class Layout:
    """How a model's folder is to be used."""

    kind: Literal["opus", "nllb", "m2m"]
    source_spm: Path
    target_spm: Path
    add_end: bool
    """Whether the model wants `</s>` after the source written out."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Language → its token; empty for a model of one pair."""

    @property
    def languages(self) -> tuple[str, ...] | None:
        """What its tokens stand for; None where there are none."""
        return tuple(self.tokens) or None

    @property
    def source_token(self) -> bool:
        """Whether the source's language is told too, so that it takes any of its languages."""
        return self.kind != "opus"


@functools.lru_cache(maxsize=64)
def layout_of(folder: Path) -> Layout | None:
    """The layout of a model folder; None where it holds no CTranslate2 translation model that can be used."""
    if not (folder / "model.bin").is_file():
        return None
    add_end = not _config(folder).get("add_source_eos", False)
    source, target = folder / "source.spm", folder / "target.spm"
    vocabulary = _vocabulary(folder)
    if source.is_file() and target.is_file():
        return Layout("opus", source, target, add_end, _language_tokens("opus", vocabulary))
    pieces = sorted(path for path in folder.iterdir() if path.suffix in (".model", ".spm") and path.is_file())
    if len(pieces) != 1:
        return None
    for kind in ("nllb", "m2m"):
        tokens = _language_tokens(kind, vocabulary)
        if len(tokens) > 1:
            return Layout(kind, pieces[0], pieces[0], add_end, tokens)
    return Layout("opus", pieces[0], pieces[0], add_end, _language_tokens("opus", vocabulary))


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}  # models converted by old versions have none
    return config if isinstance(config, dict) else {}


def _vocabulary(folder: Path) -> list[str]:
    for name in ("shared_vocabulary", "source_vocabulary"):  # a target token before the text is a source token
        for suffix in (".json", ".txt"):
            path = folder / (name + suffix)
            if path.is_file():
                text = path.read_text("utf-8", "replace")
                return json.loads(text) if suffix == ".json" else text.split("\n")
    return []


def _language_tokens(kind: Literal["opus", "nllb", "m2m"], vocabulary: Sequence[str]) -> dict[str, str]:
    tokens: dict[str, str] = {}
    for token in vocabulary:
        if found := _TOKENS[kind].fullmatch(token):
            tokens.setdefault(_USUAL.get(found[1]) or primary(found[1]), token)
    return tokens


class Ct2Translator:
    """One direction of one pair. Several directions of one multilingual model share its weights.

    Raises ModelMissing where `folder` holds no usable model, PairMissing where it lacks a language, UsageError for a
    compute type that the device does not have, Unavailable where the device or a library is missing.
    """

    max_chars = 400
    """Sentences this long are rare in what these models learnt from."""
    batch_size = 16

    def __init__(
        self, folder: Path, *, source: str, target: str, device: str = "auto", compute_type: str = "", threads: int = 0,
        beam_size: int = 2,
    ) -> None:  # fmt: skip
        layout = layout_of(folder)
        if layout is None:
            raise ModelMissing(
                f"{folder}: not a CTranslate2 translation model: it needs model.bin, its vocabulary, and source.spm "
                "with target.spm or one SentencePiece model"
            )
        self._before, self._prefix = _language_marks(layout, folder, source, target)
        self._after = [_END] if layout.add_end else []
        self._beam_size = beam_size
        self._weights = _weights(folder, device, compute_type or "auto", threads)
        self._encode, self._decode = _pieces(layout.source_spm)[0], _pieces(layout.target_spm)[1]
        self.identity = (
            f"ct2:{self._weights.version}:{self._weights.sha256}:{self._weights.compute_type}:{source}-{target}:"
            f"beam={beam_size}"
        )

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """One translation a sentence, in order, the batch decoded together."""
        pieces = [self._encode(sentence) for sentence in sentences]
        parts = [[row[at : at + _MOST_PIECES] for at in range(0, len(row), _MOST_PIECES)] for row in pieces]
        translated = iter(self._translate_parts([part for some in parts for part in some]))
        return [" ".join(next(translated) for _ in some) for some in parts]

    def alternatives(self, sentence: str, count: int) -> list[str]:
        """Up to `count` translations that the search found, the likeliest first; none of a sentence that goes in parts."""
        pieces = self._encode(sentence)
        if len(pieces) > _MOST_PIECES:
            return []
        return list(dict.fromkeys(self._hypotheses([pieces], count)[0]))

    def _translate_parts(self, parts: Sequence[list[str]]) -> list[str]:
        return [found[0] for found in self._hypotheses(parts, 1)]

    def _hypotheses(self, parts: Sequence[list[str]], count: int) -> list[list[str]]:
        results = self._weights.translator.translate_batch(
            [[*self._before, *part, *self._after] for part in parts],
            target_prefix=[self._prefix] * len(parts) if self._prefix else None,
            beam_size=max(count, self._beam_size),
            num_hypotheses=count,
            max_batch_size=2048,
            batch_type="tokens",
            max_decoding_length=_MOST_PIECES + 56,
        )
        return [[self._decode(one[len(self._prefix) :]).strip() for one in result.hypotheses] for result in results]

    def close(self) -> None:
        """Lets go of the model; its memory is freed when no other direction uses it."""
        del self._weights


def _language_marks(layout: Layout, folder: Path, source: str, target: str) -> tuple[list[str], list[str]]:
    """Tokens before the source, and the prefix of the target."""
    if not layout.tokens:
        return [], []
    wanted = (source, target) if layout.source_token else (target,)
    for language in wanted:
        if language not in layout.tokens:
            raise PairMissing(f"{folder}: no {language} in this model; it has: {', '.join(sorted(layout.tokens))}")
    if layout.source_token:
        return [layout.tokens[source]], [layout.tokens[target]]
    return [layout.tokens[target]], []


def _pieces(model: Path) -> tuple[Callable[[str], list[str]], Callable[[list[str]], str]]:
    with needs_extra("engine ct2"):
        import sentencepiece
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    except (OSError, RuntimeError) as error:
        raise ModelMissing(f"{model}: not a SentencePiece model: {error}") from error
    return (lambda text: processor.encode(text, out_type=str)), processor.decode


class _Weights:
    """A loaded model, shared by its directions."""

    def __init__(self, folder: Path, device: str, compute_type: str, threads: int) -> None:
        from ..models import hardware
        from ..models.checksum import remembered_sha256_of

        hardware.allow_avx512()
        with needs_extra("engine ct2"):
            import ctranslate2

        try:
            self.translator = ctranslate2.Translator(
                str(folder), device=device, compute_type=compute_type, inter_threads=1, intra_threads=threads
            )
        except ValueError as error:
            raise UsageError(f"--device {device} --compute-type {compute_type}: {error}") from error
        except RuntimeError as error:
            if "CUDA" in str(error):
                raise Unavailable(f"--device {device}: {error}") from error
            raise ModelMissing(f"{folder}: CTranslate2 cannot load it: {error}") from error
        self.version = ctranslate2.__version__
        self.compute_type = self.translator.compute_type
        self.sha256 = remembered_sha256_of(folder / "model.bin")


_loaded: weakref.WeakValueDictionary[tuple[Any, ...], _Weights] = weakref.WeakValueDictionary()
_loading = threading.Lock()


def _weights(folder: Path, device: str, compute_type: str, threads: int) -> _Weights:
    key = (folder.resolve(), device, compute_type, threads)
    with _loading:
        weights = _loaded.get(key)
        if weights is None:
            weights = _Weights(folder, device, compute_type, threads)
            _loaded[key] = weights
        return weights
