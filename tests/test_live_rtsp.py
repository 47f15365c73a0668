"""RTSP: GStreamer's server over TCP and UDP, and publishers that announce themselves."""

from __future__ import annotations

import subprocess
import time
import wave
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from livetools import (
    ROOT,
    Broadcast,
    Process,
    Watched,
    assert_heartbeats,
    assert_metrics,
    assert_once_with_gap,
    fatal,
    is_open,
    publish,
    report,
    talk,
    together,
    wait_until,
)
from ports import free_port

_PYTHON = "/usr/bin/python3"
"""Debian's, which has GStreamer's bindings."""


class Server:
    """The talk over RTSP, spoken on whether the server runs or not."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._zero_s = 0.0
        self._process: Process | None = None

    def start(self) -> None:
        now_s = time.monotonic()
        self._zero_s = self._zero_s or now_s
        rest = talk()[int((now_s - self._zero_s) * 16000) :].astype("<i2")
        path = self._folder / f"{now_s}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(np.ascontiguousarray(rest).tobytes())
        self._process = Process(_PYTHON, ROOT / "tests" / "rtsp_server.py", str(self.port), path, "0")
        self._process.start()
        wait_until(lambda: is_open(self.port), "the RTSP server")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()


@pytest.mark.long
def test_servers_and_publishers_that_are_killed_and_come_back(tmp_path: Path) -> None:
    together(lambda: _server(tmp_path, "talk", ""), lambda: _server(tmp_path, "opus", "?udp"), _publisher)


def _server(folder: Path, mount: str, transport: str) -> None:
    server = Server(folder)
    try:
        server.start()
        with Watched(f"rtsp://127.0.0.1:{server.port}/{mount}{transport}", "--timeout", "2") as watched:
            watched.wait_for_audio(3)
            server.kill()
            time.sleep(1.5)
            server.start()
            back_s = watched.first_packet_after(time.monotonic())
            report(f"rtsp pull {transport or '?tcp'}, server killed", back_s)
            watched.wait_for_audio(3)
            assert watched.interrupt() < 1.0
            # Its listeners' first call starts the talk of this server, so times in the talk are not the clock's.
            assert_once_with_gap(watched, most_lost_s=8, reasons={"reconnect"}, clock_s=8)
            assert_metrics(watched, reconnects=1)
            assert_heartbeats(watched)
            assert back_s <= 3.0
    finally:
        server.kill()


def _publisher() -> None:
    address = f"rtsp://127.0.0.1:{free_port()}/talk"
    with (
        Watched(address, "--listen") as watched,
        closing(Broadcast(address, "rtsp", "--option", "rtsp_transport=tcp")) as broadcast,
    ):
        publish(broadcast, watched)
        watched.wait_for_audio(2.5)
        broadcast.kill()
        time.sleep(1)
        back_s = watched.first_packet_after(publish(broadcast, watched))
        report("rtsp listen, publisher killed", back_s)
        assert back_s <= 3.0
        watched.wait_for_audio(2.5)
        assert watched.interrupt() < 1.0
        assert_once_with_gap(watched, most_lost_s=4, reasons={"reconnect"})
        assert_heartbeats(watched)


def test_a_stream_that_the_server_does_not_have(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        server.start()
        with Watched(f"rtsp://127.0.0.1:{server.port}/nothing") as watched:
            assert watched.ends() == 66
            assert "404" in fatal(watched).message
    finally:
        server.kill()


def test_interrupted_while_it_listens() -> None:
    port = free_port()
    with Watched(f"rtsp://127.0.0.1:{port}/talk", "--listen") as watched:
        watched.listening(port)
        assert watched.interrupt() < 1.0


def test_the_server_for_these_tests_is_there() -> None:
    """`tools/debian_parts.sh` installs it."""
    subprocess.run([_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"], check=True)
