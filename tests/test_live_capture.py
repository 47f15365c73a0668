"""Recording from a device, through the real `arecord`: an ALSA device whose microphone is a pipe fed with the beacon."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beacon import beacon, holes
from livetools import Watched
from media import errors, ingested, of
from streamlation_cli.records import Discontinuity, Error, Header

RATE = 16_000
PERIOD_S = 0.05
"""That of `capture.py`: ALSA's file plugin takes what a period lacks for garbage."""


@contextmanager
def microphone(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which `alsa:microphone` hears the beacon in real time."""
    assert shutil.which("arecord"), "arecord is missing: run tools/debian_parts.sh"
    pipe = folder / "sound"
    os.mkfifo(pipe)
    config = folder / "asound.conf"
    config.write_text(
        "</usr/share/alsa/alsa.conf>\n"
        f'pcm.microphone {{ type file slave.pcm "null" file "/dev/null" infile "{pipe}" format raw }}\n'
    )
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    stop = threading.Event()

    def speak() -> None:
        began, step = time.monotonic(), 0
        while not stop.wait(max(0.0, began + (step + 1) * PERIOD_S - time.monotonic())):
            samples = (beacon(step * PERIOD_S, PERIOD_S, RATE) * 32767).astype("<i2")
            step += 1
            try:
                os.write(end, samples.tobytes())
            except BlockingIOError:
                os.read(end, 1 << 16)  # nobody records, so it is not heard, and what was said before is gone too

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield {"ALSA_CONFIG_PATH": str(config)}
    finally:
        stop.set()
        thread.join()
        os.close(end)


def recorder(watched: Watched) -> int:
    """The process id of its `arecord`."""
    for task in Path(f"/proc/{watched.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "arecord":
                return int(child)
    raise AssertionError(f"it has no arecord\n{watched}")


@pytest.mark.long
def test_a_recorder_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with (
        microphone(tmp_path) as env,
        Watched("alsa:microphone", "--rate", str(RATE), "--channels", "1", "--format", "s16le", **env) as watched,
    ):
        watched.wait_for_audio(1.0)
        os.kill(recorder(watched), signal.SIGKILL)
        assert watched.first_packet_after_outage() <= 3.0
        watched.wait_for_audio(1.0)
        os.kill(recorder(watched), signal.SIGSTOP)  # it hangs
        hung = time.monotonic()
        watched.wait_for_outage()
        assert time.monotonic() - hung < 4.0
        watched.wait_for_audio(1.0)
        assert watched.interrupt() < 1.0
        header = of(Header, watched.records)[0]
        assert (header.live, header.audio.codec, header.audio.sample_rate_hz) == (True, "pcm_s16le", RATE)
        numbers = [block for block, _ in watched.blocks()]
        assert numbers == sorted(set(numbers))
        assert [gap.reason for gap in watched.of(Discontinuity)].count("reconnect") == 2
        assert 1 <= len(holes(numbers)) <= 2  # the first outage may be shorter than a block


def test_a_recorder_does_not_outlive_the_program(tmp_path: Path) -> None:
    with (
        microphone(tmp_path) as env,
        Watched("alsa:microphone", "--rate", str(RATE), "--channels", "1", "--format", "s16le", **env) as watched,
    ):
        watched.wait_for_audio(0.5)
        child = recorder(watched)
        assert watched.interrupt() < 1.0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    (error,) = ingested("alsa:nowhere", retry=0.0)
    assert isinstance(error, Error)
    assert (error.code, "alsa:nowhere" in error.message) == ("unavailable", True)
    assert "No such file or directory" in error.message
    assert errors(ingested("dshow:")) == [("ingest", "usage", True)]
    assert errors(ingested("avfoundation::0", retry=0.0)) == [("ingest", "unavailable", True)]
    monkeypatch.setenv("PATH", "/nowhere")
    for address, package in (("alsa:default", "alsa-utils"), ("pulse:default", "pulseaudio-utils")):
        (error,) = ingested(address)
        assert (error.code, package in error.message) == ("unavailable", True)
