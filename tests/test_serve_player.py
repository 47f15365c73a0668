"""The page's player in Chromium: picture, both sounds, captions in time, holes, the end. What is heard is measured."""

from __future__ import annotations

import base64
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from chromium import TIMEOUT_MS, chromium, page_of
from livetools import Broadcast
from media import ingested
from streamlation_cli.records import Eos, Header, Packet
from support import eos
from test_live_rtmp import Nginx
from test_serve import audience
from test_serving import fetch
from watching import Serving, translated, words

expect.set_options(timeout=TIMEOUT_MS)
SECONDS = 24
ORIGINAL_HZ, VOICE_HZ = 500, 1500
SENTENCES = (("The first sentence is here.", "A primeira frase está aqui."), ("The second one.", "A segunda."))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving picture with a keyframe every second, and a tone."""
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    with av.open(path, "w") as container:
        video: Any = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "g": "10", "bf": "2"})
        video.width, video.height, video.pix_fmt = 160, 90, "yuv420p"
        audio: Any = container.add_stream("aac", rate=48_000, layout="mono")
        for number in range(SECONDS * 10):
            image = np.full((90, 160, 3), number % 200, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = tone(ORIGINAL_HZ, SECONDS, 48_000).astype(np.float32) / 32768
        for start in range(0, len(sound), 1024):
            block = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts = 48_000, start
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    return path


def tone(hertz: int, seconds: float, rate: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    return (np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate) * 8000).astype(np.int16)


def packets(recording: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The recording as a live session: its header and its packets in order of time."""
    records = ingested(recording, video=True, session="s")
    header = next(record for record in records if isinstance(record, Header))
    live = msgspec.structs.replace(
        header, live=True, started_at=time.time() - SECONDS, language="en", target_language="pt"
    )
    media = [record for record in records if isinstance(record, Packet)]
    assert isinstance(records[-1], Eos)
    return msgspec.to_builtins(live), [msgspec.to_builtins(one) for one in sorted(media, key=when)]


def when(packet: Packet) -> Fraction:
    return (packet.dts if packet.dts is not None else packet.pts or 0) * Fraction(*packet.time_base)


def speech(number: int, start_ms: int, seconds: float) -> dict[str, Any]:
    """A dubbed voice that is a tone."""
    data = base64.b64encode(tone(VOICE_HZ, seconds, 22_050).tobytes()).decode()
    return {
        "type": "speech", "session": "s", "id": f"s{number}", "start_ms": start_ms, "end_ms": start_ms + round(seconds * 1000),
        "sample_rate_hz": 22_050, "voice": "tone", "data": data,
    }  # fmt: skip


def broadcast(served: Serving, recording: Path, keep: Callable[[float], bool] = lambda _: True) -> None:
    """A whole live session but for its end; packets of moments that `keep` refuses are left out."""
    header, media = packets(recording)
    served.say(header)
    for stage in ("ingest", "transcribe", "translate", "dub"):
        served.say({"type": "status", "session": "s", "stage": stage, "state": "running"})
    served.say(*media[:30])
    for number, (english, portuguese) in enumerate(SENTENCES, 1):
        spoken = words(english, 4000 * number)
        served.say({"type": "transcript", "session": "s", "id": f"u{number}", "start_ms": 4000 * number, "text": english,
                    "end_ms": spoken[-1]["end_ms"], "final": True, "language": "en", "words": spoken})  # fmt: skip
        served.say(translated(portuguese, english, number))
    served.say(speech(1, 0, 10), speech(2, 10_000, 10))
    for packet in media[30:]:
        numerator, denominator = packet["time_base"]
        if keep(packet["pts"] * numerator / denominator):
            served.say(packet)


def until(page: Page, condition: str, timeout_s: float = TIMEOUT_MS / 1000) -> None:
    """Waits until a condition holds. Playwright's own waiting evaluates text in the page, which the page's policy forbids."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, (condition, page.evaluate(PLAYER))
        page.wait_for_timeout(50)


PLAYER = """() => {
  const v = document.querySelector('video');
  return [v.currentTime, v.paused, v.readyState, v.buffered.length && v.buffered.end(v.buffered.length - 1), v.error?.message,
    document.querySelector('#media-state').textContent, v.webkitAudioDecodedByteCount, window.analyser?.context.state];
}"""
"""What a failure shows: how far it has come, what is buffered, what was decoded."""


def plays(page: Page) -> float:
    """How many seconds it has come to, once it plays."""
    until(page, "document.querySelector('video').currentTime > 0.5")
    return float(page.evaluate("document.querySelector('video').currentTime"))


LISTEN = """async () => {
  const video = document.querySelector('video');
  if (!window.analyser) {
    const context = new AudioContext();
    window.analyser = context.createAnalyser();
    window.analyser.fftSize = 4096;
    context.createMediaElementSource(video).connect(window.analyser);
    window.analyser.connect(context.destination);
    await context.resume();
  }
  const bins = new Float32Array(window.analyser.frequencyBinCount);
  window.analyser.getFloatFrequencyData(bins);
  const loudest = bins.indexOf(Math.max(...bins));
  return bins[loudest] < -60 ? 0 : loudest * window.analyser.context.sampleRate / window.analyser.fftSize;
}"""
"""The pitch that is heard, in Hz; 0 for silence."""


def hear(page: Page, hertz: int) -> None:
    """Waits until that pitch is heard."""
    until(page, f"async () => Math.abs((await ({LISTEN})()) - {hertz}) < 30")


def test_a_live_picture_with_the_voice_the_original_and_captions_in_time(browser: Browser, recording: Path) -> None:
    with Serving() as served, page_of(browser, served.address) as page:
        broadcast(served, recording)
        start = plays(page)
        assert page.evaluate("document.querySelector('video').videoWidth") == 160
        expect(page.locator("#audio option")).to_have_text(["Portuguese", "English (original)"])
        hear(page, VOICE_HZ)
        told = audience(served, lambda record: record["detail"] == "playing in a browser")["counters"]
        assert (told["viewers"], told["playing"], told["waiting"]) == (1, 1, 0)
        assert 0 < told["position_ms"] < SECONDS * 1000
        assert told["latency_ms"] > SECONDS * 1000 - told["position_ms"]
        page.locator("#audio").select_option("English (original)")
        hear(page, ORIGINAL_HZ)
        page.locator("#audio").select_option("Portuguese")
        hear(page, VOICE_HZ)
        assert page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames") > 5
        assert page.evaluate("document.querySelector('video').currentTime") > start
        # Back to where the first sentence is said: what is shown is what has been said by then.
        page.evaluate("() => { const v = document.querySelector('video'); v.pause(); v.currentTime = 4.5; }")
        expect(page.locator("#first")).to_have_text("A primeira frase")
        page.evaluate("document.querySelector('video').currentTime = 5.5")
        expect(page.locator("#first")).to_have_text("A primeira frase está aqui.")
        page.locator("summary").click()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        page.get_by_label("Captions at once").check()
        expect(page.locator("#first")).to_contain_text("A segunda.")
        page.evaluate("document.querySelector('video').currentTime = 1")
        page.get_by_role("button", name="Back to live").click()
        until(page, f"document.querySelector('video').currentTime > {start}")
        expect(page.get_by_role("button", name="Back to live")).to_be_hidden()


WRONG_CLOCK = "Date.now = ((now) => () => now() + 5_400_000)(Date.now)"
"""A viewer's clock that is an hour and a half ahead."""


def test_how_late_the_picture_is_and_why_it_waits(browser: Browser, recording: Path) -> None:
    with Serving() as served, page_of(browser, "about:blank") as page:
        page.add_init_script(WRONG_CLOCK)
        page.goto(served.address)
        broadcast(served, recording)
        served.say({"type": "status", "session": "s", "stage": "translate", "state": "running", "lag_ms": 1400})
        plays(page)
        late = page.locator("#late")
        expect(late).to_have_text(re.compile(r"picture \d+ s behind, captions in time with it"))
        before_s = time.time()
        told, at_s = page.evaluate(
            "[document.querySelector('#late').textContent, document.querySelector('video').currentTime]"
        )
        status = json.loads(fetch(f"{served.root}status")[2])
        behind_s = before_s - status["sessions"][0]["started_at"] - at_s
        assert float(re.findall(r"(\d+) s", told)[0]) == pytest.approx(behind_s, abs=1.6)  # it is written once a second
        # It comes to the end of what there is; meanwhile the server cannot be reached.
        page.route(re.compile("/media/"), lambda route: route.abort())
        page.evaluate("() => { const v = document.querySelector('video'); v.currentTime = v.buffered.end(0) - 0.5; }")
        expect(page.locator("#media-state")).to_have_text("The server does not answer; trying again.")
        page.unroute_all(behavior="wait")
        expect(page.locator("#media-state")).to_have_text(re.compile(r"Nothing new to play for \d+ seconds\."))
        page.get_by_label("Captions at once").evaluate("(box) => box.click()")
        expect(late).to_have_text(re.compile(r"picture \d+ s behind, captions 1\.4 s"))
        page.locator("#language").select_option("None")
        expect(late).not_to_contain_text("captions")


def test_a_hole_in_the_stream_is_leapt_over_and_the_end_is_reached(browser: Browser, recording: Path) -> None:
    with Serving() as served, page_of(browser, served.address) as page:
        broadcast(served, recording, keep=lambda second: not 12 <= second < 17)
        served.say({"type": "discontinuity", "session": "s", "at_ms": 12_000, "gap_ms": 5000, "reason": "reconnect"})
        served.say(eos(duration_ms=SECONDS * 1000))
        plays(page)
        page.evaluate("document.querySelector('video').currentTime = 11.5")
        until(page, "document.querySelector('video').currentTime > 17")
        page.evaluate("document.querySelector('video').playbackRate = 4")
        expect(page.locator("#media-state")).to_have_text("The end.")


def test_sound_alone_has_a_small_player(browser: Browser, samples: Path) -> None:
    header, media = packets(samples / "hello_en.flac")
    with Serving() as served, page_of(browser, served.address) as page:
        served.say(header | {"live": False, "target_language": ""}, *media, eos(duration_ms=2406))
        plays(page)
        expect(page.locator("#media")).to_have_attribute("data-kind", "audio")
        box = page.locator("video").bounding_box()
        assert box is not None
        assert box["height"] < 80
        expect(page.locator("#audio-choice")).to_be_hidden()
        until(page, "Math.abs(document.querySelector('video').duration - 2.4) < 0.3")
        expect(page.locator("#state")).to_have_text("Finished.")


def test_what_cannot_be_played_is_read(browser: Browser, recording: Path) -> None:
    header, media = packets(recording)
    header["video"]["codec"] = "mpeg2video"
    with Serving() as served, page_of(browser, served.address) as page:
        served.say(header, *media[:50], translated("Lido.", "Read."))
        expect(page.locator("#first")).to_have_text("Lido.")
        expect(page.locator("#media")).to_be_hidden()
    assert "captions only" in served.errors


@pytest.mark.long
def test_a_published_stream_is_watched_with_live_captions_and_a_voice(browser: Browser, tmp_path: Path) -> None:
    with Nginx(tmp_path) as server, Broadcast(server.address, "flv", "--video"):
        arguments = (server.address, "--live", "--from", "en", "--to", "pt", "--serve")
        with Serving(*arguments, verb="run") as served, page_of(browser, served.address) as page:
            # Text comes first, and the picture when voice and captions have their places in it.
            expect(page.locator("#first p[lang=pt]").last).to_have_text(re.compile(r"(\w+\W+){4}"), timeout=60_000)
            expect(page.locator("#audio option")).to_have_text(["Portuguese", "English (original)"], timeout=60_000)
            plays(page)
            until(page, f"async () => (await ({LISTEN})()) > 0", 60)
            expect(page.locator("#first p[lang=pt]").last).to_have_text(re.compile(r"(\w+\W+){3}"))
            assert page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames") > 5
            served.process.send_signal(signal.SIGINT)
            assert served.process.wait(10) == 130
