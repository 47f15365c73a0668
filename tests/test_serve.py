"""`serve` over HTTP: the stream and its going on, downloads, tokens, roles, other sites, the audit log, the end."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import srt
import webvtt
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from support import eos, header, streamlation
from test_serving import fetch
from watching import Serving, said, translated

LIVE = {"live": True, "started_at": 1_700_000_000.0, "target_language": "pt"}


def stream_of(served: Serving, after: str = "", **headers: str) -> Any:
    """The WebSocket."""
    address = served.root.replace("http", "ws")
    return connect(f"{address}stream?after={after}", additional_headers=headers, proxy=None)


def messages(socket: Any) -> Iterator[dict[str, Any]]:
    """Messages as they come."""
    while True:
        yield json.loads(socket.recv(timeout=20))


def until(socket: Any, text: str) -> Iterator[dict[str, Any]]:
    """Messages up to the record that has this text."""
    for message in messages(socket):
        yield message
        if message.get("record", {}).get("text") == text:
            return


def records_until(socket: Any, text: str) -> list[dict[str, Any]]:
    """The records that come, up to the one that has this text."""
    return [message["record"] for message in until(socket, text) if "record" in message]


def test_a_reader_gets_a_snapshot_and_then_each_record_once() -> None:
    with Serving() as served:
        served.say(header(**LIVE), said("One.", 1), said("Two is", 2, final=False, stable_words=1))
        with stream_of(served) as socket:
            first = next(messages(socket))
            while "Two is" not in json.dumps(first):  # it may have come while the records were still on their way
                first = next(messages(socket))
            served.say(said("Two is here.", 2), said("Three.", 3))
            assert [r["text"] for r in records_until(socket, "Three.")][-2:] == ["Two is here.", "Three."]
        with stream_of(served) as socket:
            records = next(messages(socket))["snapshot"]["records"]
            assert [record.get("text") for record in records] == [None, "One.", "Two is here.", "Three."]
            assert all(record["session"] == "s" for record in records)


def test_a_reader_that_was_away_gets_what_it_missed_and_nothing_twice() -> None:
    with Serving() as served:
        served.say(header(**LIVE), said("One.", 1))
        with stream_of(served) as socket:
            assert "snapshot" in next(messages(socket))
            served.say(said("Two.", 2))
            [*_, last] = until(socket, "Two.")
        served.say(said("Three.", 3), said("Four.", 4))
        with stream_of(served, last["id"]) as socket:
            texts = [record.get("text") for record in records_until(socket, "Four.")]
        assert texts == ["Three.", "Four."]
        with stream_of(served, "another-7") as socket:  # of a server that was started anew
            assert "snapshot" in next(messages(socket))


def test_server_sent_events_go_on_after_the_last_id() -> None:
    with Serving() as served:
        served.say(header(**LIVE), said("One.", 1), said("Two.", 2), eos(duration_ms=9000))
        wait_for(served, lambda status: status["sessions"] and status["sessions"][0]["state"] == "ended")
        served_status = fetch(f"{served.root}status")
        assert served_status[0] == 200
        ids, texts = events_of(served, "", "snapshot")
        assert len(ids) == 1
        assert "Two." in texts
        run, _, number = ids[0].rpartition("-")
        earlier = f"{run}-{int(number) - 2}"
        ids, _ = events_of(served, earlier, "ended")
        assert ids == [f"{run}-{int(number) - 1}", ids[-1]][-len(ids) :]
        assert earlier not in ids


def events_of(served: Serving, last_id: str, until: str) -> tuple[list[str], str]:
    """Ids and text of the server-sent events up to the first that contains `until`."""
    request = urllib.request.Request(f"{served.root}events", headers={"Last-Event-ID": last_id})
    ids, text = [], ""
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response:
            text += line.decode()
            if line.startswith(b"id: "):
                ids.append(line[4:].decode().strip())
            if line.startswith(b"data: ") and until in line.decode():
                return ids, text
    raise AssertionError(text)


def wait_for(served: Serving, condition: Any, timeout_s: float = 20) -> dict[str, Any]:
    """The status once it is as wanted."""
    deadline = time.monotonic() + timeout_s
    while True:
        status: dict[str, Any] = json.loads(fetch(f"{served.root}status")[2])
        if condition(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


def test_the_status_says_in_words_how_each_session_is() -> None:
    ingest = {"type": "status", "session": "s", "stage": "ingest", "state": "running"}
    with Serving() as served:
        served.say(header(**LIVE), ingest | {"lag_ms": 80, "counters": {"reconnects": 0}}, said("One.", 1))
        [session] = wait_for(served, lambda status: status["sessions"] and status["sessions"][0]["captions"])[
            "sessions"
        ]
        assert (session["text"], session["trouble"], session["captions"]) == ("Live", False, ["en"])
        served.say(ingest | {"detail": "reconnecting: connection refused", "counters": {"reconnects": 1}})
        [session] = wait_for(served, lambda status: status["sessions"][0]["trouble"])["sessions"]
        assert session["text"] == "The source is gone; reconnecting (connection refused)."
        served.say(ingest | {"counters": {"reconnects": 2}})
        served.say({"type": "discontinuity", "session": "s", "at_ms": 5000, "gap_ms": 2500, "reason": "reconnected"})
        [session] = wait_for(served, lambda status: status["sessions"][0]["gaps"])["sessions"]
        assert (session["trouble"], session["reconnects"]) == (False, 2)
        assert "2.5 s are missing (reconnected)" in [event["text"] for event in session["events"]]
        fault = {"type": "error", "session": "s", "stage": "ingest", "code": "unavailable", "message": "it is gone"}
        served.say(fault | {"fatal": True}, fault | {"session": "other", "fatal": True})
        status = wait_for(served, lambda status: len(status["sessions"]) == 2)
        assert [one["text"] for one in status["sessions"]] == ["Stopped: ingest: it is gone"] * 2


REPORT = {
    "session": "s",
    "state": "playing",
    "position_ms": 4000,
    "loaded_ms": 6000,
    "latency_ms": 9000,
    "stalls": 1,
    "buffering_ms": 700,
}


def audience(served: Serving, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first `status` of those who watch that is as wanted, while records go on coming."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        served.say({"type": "status", "session": "s", "stage": "ingest", "state": "running"})
        for line in list(served.passed):
            record: dict[str, Any] = json.loads(line)
            if record["type"] == "status" and "viewers" in record.get("counters", {}) and condition(record):
                return record
        time.sleep(0.1)
    raise AssertionError(served.passed)


def test_those_who_watch_are_told_of_in_status_records() -> None:
    with Serving() as served:
        served.say(header(**LIVE), said("One.", 1))
        with stream_of(served) as one, stream_of(served) as two:
            one.send(json.dumps(REPORT))
            two.send(
                json.dumps(REPORT | {"state": "buffering", "position_ms": 2000, "latency_ms": 11_000, "stalls": 0})
            )
            told = audience(served, lambda record: record["counters"]["viewers"] == 2)
            assert told["detail"] == "1 playing, 1 buffering in 2 browsers"
            assert (told["state"], told["lag_ms"]) == ("running", 10_000)
            assert told["counters"] == {
                "viewers": 2, "playing": 1, "waiting": 1, "position_ms": 3000, "latency_ms": 10_000, "latency_max_ms": 11_000,
                "loaded_ms": 6000, "stalls": 1, "buffering_ms": 1400,
            }  # fmt: skip
            (session,) = json.loads(fetch(f"{served.root}status")[2])["sessions"]
            assert session["viewers"] == told["counters"]
            assert session["events"] == []  # those who watch are not told of each other
        audience(served, lambda record: record["detail"] == "nobody watches")


@pytest.mark.parametrize(
    "sent",
    ["{", "[]", b"\x00", "{}", json.dumps(REPORT | {"more": 1}), json.dumps(REPORT | {"state": "<b>"}),
     json.dumps(REPORT | {"position_ms": -1}), json.dumps(REPORT | {"session": "s" * 5000})],
)  # fmt: skip
def test_what_is_no_report_ends_the_line_of_who_sent_it(sent: str | bytes) -> None:
    with Serving() as served:
        served.say(header(**LIVE))
        with stream_of(served) as other, stream_of(served) as socket:
            socket.send(sent)
            with pytest.raises(ConnectionClosed) as closed:
                list(messages(socket))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code in (1008, 1009)
            served.say(said("Still here.", 1))
            assert records_until(other, "Still here.")
        assert "Traceback" not in served.errors


def report_without_end(socket: Any) -> None:
    """Report 60 times, then read until the connection ends: the server may cut off what is sent, or what is read."""
    for _ in range(60):
        socket.send(json.dumps(REPORT))
    list(messages(socket))


def test_who_reports_without_end_is_cut_off() -> None:
    with Serving() as served:
        served.say(header(**LIVE))
        with stream_of(served) as socket, pytest.raises(ConnectionClosed) as closed:
            report_without_end(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.reason == "too many messages"


def opened(served: Serving, *, reads_at_most: int = 0) -> socket.socket:
    """A WebSocket by hand, its handshake done; it may be one that takes little at a time."""
    line = socket.socket()
    if reads_at_most:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, reads_at_most)
    place = urlsplit(served.root)
    line.settimeout(20)
    line.connect((place.hostname, place.port))
    line.sendall(
        f"GET /stream HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert line.recv(12) == b"HTTP/1.1 101"
    return line


FRAMES = {
    "no UTF-8": b"\x81\x82\0\0\0\0\xff\xfe", "unmasked": b"\x81\x02{}", "reserved": b"\x83\x80\0\0\0\0",
    "too long": b"\x81\xff\0\0\1\0\0\0\0\0\0\0\0\0", "out of order": b"\x80\x81\0\0\0\0x",
}  # fmt: skip


def test_frames_that_are_none_end_their_own_line_alone() -> None:
    with Serving() as served:
        served.say(header(**LIVE))
        with stream_of(served) as other:
            for frame in FRAMES.values():
                with opened(served) as line:
                    line.sendall(frame)
                    while line.recv(65536):  # until it is closed
                        pass
            served.say(said("Still here.", 1))
            assert records_until(other, "Still here.")
        served.end()
        assert served.process.wait(20) == 65  # its input was cut short
    assert "Traceback" not in served.errors


def test_who_does_not_read_holds_up_nobody_and_takes_no_memory() -> None:
    text = " ".join(["They could work only at low tide."] * 240)
    with Serving() as served, contextlib.ExitStack() as stack:
        served.say(header(**LIVE), said("One.", 1))
        for _ in range(5):
            stack.enter_context(opened(served, reads_at_most=4096))
        with stream_of(served) as reader:
            next(messages(reader))
            before = resident_mib(served)
            for number in range(2, 1500):
                served.say(said(text, number, final=False, words=[]))
            served.say(said("The last.", 2000))
            records_until(reader, "The last.")
            assert (
                resident_mib(served) - before < 30
            )  # the board's own messages, once; 5 x 1500 of them would be 10 times that


def resident_mib(served: Serving) -> float:
    """Memory that the server has."""
    pages = Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() / 2**20


def test_all_captions_so_far_can_be_fetched_whole_or_in_part() -> None:
    texts = [f"This is sentence number {number}, and it is long enough." for number in range(1, 9)]
    with Serving() as served:
        served.say(header(**LIVE, duration_ms=40_000))
        for number, text in enumerate(texts, 1):
            served.say(said(text, number), translated(f"Esta é a frase número {number}.", text, number))
        address = f"{served.root}captions/s/en.srt"
        wait_for(served, lambda status: b"number 7" in fetch(address)[2])
        growing = fetch(address)[2]
        served.say(eos(duration_ms=40_000))
        wait_for(served, lambda status: status["sessions"][0]["state"] == "ended")
        status, headers, whole = fetch(address)
        assert (status, whole[: len(growing)]) == (200, growing)
        captions = list(srt.parse(whole.decode()))
        assert " ".join(" ".join(c.content.split("\n")) for c in captions) == " ".join(texts)
        status, headers, part = fetch(address, Range="bytes=10-29")
        assert (status, part, headers["content-range"]) == (206, whole[10:30], f"bytes 10-29/{len(whole)}")
        vtt = webvtt.from_string(fetch(f"{served.root}captions/s/pt.vtt")[2].decode())
        assert "Esta é a frase número 8." in vtt[-1].text
        assert fetch(f"{served.root}captions/s/de.srt")[0] == 404
        assert fetch(f"{served.root}captions/s/en.docx")[0] == 404


def test_captions_as_cues_are_served_as_they_end() -> None:
    cue = {"type": "cue", "session": "s", "language": "pt", "start_ms": 0, "end_ms": 2000}
    with Serving() as served:
        served.say(header(**LIVE), cue | {"op": "add", "id": "1", "lines": ["Olá"]})
        served.say(cue | {"op": "update", "id": "1", "lines": ["Olá a todos."], "end_ms": 2500})
        served.say(cue | {"op": "add", "id": "2", "lines": ["Não."], "start_ms": 3000, "end_ms": 4000})
        served.say(cue | {"op": "remove", "id": "2", "start_ms": 3000, "end_ms": 4000}, eos())
        wait_for(served, lambda status: status["sessions"] and status["sessions"][0]["state"] == "ended")
        captions = list(srt.parse(fetch(f"{served.root}captions/s/pt.srt")[2].decode()))
        assert [(c.content, c.end.total_seconds()) for c in captions] == [("Olá a todos.", 2.5)]


def test_records_pass_as_they_came() -> None:
    stream = [header(**LIVE), said("One.", 1), {"type": "hologram", "session": "s"}, eos(duration_ms=9000)]
    with Serving() as served:
        served.say(*stream)
        served.end()
        assert served.process.wait(20) == 0
        for thread in served._threads:
            thread.join()
    lines = [json.loads(line) for line in served.passed]
    assert lines[:3] == stream[:3]
    assert lines[3]["type"] == "eos"


class TestWhoMay:
    """Tokens and roles."""

    def test_a_wider_address_takes_a_token(self) -> None:
        with Serving(bind="0.0.0.0:0") as served:
            port = urlsplit(served.address).port
            root = f"http://127.0.0.1:{port}/"
            token = served.address.partition("token=")[2]
            assert len(token) >= 16
            for path in ("", "status", "events", "captions/s/en.srt", "page/page.js"):
                status, _, body = fetch(root + path)
                assert status == 401, path
                assert token.encode() not in body
            assert fetch(f"{root}?token=wrong")[0] == 401
            assert fetch(f"{root}status?token={token}")[0] == 200
            assert fetch(f"{root}status", Authorization=f"Bearer {token}")[0] == 200
            assert fetch(f"{root}status", Cookie=f"streamlation-{port}={token}")[0] == 200
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://127.0.0.1:{port}/stream", proxy=None)
            assert refused.value.response.status_code == 403
            with connect(f"ws://127.0.0.1:{port}/stream?token={token}", proxy=None) as socket:
                assert "snapshot" in next(messages(socket))

    def test_a_token_in_the_address_becomes_a_cookie(self) -> None:
        with Serving("--token", "let-me-see") as served:
            host, port = urlsplit(served.root).hostname, urlsplit(served.root).port
            line = http.client.HTTPConnection(str(host), port or 0, timeout=20)
            line.request("GET", "/?token=let-me-see")
            answer = line.getresponse()
            answer.read()
            assert (answer.status, answer.headers["location"]) == (303, "/")
            cookie = answer.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie
            line.request("GET", "/", headers={"Cookie": cookie.partition(";")[0]})
            page = line.getresponse()
            assert (page.status, b"Live captions" in page.read()) == (200, True)
            line.close()

    def test_control_takes_the_control_token(self) -> None:
        with Serving("--token", "see", "--control-token", "steer") as served:
            pause = f"{served.root}control/pause"
            assert fetch(pause, "POST", Authorization="Bearer see")[0] == 403
            assert fetch(pause, "POST")[0] == 401
            assert fetch(pause, Authorization="Bearer steer")[0] == 405
            assert fetch(f"{served.root}status", Authorization="Bearer steer")[2].startswith(b'{"role":"control"')
            origin = {"Authorization": "Bearer steer", "Origin": "https://elsewhere.example"}
            assert fetch(pause, "POST", **origin)[0] == 403
            status, _, body = fetch(pause, "POST", Authorization="Bearer steer")
            assert (status, json.loads(body)) == (200, {"paused": True, "stopped": False})

    def test_what_is_said_in_a_pause_reaches_no_viewer(self) -> None:
        with Serving("--control-token", "steer") as served:
            served.say(header(**LIVE), said("Before.", 1))
            wait_for(served, lambda status: status["sessions"] and status["sessions"][0]["captions"])
            fetch(f"{served.root}control/pause", "POST", Authorization="Bearer steer")
            served.say(said("Between.", 2), {"type": "status", "session": "s", "stage": "x", "state": "running"})
            wait_for(served, lambda status: status["sessions"][0]["stages"])
            fetch(f"{served.root}control/resume", "POST", Authorization="Bearer steer")
            served.say(said("After.", 3))
            with stream_of(served) as socket:
                shown = json.dumps(next(messages(socket)))
                while "After." not in shown:
                    shown += json.dumps(next(messages(socket)))
            assert "Before." in shown
            assert "Between." not in shown
            served.say(eos())
            served.end()
            served.process.wait(20)
            for thread in served._threads:
                thread.join()
            assert b"Between." in b"".join(served.passed)

    def test_stop_ends_the_program_as_an_interrupt_does(self) -> None:
        with Serving("--control-token", "steer") as served:
            served.say(header(**LIVE))
            wait_for(served, lambda status: status["sessions"])
            assert fetch(f"{served.root}control/stop", "POST", Authorization="Bearer steer")[0] == 200
            assert served.process.wait(20) == 130

    def test_a_name_that_is_not_this_servers_is_refused(self) -> None:
        with Serving() as served:
            port = urlsplit(served.root).port
            for host, status in (
                ("evil.example", 421), (f"evil.example:{port}", 421), (f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200),
                ("[::1]:80", 200), ("", 421), ("127.0.0.1.evil.example", 421),
            ):  # fmt: skip
                assert fetch(f"{served.root}status", Host=host)[0] == status, host

    def test_another_sites_page_cannot_listen_in(self) -> None:
        with Serving() as served:
            with pytest.raises(InvalidStatus):
                stream_of(served, Origin="https://elsewhere.example")
            with stream_of(served, Origin=served.root.rstrip("/")) as socket:
                assert "snapshot" in next(messages(socket))
            for path in ("status", "", "captions/s/en.srt"):
                assert (
                    "access-control-allow-origin"
                    not in fetch(served.root + path, Origin="https://elsewhere.example")[1]
                )

    def test_the_page_runs_no_script_but_its_own(self) -> None:
        with Serving() as served:
            _, headers, body = fetch(served.root)
            policy = headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert b"<script>" not in body
            assert b"http://" not in body.replace(b"http://www.w3.org", b"")
            assert b"https://" not in body

    def test_every_request_and_decision_is_in_the_audit_log(self, tmp_path: Path) -> None:
        log = tmp_path / "audit.ndjson"
        with Serving("--token", "see", "--control-token", "steer", "--audit-log", str(log)) as served:
            fetch(f"{served.root}status")
            fetch(f"{served.root}status?token=see")
            fetch(f"{served.root}control/pause", "POST", Authorization="Bearer see")
            fetch(f"{served.root}control/pause", "POST", Authorization="Bearer steer")
            with stream_of(served, Authorization="Bearer see"):
                pass
            lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [(line["path"], line["status"], line["allowed"], line["role"]) for line in lines] == [
            ("/status", 401, False, ""), ("/status", 200, True, "view"), ("/control/pause", 403, False, "view"),
            ("/control/pause", 200, True, "control"), ("/stream", 101, True, "view"),
        ]  # fmt: skip
        assert all({"time", "client", "method"} <= line.keys() for line in lines)
        assert "see" not in log.read_text().replace('"steer', "")
        assert "token" in lines[0]["reason"]


def test_an_address_that_is_taken_is_one_line_and_status_69() -> None:
    with Serving() as served:
        taken = f"127.0.0.1:{urlsplit(served.root).port}"
        result = streamlation(
            "serve", "--bind", taken, stdin=b'{"type":"header","session":"s","proto":1,"source":"x"}\n'
        )
    assert result.status == 69
    assert result.stderr.strip().splitlines() == [
        f"streamlation: cannot serve on {taken}: another program serves there; give another port, or 0 for any free one"
    ]
    assert streamlation("serve", "--bind", "127.0.0.1:99999").status == 2


@pytest.mark.parametrize("flags", [("--token", "a b"), ("--token", "same", "--control-token", "same")])
def test_a_token_that_cannot_be_one(flags: tuple[str, ...]) -> None:
    result = streamlation("serve", "--bind", "127.0.0.1:0", *flags)
    assert result.status == 2
    assert len(result.stderr.splitlines()) == 1


def test_without_its_packages_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['starlette'] = None; from streamlation_cli.cli import main; main(['serve'])"
    result = subprocess.run([sys.executable, "-c", program], input=b"", capture_output=True, check=False)
    assert result.returncode == 69
    assert b"pip install 'streamlation[serve]'" in result.stderr


def test_an_interrupt_ends_it_within_a_second_whoever_is_watching() -> None:
    with Serving() as served:
        served.say(header(**LIVE))
        with stream_of(served) as socket:
            next(messages(socket))
            started = time.monotonic()
            served.process.send_signal(signal.SIGINT)
            with pytest.raises(ConnectionClosed) as closed:
                list(messages(socket))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert served.process.wait(20) == 130
            assert time.monotonic() - started < 1.0
    assert "Traceback" not in served.errors


STUBS = ("--transcribe-engine", "stub", "--translate-engine", "stub", "--dub-engine", "stub")


def test_run_serves_what_it_makes(samples: Path) -> None:
    chain = (str(samples / "hello_en.flac"), "--from", "en", "--to", "es", *STUBS, "--serve", "--linger", "600")
    with Serving(*chain, verb="run") as served:
        status = wait_for(served, lambda status: status["sessions"] and status["sessions"][0]["state"] == "ended")
        [session] = status["sessions"]
        stages = ["ingest", "normalize", "transcribe", "translate", "dub", "serve"]
        assert [(one["stage"], one["state"]) for one in session["stages"]] == [(name, "completed") for name in stages]
        assert {"en", "es"} == set(session["captions"])
        _, headers, playlist = fetch(served.root.rstrip("/") + session["media"])
        assert headers["content-type"] == "application/vnd.apple.mpegurl"
        assert b'LANGUAGE="es"' in playlist
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(20) == 0


def test_run_serves_captions_only_where_that_is_asked_for(samples: Path) -> None:
    chain = (str(samples / "hello_en.flac"), "--to", "es", *STUBS, "--serve", "--captions-only", "--linger", "600")
    with Serving(*chain, verb="run") as served:
        status = wait_for(served, lambda status: status["sessions"] and status["sessions"][0]["state"] == "ended")
        assert status["sessions"][0]["media"] == ""
        assert "dub" not in [one["stage"] for one in status["sessions"][0]["stages"]]


def test_it_lingers_as_long_as_it_is_told_to() -> None:
    with Serving("--linger", "600") as served:
        served.say(header(), said("One.", 1), eos(duration_ms=9000))
        served.end()
        wait_for(served, lambda status: status["sessions"] and status["sessions"][0]["state"] == "ended")
        assert served.process.poll() is None
        assert b"One." in fetch(f"{served.root}captions/s/en.srt")[2]
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(20) == 0
