"""Where weights lie, and whether they are what they should be.

    data_dir()/models/KIND/NAME/            the user's store: pulled, unpacked, joined, or put there by hand
        streamlation-model.json             what is meant to be in it: files, sizes, SHA-256, source
    site-packages/…                         installed weight packages, used in place where they hold whole files

A name is looked for in the store first, then in the installed packages. Every file whose SHA-256 is known is verified
before its first use, and again when it has changed; one that differs is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from ..errors import ModelDamaged, ModelMissing, UsageError
from . import catalogue
from .catalogue import KINDS, Model, ModelFile
from .checksum import BLOCK_BYTES, is_remembered, remembered_sha256_of, sha256_of
from .folders import MANIFEST, human, placing, read_manifest, roots, writable_root, write_manifest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,119}")
"""A model's name, which is also the name of its folder."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model that is here."""

    kind: str
    name: str
    path: Path
    """What `resolve` returns: a folder, or the `.onnx` file of a voice."""
    folder: Path
    where: Literal["store", "package", "parts"]
    """In the user's store, in place in an installed package, or in parts of packages that the first use joins."""
    languages: tuple[str, ...] = ()
    """Most specific first; `*` stands for about a hundred; source and target of a translation pair."""
    licence: str = ""
    source: str = ""
    """Package, hub id, address or archive it came from; empty where it was put there by hand."""
    files: tuple[ModelFile, ...] = ()
    """With the sums they must have; empty where none are known."""

    @property
    def key(self) -> str:
        """`kind/name`, as the command line takes it."""
        return f"{self.kind}/{self.name}"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files) or sum(f.stat().st_size for f in _regular_files(self.folder))

    @property
    def checked(self) -> bool:
        """Whether every sum is known and was found right since the files last changed; reads no weights."""
        return bool(self.files) and all(
            file.sha256 and (self.folder / file.name).is_file() and is_remembered(self.folder / file.name, file.sha256)
            for file in self.files
        )


def resolve(kind: str, name: str) -> Path:
    """The verified weights: a folder, or the `.onnx` file for kind `piper`.

    `name` is a model's name (`base`, `whisper/base`, `en-pt`) or a path, which is returned as it is. Raises
    ModelMissing where there is none, ModelDamaged where a file is not what its SHA-256 says.
    """
    if _is_path(name) and os.path.exists(name):  # noqa: PTH110 - takes any text
        return Path(name)
    entry = find(kind, name)
    if entry is None:
        if os.path.exists(name):  # noqa: PTH110
            return Path(name)
        raise ModelMissing(how_to_get(kind, name))
    if entry.where == "parts":
        entry = join(entry)
    verify(entry, thoroughly=False)
    return entry.path


def find(kind: str, name: str) -> Entry | None:
    """The model of that name that is here, the store before the packages; nothing is verified."""
    if kind not in KINDS:
        raise UsageError(f"no kind of model is called {kind!r}; there are: {', '.join(KINDS)}")
    name = name.removeprefix(f"{kind}/")
    if not NAME.fullmatch(name):
        return None
    for root in roots():
        if (root / kind / name).is_dir():
            return _stored(root / kind / name)
    model = catalogue.find(kind, name)
    return None if model is None else _packaged(model)


def installed(kind: str) -> list[Entry]:
    """Every model of a kind that is here, by name; nothing is verified and no weights are read."""
    found: dict[str, Entry] = {}
    for folder in _stored_folders(kind):
        if folder.name not in found:
            with contextlib.suppress(ModelDamaged):  # `unreadable` says so
                found[folder.name] = _stored(folder)
    for model in catalogue.models():
        if model.kind == kind and model.name not in found and (entry := _packaged(model)) is not None:
            found[model.name] = entry
    return [found[name] for name in sorted(found)]


def unreadable() -> list[str]:
    """One line for each folder of the store that does not say what is in it any more."""
    problems = []
    for folder in (folder for kind in KINDS for folder in _stored_folders(kind)):
        try:
            _stored(folder)
        except ModelDamaged as error:
            problems.append(str(error))
    return problems


def verify(entry: Entry, *, thoroughly: bool = True) -> None:
    """Checks every file of a model against its SHA-256; unless `thoroughly`, only files changed since their last check.

    Raises ModelDamaged that names the file and what to do.
    """
    for file in entry.files:
        path = entry.folder / file.name
        if not path.is_file():
            raise ModelDamaged(f"{entry.key}: {path} is gone; {_cure(entry)}")
        if path.stat().st_size != file.size:
            raise ModelDamaged(
                f"{entry.key}: {path} has {path.stat().st_size} bytes instead of {file.size}; {_cure(entry)}"
            )
        if not file.sha256:
            continue
        found = sha256_of(path) if thoroughly else remembered_sha256_of(path)
        if found != file.sha256:
            raise ModelDamaged(
                f"{entry.key}: {path} is damaged or was changed (SHA-256 {found[:12]}… instead of "
                f"{file.sha256[:12]}…); {_cure(entry)}"
            )


def join(entry: Entry) -> Entry:
    """A model whose files lie in parts in packages, made whole in the store: atomic, verified, by whoever comes first.

    Raises ModelDamaged where the whole has another SHA-256, OutputFailed where it cannot be written.
    """
    root = writable_root(sum(file.size for file in entry.files))
    target = root / entry.kind / entry.name
    with placing(target) as folder:
        if folder is None:
            return _stored(target)
        try:
            for file in entry.files:
                join_file(entry.key, file, folder / file.name, _open_installed)
        except ModelDamaged as error:
            raise ModelDamaged(f"{error}; {_cure(entry)}") from None
        write_manifest(
            folder, kind=entry.kind, name=entry.name, files=entry.files, languages=entry.languages,
            licence=entry.licence, source=entry.source, checksum="catalogue",
        )  # fmt: skip
    return _stored(target)


def how_to_get(kind: str, name: str) -> str:
    """One line: what is missing and the commands that bring it."""
    name = name.removeprefix(f"{kind}/")
    model = catalogue.find(kind, name)
    if model is not None:
        from_index = f" or: pip install {' '.join(model.packages)}" if model.packages else ""
        size = human(model.size)
        return f"model {model.key} ({size}) is not installed; run: streamlation models pull {model.key}{from_index}"
    here = ", ".join(entry.name for entry in installed(kind)) or "none"
    return (
        f"no {kind} model is called {name!r} (installed: {here}); see: streamlation models list, "
        f"or pull one: streamlation models pull hub:ORG/REPO"
    )


def _is_path(name: str) -> bool:
    return os.sep in name or name.startswith(".") or name.endswith(".onnx")


def _stored_folders(kind: str) -> list[Path]:
    folders = (folder for root in roots() for folder in sorted((root / kind).glob("*/")))
    return [folder for folder in folders if NAME.fullmatch(folder.name)]


def _stored(folder: Path) -> Entry:
    """What lies in a folder of the store, by its manifest, else by the catalogue, else as it is."""
    kind, name = folder.parent.name, folder.name
    model = catalogue.find(kind, name)
    languages = _guessed_languages(kind, name)
    licence, source = "", ""
    files: tuple[ModelFile, ...] = ()
    if (folder / MANIFEST).exists():
        document = read_manifest(folder)
        languages = tuple(map(str, document.get("languages", ()))) or languages
        licence, source = str(document.get("licence", "")), str(document.get("source", ""))
        files = tuple(ModelFile(name=f["name"], size=f["size"], sha256=f["sha256"]) for f in document["files"])
    elif model is not None:
        languages, licence, files = model.languages, model.licence, model.files
    return Entry(
        kind=kind, name=name, path=_usable_path(kind, folder, name), folder=folder, where="store",
        languages=languages, licence=licence, source=source, files=files,
    )  # fmt: skip


def _packaged(model: Model) -> Entry | None:
    """A catalogue model whose packages are installed, in place where its files are whole and together."""
    if not model.packages or not model.files:
        return None
    origins = [_installed_file(origin) for file in model.files for origin in file.origins]
    if None in origins:
        return None
    folders = {origin.parent for origin in origins if origin is not None}
    whole = all(len(f.origins) == 1 and f.origins[0].endswith(f"/{f.name}") for f in model.files)
    if whole and len(folders) == 1:
        where: Literal["package", "parts"] = "package"
        folder = folders.pop()
        path = _usable_path(model.kind, folder, model.name)
    else:
        where = "parts"
        folder = _package_folder(model.files[0].origins[0]).parent  # type: ignore[union-attr]
        path = _usable_path(model.kind, roots()[0] / model.kind / model.name, model.name)
    return Entry(
        kind=model.kind, name=model.name, path=path, folder=folder, where=where, languages=model.languages,
        licence=model.licence, source=" ".join(model.packages), files=model.files,
    )  # fmt: skip


def _package_folder(origin: str) -> Path | None:
    """The folder of the package an origin lies in, found without importing it."""
    package = origin.partition("/")[0]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    return None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])


def _installed_file(origin: str) -> Path | None:
    folder = _package_folder(origin)
    if folder is None:
        return None
    path = folder / origin.partition("/")[2]
    return path if path.is_file() else None


def join_file(key: str, file: ModelFile, target: Path, open_origin: Callable[[str], BinaryIO]) -> None:
    """Writes the parts of a file one after the other to `target`; raises ModelDamaged where the whole has another SHA-256."""
    digest = hashlib.sha256()
    with target.open("xb") as out:
        for origin in file.origins:
            with open_origin(origin) as stream:
                while block := stream.read(BLOCK_BYTES):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != file.sha256:
        raise ModelDamaged(
            f"{key}: {file.name} in {file.origins[0].partition('/')[0]} has SHA-256 {digest.hexdigest()[:12]}… "
            f"instead of {file.sha256[:12]}…"
        )


def _open_installed(origin: str) -> BinaryIO:
    path = _installed_file(origin)
    if path is None:
        raise ModelDamaged(f"{origin} is gone from the installed packages")
    return path.open("rb")


def _usable_path(kind: str, folder: Path, name: str) -> Path:
    if kind != "piper":
        return folder
    named = folder / f"{name}.onnx"
    if named.is_file():
        return named
    return next(iter(sorted(folder.glob("*.onnx"))), named)


def _guessed_languages(kind: str, name: str) -> tuple[str, ...]:
    """From the way such models are usually named."""
    if kind == "piper" and (found := re.match(r"([a-z]{2,3})_([A-Z]{2})-", name)):
        return f"{found[1]}-{found[2]}", found[1]
    if kind == "firefox" and (
        found := re.fullmatch(r"([A-Za-z]{2,3}(?:_[A-Za-z]+)?)-([A-Za-z]{2,3}(?:_[A-Za-z]+)?)", name)
    ):
        return found[1], found[2]
    if kind == "ct2" and (pair := re.fullmatch(r"opus-mt-([a-z]{2,3})-([a-z]{2,3})", name)):
        return pair[1], pair[2]
    if kind == "whisper":
        return ("en",) if name.endswith(".en") else ("*",)
    return ()


def _regular_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path


def _cure(entry: Entry) -> str:
    if entry.where == "store":
        return f"run: streamlation models pull {entry.key} --force"
    return f"run: pip install --force-reinstall --no-deps {entry.source}"
