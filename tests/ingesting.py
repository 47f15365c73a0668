"""`streamlation ingest` of a live source as its user runs it, watched record by record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from beacon import heard
from media import normalized
from streamlation_cli import ndjson
from streamlation_cli.records import Discontinuity, Packet, Pcm, Status, StreamRecord
from support import PROGRAM

PATIENCE_S = 30.0
"""More than anything here takes."""


class Ingest:
    """The running program; `records` grows while it runs. Ends with the block it is used in."""

    def __init__(self, *arguments: str, before: str = "", **env: str) -> None:
        """`before` is Python that is run in the program first, to take something away from it."""
        program = [PROGRAM]
        if before:
            program = [sys.executable, "-c", f"{before}\nfrom streamlation_cli.cli import main; main()"]
        self.records: list[StreamRecord] = []
        self.arrived_s: list[float] = []
        """When each record came, on the monotonic clock."""
        self.stderr = ""
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [*program, "ingest", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env},
        )  # fmt: skip
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            record = ndjson.decode(line)
            with self._changed:
                self.records.append(record)
                self.arrived_s.append(time.monotonic())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self.stderr += line.decode()
                self._changed.notify_all()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def until(self, wanted: Callable[[], Any]) -> None:
        """Waits until `wanted()` is true."""
        with self._changed:
            assert self._changed.wait_for(wanted, PATIENCE_S), f"it never came\n{self}"

    def packets(self) -> list[Packet]:
        """The packets of sound so far."""
        return [record for record in self.records if isinstance(record, Packet) and record.stream == "audio"]

    def heard_s(self) -> float:
        """How much sound has come so far, in seconds."""
        return sum(packet.duration * packet.time_base[0] / packet.time_base[1] for packet in self.packets())

    def listen(self, seconds: float) -> None:
        """Waits until so much more has come."""
        until_s = self.heard_s() + seconds
        self.until(lambda: self.heard_s() >= until_s)

    def next_packet_s(self, since_s: float) -> float:
        """How long after the moment `since_s` of the monotonic clock the first packet came."""

        def after() -> list[float]:
            pairs = zip(self.records, self.arrived_s, strict=False)
            return [at for record, at in pairs if isinstance(record, Packet) and at > since_s]

        self.until(after)
        return after()[0] - since_s

    def reconnecting(self) -> None:
        """Waits until it says that the source is away."""
        seen = len(self.records)
        self.until(lambda: any(isinstance(r, Status) and r.detail for r in self.records[seen:]))

    def next_packet_after_outage_s(self) -> float:
        """Waits until it is away, then for the first packet: how long that took from now."""
        began = time.monotonic()
        self.reconnecting()
        away = time.monotonic()
        return away - began + self.next_packet_s(away)

    def reports_away(self) -> list[Status]:
        """Each time it said that the source is away."""
        return [record for record in self.records if isinstance(record, Status) and record.detail]

    def started(self) -> None:
        """Waits until it is at work with a source that says nothing: until its reader runs."""
        path = Path(f"/proc/{self._process.pid}/task")
        until_s = time.monotonic() + PATIENCE_S
        while len(list(path.iterdir())) < 2 or not self._catches():
            assert time.monotonic() < until_s, f"it never began\n{self}"
            time.sleep(0.02)

    def listening(self, port: int) -> None:
        """Waits until it takes connections at a TCP port of this machine."""
        until_s = time.monotonic() + PATIENCE_S
        while f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
            assert time.monotonic() < until_s, f"it never listened\n{self}"
            time.sleep(0.02)

    def _catches(self) -> bool:
        """Whether SIGINT is caught by the program's own handler, which is set after Python's."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def interrupt(self) -> tuple[int, float]:
        """SIGINT; returns the exit status and how many seconds it took to end."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(PATIENCE_S)
        return status, time.monotonic() - began

    def finish(self) -> int:
        """Waits for its end; returns the exit status."""
        status = self._process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join()
        return status

    def gaps(self) -> list[Discontinuity]:
        """The marked gaps."""
        return [record for record in self.records if isinstance(record, Discontinuity)]

    def blocks(self) -> list[tuple[int, float]]:
        """The blocks of the beacon that are heard downstream: number, and media time of the middle in seconds."""
        pieces = [record for record in normalized(self.records) if isinstance(record, Pcm)]
        if not pieces:
            return []
        size = 16 * (pieces[-1].end_ms - pieces[0].start_ms)
        line = np.zeros(size, np.int16)
        for piece in pieces:
            at = 16 * (piece.start_ms - pieces[0].start_ms)
            samples = np.frombuffer(piece.data, "<i2")
            line[at : at + len(samples)] = samples[: size - at]
        return [(block, pieces[0].start_ms / 1000 + at_s) for block, at_s in heard(line)]

    def __str__(self) -> str:
        return f"{len(self.records)} records, the last {self.records[-1:]}\n{self.stderr}"
