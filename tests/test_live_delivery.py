"""A video that is published over RTMP is watched in Chromium with live captions and a voice in another language, by one command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page

from chromium import chromium, page_of
from conftest import ROOT
from livetools import TALK, Process, free_port, is_open, wait_until
from support import PROGRAM, shell
from test_live_rtmp import Nginx

SECONDS = 26
"""Of the picture that is watched."""
PLAYER = "(() => { const v = document.querySelector('video'); return [v.currentTime, v.videoWidth]; })()"


@pytest.mark.long
def test_a_published_video_is_watched_with_live_captions_and_a_voice_in_another_language(tmp_path: Path) -> None:
    port = free_port()
    with Nginx(tmp_path) as server, chromium() as browser:
        publisher = [sys.executable, ROOT / "tests" / "publisher.py", TALK, server.address, "flv", "--video"]
        with Process(*publisher):
            command = [PROGRAM, "run", server.address, "--live", "--from", "en", "--to", "pt", "--serve"]
            run = subprocess.Popen(
                [*command, "--bind", f"127.0.0.1:{port}", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            try:
                wait_until(lambda: is_open(port), "the page", 60)
                with page_of(browser, f"http://127.0.0.1:{port}/") as page:
                    _is_read_before_it_is_seen(page)
                    seconds = _watched(page)
                    voice = _heard(page, tmp_path)
                    read = _words(page.locator("#transcript").inner_text())
                run.send_signal(signal.SIGINT)
                _, complaints = run.communicate(timeout=15)
            finally:
                run.kill()
                run.wait()
    assert run.returncode == 130, complaints
    assert seconds >= SECONDS
    # Whisper makes little of eSpeak's Portuguese: a few words of what the page shows are enough to tell that it speaks it.
    assert len(voice & read) >= 4, (voice, read)


def _is_read_before_it_is_seen(page: Page) -> None:
    page.get_by_text("farol").first.wait_for(timeout=60_000)
    assert "lighthouse" in page.locator("#second").inner_text()


def _watched(page: Page) -> float:
    """To which second the picture has come, once that is `SECONDS`."""
    deadline = time.monotonic() + 90
    while True:
        at_s, width = page.evaluate(PLAYER)
        if at_s >= SECONDS and width:
            return float(at_s)
        assert time.monotonic() < deadline, (at_s, width, page.locator("#media-state").inner_text())
        page.wait_for_timeout(100)


def _heard(page: Page, folder: Path) -> set[str]:
    """The words that Whisper hears in fifteen seconds of the sound that the page plays."""
    with page.expect_request(lambda request: "dub-pt" in request.url and request.url.endswith(".m3u8")) as asked:
        playlist = asked.value.url
    packets = folder / "voice.ndjson"
    with packets.open("wb") as there:
        ingest = subprocess.Popen([PROGRAM, "ingest", playlist], stdout=there)
        page.wait_for_timeout(15_000)
        ingest.send_signal(signal.SIGINT)
        assert ingest.wait(timeout=10) == 130
    heard = shell(f"'{PROGRAM}' normalize < {packets} | '{PROGRAM}' transcribe --from pt", cwd=folder)
    records = [json.loads(line) for line in heard.stdout.splitlines()]
    return _words(" ".join(record["text"] for record in records if record["type"] == "transcript"))


def _words(text: str) -> set[str]:
    """Those of four letters or more."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) >= 4}
