"""SRT, from and to the real `srt-live-transmit`, which is killed and restarted."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from beacon import BLOCK_S, holes
from livetools import Watched
from media import errors, ingested, of
from ports import free_port
from station import Station
from streamlation_cli.records import Discontinuity, Error, Header

PASSPHRASE = "correct horse battery"


@contextmanager
def transmitter(station: Station, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """`srt-live-transmit`, sending the station's broadcast to an SRT address; killed at the end."""
    program = shutil.which("srt-live-transmit")
    assert program, "srt-live-transmit is missing: run tools/debian_parts.sh"
    process = subprocess.Popen(
        [program, "-q", "-loglevel:fatal", "-chunk:1316", "-autoreconnect:yes", "file://con", address],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0,
    )  # fmt: skip
    assert process.stdin is not None
    os.set_blocking(
        process.stdin.fileno(), False
    )  # while nobody has called it reads nothing, and a broadcast waits for none
    station.sink = process.stdin.write
    try:
        yield process
    finally:
        station.sink = None
        process.kill()
        process.wait()
        process.stdin.close()


def outage(watched: Watched) -> tuple[int, int]:
    """The blocks around the one hole in what was heard, which must be marked and be where it was."""
    blocks = watched.blocks()
    numbers = [block for block, _ in blocks]
    assert numbers == sorted(set(numbers)), "something was heard twice"
    (hole,) = holes(numbers)
    (gap,) = watched.of(Discontinuity)
    assert gap.reason == "reconnect"
    assert gap.gap_ms / 1000 == pytest.approx((hole[1] - hole[0] - 1) * BLOCK_S, abs=0.6)
    return hole


WITHOUT_LIBRARY = "from streamlation_cli.sources import libsrt; libsrt._PLACES = libsrt._NAMES = ()"


@pytest.mark.long
@pytest.mark.parametrize("before", ["", WITHOUT_LIBRARY], ids=["library", "program"])
def test_a_sender_that_is_killed_and_restarted(before: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    served = f"srt://127.0.0.1:{port}?mode=listener&passphrase={PASSPHRASE}&pbkeylen=16"
    called = f"srt://127.0.0.1:{port}?latency=80&passphrase={PASSPHRASE}"
    with Station() as station, Watched(called, before=before) as watched:
        with transmitter(station, served):
            watched.wait_for_audio(1.5)
        watched.wait_for_outage()
        with transmitter(station, served):
            back_s = watched.first_packet_after(time.monotonic())
            assert back_s <= 3.0
            watched.wait_for_audio(1.5)
        watched.interrupt()
        assert "correct" not in of(Header, watched.records)[0].source
        before_it, after_it = outage(watched)
        assert after_it - before_it > 1.0 / BLOCK_S


@pytest.mark.long
@pytest.mark.parametrize("listening", [False, True], ids=["called", "listening"])
def test_a_sender_that_is_back_before_it_was_missed(listening: bool) -> None:
    address = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    sends_to = address if listening else f"{address}?mode=listener"
    with Station() as station, Watched(address, *(["--listen"] if listening else [])) as watched:
        with transmitter(station, sends_to):
            watched.wait_for_audio(1.0)
        with transmitter(station, sends_to):
            assert watched.first_packet_after_outage() <= 3.0
            watched.wait_for_audio(1.0)
        watched.interrupt()
        outage(watched)


@pytest.mark.long
@pytest.mark.parametrize("before", ["", WITHOUT_LIBRARY], ids=["library", "program"])
def test_callers_are_waited_for_one_after_the_other(before: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with Station() as station, Watched(f"srt://127.0.0.1:{port}", "--listen", before=before) as watched:
        with transmitter(station, f"srt://127.0.0.1:{port}"):
            watched.wait_for_audio(1.0)
        watched.wait_for_outage()
        with transmitter(station, f"srt://127.0.0.1:{port}"):
            watched.wait_for_audio(1.0)
            assert watched.interrupt() < 1.0
        outage(watched)


@pytest.mark.parametrize("state", ["calling", "listening", "running", "away"])
@pytest.mark.parametrize("before", ["", WITHOUT_LIBRARY], ids=["library", "program"])
def test_interrupted_within_a_second(before: str, state: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    served = f"srt://127.0.0.1:{port}?mode=listener"
    arguments = ["--listen"] if state == "listening" else []
    with Station() as station, Watched(f"srt://127.0.0.1:{port}", *arguments, before=before) as watched:
        if state in ("running", "away"):
            with transmitter(station, served):
                watched.wait_for_audio(0.5)
                if state == "running":
                    assert watched.interrupt() < 1.0
                    return
            watched.wait_for_outage()
        else:
            watched.started()
        assert watched.interrupt() < 1.0


def test_what_is_wrong_is_said() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with Station() as station, transmitter(station, f"srt://127.0.0.1:{port}?mode=listener&passphrase={PASSPHRASE}"):
        (error,) = ingested(f"srt://127.0.0.1:{port}?passphrase=wrong%20horse%20battery", retry=1.0)
    assert isinstance(error, Error)
    assert (error.code, "passphrase" in error.message, "horse" in error.message) == ("unavailable", True, False)
    for query in ("latency=soon", "passphrase=short", "mode=push", "colour=red"):
        (error,) = ingested(f"srt://127.0.0.1:{port}?{query}", retry=0.0)
        assert (error.code, query.partition("=")[0] in error.message) == ("usage", True), error
    assert errors(ingested("srt://127.0.0.1")) == [("ingest", "usage", True)]
    assert errors(ingested("srt://127.0.0.1:9", offline=True)) == [("ingest", "offline", True)]


def test_without_any_srt_it_says_what_to_install() -> None:
    with Watched("srt://127.0.0.1:9", before=WITHOUT_LIBRARY, PATH="/nowhere") as watched:
        assert watched.ends() == 69
        assert "apt install libsrt1.5-gnutls" in watched.said
        assert len(watched.said.splitlines()) == 1
