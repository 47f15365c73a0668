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
from ingesting import Ingest
from media import errors, ingested, of
from station import Station
from streamlation_cli.records import Error, Header

PASSPHRASE = "correct horse battery"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


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


def outage(ingest: Ingest) -> tuple[int, int]:
    """The blocks around the one hole in what was heard, which must be marked and be where it was."""
    blocks = ingest.blocks()
    numbers = [block for block, _ in blocks]
    assert numbers == sorted(set(numbers)), "something was heard twice"
    (hole,) = holes(numbers)
    (gap,) = ingest.gaps()
    assert gap.reason == "reconnect"
    assert gap.gap_ms / 1000 == pytest.approx((hole[1] - hole[0] - 1) * BLOCK_S, abs=0.6)
    return hole


WITHOUT_LIBRARY = "from streamlation_cli.sources import libsrt; libsrt._PLACES = libsrt._NAMES = ()"


@pytest.mark.long
@pytest.mark.parametrize("before", ["", WITHOUT_LIBRARY], ids=["library", "program"])
def test_a_sender_that_is_killed_and_restarted(before: str) -> None:
    port = free_port()
    served = f"srt://127.0.0.1:{port}?mode=listener&passphrase={PASSPHRASE}&pbkeylen=16"
    called = f"srt://127.0.0.1:{port}?latency=80&passphrase={PASSPHRASE}"
    with Station() as station, Ingest(called, "--retry-max", "1", before=before) as ingest:
        with transmitter(station, served):
            ingest.listen(1.5)
        ingest.reconnecting()
        with transmitter(station, served):
            back_s = ingest.next_packet_s(time.monotonic())
            assert back_s <= 3.0
            ingest.listen(1.5)
        status, _ = ingest.interrupt()
        assert status == 130
        assert "correct" not in of(Header, ingest.records)[0].source
        before_it, after_it = outage(ingest)
        assert after_it - before_it > 1.0 / BLOCK_S


@pytest.mark.long
@pytest.mark.parametrize("listening", [False, True], ids=["called", "listening"])
def test_a_sender_that_is_back_before_it_was_missed(listening: bool) -> None:
    address = f"srt://127.0.0.1:{free_port()}"
    sends_to = address if listening else f"{address}?mode=listener"
    with Station() as station, Ingest(address, *(["--listen"] if listening else [])) as ingest:
        with transmitter(station, sends_to):
            ingest.listen(1.0)
        with transmitter(station, sends_to):
            assert ingest.next_packet_after_outage_s() <= 3.0
            ingest.listen(1.0)
        ingest.interrupt()
        outage(ingest)


@pytest.mark.long
@pytest.mark.parametrize("before", ["", WITHOUT_LIBRARY], ids=["library", "program"])
def test_callers_are_waited_for_one_after_the_other(before: str) -> None:
    port = free_port()
    with Station() as station, Ingest(f"srt://127.0.0.1:{port}", "--listen", before=before) as ingest:
        with transmitter(station, f"srt://127.0.0.1:{port}"):
            ingest.listen(1.0)
        ingest.reconnecting()
        with transmitter(station, f"srt://127.0.0.1:{port}"):
            ingest.listen(1.0)
            assert ingest.interrupt()[1] < 1.0
        outage(ingest)


@pytest.mark.parametrize("state", ["calling", "listening", "running", "away"])
@pytest.mark.parametrize("before", ["", WITHOUT_LIBRARY], ids=["library", "program"])
def test_interrupted_within_a_second(before: str, state: str) -> None:
    port = free_port()
    served = f"srt://127.0.0.1:{port}?mode=listener"
    arguments = ["--listen"] if state == "listening" else []
    with Station() as station, Ingest(f"srt://127.0.0.1:{port}", *arguments, before=before) as ingest:
        if state in ("running", "away"):
            with transmitter(station, served):
                ingest.listen(0.5)
                if state == "running":
                    assert ingest.interrupt()[1] < 1.0
                    return
            ingest.reconnecting()
        else:
            ingest.started()
        status, took_s = ingest.interrupt()
        assert (status, took_s < 1.0) == (130, True), took_s


def test_what_is_wrong_is_said() -> None:
    port = free_port()
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
    with Ingest("srt://127.0.0.1:9", before=WITHOUT_LIBRARY, PATH="/nowhere") as ingest:
        assert ingest.finish() == 69
        assert "apt install libsrt1.5-gnutls" in ingest.stderr
        assert len(ingest.stderr.splitlines()) == 1
