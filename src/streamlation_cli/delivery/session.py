"""One session's records on their way into files: a joiner and a sink for each."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ..artefacts import Targets
from ..errors import UsageError
from ..records import Eos, Error, Header, Status, StreamRecord
from . import containers, hls
from .delay import Delay
from .joining import Joiner, Settings
from .store import FolderStore
from .tracks import Sink, Takes, Unit

if TYPE_CHECKING:
    from ..stages.mux import Options

STAGE = "mux"
HLS = ".m3u8"
_SETTLE_EVERY_MS = 100
"""How much of a live presentation is decided at a time: less is more work for the same."""
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

    return Destination(hls.takes(name, text=options.captions != "none"), sink, live=True)


class _Output:
    """One file of one session."""

    def __init__(self, target: str, header: Header, options: Options, destination: Destination) -> None:
        live = header.live and destination.live
        settings = Settings(
            mix=options.mix, keep_side=options.keep_side, duck_db=options.duck_db, limits=options.limits(),
            copy_audio=not live,
        )  # fmt: skip
        self.target = target
        self.joiner = Joiner(header, destination.takes, settings, live=live)
        self._delay = Delay(header, STAGE, options.target_latency, text=destination.takes.text) if live else None
        self._settled_ms = 0
        try:
            self._sink = destination.sink(target, header)
        except BaseException:
            self.joiner.close()
            raise
        self._session = header.session
        self._opened = self._ended = False

    def feed(self, record: StreamRecord) -> Iterator[Status]:
        """Takes a record; says how the delay of a live session goes."""
        self._write(self.joiner.feed(record))
        if self._delay is None:
            return
        self._delay.see(record)
        if self._delay.until_ms - self._settled_ms >= _SETTLE_EVERY_MS:
            self._settled_ms = self._delay.until_ms
            self._write(self.joiner.settle(self._settled_ms))
        yield from self._delay.events()

    def finish(self, end: Eos | Error) -> dict[str, int | float]:
        """Nothing more comes."""
        self._ended = True
        self._write(self.joiner.finish(end))
        return {**self.joiner.counters, **(self._delay.counters if self._delay is not None else {})}

    def _write(self, units: Iterable[Unit]) -> None:
        if not self._opened and self.joiner.tracks:
            self._sink.open(self.joiner.tracks)
            self._opened = True
        for unit in units:
            self._sink.write(unit)

    def commit(self) -> None:
        """It is whole; nothing is left of one in which there is nothing."""
        self.joiner.close()
        if self._opened:
            self._sink.commit()
        else:
            self._sink.abandon()
            logger.warning("%s: not written, for there is nothing in it: no packets, no speech, no text", self.target)

    def abandon(self) -> None:
        """It will not be whole; the part that stays holds all that came."""
        with contextlib.suppress(Exception):  # what led here is already being reported
            if not self._ended:
                self.finish(Error(self._session, stage=STAGE, code="interrupted", message="", fatal=True))
        self.joiner.close()
        self._sink.abandon()


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
            yield from output.feed(record)

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        counters: dict[str, int | float] = {}
        for output in self._outputs:
            counters = output.finish(end)
            if output.joiner.problem:
                yield Error(
                    self._header.session, stage=STAGE, code="damaged", message=output.joiner.problem, fatal=False
                )
        if isinstance(end, Eos):
            while self._outputs:
                self._outputs[0].commit()
                self._outputs.pop(0)
        state = "completed" if isinstance(end, Eos) else "failed"
        yield Status(self._header.session, stage=STAGE, state=state, counters=counters)  # type: ignore[arg-type]

    def abandon(self) -> None:
        """Frees what is held; files that are not whole stay as parts."""
        while self._outputs:
            self._outputs.pop().abandon()
