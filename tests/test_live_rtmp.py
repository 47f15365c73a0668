"""RTMP: nginx as the server, and publishers that are killed and come back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from livetools import (
    TALK,
    Broadcast,
    Process,
    Watched,
    assert_heartbeats,
    assert_metrics,
    assert_once_with_gap,
    fatal,
    heard,
    is_open,
    publish,
    report,
    together,
    wait_until,
)  # fmt: skip
from media import normalized
from ports import free_port
from streamlation_cli.records import Eos, Transcript
from streamlation_cli.stages import transcribe

_CONFIGURATION = """
daemon off; master_process off; worker_processes 1; error_log {folder}/log; pid {folder}/pid;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events {{ worker_connections 64; }}
rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096;
  application live {{ live on; record off; idle_streams {idle}; }} }} }}
"""


class Nginx(Process):
    """An RTMP server that can be killed and started again at the same address."""

    def __init__(self, folder: Path, *, idle: bool = True) -> None:
        self.port = free_port()
        self.address = f"rtmp://127.0.0.1:{self.port}/live/talk"
        configuration = folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, port=self.port, idle="on" if idle else "off"))
        super().__init__("/usr/sbin/nginx", "-c", configuration)

    def start(self) -> None:
        super().start()
        wait_until(lambda: is_open(self.port), "nginx")


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    server = Nginx(tmp_path)
    with server:
        yield server


@pytest.mark.long
def test_a_server_that_is_killed_and_comes_back(nginx: Nginx) -> None:
    """What was said before and after is there once, to the sample and to the word."""
    with Broadcast(nginx.address, "flv") as broadcast, Watched(nginx.address) as watched:
        watched.wait_for_audio(6)
        killed_s = time.monotonic()
        nginx.kill()
        broadcast.kill()
        time.sleep(1.5)  # the outage
        nginx.start()
        broadcast.start()
        on_air_s = broadcast.on_air_s()
        back_s = watched.first_packet_after(on_air_s)
        report("rtmp pull, server killed", back_s)
        now_s = broadcast.now_s()
        whole_s = next(end_s for start_s, end_s in sentences() if start_s > now_s)
        watched.wait_for_audio(whole_s - now_s + 1)
        assert watched.interrupt() < 1.0
    assert back_s <= 3.0
    assert_once_with_gap(watched, most_lost_s=on_air_s - killed_s + back_s + 0.5, reasons={"reconnect"})
    assert_metrics(watched, reconnects=1)
    assert_heartbeats(watched)
    assert "trying again" in watched.said
    assert "back after" in watched.said
    assert_said_once(watched)


def sentences() -> dict[tuple[float, float], str]:
    """Those of the talk, by when in it they are said, in seconds."""
    turns = json.loads(TALK.with_suffix(".json").read_text())["turns"]
    return {(turn["start_ms"] / 1000, turn["end_ms"] / 1000): turn["text"] for turn in turns}


def assert_said_once(watched: Watched) -> None:
    """Whisper hears each sentence that was wholly spoken while the source was there, and no word twice."""
    options = transcribe.Options(from_="en", model="base", device="cpu")
    heard_words = [
        word.lower()
        for record in transcribe.stage(options)(iter(normalized(watched.records)))
        if isinstance(record, Transcript) and record.final
        for word in re.findall(r"[A-Za-z']+", record.text)
    ]
    runs = heard(watched.records)
    whole = [
        text
        for (start_s, end_s), text in sentences().items()
        if any(run.from_s < start_s and end_s < run.to_s for run in runs)
    ]
    assert len(whole) >= 2, whole
    for text in whole:
        words = [word.lower() for word in re.findall(r"[A-Za-z']+", text)]
        places = [
            start
            for start in range(len(heard_words))
            if SequenceMatcher(None, heard_words[start : start + len(words)], words, autojunk=False).ratio() > 0.8
        ]
        assert places, f"{text!r} is not in {heard_words}"
        assert max(places) - min(places) < len(words) / 2, f"{text!r} is twice in {heard_words}"


@pytest.mark.long
def test_publishers_that_are_killed_and_come_back(tmp_path: Path) -> None:
    together(lambda: _to_a_server(tmp_path), _to_us)


def _to_a_server(folder: Path) -> None:
    """The server keeps its listeners: the connection stays, the clock begins anew."""
    with Nginx(folder) as nginx, Broadcast(nginx.address, "flv") as broadcast, Watched(nginx.address) as watched:
        watched.wait_for_audio(2.5)
        killed_s = time.monotonic()
        broadcast.kill()
        time.sleep(1.5)
        broadcast.start()
        on_air_s = broadcast.on_air_s()
        back_s = watched.first_packet_after(on_air_s)
        report("rtmp pull, publisher killed", back_s)
        assert back_s <= 3.0
        watched.wait_for_audio(2.5)
        assert watched.interrupt() < 1.0
        most_lost_s = on_air_s - killed_s + back_s + 0.5
        assert_once_with_gap(watched, most_lost_s=most_lost_s, reasons={"clock", "gap"}, clock_s=1.2)
        assert_heartbeats(watched)


def _to_us() -> None:
    address = f"rtmp://127.0.0.1:{free_port()}/live/key"
    with Watched(address, "--listen", "--session", "s") as watched, closing(Broadcast(address, "flv")) as broadcast:
        publish(broadcast, watched)
        watched.wait_for_audio(2.5)
        broadcast.kill()
        time.sleep(1)
        back_s = watched.first_packet_after(publish(broadcast, watched))
        report("rtmp listen, publisher killed", back_s)
        assert back_s <= 3.0
        watched.wait_for_audio(2.5)
        assert watched.interrupt() < 1.0
        assert_once_with_gap(watched, most_lost_s=3, reasons={"reconnect"})
        assert_heartbeats(watched)


def test_the_end_of_a_broadcast_is_the_end(tmp_path: Path) -> None:
    with (
        Nginx(tmp_path, idle=False) as server,
        Broadcast(server.address, "flv", "--stop", "5") as broadcast,
    ):
        broadcast.on_air_s()
        with Watched(server.address, "--retry", "10", "--retry-max", "0.3") as watched:
            broadcast.finish()
            assert watched.ends() == 0, watched.said
        assert len(watched.of(Eos)) == 1
        (run,) = heard(watched.records)
        assert run.to_s > 4.5


def test_interrupted_while_it_listens() -> None:
    port = free_port()
    with Watched(f"rtmp://127.0.0.1:{port}/live/key", "--listen") as watched:
        watched.listening(port)
        assert watched.interrupt() < 1.0
        assert fatal(watched).code == "interrupted"


def test_a_server_that_is_not_there() -> None:
    with Watched(f"rtmp://127.0.0.1:{free_port()}/live/a", "--retry", "2", "--retry-max", "0.1") as watched:
        assert watched.ends() == 69
        assert "connection refused; given up after 3 tries" in fatal(watched).message
        assert watched.said.count("given up") == 1


def test_interrupted_while_it_connects() -> None:
    with Watched(f"rtmp://127.0.0.1:{free_port()}/live/a") as watched:
        watched.wait_for(lambda: "trying again" in watched.said, "a try")
        assert watched.interrupt() < 1.0
