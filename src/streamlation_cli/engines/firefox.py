"""Firefox Translations models, run by `fxtranslate`: small, int8, made for a CPU.

A model is a folder with `model.*.bin` and one vocabulary `vocab.*.spm` (or `srcvocab.*.spm` and `trgvocab.*.spm`). The
shortlist `lex.*.bin` that comes with it is left alone: here it saves a twentieth of the time and makes short sentences
worse ("Excuse me." became "Me emcue."). The engine takes one sentence at a time and holds the interpreter's lock while
it works (about 20 ms a sentence), so a batch gains nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from ..errors import ModelMissing
from . import needs_extra


class FirefoxTranslator:
    """One direction of one pair. Belongs to the thread that made it.

    Raises ModelMissing where `folder` holds no such model, Unavailable where the library is missing.
    """

    max_chars = 400
    """Beyond this the models first grow careless, then drop text without a word."""
    batch_size = 1

    def __init__(self, folder: Path) -> None:
        with needs_extra("engine firefox"):
            import fxtranslate
        model = _read(folder, "model.*.bin")
        source = _read(folder, "srcvocab.*.spm", "vocab.*.spm")
        target = _read(folder, "trgvocab.*.spm", "vocab.*.spm")
        digest = hashlib.sha256()
        for data in (model, source, target):
            digest.update(hashlib.sha256(data).digest())
        self.identity = f"firefox:{importlib.metadata.version('fxtranslate')}:{digest.hexdigest()}"
        try:
            self._translator = fxtranslate.Translator(model, source, target)
        except ValueError as error:
            raise ModelMissing(f"{folder}: not a usable Firefox translation model: {error}") from error

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """One translation a sentence, in order; a sentence has at most `max_chars` characters."""
        return [self._translator.translate(sentence).strip() for sentence in sentences]

    def close(self) -> None:
        """Frees the model."""
        del self._translator


def is_model(folder: Path) -> bool:
    """Whether `folder` looks like a Firefox translation model."""
    return any(folder.glob("model.*.bin")) and any(folder.glob("*vocab.*.spm"))


def _read(folder: Path, *patterns: str) -> bytes:
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise ModelMissing(f"{folder}: more than one {pattern}; a folder holds one model")
        if found:
            return found[0].read_bytes()
    raise ModelMissing(f"{folder}: there is no {' or '.join(patterns)}, so it is no Firefox translation model")
