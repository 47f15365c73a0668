"""The programs under test: started as a chain of processes, read line by line, waited for, and ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import BinaryIO, Self, cast

from ..errors import Unavailable
from ..ndjson import MAX_LINE_BYTES

PROGRAM = (sys.executable, "-P", "-c", "from streamlation_cli.cli import main; main()")
"""This program, whatever the path says."""

INPUT = "{input}"
"""Stands in a command for a path to read raw samples from, once for each stream that the process takes."""

TAP = "{tap}"
"""Stands in a command for a path to write a second output to, which is read as the chain's own is (`tee {tap}`)."""

_ENDS_IN_S = 10.0
"""How long a process may take to end after it has closed its output."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    name: str
    status: int
    """Negative: the number of the signal that ended it."""
    cpu_s: float
    """User and system time, of children that it waited for as well."""
    peak_bytes: int
    """Largest resident size of it or of one such child."""
    complaint: str
    """The last line of its standard error."""


class System:
    """One chain of processes, fed through `inputs` and read through `lines`. A context manager: no process outlives it."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        """The commands of a pipe, as argument lists; of the first, each INPUT becomes a path, else it reads stdin."""
        self._commands = [list(command) for command in commands]
        self.inputs: list[int] = []
        """Descriptors to write 16 kHz mono s16le to; whoever writes closes them."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stderr: list[BinaryIO] = []
        self._waiters: list[threading.Thread] = []
        self._ended: dict[int, Ended] = {}
        self.outputs: list[BinaryIO] = []
        """What the last process writes, and what goes through taps."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for waiter in self._waiters:
            waiter.join()
        for stream in (*self._stderr, *self.outputs):
            stream.close()

    @property
    def pids(self) -> list[int]:
        """The processes of the chain."""
        return [process.pid for process in self._processes]

    def wait(self) -> list[Ended]:
        """What became of each process of the chain, whose output has ended.

        Raises Unavailable for one that failed, or that does not end.
        """
        deadline = time.monotonic() + _ENDS_IN_S
        for waiter in self._waiters:
            waiter.join(max(0.0, deadline - time.monotonic()))
        for process in self._processes:  # the first that failed is the cause, even where others hang because of it
            one = self._ended.get(process.pid)
            if one is not None and one.status:
                how = f"status {one.status}" if one.status > 0 else f"signal {signal.Signals(-one.status).name}"
                raise Unavailable(f"{one.name}: ended with {how}: {one.complaint or 'it said nothing'}")
        for process in self._processes:
            if process.pid not in self._ended:
                name = name_of(process.args)
                raise Unavailable(f"{name}: did not end within {_ENDS_IN_S:g} seconds of the end of its output")
        return [self._ended[process.pid] for process in self._processes]

    def kill(self) -> None:
        """Ends every process of the chain and of the sessions they lead."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _start(self) -> None:
        first = self._commands[0]
        ends: list[int] = []
        if INPUT in first:
            paths = []
            for _ in range(first.count(INPUT)):
                reading, writing = os.pipe()
                ends.append(reading)
                self.inputs.append(writing)
                paths.append(f"/dev/fd/{reading}")
            self._commands[0] = [paths.pop(0) if word == INPUT else word for word in first]
        upstream: BinaryIO | int = subprocess.DEVNULL if ends else subprocess.PIPE
        taps: list[int] = []
        for number, command in enumerate(self._commands):
            complaints = tempfile.TemporaryFile()  # noqa: SIM115
            self._stderr.append(complaints)
            passed = ends if number == 0 else []
            if TAP in command:
                reading, writing = os.pipe()
                self.outputs.append(os.fdopen(reading, "rb"))
                taps.append(writing)
                passed = [*passed, writing]
                command = [f"/dev/fd/{writing}" if word == TAP else word for word in command]
            try:
                process = subprocess.Popen(
                    command, stdin=upstream, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True,
                    pass_fds=passed,
                )  # fmt: skip
            except OSError as error:
                raise Unavailable(f"{name_of(command)}: cannot be started: {error.strerror}") from None
            self._processes.append(process)
            waiter = threading.Thread(target=self._reap, args=(process, complaints), name="wait", daemon=True)
            self._waiters.append(waiter)
            waiter.start()
            if process.stdin is not None:
                self.inputs.append(os.dup(process.stdin.fileno()))
                process.stdin.close()
            if not isinstance(upstream, int):
                upstream.close()
            assert process.stdout is not None
            upstream = cast(BinaryIO, process.stdout)
        for end in (*ends, *taps):
            os.close(end)
        assert not isinstance(upstream, int)
        self.outputs.append(upstream)

    def _reap(self, process: subprocess.Popen[bytes], complaints: BinaryIO) -> None:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self._ended[process.pid] = Ended(
            name=name_of(process.args),
            status=process.returncode,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            complaint=_last_line(complaints),
        )


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Holds SIGINT and SIGTERM back, so that no process is started without being on the list of those to end."""
    held: list[tuple[int, FrameType | None]] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda *what: held.append(what)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for came, frame in held:
        handler = handlers[signal.Signals(came)]
        if callable(handler):
            handler(came, frame)


def read(output: BinaryIO, feed: Callable[[float, bytes], None], clock: Callable[[], float] = time.monotonic) -> None:
    """Hands every line to `feed` with its time of arrival, until the output ends."""
    while line := output.readline(MAX_LINE_BYTES):
        feed(clock(), line)


def own(*arguments: str) -> list[str]:
    """A command of this program."""
    return [*PROGRAM, *arguments]


def shell(command: str) -> list[str]:
    """A command line of the user's, through the shell."""
    return ["/bin/sh", "-c", command]


def name_of(command: object) -> str:
    """A command as the user would write it.

    >>> name_of(own("transcribe", "--live")), name_of(shell("a | b"))
    ('streamlation transcribe --live', 'a | b')
    """
    assert isinstance(command, list)
    if tuple(command[: len(PROGRAM)]) == PROGRAM:
        return shlex.join(["streamlation", *command[len(PROGRAM) :]])
    return str(command[-1]) if command[:2] == ["/bin/sh", "-c"] else shlex.join(command)


def _last_line(complaints: BinaryIO) -> str:
    size = complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, size - 4096))
    lines = complaints.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
