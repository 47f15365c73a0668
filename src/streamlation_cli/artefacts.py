"""Files the toolkit makes: written beside their target and renamed when whole, so that no half file looks finished."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import OutputFailed, UsageError

STDOUT = "-"


class Artefact:
    """One output being written; `-` is standard output.

    `commit` gives the file its name. `abandon` leaves what was written so far as `NAME.part` (nothing good is lost), or
    nothing where nothing was written, or nothing that is worth keeping. Raises OutputFailed where the system refuses.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.part = Path(target + ".part")
        """Where the bytes go until `commit`; a muxer may write it itself."""
        self._stream: BinaryIO | None = None
        self.written_bytes = 0
        self.blocked_s = 0.0
        """How long writing took: on standard output, how long its reader let it wait."""
        if target != STDOUT:
            with writing(target):
                require_folder(target)
                self.part.touch()

    def write(self, data: bytes) -> None:
        """Appends `data`; on standard output it is out at once."""
        with writing(self.target):
            if self._stream is None:
                if self.target == STDOUT:
                    from .stdio import stdout

                    self._stream = stdout()
                else:
                    self._stream = self.part.open("wb")
            began_s = time.monotonic()
            self._stream.write(data)
            if self.target == STDOUT:
                self._stream.flush()
            self.blocked_s += time.monotonic() - began_s
            self.written_bytes += len(data)

    def commit(self) -> None:
        """The artefact is whole."""
        with writing(self.target):
            self._close()
            if self.target != STDOUT:
                self.part.replace(self.target)

    def abandon(self, *, keep: bool = True) -> None:
        """The artefact will not be whole; without `keep` there is nothing in it but a format's frame."""
        with contextlib.suppress(OSError):  # the failure that led here is already being reported
            self._close()
            if self.target != STDOUT and (not keep or self.part.stat().st_size == 0):
                self.part.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._stream is not None and self.target != STDOUT:
            self._stream.close()


class GrowingFile:
    """One output that others read while it is written: under its own name from the start, whole after every `write`.

    The same methods as an `Artefact`. What is there stays there, however the session ends.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        with writing(target):
            require_folder(target)
            # Unbuffered: each write reaches the file in one piece.
            self._stream = Path(target).open("w+b", buffering=0)  # noqa: SIM115 - closed by commit or abandon

    def write(self, data: bytes) -> None:
        """Appends `data`."""
        with writing(self.target):
            rest = memoryview(data)
            while rest:
                rest = rest[self._stream.write(rest) or 0 :]

    def rewrite(self, position: int, data: bytes) -> None:
        """Replaces what is at `position`, a length in a header say."""
        with writing(self.target):
            self._stream.seek(position)
            self._stream.write(data)
            self._stream.seek(0, 2)

    def commit(self) -> None:
        """Nothing more comes."""
        with writing(self.target):
            self._stream.close()

    def abandon(self) -> None:
        """Nothing more comes, though more was to."""
        with contextlib.suppress(OSError):  # the failure that led here is already being reported
            self._stream.close()


def require_folder(target: str) -> None:
    """Raises OutputFailed where a file of that name cannot be made, for its folder."""
    parent = Path(target).parent
    if not parent.is_dir():
        raise OutputFailed(f"{target}: there is no folder {parent}; make it first")
    if not Path(target).exists() and not os.access(parent, os.W_OK | os.X_OK):
        raise OutputFailed(f"{target}: the folder {parent} cannot be written in; name another")


@contextlib.contextmanager
def writing(target: str) -> Iterator[None]:
    """Turns an OSError into OutputFailed that names the target; a closed pipe stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"{target}: {error.strerror or error}") from error


class Targets:
    """Output names for the sessions of one run: `{session}` in a name becomes the session's name.

    Raises OutputFailed at once, before there is work to lose, where the folder is not there or cannot be written in.

    >>> Targets("{session}.srt").of("talk")
    'talk.srt'
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._owner: dict[str, str] = {}
        if name != STDOUT and "{session}" not in str(Path(name).parent):
            require_folder(name)

    @property
    def are_many(self) -> bool:
        """Whether each session has one of its own."""
        return "{session}" in self._name

    def of(self, session: str) -> str:
        """The target of a session; raises UsageError where two sessions would share one."""
        target = self._name.replace("{session}", session.replace("/", "_"))
        owner = self._owner.setdefault(target, session)
        if owner != session:
            raise UsageError(
                f"{target}: sessions {owner!r} and {session!r} would both be written here; put {{session}} in the name"
            )
        return target
