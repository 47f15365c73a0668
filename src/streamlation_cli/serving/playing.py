"""Picture and sound of each session as live HLS in memory, for the page's player."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..delivery.delay import Delay
from ..delivery.hls import HlsOptions, HlsSink, takes
from ..delivery.joining import Joiner, Settings
from ..delivery.store import FolderStore, MemoryStore, Store
from ..delivery.tracks import Unit
from ..errors import StreamlationError
from ..records import Eos, Error, Header, Packet, Status, StreamRecord, Unknown, ends_session
from .media import Stored

STAGE = "serve"
MASTER = "master.m3u8"
_WINDOW_S = 60
"""How far back a live session can be played; as much again is kept for players that are late, all of it in memory."""
_SETTLE_EVERY_MS = 100
"""How much of a live presentation is decided at a time: less is more work for the same."""
logger = logging.getLogger("streamlation.serve")


class Playing:
    """One session. `store` has its playlists and segments; `began` says whether there is something to play."""

    def __init__(self, header: Header, mix: str, target_latency_s: float) -> None:
        self.began = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if header.live:
            self.store: Store = MemoryStore()
        else:  # it is kept whole, and may be long
            self._folder = tempfile.TemporaryDirectory(prefix="streamlation-")
            self.store = FolderStore(Path(self._folder.name))
        settings = Settings(mix=mix, copy_audio=not header.live)
        self._joiner = Joiner(header, takes(MASTER), settings, live=header.live)
        self._delay = Delay(header, STAGE, target_latency_s) if header.live else None
        window_s = _WINDOW_S if header.live else 0
        self._sink = HlsSink(
            self.store, HlsOptions(name=MASTER, live=True, started_at=header.started_at, window_s=window_s)
        )
        self._opened = False
        self._settled_ms = 0

    def see(self, record: StreamRecord) -> Iterator[Status]:
        """Takes a record that passes by; says how the delay of a live session goes."""
        self._write(self._joiner.feed(record))
        if self._delay is None:
            return
        self._delay.see(record)
        if self._delay.until_ms - self._settled_ms >= _SETTLE_EVERY_MS:
            self._settled_ms = self._delay.until_ms
            self._write(self._joiner.settle(self._settled_ms))
        yield from self._delay.events()

    def finish(self, end: Eos | Error) -> None:
        """Nothing more comes; what has been published can still be played."""
        self._write(self._joiner.finish(end))
        self._end()

    def close(self) -> None:
        """Nobody plays it any more."""
        self._end()
        if self._folder is not None:
            self._folder.cleanup()

    def _end(self) -> None:
        self._joiner.close()
        if self._opened:
            self._opened = False
            self._sink.commit()
            self.began = True

    def _write(self, units: Iterable[Unit]) -> None:
        if not self._opened and self._joiner.tracks:
            self._sink.open(self._joiner.tracks)
            self._opened = True
        for unit in units:
            self._sink.write(unit)
        self.began = self.began or (self._opened and self.store.get(MASTER) is not None)


class Players:
    """All sessions that carry packets. `serve` makes an address of a store, `tell` is told it with the session's name."""

    def __init__(
        self, serve: Callable[[Stored], str], tell: Callable[[str, str], None], mix: str, target_latency_s: float
    ) -> None:
        self._serve = serve
        self._tell = tell
        self._mix = mix
        self._target_latency_s = target_latency_s
        self._before: dict[str, list[StreamRecord]] = {}
        """What came of sessions of which no packet has come yet, the header first."""
        self._playing: dict[str, Playing] = {}
        self._told: set[str] = set()
        self._over: set[str] = set()
        """Sessions that have ended; they can still be played."""

    def see(self, record: StreamRecord) -> list[Status]:
        """Takes a record that passes by; returns what there is to say of its session.

        What cannot be played is left to be read, and the log says why.
        """
        if isinstance(record, Unknown):
            return []
        session = record.session
        try:
            return list(self._take(session, record))
        except StreamlationError as error:
            logger.warning("%s: captions only: %s", session, error.message)
            self._forget(session)
            return []

    def close(self) -> None:
        """Nobody plays anything any more."""
        for session in list(self._playing):
            self._forget(session)

    def _take(self, session: str, record: StreamRecord) -> Iterator[Status]:
        if isinstance(record, Header):
            self._forget(session)
            if record.audio is not None or record.video is not None:
                self._before[session] = [record]
            return
        if session in self._before:
            if ends_session(record):  # nothing but text
                del self._before[session]
            elif isinstance(record, Status):  # which stages there are
                self._before[session].append(record)
            elif isinstance(record, Packet):
                header, *before = self._before.pop(session)
                assert isinstance(header, Header)
                playing = self._playing[session] = Playing(header, self._mix, self._target_latency_s)
                yield Status(session, stage=STAGE, state="running")
                for earlier in [*before, record]:
                    yield from playing.see(earlier)
            return
        known = self._playing.get(session)
        if known is None or session in self._over:
            return
        if ends_session(record):
            assert isinstance(record, Eos | Error)
            self._over.add(session)
            known.finish(record)
            yield Status(session, stage=STAGE, state="completed" if isinstance(record, Eos) else "failed")
        else:
            yield from known.see(record)
        if known.began and session not in self._told:
            self._told.add(session)
            self._tell(session, self._serve(known.store))

    def _forget(self, session: str) -> None:
        self._before.pop(session, None)
        self._told.discard(session)
        self._over.discard(session)
        playing = self._playing.pop(session, None)
        if playing is not None:
            playing.close()
