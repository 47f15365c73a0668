"""What a folder of weights is, told by the names of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import PurePosixPath

NEEDED = {
    "whisper": ("model.bin", "config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.*"),
    "ct2": ("model.bin", "config.json", "*vocabulary*.json", "*vocabulary*.txt", "*.spm", "*.model", "tokenizer*.json",
            "special_tokens_map.json", "added_tokens.json", "generation_config.json"),
    "piper": ("*.onnx", "*.onnx.json", "MODEL_CARD"),
    "firefox": ("model.*.bin", "*vocab.*.spm", "lex.*.bin"),
    "speaker": ("pretrained.pt",),
}  # fmt: skip
"""Files a model of each kind is made of; what else lies beside them is documentation or weights in another form."""


def kind_of(names: Iterable[str]) -> str | None:
    """The kind of model that files of these names are, or None.

    >>> kind_of(["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
    'whisper'
    >>> kind_of(["model.bin", "config.json", "source.spm", "target.spm", "shared_vocabulary.json"])
    'ct2'
    >>> kind_of(["README.md"]) is None
    True
    """
    present = set(names)
    if any(f"{name}.json" in present for name in present if name.endswith(".onnx")):
        return "piper"
    if any(fnmatch(n, "model.*.bin") for n in present) and any(fnmatch(n, "*vocab.*.spm") for n in present):
        return "firefox"
    if "pretrained.pt" in present:
        return "speaker"
    if "model.bin" not in present:
        return None
    if any(name.endswith((".spm", ".model")) or name.startswith(("shared_voc", "source_voc")) for name in present):
        return "ct2"
    return "whisper" if "config.json" in present else None


def wanted(kind: str, names: Iterable[str]) -> list[str]:
    """Of files in one folder, those that the model is made of, sorted."""
    return sorted(name for name in names if any(fnmatch(name, pattern) for pattern in NEEDED[kind]))


def name_of(kind: str, folder: str, names: Iterable[str]) -> str:
    """What a model is usually called: by its files where they carry a name, else by its folder.

    >>> name_of("firefox", "enpt-1693087644", ["model.enpt.intgemm.alphas.bin", "vocab.enpt.spm"])
    'en-pt'
    >>> name_of("piper", "data", ["de_DE-eva-low.onnx", "de_DE-eva-low.onnx.json"])
    'de_DE-eva-low'
    """
    for name in sorted(names):
        if kind == "piper" and name.endswith(".onnx"):
            return name.removesuffix(".onnx")
        if kind == "firefox" and (pair := re.match(r"model\.([a-z]{2})([a-z]{2})\.", name)):
            return f"{pair[1]}-{pair[2]}"
    return PurePosixPath(folder).name
