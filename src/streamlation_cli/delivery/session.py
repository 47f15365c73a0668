"""One session's records on their way into files: a joiner and a sink for each."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ..artefacts import Targets
from ..errors import UsageError
from ..records import Eos, Error, Header, State, Status, StreamRecord
from . import containers, hls
from .joining import Settings
from .presenting import Presentation
from .store import FolderStore
from .tracks import Sink, Takes

if TYPE_CHECKING:
    from ..stages.mux import Options

STAGE = "mux"
HLS = ".m3u8"
logger = logging.getLogger("streamlation.mux")


@dataclass(frozen=True)
class Destination:
    """One kind of place that a presentation can go to."""

    takes: Takes
    sink: Callable[[str, Header], Sink]
    """Given a target's name and the session, its sink."""
    live: bool = False
    """A live session is published as it goes, behind a delay; else when it is known what is in it."""


def destination(name: str, options: Options) -> Destination:
    """What the extension of an output asks for; raises UsageError."""
    if PurePath(name).suffix.lower() == HLS:
        return _hls(name, options)
    captions = "" if options.captions in ("auto", "none") else options.captions
    container = containers.container_of(name, options.format, captions)
    takes = containers.takes(name, container, text=options.captions != "none")
    return Destination(takes, lambda target, _: containers.ContainerFile(target, container))


def _hls(name: str, options: Options) -> Destination:
    if options.captions not in ("auto", "none"):
        raise UsageError(
            f"{name}: {options.captions} captions have a place in .mkv and .mka only; in HLS they are WebVTT"
        )

    def sink(target: str, header: Header) -> Sink:
        path = Path(target)
        settings = hls.HlsOptions(
            name=path.name, target_s=options.hls_time, window_s=options.hls_window, live=header.live,
            started_at=header.started_at if header.live else None,
        )  # fmt: skip
        return hls.HlsSink(FolderStore(path.parent), settings)

    takes = hls.takes(name, text=options.captions != "none", target_s=options.hls_time)
    return Destination(takes, sink, live=True)


class _Output:
    """One file of one session."""

    def __init__(self, target: str, header: Header, options: Options, destination: Destination) -> None:
        settings = Settings.of(options, options.limits())
        self.target = target
        self.presentation = Presentation(
            header, destination.takes, lambda: destination.sink(target, header), settings, stage=STAGE,
            live=header.live and destination.live, target_latency_s=options.target_latency,
        )  # fmt: skip
        self._session = header.session
        self._ended = False

    def finish(self, end: Eos | Error) -> None:
        """Nothing more comes."""
        self._ended = True
        self.presentation.finish(end)

    def commit(self) -> None:
        """It is whole; nothing is left of one in which there is nothing."""
        self.presentation.commit()
        if not self.presentation.opened:
            logger.warning("%s: not written, for there is nothing in it: no packets, no speech, no text", self.target)

    def abandon(self) -> None:
        """It will not be whole; the part that stays holds all that came."""
        with contextlib.suppress(Exception):  # what led here is already being reported
            if not self._ended:
                self.finish(Error(self._session, stage=STAGE, code="interrupted", message="", fatal=True))
        self.presentation.abandon()


class Muxing:
    """One session on its way into its files."""

    def __init__(self, header: Header, options: Options, outputs: list[tuple[Targets, Destination]]) -> None:
        self._header = header
        self._options = options
        self._places = outputs
        self._outputs: list[_Output] = []

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield record
        if isinstance(record, Header):
            yield Status(record.session, stage=STAGE, state="running")
            for targets, destination in self._places:
                target = targets.of(record.session)
                self._outputs.append(_Output(target, record, self._options, destination))
            return
        for output in self._outputs:
            yield from output.presentation.feed(record)

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        counters: dict[str, int | float] = {}
        for output in self._outputs:
            output.finish(end)
            counters = output.presentation.counters
            if problem := output.presentation.problem:
                yield Error(self._header.session, stage=STAGE, code="damaged", message=problem, fatal=False)
        if isinstance(end, Eos):
            while self._outputs:
                self._outputs[0].commit()
                self._outputs.pop(0)
        state: State = "completed" if isinstance(end, Eos) else "failed"
        yield Status(self._header.session, stage=STAGE, state=state, counters=counters)

    def abandon(self) -> None:
        """Frees what is held; files that are not whole stay as parts."""
        while self._outputs:
            self._outputs.pop().abandon()
