"""WebRTC: a real WHEP server that is killed and restarted, and publishers (aiortc) at our own WHIP address."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beacon import BLOCK_S, holes
from ingesting import Ingest
from media import errors, ingested, of
from streamlation_cli.records import Error, Header

HERE = Path(__file__).parent
LOOPBACK = "import aioice.ice; aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ['127.0.0.1']"
"""It leaves loopback out, and a test needs no network."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def program(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One of the programs beside this file, once it says `ready`; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / name), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def outage(ingest: Ingest) -> None:
    """Of what was heard nothing is there twice, and the one hole is marked and is as long as it was."""
    numbers = [block for block, _ in ingest.blocks()]
    assert numbers == sorted(set(numbers)), "something was heard twice"
    ((before, after),) = holes(numbers)
    (gap,) = ingest.gaps()
    assert gap.reason == "reconnect"
    assert gap.gap_ms / 1000 == pytest.approx((after - before - 1) * BLOCK_S, abs=0.5)


@pytest.mark.long
def test_a_server_that_is_killed_and_restarted() -> None:
    port, zero = free_port(), str(time.monotonic())
    with Ingest(f"whep://s3cret@127.0.0.1:{port}/live", "--retry-max", "1", before=LOOPBACK) as ingest:
        with program("whepserver.py", str(port), zero, "s3cret"):
            ingest.listen(1.5)
        ingest.reconnecting()
        with program("whepserver.py", str(port), zero, "s3cret") as server:
            assert ingest.next_packet_s(time.monotonic()) <= 3.0
            ingest.listen(1.5)
            status, took_s = ingest.interrupt()
            assert (status, took_s < 1.0) == (130, True), took_s
            assert server.stdout is not None
            assert server.stdout.readline() == "deleted /live/1\n"
        header = of(Header, ingest.records)[0]
        assert (header.live, header.audio.codec, "s3cret" in header.source) == (True, "pcm_s16le", False)
        outage(ingest)


@pytest.mark.long
def test_a_server_that_is_back_before_it_was_missed() -> None:
    port, zero = free_port(), str(time.monotonic())
    with Ingest(f"whep://127.0.0.1:{port}/live", before=LOOPBACK) as ingest:
        with program("whepserver.py", str(port), zero):
            ingest.listen(1.0)
        with program("whepserver.py", str(port), zero):
            assert ingest.next_packet_after_outage_s() <= 3.0
            ingest.listen(1.0)
        ingest.interrupt()
        outage(ingest)


@pytest.mark.long
def test_a_source_that_says_goodbye_has_ended() -> None:
    port = free_port()
    with (
        program("whepserver.py", str(port), str(time.monotonic())) as server,
        Ingest(f"whep://127.0.0.1:{port}/live", before=LOOPBACK) as ingest,
    ):
        ingest.listen(1.0)
        assert server.stdin is not None
        server.stdin.write("bye\n")
        server.stdin.flush()
        assert ingest.finish() == 0, ingest
        assert holes([block for block, _ in ingest.blocks()]) == []


@pytest.mark.long
def test_publishers_one_after_the_other() -> None:
    port, zero = free_port(), str(time.monotonic())
    address = f"http://127.0.0.1:{port}/live"
    with Ingest(f"whip://s3cret@127.0.0.1:{port}/live", "--listen", before=LOOPBACK) as ingest:
        ingest.listening(port)
        for token, path, body, status in (
            ("wrong", "/live", "v=0", 401), ("s3cret", "/other", "v=0", 404), ("s3cret", "/live", "nonsense", 400),
        ):  # fmt: skip
            assert post(f"http://127.0.0.1:{port}{path}", body, token) == status
        with program("whippublisher.py", address, zero, "s3cret"):
            ingest.listen(1.0)
        with program("whippublisher.py", address, zero, "s3cret") as second:  # takes over before the first was missed
            ingest.listen(1.0)
            assert second.stdin is not None
            second.stdin.close()  # it ends in good order
            second.wait(10)
            ingest.until(lambda: any("has ended" in status.detail for status in ingest.reports_away()))
        status, took_s = ingest.interrupt()
        assert (status, took_s < 1.0) == (130, True), took_s
        outage(ingest)


def post(address: str, body: str, token: str) -> int:
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(address, body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("listening", [False, True])
def test_interrupted_before_anything_came(listening: bool) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1] if not listening else free_port()
        arguments = ("whip://127.0.0.1", "--listen") if listening else ("whep://127.0.0.1",)
        with Ingest(f"{arguments[0]}:{port}/x", *arguments[1:], before=LOOPBACK) as ingest:
            if listening:
                ingest.listening(port)
            else:
                silent.accept()[0].close()
                ingest.started()
            status, took_s = ingest.interrupt()
            assert (status, took_s < 1.0) == (130, True), took_s


def test_what_is_wrong_is_said() -> None:
    port = free_port()
    with program("whepserver.py", str(port), "0", "s3cret"):
        for address, code in (
            (f"whep://127.0.0.1:{port}/gone", "no-input"),
            (f"whep://me@127.0.0.1:{port}/live", "no-input"),
        ):
            assert errors(ingested(address)) == [("ingest", code, True)]
    (error,) = ingested(f"whep://127.0.0.1:{port}/live", retry=1.0)
    assert isinstance(error, Error)
    assert error.code == "unavailable"
    assert errors(ingested(f"whip://127.0.0.1:{port}/live")) == [("ingest", "usage", True)]
    assert errors(ingested("whep://127.0.0.1/live", offline=True)) == [("ingest", "offline", True)]


def test_without_the_extra_it_says_how_to_get_it() -> None:
    with Ingest("whep://127.0.0.1/live", before="import sys; sys.modules['aiortc'] = None") as ingest:
        assert ingest.finish() == 69
        assert "pip install 'streamlation[webrtc]'" in ingest.stderr
        assert len(ingest.stderr.splitlines()) == 1
