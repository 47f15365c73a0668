"""Standard input as a live source."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO

import pytest

from livetools import ROOT, TALK, Watched, fatal, heard, talk, together, wait_until
from streamlation_cli.records import Discontinuity, Eos, Header, Packet, Status
from streamlation_cli.sources.pipe import Descriptor
from streamlation_cli.sources.samples import SamplesFeed

_RAW = ("-", "--live", "--format", "s16le", "--rate", "16000", "--channels", "1")


@contextmanager
def piped(*arguments: str) -> Iterator[tuple[Watched, IO[bytes]]]:
    """The program, and the end of the pipe to write to."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading, "rb") as there,
        os.fdopen(writing, "wb", buffering=0) as here,
        Watched(*arguments, stdin=there) as watched,
    ):
        there.close()
        yield watched, here


def speak(to: IO[bytes], start_s: float, end_s: float) -> None:
    """Writes samples at the speed at which they are spoken."""
    data = talk()[int(start_s * 16000) : int(end_s * 16000)].astype("<i2").tobytes()
    begun_s = time.monotonic()
    for number, at in enumerate(range(0, len(data), 1600)):
        to.write(data[at : at + 1600])
        time.sleep(max(0.0, begun_s + (number + 1) * 0.05 - time.monotonic()))


def _raw_with_a_pause() -> None:
    """A pipe that says nothing is no end; samples have no clock, so their arrival tells how long nothing came."""
    with piped(*_RAW) as (watched, to):
        speak(to, 0, 2)
        time.sleep(2)
        speak(to, 4, 6)
        to.close()
        assert watched.ends() == 0, watched.said
    assert watched.of(Eos)
    assert watched.of(Header)[0].live
    assert watched.of(Header)[0].started_at
    assert len(watched.of(Status)) >= 4, "one a second at least, but for a machine that is busy with other things"
    (gap,) = watched.of(Discontinuity)
    assert gap.reason == "pause"
    assert abs(gap.gap_ms - 2000) < 500
    runs = heard(watched.records)
    assert [(round(run.from_s), round(run.to_s)) for run in runs] == [(0, 2), (4, 6)]
    assert abs(runs[1].media_s - 4) < 0.5


@pytest.mark.timed
def test_samples_come_out_at_once() -> None:
    with piped(*_RAW) as (watched, to):
        speak(to, 0, 1)
        sent_s = time.monotonic()
        speak(to, 1, 1.3)
        watched.wait_for(lambda: _end_s(watched) >= 1.2, "what was just said", 2)
        assert watched.times_s[-1] - sent_s < 0.6
        assert watched.interrupt() < 1.0


def _end_s(watched: Watched) -> float:
    last = watched.of(Packet)[-1] if watched.of(Packet) else None
    return 0.0 if last is None else (last.pts + last.duration) * last.time_base[0] / last.time_base[1]


def test_what_comes_in_real_time() -> None:
    formats = [("mpegts", "aac"), ("matroska", "libopus"), ("adts", "aac")]
    together(_raw_with_a_pause, *[partial(_container, *one) for one in formats])


def _container(format: str, codec: str) -> None:
    publisher = [sys.executable, ROOT / "tests" / "publisher.py", TALK, "pipe:1", format, "--codec", codec]
    with (
        subprocess.Popen([*publisher, "--stop", "3"], stdout=subprocess.PIPE) as program,
        Watched("-", "--live", stdin=program.stdout) as watched,
    ):
        assert watched.ends() == 0, watched.said
    (run,) = heard(watched.records)
    assert run.from_s < 0.2
    assert run.to_s > 2.7
    assert watched.of(Header)[0].live


@pytest.mark.parametrize(("format", "bytes_each"), [("s16le", 2), ("s24be", 3), ("f64le", 8), ("mulaw", 1)])
def test_samples_are_what_was_written_however_it_was_cut(format: str, bytes_each: int) -> None:
    """Writes that end in the middle of a sample, and one that is as long as the pipe."""
    data = os.urandom(120_000 * 2 * bytes_each)
    with Pipe(format, channels=2) as (feed, to):
        assert (feed.audio.channels, feed.audio.time_base) == (2, (1, 48_000))

        def write() -> None:
            with to:
                for start, end in pairwise((0, 1, 5, 1000, 1003, 70_001, len(data))):
                    to.write(data[start:end])

        writer = threading.Thread(target=write)
        writer.start()
        packets = [one for one in feed.packets() if isinstance(one, Packet)]
        writer.join()
    assert b"".join(packet.data for packet in packets) == data
    assert [packet.pts for packet in packets] == [sum(p.duration for p in packets[:n]) for n in range(len(packets))]
    assert all(len(packet.data) == packet.duration * 2 * bytes_each for packet in packets)
    assert max(packet.duration for packet in packets) <= 12_000


@pytest.mark.timed
def test_small_writes_are_read_together() -> None:
    """A microphone that writes every 10 ms wakes nobody a hundred times a second, whoever does not speak."""
    with Pipe("s16le", channels=1) as (feed, to):
        stop = threading.Event()

        def write() -> None:
            with to:
                for _ in range(100):
                    to.write(bytes(960))
                    stop.wait(0.01)

        writer = threading.Thread(target=write)
        writer.start()
        durations = [one.duration for one in feed.packets() if isinstance(one, Packet)]
        writer.join()
    assert sum(durations) == 48_000
    assert len(durations) <= 14


@pytest.mark.timed
def test_a_recording_that_is_piped_as_live_is_read_as_fast_as_it_comes() -> None:
    with Pipe("s16le", channels=1) as (feed, to):

        def write() -> None:
            with to:
                for _ in range(12_000):
                    to.write(bytes(960))

        writer = threading.Thread(target=write)
        begun_s = time.monotonic()
        writer.start()
        assert sum(one.duration for one in feed.packets() if isinstance(one, Packet)) == 120 * 48_000
        writer.join()
    assert time.monotonic() - begun_s < 2


class Pipe:
    """A feed of 48 kHz samples, and the end of the pipe to write them to."""

    def __init__(self, format: str, *, channels: int) -> None:
        reading, writing = os.pipe()
        options = {"sample_rate": "48000", "ch_layout": {1: "mono", 2: "stereo"}[channels]}
        self._feed = SamplesFeed(Descriptor("pipe", reading, ours=True), format=format, options=options)
        self._to = os.fdopen(writing, "wb", buffering=0)

    def __enter__(self) -> tuple[SamplesFeed, IO[bytes]]:
        return self._feed, self._to

    def __exit__(self, *_: object) -> None:
        self._feed.close()
        self._to.close()


def test_interrupted_while_nothing_comes() -> None:
    with piped(*_RAW) as (watched, to):
        speak(to, 0, 1)
        watched.wait_for(lambda: watched.of(Packet), "the first samples")
        assert watched.interrupt() < 1.0
        assert fatal(watched).code == "interrupted"


def test_what_is_no_media() -> None:
    with piped("-", "--live") as (watched, to):
        to.write(b"hello\n" * 100)
        to.close()
        assert watched.ends() == 65


def test_a_named_pipe_is_as_live_as_standard_input(tmp_path: Path) -> None:
    """Opened before anybody writes to it; the writer's end is the end."""
    fifo = tmp_path / "talk"
    os.mkfifo(fifo)
    with Watched(str(fifo), *_RAW[1:]) as watched:
        with fifo.open("wb", buffering=0) as to:
            speak(to, 0, 1.5)
            watched.wait_for(lambda: _end_s(watched) >= 1, "what was said so far", 2)
        assert watched.ends() == 0, watched.said
    assert watched.of(Header)[0].live
    assert watched.of(Eos)


def test_a_named_pipe_that_nobody_writes_to_can_be_given_up(tmp_path: Path) -> None:
    fifo = tmp_path / "talk"
    os.mkfifo(fifo)
    with Watched(str(fifo), *_RAW[1:]) as watched:
        wait_until(lambda: _has_open(watched.pid, fifo), "the pipe is open", 5)
        assert watched.interrupt() < 1.0


def _has_open(pid: int, path: Path) -> bool:
    return any(link.resolve() == path for link in Path(f"/proc/{pid}/fd").iterdir())
