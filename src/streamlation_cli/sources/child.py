"""The output of another program as what FFmpeg reads."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence

from .feeds import Lost

_TICK_S = 0.1
_KILL_S = 0.5
_LINES = 5


class Child:
    """A running program's standard output as `Bytes`; its end is a failure, and so is that nothing comes for `timeout_s`,
    or for `stall_s` after something came.

    Raises OSError where it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, timeout_s: float, stall_s: float) -> None:
        self._program = command[0].rpartition(os.sep)[2]
        self._timeout_s = timeout_s
        self._stall_s = stall_s
        self._closed = False
        self._reading = threading.Lock()
        self._said: deque[str] = deque(maxlen=_LINES)
        self.failure: BaseException | None = None
        # A session of its own, so that the terminal's Ctrl-C reaches this program alone, which then ends the other.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name=f"stderr of {self._program}", daemon=True)
        self._listener.start()

    def read(self, size: int) -> bytes:
        """As `Bytes` says."""
        output = self._process.stdout
        assert output is not None
        until_s = time.monotonic() + self._timeout_s
        with self._reading:
            while not self._closed and self.failure is None:
                if select.select([output], [], [], _TICK_S)[0]:
                    if data := os.read(output.fileno(), size):
                        self._timeout_s = self._stall_s
                        return data
                    self.failure = Lost(self._last_words())
                elif time.monotonic() >= until_s:
                    self.failure = Lost("nothing came in time")
        return b""

    def close(self) -> None:
        """As `Bytes` says: the program is ended."""
        self._closed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._reading:
            if self._process.stdout is not None:
                self._process.stdout.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._listener.join(_KILL_S)
        status = self._process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return self._said[-1] if self._said and status >= 0 else f"{self._program} {how}"

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                if text := line.decode(errors="replace").strip():
                    self._said.append(text)
