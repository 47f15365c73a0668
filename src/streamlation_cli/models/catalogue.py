"""The models the toolkit knows by name, read from `catalogue.toml`."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = ("whisper", "firefox", "ct2", "piper", "speaker")
"""Recognition, translation by Firefox models, translation by CTranslate2 models, voices, telling speakers apart."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a model."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    """Lower-case hex; empty where nobody has stated one."""
    origins: tuple[str, ...] = ()
    """Where its parts lie below the folder of installed packages, in the order they are joined."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of the catalogue."""

    kind: str
    name: str
    summary: str = ""
    languages: tuple[str, ...] = ()
    """Most specific first; `*` stands for about a hundred; source and target of a `firefox` pair."""
    licence: str = ""
    size: int = 0
    """Bytes on disk, about that many where the files are not listed."""
    files: tuple[ModelFile, ...] = ()
    """Empty where the hub decides."""
    packages: tuple[str, ...] = ()
    """Pinned requirements that carry it."""
    hub: str = ""
    """Hub id it can be pulled from."""
    include: tuple[str, ...] = ()
    """Patterns of the hub's files that are meant; empty for all that a model of this kind needs."""

    @property
    def key(self) -> str:
        """`kind/name`, as the command line takes it."""
        return f"{self.kind}/{self.name}"


@functools.cache
def models() -> tuple[Model, ...]:
    """Every model of the catalogue, in its order."""
    tables = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text("utf-8"))["model"]
    return tuple(_model(table) for table in tables)


def find(kind: str, name: str) -> Model | None:
    """The model of that name, or None."""
    return next((model for model in models() if model.kind == kind and model.name == name), None)


def derive(kind: str, name: str) -> Model | None:
    """A model that is not in the catalogue but whose hub address follows from its name: a Piper voice, an OPUS-MT pair."""
    voice = re.fullmatch(r"(([a-z]{2,3})_[A-Z]{2})-([A-Za-z0-9_]+)-(x_low|low|medium|high)", name)
    if kind == "piper" and voice:
        folder = f"{voice[2]}/{voice[1]}/{voice[3]}/{voice[4]}"
        return Model(
            kind=kind, name=name, languages=(voice[1].replace("_", "-"), voice[2]),
            licence="by voice, see its MODEL_CARD", hub="rhasspy/piper-voices",
            include=(f"{folder}/{name}.onnx", f"{folder}/{name}.onnx.json", f"{folder}/MODEL_CARD"),
        )  # fmt: skip
    pair = re.fullmatch(r"opus-mt-([a-z]{2,3})-([a-z]{2,3})", name)
    if kind == "ct2" and pair:
        return Model(kind=kind, name=name, languages=(pair[1], pair[2]), hub=f"gaudi/{name}-ctranslate2")
    return None


def _model(table: dict[str, Any]) -> Model:
    values = dict(table)
    files = values.pop("file", [])
    for key in ("languages", "packages", "include"):
        values[key] = tuple(values.get(key, ()))
    return Model(
        files=tuple(
            ModelFile(name=f["name"], size=f["size"], sha256=f["sha256"], origins=tuple(f["from"])) for f in files
        ),
        **values,
    )
