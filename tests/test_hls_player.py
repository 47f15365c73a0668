"""HLS as a web page plays it: hls.js in Chromium."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import hlsjs
from chromium import chromium, page_of
from hls_media import captions, in_order, picture, sound
from livetools import wait_until
from streamlation_cli.delivery.hls import HlsOptions, HlsSink
from streamlation_cli.delivery.store import MemoryStore
from streamlation_cli.delivery.tracks import Track, Unit
from streamlation_cli.serving.server import Server

Presentation = tuple[tuple[Track, list[Unit]], ...]


@contextmanager
def player(store: MemoryStore, name: str = "master.m3u8") -> Iterator[Any]:
    """A page in Chromium that plays a master playlist of the store."""
    store.put("hls.js", hlsjs.script())
    store.put("page.html", hlsjs.PAGE.encode())
    with Server() as server, chromium() as browser:
        address = server.serve_store(store, "page.html")
        with page_of(browser, f"{address}#{name}") as page:
            yield page


def until(page: Any, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """The player's state as soon as something holds."""
    try:
        wait_until(lambda: holds(hlsjs.state(page)), what, 30)
    except AssertionError as error:
        raise AssertionError(f"{error}: {hlsjs.state(page)}") from error
    return hlsjs.state(page)


def put(store: MemoryStore, *tracks: tuple[Track, list[Unit]]) -> None:
    """A whole presentation."""
    sink = HlsSink(store, HlsOptions())
    sink.open([track for track, _ in tracks])
    for unit in in_order(*tracks):
        sink.write(unit)
    sink.commit()


@pytest.mark.long
def test_a_file_in_chromium() -> None:
    """It plays to its end, with each sound and captions at their times."""
    cues = [(1.0, 2.5, "um <dois>"), (7.2, 8.8, "três\nquatro")]
    store = MemoryStore()
    put(store, picture(9), sound(9, name="dub-pt", language="pt"), sound(9, default=False), captions(cues))
    with player(store) as page:
        begun = until(page, lambda now: now["time"] > 1 and now["audioBytes"] > 0, "playing")
        assert begun["sounds"] == ["pt", "en"]
        assert begun["sound"] == 0
        assert begun["captions"] == ["pt"]
        assert begun["size"] == [160, 90]
        page.evaluate("hls.subtitleTrack = 0")
        page.evaluate("hls.audioTrack = 1")
        until(page, lambda now: now["sound"] == 1 and now["time"] > 3, "the other sound")
        page.evaluate("video.playbackRate = 3")
        over = until(page, lambda now: now["ended"], "the end")
        assert over["duration"] == pytest.approx(9, abs=0.2)
        assert over["frames"] >= 200
        shown = {(round(start, 1), round(end, 1), text) for _, start, end, text in over["cues"]}
        # Everything is 80 ms later than in the file: a frame is decoded that long before it is shown.
        assert shown == {(1.1, 2.6, "um &lt;dois&gt;"), (7.3, 8.9, "três\nquatro")}
        assert not [fault for fault in over["faults"] if fault["fatal"]]


@pytest.mark.long
def test_sound_alone_in_chromium() -> None:
    """Two sounds and no picture."""
    store = MemoryStore()
    put(store, sound(8, name="dub-pt", language="pt"), sound(8, default=False), captions([(1, 2, "só")]))
    with player(store) as page:
        begun = until(page, lambda now: now["time"] > 1 and now["audioBytes"] > 0, "playing")
        assert begun["size"] == [0, 0]
        assert begun["sounds"] == ["pt", "en"]
        page.evaluate("hls.audioTrack = 1")
        page.evaluate("video.playbackRate = 3")
        over = until(page, lambda now: now["ended"], "the end")
        assert over["duration"] == pytest.approx(8, abs=0.2)
        assert not [fault for fault in over["faults"] if fault["fatal"]]


@pytest.mark.long
def test_a_live_stream_in_chromium() -> None:
    """Joined while it runs, it goes on with what is published, 40 minutes into the session, across an outage of 4 s."""
    at = 2400
    before, after = picture(14, every_s=1, start_s=at), picture(14, every_s=1, start_s=at + 18)
    cues = captions([(at + second, at + second + 1.5, f"às {second}") for second in range(0, 32, 3)])
    audio = sound(32, start_s=at)
    store = MemoryStore()
    stop = threading.Event()
    started_at = time.time() - at
    sink = HlsSink(store, HlsOptions(live=True, target_s=1, window_s=10, started_at=started_at))
    sink.open([before[0], audio[0], cues[0]])
    reached = 0.0
    units = list(in_order((before[0], before[1] + after[1]), audio, cues))

    def publish(until_s: float, *, paced: bool) -> None:
        nonlocal reached
        began = time.monotonic() - reached
        while units and float(units[0].dts_s) - at < until_s and not stop.is_set():
            reached = float(units[0].dts_s) - at
            if paced:
                stop.wait(max(0.0, began + reached - time.monotonic()))
            sink.write(units.pop(0))

    publish(8, paced=False)
    rest = threading.Thread(target=publish, args=(60,), kwargs={"paced": True})
    with player(store) as page:
        rest.start()
        try:
            begun = until(page, lambda now: now["date"] > 0 and now["audioBytes"] > 0, "playing")
            page.evaluate("hls.subtitleTrack = 0")
            later = until(page, lambda now: now["time"] > begun["time"] + 5, "going on")
            assert later["latency"] < 8
            assert {text for *_, text in later["cues"]} >= {"às 6", "às 9"}
            _at_their_times(later, started_at, at, 0)
            went = until(page, lambda now: any(text == "às 24" for *_, text in now["cues"]), "after the outage")
            assert not [fault for fault in went["faults"] if fault["fatal"]]
            past = until(page, lambda now: now["date"] > started_at + at + 20, "playing after the outage")
            _at_their_times(past, started_at, at, 18)
        finally:
            stop.set()
            rest.join()


def _at_their_times(now: dict[str, Any], started_at: float, at: float, since: float) -> None:
    """Each caption is as far from what is shown as its time is from that picture's (the playlist has the time of day).

    The player's own time has no hole where there was an outage, so what was said before it is not compared.
    """
    media_s = now["date"] - started_at
    said = {text: (float(text.removeprefix("às ")), start) for _, start, _, text in now["cues"]}
    assert any(second >= since for second, _ in said.values())
    for text, (second, start) in said.items():
        if second < since:
            continue
        due_s = at + second
        assert start - now["time"] == pytest.approx(due_s - media_s, abs=0.15), (text, now)
