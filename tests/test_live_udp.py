"""MPEG-TS over UDP: nobody is called, packets come or do not."""

from __future__ import annotations

import socket
import time

import pytest

from livetools import (
    Broadcast,
    Watched,
    assert_heartbeats,
    assert_metrics,
    assert_once_with_gap,
    fatal,
    heard,
    report,
    together,
)
from ports import free_port


@pytest.mark.long
def test_senders_that_are_killed_and_come_back() -> None:
    together(_away_for_long, _away_for_a_moment)


def _away_for_long() -> None:
    port = free_port(socket.SOCK_DGRAM)
    address = f"udp://127.0.0.1:{port}"
    with Watched(address, "--timeout", "1") as watched, Broadcast(f"{address}?pkt_size=1316", "mpegts") as broadcast:
        watched.wait_for_audio(3)
        killed_s = time.monotonic()
        broadcast.kill()
        time.sleep(2.5)
        broadcast.start()
        on_air_s = broadcast.on_air_s()
        back_s = watched.first_packet_after(on_air_s)
        report("udp, sender killed, stalled longer than the timeout", back_s)
        watched.wait_for_audio(3)
        assert watched.interrupt() < 1.0
        assert back_s <= 3.0
        assert_once_with_gap(watched, most_lost_s=on_air_s - killed_s + back_s + 0.5, reasons={"reconnect"})
        assert_metrics(watched, reconnects=1)
        assert_heartbeats(watched)


def _away_for_a_moment() -> None:
    """The same demuxer goes on: a new encoder's clock has nothing to do with the old one's."""
    port = free_port(socket.SOCK_DGRAM)
    address = f"udp://127.0.0.1:{port}"
    with Watched(address, "--timeout", "15") as watched, Broadcast(f"{address}?pkt_size=1316", "mpegts") as broadcast:
        watched.wait_for_audio(2.5)
        killed_s = time.monotonic()
        broadcast.kill()
        time.sleep(1)
        broadcast.start("--pts", "5000")
        on_air_s = broadcast.on_air_s()
        back_s = watched.first_packet_after(on_air_s)
        report("udp, sender killed, back before the timeout", back_s)
        assert back_s <= 3.0
        watched.wait_for_audio(2.5)
        assert watched.interrupt() < 1.0
        assert_once_with_gap(watched, most_lost_s=on_air_s - killed_s + back_s + 0.7, reasons={"clock"}, clock_s=1.2)


def test_nobody_sends() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with Watched(f"udp://127.0.0.1:{port}", "--timeout", "0.3", "--retry", "1", "--retry-max", "0.1") as watched:
        assert watched.ends() == 69
        assert "nothing came in time; given up after 2 tries" in fatal(watched).message


def test_interrupted_while_it_waits() -> None:
    with Watched(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}") as watched:
        watched.started()
        assert watched.interrupt() < 1.0


def test_a_port_that_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with Watched(f"udp://127.0.0.1:{taken.getsockname()[1]}") as watched:
            assert watched.ends() == 69
            assert "the port is taken" in fatal(watched).message


def test_a_multicast_group() -> None:
    port = free_port(socket.SOCK_DGRAM)
    group = f"udp://239.255.77.1:{port}"
    to = f"{group}?pkt_size=1316&localaddr=127.0.0.1&ttl=0"
    with Watched(f"{group}?localaddr=127.0.0.1") as watched, Broadcast(to, "mpegts"):
        watched.wait_for_audio(2)
        assert watched.interrupt() < 1.0
        assert len(heard(watched.records)) == 1
