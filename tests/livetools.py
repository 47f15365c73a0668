"""Live sources on this machine for the tests: publishers and servers that can be killed, the program under test, and what of a
recording came through.

    recording ─► publisher.py (a process) ─► server (nginx, GStreamer, http …) ─► streamlation ingest ─► Watched ─► Heard
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt

import beacon
from media import normalized, samples
from streamlation_cli import ndjson
from streamlation_cli.records import Discontinuity, Error, Header, Packet, Pcm, Status, StreamRecord
from support import PROGRAM

ROOT = Path(__file__).resolve().parent.parent
TALK = ROOT / "testdata" / "audio" / "talk_en_60s.opus"
Samples = npt.NDArray[np.float32]


def together(*scenarios: Callable[[], None]) -> None:
    """Runs scenarios that mostly wait side by side; fails where one of them does."""
    with ThreadPoolExecutor(len(scenarios)) as pool:
        for done in [pool.submit(scenario) for scenario in scenarios]:
            done.result()


def wait_until(there: Callable[[], Any], what: str, limit_s: float = 15.0) -> Any:
    """What `there` returns as soon as it is true; fails after `limit_s`."""
    until_s = time.monotonic() + limit_s
    while not (found := there()):
        assert time.monotonic() < until_s, f"{what}: not within {limit_s:g} s"
        time.sleep(0.02)
    return found


def is_open(port: int) -> bool:
    """Whether someone accepts calls."""
    with socket.socket() as caller:
        caller.settimeout(0.5)
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program that ends with its block, one way or the other."""

    def __init__(self, *command: str | Path, **named: Any) -> None:
        self._command = [str(part) for part in command]
        self._named = named
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        named = {"stdout": subprocess.DEVNULL, **self._named}
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **named)

    def line(self) -> str:
        """The next line of its output, which must be a pipe; empty when it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return str(self._process.stdout.readline(), "ascii")

    def kill(self, number: int = signal.SIGKILL) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.communicate(timeout=10)

    def wait(self) -> None:
        """Until it ends by itself, as it should."""
        process, self._process = self._process, None
        assert process is not None
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said

    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Broadcast:
    """The talk, spoken on whether anybody publishes it or not: a publisher that comes back goes on where it is by now."""

    def __init__(self, address: str, format: str, *arguments: str) -> None:
        self._to = (address, format)
        self._arguments = arguments
        self._zero_s = 0.0
        self._process: Process | None = None

    def start(self, *more: str) -> None:
        """Begins to publish, at the talk's beginning or where it is now."""
        self._zero_s = self._zero_s or time.monotonic()
        self.kill()
        script = ROOT / "tests" / "publisher.py"
        arguments = [TALK, *self._to, "--zero", str(self._zero_s), "--tell", *self._arguments, *more]
        self._process = Process(sys.executable, script, *arguments, stdout=subprocess.PIPE)
        self._process.start()

    def now_s(self) -> float:
        """What of the talk is being said, in seconds."""
        return time.monotonic() - self._zero_s

    def on_air_s(self) -> float:
        """When the publisher that was started last went on the air, on the monotonic clock: its own start is over by then."""
        assert self._process is not None
        line = self._process.line()
        assert line, "the publisher ended before it was on the air"
        return float(line)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """The same, for `contextlib.closing`."""
        self.kill()

    def has_ended(self) -> bool:
        """Whether the publisher gave up."""
        return self._process is not None and self._process.has_ended()

    def finish(self) -> None:
        """Waits until all was published (see `--stop`)."""
        assert self._process is not None
        self._process.wait()

    def __enter__(self) -> Broadcast:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Watched:
    """`streamlation ingest` as its user runs it, its records as they come. Ends with the block it is used in."""

    def __init__(self, *arguments: str | Path, stdin: Any = subprocess.DEVNULL, before: str = "", **env: str) -> None:
        """`before` is Python that is run in the program first, to take something away from it."""
        program = [PROGRAM]
        if before:
            program = [sys.executable, "-c", f"{before}\nfrom streamlation_cli.cli import main; main()"]
        self.command = [*program, "ingest", *map(str, arguments)]
        self.records: list[StreamRecord] = []
        self.times_s: list[float] = []
        """When each record came, on the monotonic clock."""
        self.said = ""
        """What it wrote for people."""
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            self.command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env}
        )
        self.pid = self._process.pid
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._listen)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            record = ndjson.decode(line)
            with self._changed:
                self.times_s.append(time.monotonic())
                self.records.append(record)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self.said += line.decode()
                self._changed.notify_all()

    def of(self, kind: type[Any]) -> list[Any]:
        """Its records of a kind so far."""
        return [record for record in list(self.records) if isinstance(record, kind)]

    def wait_for(self, there: Callable[[], Any], what: str, limit_s: float = 15.0) -> Any:
        """What `there` returns as soon as it is true; fails after `limit_s`, and at once where the program ended."""
        until_s = time.monotonic() + limit_s
        with self._changed:
            while not (found := there()):
                assert self._threads[0].is_alive(), f"{what}: it ended\n{self}"
                left_s = until_s - time.monotonic()
                assert left_s > 0, f"{what}: not within {limit_s:g} s\n{self}"
                self._changed.wait(left_s)
        return found

    def wait_for_audio(self, seconds: float, limit_s: float = 15.0) -> None:
        """Until so much more of it has come."""
        had_s = self._audio_s()
        self.wait_for(lambda: self._audio_s() - had_s >= seconds, f"{seconds} s of audio", limit_s + seconds)

    def _audio_s(self) -> float:
        return sum(p.duration * p.time_base[0] / p.time_base[1] for p in self.of(Packet) if p.stream == "audio")

    def wait_for_outage(self) -> None:
        """Until it says once more that the source is away."""
        seen = len(self.records)
        self.wait_for(lambda: any(isinstance(r, Status) and r.detail for r in self.records[seen:]), "an outage")

    def first_packet_after(self, at_s: float, limit_s: float = 15.0) -> float:
        """How long after `at_s` on the monotonic clock the next packet comes."""

        def came() -> float:
            pairs = zip(self.times_s, self.records, strict=True)
            return next((t for t, record in pairs if t > at_s and isinstance(record, Packet)), 0.0)

        return float(self.wait_for(came, "a packet", limit_s)) - at_s

    def first_packet_after_outage(self) -> float:
        """Waits until the source is away, then for the first packet: how long both took."""
        begun_s = time.monotonic()
        self.wait_for_outage()
        away_s = time.monotonic()
        return away_s - begun_s + self.first_packet_after(away_s)

    def blocks(self) -> list[tuple[int, float]]:
        """The blocks of the beacon that are heard downstream: number, and media time of the middle in seconds."""
        pieces = [record for record in normalized(self.records) if isinstance(record, Pcm)]
        if not pieces:
            return []
        size = 16 * (pieces[-1].end_ms - pieces[0].start_ms)
        line = np.zeros(size, np.int16)
        for piece in pieces:
            at = 16 * (piece.start_ms - pieces[0].start_ms)
            sound = np.frombuffer(piece.data, "<i2")
            line[at : at + len(sound)] = sound[: size - at]
        return [(block, pieces[0].start_ms / 1000 + at_s) for block, at_s in beacon.heard(line)]

    def started(self) -> None:
        """Waits until it is at work with a source that says nothing: until its reader runs, and it catches signals itself."""
        process = Path(f"/proc/{self.pid}")

        def at_work() -> bool:
            status = (process / "status").read_text()
            caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
            # Python catches SIGINT from its start; SIGTERM is the program's own.
            return len(list((process / "task").iterdir())) > 1 and bool(caught >> (signal.SIGTERM - 1) & 1)

        wait_until(at_work, "the start")

    def listening(self, port: int) -> None:
        """Waits until it takes connections at a TCP port of this machine, without making one."""
        wait_until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(), "listening")

    def interrupt(self) -> float:
        """Sends SIGINT; returns how long it took to end, which must be with status 130."""
        begun_s = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(10)
        taken_s = time.monotonic() - begun_s
        self._join()
        assert status == 130, f"status {status}\n{self}"
        return taken_s

    def ends(self, limit_s: float = 30.0) -> int:
        """Its exit status when it has ended by itself."""
        status = self._process.wait(limit_s)
        self._join()
        return status

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(5)

    def __str__(self) -> str:
        return f"{self.said}{len(self.records)} records, the last {self.records[-2:]}"

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@lru_cache
def talk() -> Samples:
    """The talk at 16 kHz."""
    resampler = av.AudioResampler("s16", "mono", 16000)
    with av.open(str(TALK)) as container:
        parts = [r.to_ndarray()[0] for frame in container.decode(audio=0) for r in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Run:
    """PCM without a gap: from `media_s`, `length_s` long, and where in the talk its beginning and its end were spoken."""

    media_s: float
    length_s: float
    from_s: float
    to_s: float


def heard(records: list[StreamRecord], probe: int = 16000) -> list[Run]:
    """What of the talk a session holds, run by run; fails where a run is not the talk, word for word.

    A run is looked up by its first and last moments, `probe` samples long; a shorter one is passed over.
    """
    pcm: list[list[Pcm]] = [[]]
    for record in normalized(records):
        if isinstance(record, Pcm):
            pcm[-1].append(record)
        elif isinstance(record, Discontinuity):
            pcm.append([])
    runs = []
    for run in pcm:
        if not run:
            continue
        sound = samples(run).astype(np.float32)
        length_s = len(sound) / 16000
        if len(sound) < probe + 4800:
            continue
        first, last = (
            loudest(sound[: 4 * probe], 3200, probe),
            loudest(sound[-4 * probe :], 0, probe) + max(0, len(sound) - 4 * probe),
        )
        from_s = where(sound[first : first + probe]) - first / 16000
        to_s = where(sound[last : last + probe]) + (len(sound) - last) / 16000
        assert abs((to_s - from_s) - length_s) < 0.05, f"{length_s} s of sound are {from_s}–{to_s} s of the talk"
        runs.append(Run(run[0].start_ms / 1000, length_s, from_s, to_s))
    return runs


def loudest(sound: Samples, begin: int, probe: int) -> int:
    """Where the probe with the most sound begins, `begin` or later: a codec's very first samples are not those of the talk."""
    starts = range(begin, max(begin + 1, len(sound) - probe), 800)
    return max(starts, key=lambda start: float(np.sum(sound[start : start + probe] ** 2)))


def where(sound: Samples) -> float:
    """Where in the talk a piece of sound was spoken, in seconds; fails where it was not."""
    whole = talk()
    size = 1 << (len(whole) + len(sound)).bit_length()
    product = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(sound, size)))[: len(whole) - len(sound)]
    energy = np.cumsum(np.concatenate([[0.0], whole.astype(np.float64) ** 2]))
    norms = np.sqrt(energy[len(sound) :] - energy[: -len(sound)])[: len(product)] * np.sqrt(np.sum(sound**2))
    match = product / np.maximum(norms, 1.0)
    best = int(np.argmax(match))
    assert match[best] > 0.7, f"not of the talk (likeness {match[best]:.2f})"
    return best / 16000


def assert_once_with_gap(watched: Watched, *, most_lost_s: float, reasons: set[str], clock_s: float = 0.6) -> None:
    """What was said before and after is there once, the gap between is marked, and times are those of the talk."""
    runs = heard(watched.records)
    gaps = watched.of(Discontinuity)
    assert len(runs) >= 2, runs
    assert {gap.reason for gap in gaps} <= reasons, gaps
    assert gaps
    for one, two in itertools.pairwise(runs):
        assert two.from_s >= one.to_s - 0.1, f"said twice: {one} {two}"
        assert two.from_s - one.to_s <= most_lost_s, f"lost: {one} {two}"
    drift_s = [run.from_s - run.media_s for run in runs]
    assert max(drift_s) - min(drift_s) < clock_s, f"times moved: {runs}"
    starts = [record.start_ms for record in normalized(watched.records) if isinstance(record, Pcm)]
    assert starts == sorted(starts)


def assert_metrics(watched: Watched, *, reconnects: int) -> None:
    """The counters of a session that was reconnected."""
    last = max(index for index, record in enumerate(watched.records) if isinstance(record, Status))
    status = watched.records[last]
    assert isinstance(status, Status)
    before = watched.records[:last]
    packets = [record for record in before if isinstance(record, Packet)]
    assert status.counters["reconnects"] >= reconnects
    assert status.counters["packets"] == len(packets) + status.counters["dropped"]
    assert status.counters["bytes"] >= sum(len(p.data) for p in packets)
    assert 0 <= status.counters["jitter_ms"] < 1000
    assert status.counters["discontinuities"] == sum(isinstance(r, Discontinuity) for r in before)


def assert_heartbeats(watched: Watched) -> None:
    """Whatever happens, downstream hears at least about once a second."""
    gaps = np.diff(watched.times_s)
    assert gaps.max() < 1.6, f"silent for {gaps.max():.1f} s"


def report(what: str, seconds: float) -> None:
    """Writes a measured time where it is asked for."""
    if path := os.environ.get("LIVE_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{what}: {seconds:.2f} s\n")


@contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler], port: int = 0) -> Iterator[int]:
    """An http server on a port of this machine; its connections are cut when it ends, as those of a killed one are."""
    connections: list[socket.socket] = []

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def get_request(self) -> tuple[socket.socket, Any]:
            connection, address = super().get_request()
            connections.append(connection)
            return connection, address

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients and servers come and go here."""

    server = Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in connections:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def fatal(watched: Watched) -> Error:
    """The session's fatal error."""
    (error,) = [record for record in watched.of(Error) if record.fatal]
    return error  # type: ignore[no-any-return]


def publish(broadcast: Broadcast, watched: Watched) -> float:
    """Starts the publisher; an encoder that calls before anyone listens is refused, and calls again. When it first called."""
    count = len(watched.of(Header)) + len(watched.of(Discontinuity))
    broadcast.start()
    called_s = broadcast.on_air_s()
    until_s = called_s + 10
    while len(watched.of(Header)) + len(watched.of(Discontinuity)) == count:
        assert time.monotonic() < until_s, watched.said
        if broadcast.has_ended():
            broadcast.start()
        time.sleep(0.05)
    return called_s
