"""Downloads from a real server on this machine that breaks off, refuses, redirects and lies."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fileserver import FileServer, Stall
from streamlation_cli.errors import OfflineRefused, OutputFailed, TryAgain, Unavailable, UsageError
from streamlation_cli.models import download
from streamlation_cli.models.download import ATTEMPTS, Expected, Link, WrongContent

BODY = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
WHOLE = Expected(size=len(BODY), sha256=SHA256)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def link(waits: list[float]) -> Link:
    """A link that notes how long it would wait instead of waiting."""
    return Link(wait=waits.append)


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_under_its_name(server: FileServer, tmp_path: Path, waits: list[float]) -> None:
    seen: list[tuple[str, int, int]] = []
    link = Link(report=lambda *progress: seen.append(progress))
    assert link.fetch(server.put("/a.bin", BODY), tmp_path / "a.bin", WHOLE) == SHA256
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert only(tmp_path) == ["a.bin"]
    assert seen[0] == ("a.bin", 0, len(BODY))
    assert seen[-1] == ("a.bin", len(BODY), len(BODY))


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is(server: FileServer, tmp_path: Path, link: Link) -> None:
    url, target = server.put("/a.bin", BODY), tmp_path / "a.bin"
    target.write_bytes(BODY)
    assert link.fetch(url, target, WHOLE) == SHA256
    assert server.requests == []
    target.write_bytes(b"something else")
    assert link.fetch(url, target, WHOLE) == SHA256
    assert target.read_bytes() == BODY


def test_a_broken_transfer_goes_on_where_it_stopped(
    server: FileServer, tmp_path: Path, link: Link, waits: list[float]
) -> None:
    url = server.put("/a.bin", BODY, mishaps=[0.5, 0.5])
    assert link.fetch(url, tmp_path / "a.bin", WHOLE) == SHA256
    assert [headers.get("Range") for headers in server.asked("/a.bin")] == [None, "bytes=1500000-", "bytes=2250000-"]
    assert waits == [0.5, 1.0]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server: FileServer, tmp_path: Path, link: Link) -> None:
    url = server.put("/a.bin", BODY, mishaps=[0.4, *[503] * (ATTEMPTS - 1)])
    with pytest.raises(TryAgain, match=r"503 .*; tried 5 times; what has arrived is kept"):
        link.fetch(url, tmp_path / "a.bin", WHOLE)
    assert only(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    assert link.fetch(url, tmp_path / "a.bin", WHOLE) == SHA256
    assert server.asked("/a.bin")[-1]["Range"] == "bytes=1200000-"


def test_content_that_changed_in_between_is_fetched_from_the_start(
    server: FileServer, tmp_path: Path, link: Link
) -> None:
    url = server.put("/a.bin", BODY, mishaps=[0.4, *[503] * (ATTEMPTS - 1)])
    with pytest.raises(TryAgain):
        link.fetch(url, tmp_path / "a.bin")
    changed = BODY[::-1]
    server.put("/a.bin", changed)
    assert link.fetch(url, tmp_path / "a.bin") == hashlib.sha256(changed).hexdigest()


def test_content_that_became_shorter_is_fetched_from_the_start(server: FileServer, tmp_path: Path, link: Link) -> None:
    url = server.put("/a.bin", BODY, mishaps=[0.4, *[503] * (ATTEMPTS - 1)])
    with pytest.raises(TryAgain):
        link.fetch(url, tmp_path / "a.bin")
    server.put("/a.bin", b"short", mishaps=[416])
    assert link.fetch(url, tmp_path / "a.bin") == hashlib.sha256(b"short").hexdigest()


@pytest.mark.parametrize("settings", [{"ranges": False}, {"etag": False}])
def test_servers_without_ranges_or_etags_serve_too(
    server: FileServer, tmp_path: Path, link: Link, settings: dict[str, bool]
) -> None:
    url = server.put("/a.bin", BODY, mishaps=[0.5], **settings)
    assert link.fetch(url, tmp_path / "a.bin", WHOLE) == SHA256


def test_busy_servers_are_asked_again_later(server: FileServer, tmp_path: Path, link: Link, waits: list[float]) -> None:
    url = server.put("/a.bin", BODY, mishaps=[503, 429], headers={"Retry-After": "7"})
    assert link.fetch(url, tmp_path / "a.bin", WHOLE) == SHA256
    assert waits == [7.0, 7.0]


def test_a_wrong_sum_is_thrown_away(server: FileServer, tmp_path: Path, link: Link) -> None:
    url = server.put("/a.bin", BODY)
    with pytest.raises(WrongContent, match=f"SHA-256 {SHA256}, expected is {'0' * 64}; it was thrown away"):
        link.fetch(url, tmp_path / "a.bin", Expected(sha256="0" * 64))
    assert only(tmp_path) == []


def test_a_sum_of_git_is_checked(server: FileServer, tmp_path: Path, link: Link) -> None:
    url = server.put("/a.txt", b"hello\n")
    link.fetch(url, tmp_path / "a", Expected(git_sha1="ce013625030ba8dba906f756967f9e9ca394464a"))  # git's own for it
    with pytest.raises(WrongContent, match="is not the content the hub lists"):
        link.fetch(url, tmp_path / "b", Expected(git_sha1="ce013625030ba8dba906f756967f9e9ca394464b"))


def test_a_wrong_size_is_refused_before_it_is_fetched(server: FileServer, tmp_path: Path, link: Link) -> None:
    with pytest.raises(WrongContent, match="the server has 3000000 bytes, 5 are expected"):
        link.fetch(server.put("/a.bin", BODY), tmp_path / "a.bin", Expected(size=5))
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize(("status", "says"), [(404, "no such file"), (403, "HF_TOKEN"), (410, "no such"), (400, "400")])
def test_refusals_are_not_tried_again(
    server: FileServer, tmp_path: Path, link: Link, waits: list[float], status: int, says: str
) -> None:
    with pytest.raises(Unavailable, match=says):
        link.fetch(server.put("/a.bin", BODY, mishaps=[status]), tmp_path / "a.bin")
    assert len(server.requests) == 1
    assert waits == []


def test_nobody_there_is_a_temporary_failure(tmp_path: Path, link: Link, waits: list[float]) -> None:
    with FileServer() as gone:
        url = gone.put("/a.bin", BODY)
    with pytest.raises(TryAgain, match="refused"):
        link.fetch(url, tmp_path / "a.bin")
    assert waits == [0.5, 1.0, 2.0, 4.0]


def test_a_silent_server_is_given_up_in_time(
    server: FileServer, tmp_path: Path, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    stalls = [Stall() for _ in range(ATTEMPTS)]
    url = server.put("/a.bin", BODY, mishaps=list(stalls))
    with pytest.raises(TryAgain, match="nothing arrived for 0 s; tried 5 times"):
        link.fetch(url, tmp_path / "a.bin", WHOLE)
    for stall in stalls:
        stall.let_go.set()
    starts = [int(h.get("Range", "bytes=0-")[6:-1]) for h in server.asked("/a.bin")]
    assert starts == sorted(starts), "what arrived before the silence is kept"
    assert starts[-1] > 0


def test_redirects_are_followed_without_the_token(server: FileServer, tmp_path: Path) -> None:
    with FileServer() as elsewhere:
        url = server.put("/a.bin", b"", redirect=elsewhere.put("/real", BODY))
        link = Link(headers={"Authorization": "Bearer secret"})
        assert link.fetch(url, tmp_path / "a.bin", WHOLE) == SHA256
        assert server.asked("/a.bin")[0]["Authorization"] == "Bearer secret"
        assert "Authorization" not in elsewhere.asked("/real")[0]


def test_a_redirect_to_a_file_is_refused(server: FileServer, tmp_path: Path, link: Link) -> None:
    url = server.put("/a.bin", b"", redirect="file:///etc/passwd")
    with pytest.raises(Unavailable):
        link.fetch(url, tmp_path / "a.bin")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://localhost/a", "data:,x"])
def test_only_http_is_pulled(tmp_path: Path, link: Link, url: str) -> None:
    with pytest.raises(UsageError, match="only http"):
        link.fetch(url, tmp_path / "a.bin")


def test_offline_refuses_without_asking(server: FileServer, tmp_path: Path) -> None:
    url = server.put("/a.bin", BODY)
    with pytest.raises(OfflineRefused, match="--offline"):
        Link(offline=True).fetch(url, tmp_path / "a.bin")
    assert server.requests == []


def test_a_folder_that_cannot_be_written_is_said(server: FileServer, tmp_path: Path, link: Link) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFailed, match=r"file/a\.bin"):
        link.fetch(server.put("/a.bin", BODY), tmp_path / "file" / "a.bin")


def test_an_endless_document_is_not_read_to_its_end(server: FileServer, link: Link) -> None:
    with pytest.raises(WrongContent, match="more than 1000 bytes"):
        link.read(server.put("/list", BODY), limit=1000)
