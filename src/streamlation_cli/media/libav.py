"""FFmpeg as the toolkit uses it: its messages, silent or with `-vv` in the log, and where it writes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from ..artefacts import Artefact
from ..errors import OutputFailed


def route_log() -> None:
    """Call before FFmpeg is used. PyAV keeps FFmpeg silent by default, and nothing of it ever reaches standard output.

    Its messages come from FFmpeg's threads through Python, which is slow, so they are let through only for debugging.
    """
    own = logging.getLogger("streamlation")
    if own.isEnabledFor(logging.DEBUG):
        import av.logging

        libav = logging.getLogger("libav")
        libav.handlers[:] = own.handlers
        libav.propagate = False
        av.logging.set_level(av.logging.WARNING)


@contextlib.contextmanager
def muxing(target: str) -> Iterator[None]:
    """Turns FFmpeg's and the system's errors into OutputFailed that names the target; a closed pipe stays a BrokenPipeError."""
    import av

    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        raise OutputFailed(f"{target}: {getattr(error, 'strerror', None) or error}") from error


class Pipe:
    """What FFmpeg may know of standard output: it cannot be sought in, so a header says that the length is open."""

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact

    def write(self, data: bytes) -> int:
        """As a file's."""
        self._artefact.write(bytes(data))
        return len(data)
