"""Picture and sound of each session as live HLS in memory, for the page's player."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..delivery.hls import HlsOptions, HlsSink, takes
from ..delivery.joining import Settings
from ..delivery.presenting import Presentation
from ..delivery.store import FolderStore, MemoryStore, Store
from ..errors import StreamlationError
from ..records import Eos, Error, Header, Packet, Status, StreamRecord, Unknown, ends_session
from .media import Stored

MASTER = "master.m3u8"
_WINDOW_S = 60
"""How far back a live session can be played; as much again is kept for players that are late, all of it in memory."""
logger = logging.getLogger("streamlation.serve")


class Playing:
    """One session. `store` has its playlists and segments; `began` says whether there is something to play."""

    def __init__(self, header: Header, settings: Settings, target_latency_s: float, stage: str) -> None:
        self.began = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if header.live:
            self.store: Store = MemoryStore()
        else:  # it is kept whole, and may be long
            self._folder = tempfile.TemporaryDirectory(prefix="streamlation-")
            self.store = FolderStore(Path(self._folder.name))
        options = HlsOptions(
            name=MASTER, live=True, started_at=header.started_at, window_s=_WINDOW_S if header.live else 0
        )
        self._presentation = Presentation(
            header, takes(MASTER), lambda: HlsSink(self.store, options), settings, stage=stage, live=header.live,
            target_latency_s=target_latency_s,
        )  # fmt: skip
        self._over = False

    def see(self, record: StreamRecord) -> Iterator[Status]:
        """Takes a record that passes by; says how the delay of a live session goes."""
        yield from self._presentation.feed(record)
        self.began = self.began or (self._presentation.opened and self.store.get(MASTER) is not None)

    def finish(self, end: Eos | Error) -> None:
        """Nothing more comes; what has been published can still be played."""
        self._presentation.finish(end)
        self._end()
        self.began = self.began or self._presentation.opened

    def close(self) -> None:
        """Nobody plays it any more."""
        self._end()
        if self._folder is not None:
            self._folder.cleanup()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._presentation.commit()


class Players:
    """All sessions that carry packets.

    `serve` makes an address of a store, `tell` is told it with the session's name; `stage` is who reports.
    """

    def __init__(
        self,
        serve: Callable[[Stored], str],
        tell: Callable[[str, str], None],
        settings: Settings,
        target_latency_s: float,
        stage: str,
    ) -> None:
        self._stage = stage
        self._serve = serve
        self._tell = tell
        self._settings = settings
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
                playing = self._playing[session] = Playing(header, self._settings, self._target_latency_s, self._stage)
                yield Status(session, stage=self._stage, state="running")
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
            yield Status(session, stage=self._stage, state="completed" if isinstance(record, Eos) else "failed")
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
