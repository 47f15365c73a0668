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
from livetools import Watched
from media import errors, ingested, of
from ports import free_port
from streamlation_cli.records import Discontinuity, Error, Header, Status

HERE = Path(__file__).parent
LOOPBACK = "import aioice.ice; aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ['127.0.0.1']"
"""It leaves loopback out, and a test needs no network."""


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


def outage(watched: Watched) -> None:
    """Of what was heard nothing is there twice, and the one hole is marked and is as long as it was."""
    numbers = [block for block, _ in watched.blocks()]
    assert numbers == sorted(set(numbers)), "something was heard twice"
    ((before, after),) = holes(numbers)
    (gap,) = watched.of(Discontinuity)
    assert gap.reason == "reconnect"
    assert gap.gap_ms / 1000 == pytest.approx((after - before - 1) * BLOCK_S, abs=0.5)


@pytest.mark.long
def test_a_server_that_is_killed_and_restarted() -> None:
    port, zero = free_port(), str(time.monotonic())
    with Watched(f"whep://s3cret@127.0.0.1:{port}/live", before=LOOPBACK) as watched:
        with program("whepserver.py", str(port), zero, "s3cret"):
            watched.wait_for_audio(1.5)
        watched.wait_for_outage()
        with program("whepserver.py", str(port), zero, "s3cret") as server:
            assert watched.first_packet_after(time.monotonic()) <= 3.0
            watched.wait_for_audio(1.5)
            assert watched.interrupt() < 1.0
            assert server.stdout is not None
            assert server.stdout.readline() == "deleted /live/1\n"
        header = of(Header, watched.records)[0]
        assert (header.live, header.audio.codec, "s3cret" in header.source) == (True, "pcm_s16le", False)
        outage(watched)


@pytest.mark.long
def test_a_server_that_is_back_before_it_was_missed() -> None:
    port, zero = free_port(), str(time.monotonic())
    with Watched(f"whep://127.0.0.1:{port}/live", before=LOOPBACK) as watched:
        with program("whepserver.py", str(port), zero):
            watched.wait_for_audio(1.0)
        with program("whepserver.py", str(port), zero):
            assert watched.first_packet_after_outage() <= 3.0
            watched.wait_for_audio(1.0)
        watched.interrupt()
        outage(watched)


@pytest.mark.long
def test_a_source_that_says_goodbye_has_ended() -> None:
    port = free_port()
    with (
        program("whepserver.py", str(port), str(time.monotonic())) as server,
        Watched(f"whep://127.0.0.1:{port}/live", before=LOOPBACK) as watched,
    ):
        watched.wait_for_audio(1.0)
        assert server.stdin is not None
        server.stdin.write("bye\n")
        server.stdin.flush()
        assert watched.ends() == 0, watched
        assert holes([block for block, _ in watched.blocks()]) == []


@pytest.mark.long
def test_publishers_one_after_the_other() -> None:
    port, zero = free_port(), str(time.monotonic())
    address = f"http://127.0.0.1:{port}/live"
    with Watched(f"whip://s3cret@127.0.0.1:{port}/live", "--listen", before=LOOPBACK) as watched:
        watched.listening(port)
        for token, path, body, status in (
            ("wrong", "/live", "v=0", 401), ("s3cret", "/other", "v=0", 404), ("s3cret", "/live", "nonsense", 400),
        ):  # fmt: skip
            assert post(f"http://127.0.0.1:{port}{path}", body, token) == status
        with program("whippublisher.py", address, zero, "s3cret"):
            watched.wait_for_audio(1.0)
        with program("whippublisher.py", address, zero, "s3cret") as second:  # takes over before the first was missed
            watched.wait_for_audio(1.0)
            assert second.stdin is not None
            second.stdin.close()  # it ends in good order
            second.wait(10)
            watched.wait_for(lambda: any("has ended" in status.detail for status in watched.of(Status)), "its end")
        assert watched.interrupt() < 1.0
        outage(watched)


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
        with Watched(f"{arguments[0]}:{port}/x", *arguments[1:], before=LOOPBACK) as watched:
            if listening:
                watched.listening(port)
            else:
                silent.accept()[0].close()
                watched.started()
            assert watched.interrupt() < 1.0


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
    with Watched("whep://127.0.0.1/live", before="import sys; sys.modules['aiortc'] = None") as watched:
        assert watched.ends() == 69
        assert "pip install 'streamlation[webrtc]'" in watched.said
        assert len(watched.said.splitlines()) == 1
