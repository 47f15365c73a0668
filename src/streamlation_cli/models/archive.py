"""Model archives: bundles of this program's own making, and plain tar or zip files with a model somewhere in them.

A bundle is an uncompressed tar (weights do not compress) whose first member, `streamlation-bundle.json`, lists every
other one with size and SHA-256; the same models give the same bytes. From an archive of either form only regular files
with names that stay inside the folder are taken, and of a bundle only those it lists.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from ..artefacts import Artefact
from ..errors import DataError, InputMissing, OutputFailed, UsageError
from . import layout
from .catalogue import KINDS, ModelFile
from .checksum import BLOCK_BYTES, remembered_sha256_of
from .folders import human, safe_name
from .store import NAME, Entry

BUNDLE_MANIFEST = "streamlation-bundle.json"
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip", ".whl")


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """A model that came out of an archive."""

    kind: str
    name: str
    folder: Path
    files: tuple[ModelFile, ...]
    languages: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    checksum: str = "archive"


def write_bundle(entries: Sequence[Entry], target: str) -> int:
    """Writes models, verified before, to an archive at `target` (`-` is standard output); returns its size in bytes."""
    models = [_described(entry) for entry in sorted(entries, key=lambda entry: entry.key)]
    document = json.dumps({"format": 1, "models": models}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    artefact = Artefact(target)
    counted = _Counted(artefact)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], counted), mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, BUNDLE_MANIFEST, len(document.encode()), io.BytesIO(document.encode()))
            for entry in sorted(entries, key=lambda entry: entry.key):
                for file in sorted(entry_files(entry), key=lambda file: file.name):
                    with (entry.folder / file.name).open("rb") as stream:
                        _add(tar, f"{entry.key}/{file.name}", file.size, stream)
        artefact.commit()
    except BaseException:
        artefact.abandon()
        raise
    return counted.size


def entry_files(entry: Entry) -> tuple[ModelFile, ...]:
    """A model's files with their sums; computed where nobody has stated them."""
    if entry.files and all(file.sha256 for file in entry.files):
        return entry.files
    names = sorted(path.relative_to(entry.folder).as_posix() for path in entry.folder.rglob("*") if path.is_file())
    return tuple(
        ModelFile(name=n, size=(entry.folder / n).stat().st_size, sha256=remembered_sha256_of(entry.folder / n))
        for n in names
    )


def unpack(archive: Path, into: Path, name: str = "") -> list[Unpacked]:
    """Unpacks the models of an archive into folders below `into`; `name` is what a plain archive's one is to be called.

    Raises InputMissing where it is not there; DataError for what is no archive, holds no model, is damaged, or holds
    links, devices or names that lead elsewhere; OutputFailed where it cannot be written.
    """
    try:
        with contextlib.closing(_members(archive)) as members:
            first = next(members, None)
            if first is not None and first[0] == BUNDLE_MANIFEST:
                return _unpack_bundle(archive, first[2], members, into)
        with contextlib.closing(_members(archive)) as members:
            return _unpack_plain(archive, members, into, name)
    except FileNotFoundError as error:
        raise InputMissing(f"{archive}: there is no such file") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zipfile.LargeZipFile, NotImplementedError) as error:
        raise DataError(f"{archive}: not a whole archive: {error or type(error).__name__}") from error
    except OSError as error:
        raise OutputFailed(f"{archive}: {error.strerror or error}") from error


_Member = tuple[str, int, IO[bytes]]
"""Name, size, content; the content is only good until the next member is asked for."""


def _members(archive: Path) -> Generator[_Member, None, None]:
    """The regular files of an archive; raises DataError for anything else in it but folders."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bag:
            for info in bag.infolist():
                if info.is_dir():
                    continue
                if info.external_attr >> 28 not in (0, 8):  # the Unix file type: none stated, or a regular file
                    raise DataError(f"{archive}: {info.filename!r} is not a regular file; refused")
                with bag.open(info) as stream:
                    yield _safe(archive, info.filename), info.file_size, stream
        return
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            if member.isdir():
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise DataError(f"{archive}: {member.name!r} is not a regular file; refused")
            yield _safe(archive, member.name), member.size, content


def _safe(archive: Path, name: str) -> str:
    name = name.removeprefix("./")
    if not safe_name(name):
        raise DataError(f"{archive}: the name {name!r} leads out of the folder; refused")
    return name


def _unpack_bundle(archive: Path, manifest: IO[bytes], members: Iterator[_Member], into: Path) -> list[Unpacked]:
    models = _listed_models(archive, manifest.read(BLOCK_BYTES + 1))
    expected = {f"{m.kind}/{m.name}/{file.name}": file for m in models for file in m.files}
    seen: set[str] = set()
    for name, size, stream in members:
        file = expected.get(name)
        if file is None or size != file.size or name in seen:
            raise DataError(f"{archive}: {name!r} is not what the bundle's list says; refused")
        if _write(stream, into / name) != file.sha256:
            raise DataError(f"{archive}: {name} is damaged: its SHA-256 is not {file.sha256[:12]}…")
        seen.add(name)
    if seen != set(expected):
        raise DataError(f"{archive}: {', '.join(sorted(set(expected) - seen))} missing; the archive is cut short")
    return [Unpacked(**{**vars(m), "folder": into / m.kind / m.name}) for m in models]


def _listed_models(archive: Path, text: bytes) -> list[Unpacked]:
    try:
        document: dict[str, Any] = json.loads(text)
        if document["format"] != 1:
            raise DataError(f"{archive}: made by a newer version of this program (format {document['format']})")
        models = [
            Unpacked(
                kind=m["kind"],
                name=m["name"],
                folder=Path(),
                files=tuple(ModelFile(name=f["name"], size=int(f["size"]), sha256=f["sha256"]) for f in m["files"]),
                languages=tuple(map(str, m.get("languages", ()))),
                licence=str(m.get("licence", "")),
                source=str(m.get("source", "")),
            )
            for m in document["models"]
        ]
        good = all(
            m.kind in KINDS and NAME.fullmatch(m.name) and m.files and all(safe_name(f.name) for f in m.files)
            for m in models
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{archive}: its {BUNDLE_MANIFEST} cannot be read") from error
    if not good:
        raise DataError(f"{archive}: its {BUNDLE_MANIFEST} names a model that cannot be; refused")
    return models


def _unpack_plain(archive: Path, members: Iterator[_Member], into: Path, name: str) -> list[Unpacked]:
    folders: dict[str, list[str]] = {}
    for member, _, stream in members:
        target = into / member
        if target.exists():
            raise DataError(f"{archive}: {member!r} is there twice; refused")
        _write(stream, target)
        folders.setdefault(str(PurePosixPath(member).parent), []).append(PurePosixPath(member).name)
    found = models_in(into, folders, name, str(archive))
    if not found:
        raise DataError(f"{archive}: there is no model in it: no Whisper, CTranslate2, Piper or Firefox weights")
    return found


def models_in(root: Path, folders: dict[str, list[str]], name: str, where: str) -> list[Unpacked]:
    """The models among folders (relative to `root`) with the names of their files; `name` is for the only one.

    Raises UsageError where a model has no name of its own and none is given, or one is given for several.
    """
    found = []
    for folder, names in sorted(folders.items()):
        kind = layout.kind_of(names)
        if kind is None:
            continue
        called = name or layout.name_of(
            kind, folder if folder != "." else PurePosixPath(where).name.partition(".")[0], names
        )
        if not NAME.fullmatch(called) or called in ("model", "models", "data"):
            raise UsageError(f"{where}: a {kind} model without a name; say --as {kind}/NAME")
        files = tuple(
            ModelFile(name=n, size=path.stat().st_size, sha256=remembered_sha256_of(path))
            for n in layout.wanted(kind, names)
            if (path := root / folder / n).is_file()
        )
        found.append(Unpacked(kind=kind, name=called, folder=root / folder, files=files, checksum="download"))
    if name and len(found) > 1:
        raise UsageError(f"{where} holds {len(found)} models; --as is for one")
    return found


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind, "name": entry.name, "languages": list(entry.languages), "licence": entry.licence,
        "source": entry.source,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in entry_files(entry)],
    }  # fmt: skip


def _add(tar: tarfile.TarFile, name: str, size: int, stream: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, stream)


def _write(stream: IO[bytes], target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("xb") as out:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


class _Counted:
    """What tarfile writes, on its way to the artefact."""

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact
        self.size = 0

    def write(self, data: bytes) -> int:
        self._artefact.write(data)
        self.size += len(data)
        return len(data)

    def __str__(self) -> str:
        return human(self.size)
