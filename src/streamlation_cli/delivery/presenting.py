"""A session's records on their way into a sink: joined, in a live session behind a delay, and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from ..errors import DataError
from ..records import Eos, Error, Header, Status, StreamRecord
from .delay import Delay
from .joining import Joiner, Settings
from .tracks import Sink, Takes, Track, Unit

_SETTLE_EVERY_MS = 100
"""How much of a live presentation is decided at a time: less is more work for the same."""


class Presentation:
    """One session in one sink; end it with `commit` or `abandon`.

    `live`: it is published while it lasts, behind a delay that follows what speech and captions need (`target_latency_s` is the
    wish), and its sound is encoded anew, which bridges gaps and changes of format. `stage` is who reports. `needs_media`: captions
    alone are nothing, so the sink is left unopened. Raises what the joiner and the sink raise.
    """

    def __init__(
        self, header: Header, takes: Takes, sink: Callable[[], Sink], settings: Settings, *, stage: str, live: bool,
        target_latency_s: float = 0.0, needs_media: bool = False,
    ) -> None:  # fmt: skip
        self._joiner = Joiner(header, takes, dataclasses.replace(settings, copy_audio=not live), live=live)
        try:
            self._sink = sink()
        except BaseException:
            self._joiner.close()
            raise
        self._delay = Delay(header, stage, target_latency_s, text=takes.text) if live else None
        self._settled_ms = 0
        self._needs_media = needs_media
        self.opened = False
        """Whether anything is in it."""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Empty until they are known."""
        return self._joiner.tracks

    @property
    def problem(self) -> str:
        """What could not be taken along, though nothing else failed."""
        return self._joiner.problem

    @property
    def counters(self) -> dict[str, int | float]:
        """What came, what came too late, how the delay went."""
        return {**self._joiner.counters, **(self._delay.counters if self._delay is not None else {})}

    def feed(self, record: StreamRecord) -> Iterator[Status]:
        """Takes a record; says how the delay of a live session goes."""
        self._write(self._joiner.feed(record))
        if self._delay is None:
            return
        self._delay.see(record)
        if self._delay.until_ms - self._settled_ms >= _SETTLE_EVERY_MS:
            self._settled_ms = self._delay.until_ms
            self._write(self._joiner.settle(self._settled_ms))
        yield from self._delay.events()

    def finish(self, end: Eos | Error) -> None:
        """Nothing more comes; the rest is written."""
        try:
            self._write(self._joiner.finish(end))
        except DataError:
            if isinstance(end, Eos):  # else what ended it says why there is nothing
                raise

    def commit(self) -> None:
        """It is whole; nothing is left of one in which there is nothing."""
        self._joiner.close()
        if self.opened:
            self._sink.commit()
        else:
            self._sink.abandon()

    def abandon(self) -> None:
        """It will not be whole."""
        self._joiner.close()
        self._sink.abandon()

    def _write(self, units: Iterable[Unit]) -> None:
        tracks = self._joiner.tracks
        if not self.opened and (any(track.kind != "text" for track in tracks) if self._needs_media else tracks):
            self._sink.open(tracks)
            self.opened = True
        for unit in units:
            if self.opened:
                self._sink.write(unit)
