"""A terminal to run the program on, and what a person sees on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from support import PROGRAM

_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\r|\n|\x07")


class Screen:
    """As much of a terminal as a line-wise program uses: cursor up, carriage return, erasing, no scrolling off."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[str] = [""]
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        """What the program writes."""
        position = 0
        for control in _CONTROL.finditer(text):
            self._write(text[position : control.start()])
            position = control.end()
            self._do(control)
        self._write(text[position:])

    def _write(self, text: str) -> None:
        for character in text:
            if self._column >= self.columns:
                self._newline()
                self._column = 0
            row = self.rows[self._row].ljust(self._column)
            self.rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1

    def _newline(self) -> None:
        self._row += 1
        if self._row == len(self.rows):
            self.rows.append("")

    def _do(self, control: re.Match[str]) -> None:
        if control[0] == "\r":
            self._column = 0
        elif control[0] == "\n":
            self._newline()
        elif control[2] == "A":
            self._row = max(0, self._row - int(control[1] or 1))
        elif control[2] == "K":
            self.rows[self._row] = "" if control[1] == "2" else self.rows[self._row][: self._column]

    @property
    def text(self) -> str:
        """The whole screen."""
        return "\n".join(row.rstrip() for row in self.rows)


class OnTerminal:
    """The program with its standard output and error on a terminal, its input a pipe, or with `keyboard` the terminal too."""

    def __init__(self, arguments: Sequence[str], *, columns: int = 80, rows: int = 24, keyboard: bool = False) -> None:
        self.screen = Screen(columns)
        self.written = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [PROGRAM, *arguments], stdin=slave if keyboard else subprocess.PIPE, stdout=slave, stderr=slave,
            env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def send(self, data: bytes) -> None:
        """Writes to its standard input, or presses keys."""
        if self.process.stdin is None:
            os.write(self._master, data)
            return
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def until(self, seen: Callable[[str], bool], timeout_s: float = 30) -> str:
        """Reads until the screen is as `seen` wants it; returns the screen."""
        deadline = time.monotonic() + timeout_s
        while not seen(self.screen.text):
            left = deadline - time.monotonic()
            assert left > 0, self.screen.text
            if select.select([self._master], [], [], left)[0]:
                self._read()
        return self.screen.text

    def finish(self, timeout_s: float = 30) -> int:
        """Ends its input and reads what is left; returns the exit status."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        while self._read():
            pass
        return self.process.wait(timeout_s)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: the other side has closed
            return False
        text = data.decode(errors="replace")
        self.written += text
        self.screen.feed(text)
        return bool(data)
