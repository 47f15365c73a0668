"""Standard input: a container or raw samples from a pipe."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, cast

from ..errors import DataError, InputMissing, StreamlationError
from . import Opening, Request, raw

NAME = "stdin"


def opening(request: Request) -> Opening:
    """How to read standard input; raises InputMissing where it is closed, UsageError where it is a terminal."""
    from ..stdio import stdin

    stream = stdin()
    whole = _whole_file(stream)
    return Opening(
        file=whole or cast(BinaryIO, Pipe(stream)),
        seekable=whole is not None,
        name=NAME,
        failure=failure_of,
        options=raw.options(request),
        format=request.format,
        text=stream.read,
    )


class Pipe:
    """What FFmpeg needs of a stream that cannot seek: `read`, returning what is there without waiting for more."""

    name = NAME

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end and after a failure, which `failure` then holds."""
        try:
            return b"" if self.failure is not None else self._stream.read1(size)
        except BaseException as error:  # raised here, it would be printed by PyAV, or lost when it is a signal's
            self.failure = error
            return b""

    def close(self) -> None:
        """Standard input stays open: it is not ours."""


def _whole_file(stream: io.BufferedReader) -> BinaryIO | None:
    """Standard input where it is a file from its start (`< talk.mp4`): that can seek, so an MP4 index at the end is found."""
    try:
        if os.lseek(stream.fileno(), 0, os.SEEK_CUR) != 0:
            return None
        return os.fdopen(os.dup(stream.fileno()), "rb")
    except OSError:
        return None


def failure_of(error: Exception) -> StreamlationError:
    """What went wrong with standard input."""
    if isinstance(error, StreamlationError):
        return error
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        return InputMissing(f"{NAME}: cannot be read: {error.strerror or error}")
    return DataError(
        f"{NAME}: not media that can be read from a pipe; raw samples need --format, and an MP4 with its index at the end "
        "cannot be streamed: give the file's name instead"
    )
