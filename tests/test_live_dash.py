"""Live DASH from a real packager, over an origin that goes stale, dies, comes back and ends."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from beacon import BLOCK_S, holes
from dashorigin import Origin, Packager
from livetools import Watched
from media import Discontinuity, Header, Packet, errors, ingested, normalized, of, samples
from streamlation_cli.sources import mpd
from streamlation_cli.sources.dash import choose


@contextmanager
def broadcast(folder: Path, **options: Any) -> Iterator[tuple[Packager, Origin]]:
    """A running packager and its origin, some segments in."""
    packager = Packager(folder, **options)
    try:
        packager.ready(2)
        origin = Origin(folder)
        try:
            yield packager, origin
        finally:
            origin.down()
    finally:
        packager.end()


@pytest.mark.long
def test_an_origin_that_goes_stale_dies_comes_back_and_ends(tmp_path: Path) -> None:
    with (
        broadcast(tmp_path, window=6) as (packager, origin),
        Watched(origin.address, "--timeout", "4") as watched,
    ):
        watched.wait_for_audio(1.0)
        origin.freeze(True)
        packager.ready(2)
        origin.freeze(False)
        fresh = time.monotonic()
        assert watched.first_packet_after(fresh) < 2.0
        watched.wait_for_audio(0.5)
        origin.down()
        watched.wait_for_outage()
        packager.ready(2)  # less than the window holds
        origin.up()
        short_s = watched.first_packet_after(time.monotonic())
        assert short_s <= 3.0
        watched.wait_for_audio(1.0)
        assert watched.of(Discontinuity) == []  # all of it was still there
        origin.down()
        watched.wait_for_outage()
        packager.ready(11)  # more than the window holds
        origin.up()
        long_s = watched.first_packet_after(time.monotonic())
        assert long_s <= 3.0
        watched.wait_for_audio(1.0)
        packager.end()
        assert watched.ends() == 0, watched
        blocks = watched.blocks()
        numbers = [block for block, _ in blocks]
        (gap,) = watched.of(Discontinuity)
        ((before, after),) = holes(numbers)
        assert gap.reason == "lost"
        assert gap.gap_ms / 1000 == pytest.approx((after - before - 1) * BLOCK_S, abs=2 * BLOCK_S)
        # On the timeline everything is where it was said, the gap included.
        shifts = [at_s - block * BLOCK_S for block, at_s in blocks]
        assert max(shifts) - min(shifts) < 0.1
        assert of(Header, watched.records)[0].live


def test_a_broadcast_that_begins_anew_is_followed(tmp_path: Path) -> None:
    with (
        broadcast(tmp_path) as (packager, origin),
        Watched(origin.address, "--timeout", "3") as watched,
    ):
        watched.wait_for_audio(1.0)
        origin.down()
        watched.wait_for_outage()
        packager.end()
        again = Packager(tmp_path, start_s=30.0)
        try:
            again.ready(2)
            origin.up()
            assert watched.first_packet_after(time.monotonic()) <= 3.0
            watched.wait_for_audio(1.0)
        finally:
            again.end()
        assert watched.ends() == 0, watched
        numbers = [block for block, _ in watched.blocks()]
        ((before, after),) = holes(numbers)
        assert before < 375 <= after
        assert watched.of(Discontinuity)


def test_webm_segments(tmp_path: Path) -> None:
    with (
        broadcast(tmp_path, dash_segment_type="webm") as (packager, origin),
        Watched(origin.address) as watched,
    ):
        watched.wait_for_audio(1.0)
        packager.end()
        assert watched.ends() == 0, watched
        assert of(Header, watched.records)[0].audio.codec == "opus"
        assert holes([block for block, _ in watched.blocks()]) == []


@pytest.mark.parametrize("state", ["running", "stale", "away", "mute"])
def test_interrupted_within_a_second(state: str, tmp_path: Path) -> None:
    with (
        broadcast(tmp_path) as (_, origin),
        mute() as silent,
        Watched(silent if state == "mute" else origin.address) as watched,
    ):
        if state == "mute":
            silent_asked.wait(10)
        else:
            watched.wait_for_audio(0.5)
        if state == "stale":
            origin.freeze(True)
            watched.wait_for_audio(0.0)
        if state == "away":
            origin.down()
            watched.wait_for_outage()
        assert watched.interrupt() < 1.0


silent_asked = threading.Event()


@contextmanager
def mute() -> Iterator[str]:
    """An origin that takes requests and never answers."""
    done = threading.Event()
    silent_asked.clear()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            silent_asked.set()
            done.wait()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live.mpd"
    finally:
        done.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_a_recording(kind: str, tmp_path: Path) -> None:
    packager = Packager(tmp_path, window=0, dash_segment_type=kind, hurry=3.0)
    packager.end()
    origin = Origin(tmp_path)
    try:
        records = ingested(origin.address)
        assert not errors(records)
        header = of(Header, records)[0]
        assert not header.live
        assert abs(len(samples(normalized(records))) - 3 * 16000) < 1600
        late = ingested(origin.address, start="2")
        assert not errors(late)
        assert len(of(Packet, late)) < len(of(Packet, records))
        piece = samples(normalized(late))
        whole = samples(normalized(records))
        assert len(piece) < 1.2 * 16000
        assert abs(int(piece[4000]) - int(whole[len(whole) - len(piece) + 4000])) < 3000
    finally:
        origin.down()


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    origin = Origin(tmp_path)
    try:
        assert errors(ingested(origin.address)) == [("ingest", "no-input", True)]
        bomb = '<!DOCTYPE MPD [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><MPD>&b;</MPD>'
        for text in ("<html></html>", "<MPD", bomb, "<MPD/>", '<MPD type="static"><Period/></MPD>'):
            (tmp_path / "live.mpd").write_text(text)
            assert errors(ingested(origin.address)) == [("ingest", "data", True)], text
    finally:
        origin.down()


PERIODS = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" availabilityStartTime="2026-01-01T00:00:00Z"
     minimumUpdatePeriod="PT2S" suggestedPresentationDelay="PT6S">
  <Location>https://other/new.mpd</Location>
  <BaseURL>media/</BaseURL>
  <Period id="a" start="PT0S">
    <BaseURL>a/</BaseURL>
    <AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1">
      <SegmentTemplate media="v$Number$" duration="1"/></Representation></AdaptationSet>
    <AdaptationSet mimeType="audio/mp4" lang="en" codecs="mp4a.40.2">
      <SegmentTemplate timescale="1000" presentationTimeOffset="500" initialization="$RepresentationID$/i.mp4"
          media="$RepresentationID$/$Time$.m4s">
        <SegmentTimeline><S t="500" d="2000" r="1"/><S d="1000"/><S t="6000" d="500" r="-1"/></SegmentTimeline>
      </SegmentTemplate>
      <Representation id="low" bandwidth="32000"/><Representation id="mid" bandwidth="64000"/>
      <Representation id="high" bandwidth="256000"/>
    </AdaptationSet>
    <AdaptationSet mimeType="audio/mp4" lang="pt-BR" codecs="mp4a.40.2">
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="dub"/>
      <SegmentTemplate timescale="1" media="p$Number%04d$.m4s" startNumber="7" duration="2"/>
      <Representation id="pt" bandwidth="64000"/>
    </AdaptationSet>
  </Period>
  <Period id="b" start="PT7.5S">
    <AdaptationSet mimeType="audio/webm" lang="en">
      <SegmentList timescale="1" duration="3"><Initialization sourceURL="i.webm" range="0-99"/>
        <SegmentURL media="all.webm" mediaRange="100-199"/><SegmentURL media="all.webm" mediaRange="200-299"/></SegmentList>
      <Representation id="w" bandwidth="64000"/>
    </AdaptationSet>
  </Period>
</MPD>"""


def test_a_manifest_of_several_periods() -> None:
    presentation = mpd.parse(PERIODS.encode(), "https://host/x/live.mpd")
    assert presentation.live
    assert presentation.location == "https://other/new.mpd"
    assert (presentation.update_s, presentation.delay_s) == (2.0, 6.0)
    assert presentation.availability_start_s == 1767225600.0
    first, second = presentation.periods
    assert (first.end, second.start) == (Fraction(15, 2), Fraction(15, 2))

    english = choose(first, "", "x")
    assert (english.id, english.initialization) == ("mid", "https://host/x/media/a/mid/i.mp4")
    all_of = [(s.address.rpartition("/")[2], float(s.start), float(s.duration)) for s in english.segments(0, 1000)]
    assert all_of[:4] == [("500.m4s", 0.0, 2.0), ("2500.m4s", 2.0, 2.0), ("4500.m4s", 4.0, 1.0), ("6000.m4s", 5.5, 0.5)]
    assert all_of[-1] == ("7500.m4s", 7.0, 0.5)
    assert [s.address.rpartition("/")[2] for s in english.segments(2, 5)] == ["2500.m4s", "4500.m4s"]

    portuguese = choose(first, "pt", "x")
    assert choose(first, "1", "x") == portuguese
    listed = [(s.address, float(s.start)) for s in portuguese.segments(Fraction(1), Fraction(6))]
    assert listed == [(f"https://host/x/media/a/p{n:04d}.m4s", (n - 7) * 2.0) for n in (7, 8, 9)]

    ranges = choose(second, "", "x")
    assert (ranges.initialization, ranges.initialization_range) == ("https://host/x/media/i.webm", "0-99")
    assert [(s.range, float(s.start)) for s in ranges.segments(0, 1000)] == [("100-199", 7.5), ("200-299", 10.5)]


def test_a_manifest_must_not_ask_for_too_much() -> None:
    for timeline in ('<S d="1" r="999999999"/>', '<S d="0"/>', '<S d="1" r="-1"/>'):
        text = PERIODS.replace('<S t="500" d="2000" r="1"/><S d="1000"/><S t="6000" d="500" r="-1"/>', timeline)
        if timeline == '<S d="1" r="-1"/>':
            text = text[: text.index('<Period id="b"')] + "</MPD>"
        with pytest.raises(ValueError, match="DASH manifest"):
            mpd.parse(text.encode(), "https://host/live.mpd")
