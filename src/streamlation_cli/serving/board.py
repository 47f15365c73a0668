"""What those who watch are told: each session as it is now, and everything that happens, numbered.

    records ─► Board.see ─► number 41 │ 42 │ 43 │ …  the last MOST_KEPT messages
                                           ▲
               a reader that has 42 gets 43 and on; one that is new, was away too long, or comes from before a restart
               gets a snapshot: the records that bring it to the present, and goes on from there

Readers wait in the server's event loop; `see` is called in the stage's thread and never waits for them.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..records import (
    Cue,
    Discontinuity,
    Eos,
    Error,
    Header,
    Packet,
    Pcm,
    Speech,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    Unknown,
)
from .downloads import Captions
from .health import Health

MOST_KEPT = 2000
"""Messages a reader may miss and still get each: minutes of live captions."""
MOST_TEXTS = 200
"""Final texts, and as many captions, of a snapshot: what somebody who comes in late can read back."""
MOST_TEXTS_OF_FILE = 20_000
"""The same of a recording: whoever plays it from the beginning needs all of them."""
MOST_SESSIONS = 100
"""Sessions that are over are forgotten beyond these, the oldest first."""

_json = msgspec.json.Encoder()


class Session:
    """One session: its records that still matter, how it is, and its captions so far."""

    def __init__(self, header: Header) -> None:
        self.health = Health(header)
        self.captions = Captions(header)
        self._header = header
        self._most = MOST_TEXTS if header.live else MOST_TEXTS_OF_FILE
        self._texts: OrderedDict[tuple[str, str], Transcript | Translation] = OrderedDict()
        self._cues: OrderedDict[str, Cue] = OrderedDict()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.health.over

    def see(self, record: StreamRecord) -> None:
        """Takes note of a record; those of text only where viewers may have it."""
        if isinstance(record, Transcript | Translation):
            key = (type(record).__name__, record.id)
            if record.text.strip():
                self._texts[key] = record
            else:  # it was no speech
                self._texts.pop(key, None)
            if len(self._texts) > self._most:
                self._texts.popitem(last=False)
        elif isinstance(record, Cue):
            if record.op == "remove":
                self._cues.pop(record.id, None)
            else:
                # Whoever comes in later has not seen it added.
                self._cues[record.id] = msgspec.structs.replace(record, op="add")
                if len(self._cues) > self._most:
                    self._cues.popitem(last=False)
        self.captions.see(record)

    def records(self) -> Iterator[StreamRecord]:
        """The records that bring a new reader to the present."""
        yield self._header
        yield from self._texts.values()
        yield from self._cues.values()


@dataclass
class Reader:
    """Where somebody who reads the stream is."""

    number: int | None = None
    """Of the last message it has; None where it needs a snapshot."""


@dataclass
class Board:
    """All sessions; thread-safe."""

    paused: bool = False
    """Viewers get no text, by somebody's decision."""
    sessions: dict[str, Session] = field(default_factory=dict)
    _run: str = field(default_factory=lambda: secrets.token_hex(4))
    """Sets the numbers of this run apart from those of another."""
    _number: int = 0
    _messages: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closed: bool = False
    _waiters: dict[asyncio.Event, asyncio.AbstractEventLoop] = field(default_factory=dict)
    media: dict[str, str] = field(default_factory=dict)
    """Session → address of its live stream, where there is one."""

    def see(self, record: StreamRecord) -> None:
        """A record that passes by."""
        if isinstance(record, Unknown | Packet | Pcm | Speech):
            return
        with self._lock:
            if isinstance(record, Header):
                self.sessions.pop(record.session, None)
                self.media.pop(record.session, None)
                self.sessions[record.session] = Session(record)
                self._forget()
            session = self.sessions.get(record.session)
            if session is None:
                if not isinstance(record, Error):
                    return
                # A source that could not be opened has no header.
                session = self.sessions[record.session] = Session(Header(record.session, proto=1, source=""))
            if isinstance(record, Header):
                self._tell({"record": record})
            elif isinstance(record, Transcript | Translation | Cue):
                if self.paused:
                    return
                session.see(record)
                self._tell({"record": record})
            elif isinstance(record, Eos | Error | Discontinuity | Status):
                session.captions.see(record)
            if session.health.see(record):
                self._tell_state(record.session)
        self._wake()

    def state_of(self, name: str) -> dict[str, Any]:
        """How a session is, as JSON."""
        session = self.sessions[name]
        return {
            **session.health.summary(), "captions": session.captions.languages(), "media": self.media.get(name, ""),
        }  # fmt: skip

    def status(self) -> dict[str, Any]:
        """How everything is, as JSON."""
        with self._lock:
            return {
                "now": time.time(),
                "paused": self.paused,
                "sessions": [self.state_of(name) for name in self.sessions],
            }

    def captions(self, name: str, language: str, format: str) -> bytes | None:
        """All captions of a session so far, `srt` or `vtt`; None where there is no such session or language."""
        with self._lock:
            session = self.sessions.get(name)
            return session.captions.content(language, format) if session is not None else None

    def set_media(self, session: str, address: str) -> None:
        """A session can be played at an address, from now on."""
        with self._lock:
            self.media[session] = address
            if session in self.sessions:
                self._tell_state(session)
        self._wake()

    def pause(self, paused: bool) -> None:
        """Keeps what is said from viewers, or lets them have it again from here on."""
        with self._lock:
            if paused != self.paused:
                self.paused = paused
                self._tell({"paused": paused})
        self._wake()

    def close(self) -> None:
        """Nothing more comes: readers get what is left, and then the end."""
        with self._lock:
            self._closed = True
        self._wake()

    def reader(self, last_id: str) -> Reader:
        """A reader that has everything up to the message with this id; empty for one that is new."""
        run, _, number = last_id.partition("-")
        return Reader(int(number) if run == self._run and number.isdecimal() else None)

    def next_for(self, reader: Reader) -> list[tuple[str, bytes]]:
        """Ids and messages (JSON objects) that the reader does not have yet."""
        with self._lock:
            oldest = self._messages[0][0] if self._messages else self._number + 1
            if reader.number is None or reader.number > self._number or reader.number + 1 < oldest:
                reader.number = self._number
                return [(self._id(self._number), self._snapshot())]
            # The newest first: a reader that keeps up is handed the last few, not searched for among all.
            missed: list[tuple[str, bytes]] = []
            for number, message in reversed(self._messages):
                if number <= reader.number:
                    break
                missed.append((self._id(number), message))
            reader.number = self._number
        return missed[::-1]

    async def wait(self, reader: Reader) -> bool:
        """Waits for something new; False where nothing will come any more."""
        event = asyncio.Event()
        with self._lock:
            if reader.number is None or self._number > reader.number:
                return True
            if self._closed:
                return False
            self._waiters[event] = asyncio.get_running_loop()
        try:
            await event.wait()
        finally:
            with self._lock:
                self._waiters.pop(event, None)
        return True

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, {}
        for event, loop in waiters.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def _tell_state(self, session: str) -> None:
        # The time is for those whose clock is another than ours, and who show how late what they see is.
        self._tell({"state": self.state_of(session), "now": time.time()})

    def _tell(self, message: dict[str, Any]) -> None:
        self._number += 1
        self._messages.append((self._number, _json.encode({"id": self._id(self._number), **message})))

    def _id(self, number: int) -> str:
        return f"{self._run}-{number}"

    def _snapshot(self) -> bytes:
        records = [record for session in self.sessions.values() for record in session.records()]
        return _json.encode(
            {"id": self._id(self._number), "snapshot": {**self.status(), "records": records}}
        )  # fmt: skip

    def _forget(self) -> None:
        over = [name for name, session in self.sessions.items() if session.over]
        for name in over[: max(0, len(self.sessions) - MOST_SESSIONS)]:
            del self.sessions[name]
            self.media.pop(name, None)
