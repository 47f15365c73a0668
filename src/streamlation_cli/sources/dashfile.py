"""DASH recordings: a manifest of `type="static"`, its audio read as if it were one file."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import BinaryIO, cast

from ..errors import DataError, TryAgain
from . import Opening, Request, http
from .dash import FOREVER, Dash, choose, span
from .feeds import Lost
from .fetching import Fetcher

_PREROLL_MS = 2000


def opening(request: Request) -> Opening:
    """A whole presentation (`type="static"`), by the address of its manifest, as if it were one file.

    Raises what is wrong with the manifest, or DataError where its periods differ too much for one file.
    """
    dash = Dash(request)
    fetcher = dash.fetcher()
    presentation = dash.manifest(fetcher).presentation
    start_s = Fraction(max(0, request.start_ms - _PREROLL_MS), 1000)
    tracks = [choose(period, request.audio_stream, dash.name) for period in presentation.periods]
    pieces = [segment for track in tracks for segment in track.segments(start_s, FOREVER)]
    if len({(track.initialization, track.initialization_range, track.shift) for track in tracks}) > 1:
        raise DataError(f"{dash.name}: its periods are in different formats, which only a live manifest may be")
    if not pieces:
        raise DataError(f"{dash.name}: the DASH manifest has no audio segments" + (" after --start" if start_s else ""))
    head = tracks[0].initialization
    if not head and len(pieces) == 1:
        return replace(http.opening(replace(request, input=pieces[0].address)), name=dash.name)
    parts = [(head, tracks[0].initialization_range)] if head else []
    parts += [(segment.address, segment.range) for segment in pieces]
    return Opening(
        file=cast(BinaryIO, Joined(fetcher, parts, dash.name)),
        name=dash.name,
        failure=partial(http.failure_of, dash.name),
        format="matroska" if tracks[0].container == "webm" else "mp4",
        seekable=False,
        remote=True,
    )


class Joined:
    """Parts fetched one after the other when they are read, as a file that cannot seek."""

    def __init__(self, fetcher: Fetcher, parts: list[tuple[str, str]], name: str) -> None:
        self.name = name
        self._fetcher = fetcher
        self._parts = iter(parts)
        self._rest = b""
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end and after a failure, which `failure` then holds."""
        try:
            while not self._rest and self.failure is None:
                part = next(self._parts, None)
                if part is None:
                    return b""
                self._rest = self._fetcher.get(part[0], **span(part[1]))
        except Lost as error:
            self.failure = TryAgain(f"{self.name}: {error.reason}")
        except BaseException as error:  # raised here, it would be printed by PyAV, or lost when it is a signal's
            self.failure = error
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        """Gives up what is being fetched."""
        self._fetcher.cancel()
