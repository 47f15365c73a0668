"""One session's records on their way into files: a joiner and a sink for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..artefacts import Targets
from ..records import Eos, Error, Header, Status, StreamRecord
from . import containers
from .joining import Joiner, Settings
from .tracks import Sink, Takes, Unit

if TYPE_CHECKING:
    from ..stages.mux import Options

STAGE = "mux"
logger = logging.getLogger("streamlation.mux")


@dataclass(frozen=True)
class Destination:
    """One kind of place that a presentation can go to."""

    takes: Takes
    sink: Callable[[str], Sink]
    """Given a target's name, its sink."""


def destination(name: str, options: Options) -> Destination:
    """What the extension of an output asks for; raises UsageError."""
    captions = "" if options.captions in ("auto", "none") else options.captions
    container = containers.container_of(name, options.format, captions)
    takes = containers.takes(name, container, text=options.captions != "none")
    return Destination(takes, lambda target: containers.ContainerFile(target, container))


class _Output:
    """One file of one session."""

    def __init__(self, target: str, header: Header, options: Options, destination: Destination) -> None:
        settings = Settings(
            mix=options.mix, keep_side=options.keep_side, duck_db=options.duck_db, limits=options.limits()
        )
        self.target = target
        self.joiner = Joiner(header, destination.takes, settings)
        try:
            self._sink = destination.sink(target)
        except BaseException:
            self.joiner.close()
            raise
        self._opened = False

    def write(self, units: Iterable[Unit]) -> None:
        """The next units."""
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
        """It will not be whole."""
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
            output.write(output.joiner.feed(record))

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        counters: dict[str, int | float] = {}
        if isinstance(end, Eos):
            for output in self._outputs:
                output.write(output.joiner.finish(end))
                counters = dict(output.joiner.counters)
            while self._outputs:
                self._outputs[0].commit()
                self._outputs.pop(0)
        state = "completed" if isinstance(end, Eos) else "failed"
        yield Status(self._header.session, stage=STAGE, state=state, counters=counters)  # type: ignore[arg-type]

    def abandon(self) -> None:
        """Frees what is held; files that are not whole stay as parts."""
        while self._outputs:
            self._outputs.pop().abandon()
