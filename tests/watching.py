"""`streamlation serve` as a process that records are written to, and where it is."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import threading
from types import TracebackType
from typing import Any, Self

from support import PROGRAM


class Serving:
    """The program on a free port; `say` writes records to it, `address` and `control` are what it printed."""

    def __init__(self, *arguments: str, bind: str = "127.0.0.1:0", verb: str = "serve") -> None:
        self._arguments = [PROGRAM, verb, "--bind", bind, *arguments]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
        )  # fmt: skip
        self.errors = ""
        self._printed: queue.Queue[str] = queue.Queue()
        self._threads = [threading.Thread(target=self._read_errors), threading.Thread(target=self._read_records)]
        self.passed: list[bytes] = []
        for thread in self._threads:
            thread.start()
        self.address, self.control = (re.findall(r"http\S+", self._printed.get(timeout=60))[0] for _ in range(2))
        self.root = self.address.partition("?")[0]
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def say(self, *records: dict[str, Any]) -> None:
        """Writes records to it."""
        assert self.process.stdin is not None
        for record in records:
            self.process.stdin.write(json.dumps(record).encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Ends its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line.decode()
            self._printed.put(line.decode())

    def _read_records(self) -> None:
        assert self.process.stdout is not None
        self.passed += self.process.stdout


def words(text: str, start_ms: int = 0) -> list[dict[str, Any]]:
    """The words of a text, 200 ms each."""
    return [
        {"text": word, "start_ms": start_ms + 200 * at, "end_ms": start_ms + 200 * (at + 1)}
        for at, word in enumerate(text.split())
    ]


def said(text: str, number: int = 1, session: str = "s", **fields: Any) -> dict[str, Any]:
    """A transcript in English, final unless `fields` say otherwise; utterances are four seconds apart."""
    start_ms = 4000 * number
    own = words(text, start_ms)
    return {
        "type": "transcript", "session": session, "id": f"u{number}", "start_ms": start_ms, "end_ms": own[-1]["end_ms"],
        "text": text, "final": True, "language": "en", "words": own, **fields,
    }  # fmt: skip


def translated(text: str, source: str, number: int = 1, session: str = "s", **fields: Any) -> dict[str, Any]:
    """A translation into Portuguese."""
    start_ms = 4000 * number
    own = words(text, start_ms)
    return {
        "type": "translation", "session": session, "id": f"s{number}", "start_ms": start_ms, "end_ms": own[-1]["end_ms"],
        "text": text, "final": True, "source_text": source, "source_language": "en", "target_language": "pt",
        "words": own, **fields,
    }  # fmt: skip
