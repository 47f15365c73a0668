"""Endless http streams, as Icecast sends them: a burst of what was just said, then what is said now."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

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
    served,
    together,
)
from ports import free_port
from streamlation_cli.records import Discontinuity, Eos, Header, Status

_BURST_BYTES = 56 << 10


class Icecast:
    """A relay: takes one publisher on a TCP port and sends what it says to every listener, beginning with a burst."""

    def __init__(self, content_type: str) -> None:
        self.port = free_port()
        self.publish = f"tcp://127.0.0.1:{free_port()}?listen=1"
        self._type = content_type
        self._stack = ExitStack()
        self._recent: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._sequence = 0
        self._source = socket.create_server(("127.0.0.1", 0))
        self.source = f"tcp://127.0.0.1:{self._source.getsockname()[1]}"
        self._thread = threading.Thread(target=self._take)
        self._closed = False
        self._thread.start()

    def _take(self) -> None:
        while not self._closed:
            caller, _ = self._source.accept()
            with caller:
                while block := caller.recv(4096):
                    with self._changed:
                        self._recent.append(block)
                        self._sequence += 1
                        while sum(map(len, self._recent)) > _BURST_BYTES:
                            self._recent.popleft()
                        self._changed.notify_all()

    def start(self) -> None:
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/live":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", relay._type)
                self.send_header("icy-name", "Talk")
                self.end_headers()
                with relay._changed:
                    sent = relay._sequence - len(relay._recent)
                while not relay._closed:
                    with relay._changed:
                        if relay._sequence == sent:
                            relay._changed.wait(0.5)
                        news = list(relay._recent)[len(relay._recent) - (relay._sequence - sent) :]
                        sent = relay._sequence
                    if news:
                        self.wfile.write(b"".join(news))

            def log_message(self, *_: object) -> None:
                pass

        self.port = self._stack.enter_context(served(Handler, self.port))

    def stop(self) -> None:
        self._stack.close()

    def close(self) -> None:
        self._closed = True
        self.stop()
        with self._changed:
            self._changed.notify_all()
        socket.create_connection(self._source.getsockname()).close()
        self._thread.join()
        self._source.close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/live"


@pytest.fixture
def icecast() -> Iterator[Icecast]:
    with closing(Icecast("audio/mpeg")) as relay:
        relay.start()
        yield relay


@pytest.mark.long
def test_servers_that_are_killed_and_stall() -> None:
    def with_relay(scenario: Callable[[Icecast], None]) -> Callable[[], None]:
        def run() -> None:
            with closing(Icecast("audio/mpeg")) as relay:
                relay.start()
                scenario(relay)

        return run

    together(*map(with_relay, (_server_killed, _stall, _live_edge)))


def _server_killed(icecast: Icecast) -> None:
    """Its burst brings what was said while it was away, and some that was heard already: that is left out."""
    with Broadcast(icecast.source, "mp3", "--codec", "libmp3lame"), Watched(icecast.address, "--live") as watched:
        watched.wait_for_audio(3)
        icecast.stop()
        time.sleep(1.5)
        icecast.start()
        back_s = watched.first_packet_after(time.monotonic())
        report("http stream, server killed", back_s)
        watched.wait_for_audio(3)
        assert watched.interrupt() < 1.0
    assert back_s < 3.0
    assert_once_with_gap(watched, most_lost_s=0.5, reasons={"reconnect"})
    assert_metrics(watched, reconnects=1)
    assert watched.of(Status)[-1].counters["dropped"] > 0
    assert_heartbeats(watched)


def _stall(icecast: Icecast) -> None:
    """A stall is told from the end."""
    with (
        Broadcast(icecast.source, "mp3", "--codec", "libmp3lame") as broadcast,
        Watched(icecast.address, "--live", "--timeout", "0.7") as watched,
    ):
        watched.wait_for_audio(2)
        broadcast.kill()  # its listeners' connections stay, and say nothing
        watched.wait_for(lambda: "stopped answering" in watched.said, "the stall")
        assert not watched.of(Eos)
        broadcast.start()
        watched.wait_for(lambda: watched.of(Discontinuity), "the gap")
        assert watched.interrupt() < 1.0


def _live_edge(icecast: Icecast) -> None:
    """A new listener starts there, whatever the burst brings."""
    with Broadcast(icecast.source, "mp3", "--codec", "libmp3lame"):
        time.sleep(4)  # all of which is in the burst
        with Watched(icecast.address, "--live") as watched:
            watched.wait_for_audio(2.5)
            watched.wait_for(lambda: len(watched.of(Status)) > 2, "a status")
            assert watched.interrupt() < 1.0
    header = watched.of(Header)[0]
    assert header.live
    (run,) = heard(watched.records)
    assert run.from_s > 1.5
    assert watched.of(Status)[-1].lag_ms < 700


def test_what_is_not_there(icecast: Icecast) -> None:
    with Watched(f"http://127.0.0.1:{icecast.port}/nothing", "--live") as watched:
        assert watched.ends() == 66
        assert "404" in fatal(watched).message


def test_a_server_that_is_not_there() -> None:
    with Watched(f"http://127.0.0.1:{free_port()}/live", "--live", "--retry", "1", "--retry-max", "0.1") as watched:
        assert watched.ends() == 69
        assert "given up after 2 tries" in fatal(watched).message


def test_interrupted_while_the_server_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/live"
        with Watched(address, "--live", "--format", "mp3") as watched:
            time.sleep(1.5)
            assert watched.interrupt() < 1.0
