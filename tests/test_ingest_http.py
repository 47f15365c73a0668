"""Inputs behind http addresses, from a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media import Eos, Error, Header, Packet, encode, errors, ingested, normalized, of, samples
from streamlation_cli.records import Transcript
from web import Site, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    encode(folder / "a.mp3", "libmp3lame", "mp3", rate=44100)
    encode(folder / "a.m4a", "aac", "ipod", seconds=8.0, bit_rate=256_000)  # its index is at the end
    encode(folder / "long.wav", "pcm_s16le", "wav", seconds=20.0)
    encode(folder / "ação (1).opus", "libopus", "ogg", layout="mono")
    (folder / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nOlá\n")
    return folder


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with serving(folder) as site:
        yield site


def the_error(records: list[Any]) -> Error:
    """The one error of a session that could not be opened: fatal, and without a header."""
    (error,) = records
    assert isinstance(error, Error)
    assert error.fatal
    return error


def packets(records: list[Any]) -> list[tuple[int | None, bytes]]:
    return [(p.pts, p.data) for p in of(Packet, records)]


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "long.wav"])
def test_the_same_packets_as_from_the_file(name: str, site: Site, folder: Path) -> None:
    records = ingested(f"{site.url}/{name}")
    assert not errors(records)
    assert packets(records) == packets(ingested(folder / name))
    header = of(Header, records)[0]
    assert header.session == Path(name).stem
    assert header.source == f"{site.url}/{name}"


def test_an_index_at_the_end_is_fetched_by_range(site: Site) -> None:
    ingested(f"{site.url}/a.m4a")
    assert any(asked and asked != "bytes=0-" for _, asked in site.requests)


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a"])
def test_a_server_without_ranges(name: str, site: Site, folder: Path) -> None:
    records = ingested(f"{site.url}/plain/{name}", timeout=1.0)
    assert not errors(records)
    assert packets(records) == packets(ingested(folder / name))


def test_a_redirect_is_followed(site: Site, folder: Path) -> None:
    assert packets(ingested(f"{site.url}/redirect/a.mp3")) == packets(ingested(folder / "a.mp3"))


def test_spaces_and_letters_beyond_ascii(site: Site, folder: Path) -> None:
    with serving(folder) as other:
        assert of(Error, ingested(f"{other.url}/no such é.opus"))[0].code == "no-input"
        assert other.requests[0][0] == "/no%20such%20%C3%A9.opus"


def test_user_password_and_tokens_are_not_told(site: Site) -> None:
    address = site.url.replace("http://", "http://me:pw@") + "/a.mp3?token=s3cret&lang=pt"
    header = of(Header, ingested(address))[0]
    assert header.source == f"{site.url}/a.mp3?token=***&lang=pt"
    error = the_error(ingested(site.url.replace("http://", "http://me:pw@") + "/status/404?token=s3cret"))
    assert "pw" not in error.message
    assert "s3cret" not in error.message


STATUSES = {
    401: "no-input", 403: "no-input", 404: "no-input", 410: "no-input", 429: "temporary", 500: "temporary", 503: "temporary"
}  # fmt: skip


@pytest.mark.parametrize(("status", "code"), STATUSES.items())
def test_statuses(status: int, code: str, site: Site) -> None:
    assert the_error(ingested(f"{site.url}/status/{status}")).code == code
    assert the_error(ingested(f"{site.url}/status/{status}", format="srt")).code == code


def test_no_server_is_worth_another_try() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        assert the_error(ingested(f"http://127.0.0.1:{port}/a.mp3")).code == "temporary"


def test_a_server_that_never_answers(site: Site) -> None:
    error = the_error(ingested(f"{site.url}/mute/a.mp3", timeout=0.3))
    assert error.code == "temporary"
    assert "--timeout" in error.message


def test_a_server_that_stalls_leaves_what_came_before(site: Site, folder: Path) -> None:
    records = ingested(f"{site.url}/stall/long.wav", timeout=0.3)
    assert errors(records) == [("ingest", "temporary", True)]
    assert isinstance(records[-1], Error)
    whole = samples(normalized(ingested(folder / "long.wav")))
    kept = samples(normalized(records))
    assert len(kept) > len(whole) // 4
    assert np.array_equal(kept[:-100], whole[: len(kept) - 100])


def test_a_connection_that_breaks_off_is_reported(site: Site, folder: Path) -> None:
    records = ingested(f"{site.url}/cut/long.wav", timeout=2.0)
    assert [code for _, code, _ in errors(records)] in (["damaged"], ["temporary"], ["unavailable"])
    assert len(of(Packet, records)) > 10


def test_a_server_without_ranges_that_breaks_off(site: Site, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = ingested(f"{site.url}/short/long.wav", timeout=1.0)
    assert errors(records) == [("ingest", "temporary", True)]
    assert len(of(Packet, records)) > 10
    assert capfd.readouterr() == ("", "")


def test_offline_opens_no_socket(site: Site) -> None:
    assert the_error(ingested(f"{site.url}/a.mp3", offline=True)).code == "offline"
    assert the_error(ingested(f"{site.url}/a.srt", offline=True)).code == "offline"
    assert not site.requests


def test_a_page_is_not_media(site: Site, folder: Path) -> None:
    (folder / "page.html").write_text("<html>hello</html>" * 100)
    assert the_error(ingested(f"{site.url}/page.html")).code == "data"


def test_subtitles(site: Site) -> None:
    records = ingested(f"{site.url}/a.srt?x=1")
    assert [(t.start_ms, t.text) for t in of(Transcript, records)] == [(1000, "Olá")]
    assert isinstance(records[-1], Eos)
