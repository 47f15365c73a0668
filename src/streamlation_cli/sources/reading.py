"""The reader of a live source: a thread that connects, reads and connects again, and the buffer it fills.

    connector ─► feed ─► packets ─┐ reader's thread
                 ▲                ▼
                 └─ backoff ─── Buffer (bounded) ─► take()      the stage's thread

FFmpeg's blocking calls cannot be interrupted from Python, so they are this thread's, which is a daemon; whoever takes from the
buffer never waits longer than it wants to.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputMissing, StreamlationError, TryAgain, Unavailable
from ..records import AudioStream, Packet, VideoStream
from .backoff import Backoff
from .feeds import Break, Connector, Feed, Lost

_logger = logging.getLogger("streamlation.ingest")

MAX_BYTES = 64 << 20
"""What the buffer holds at most; far more than 30 s of any stream."""
MAX_AGE_S = 30.0
"""What was not taken after this long is dropped, where the source does not wait."""
_KEPT_BYTES = 4 << 20
"""As much is read ahead of a source that waits."""
_LOG_EVERY = 10
TOGETHER_S = 0.1
"""Short packets wait so long for each other. To wake up for each of them is most of what a stream costs in which nobody speaks."""
_SHORT_S = TOGETHER_S / 2


@dataclass(frozen=True)
class Connected:
    """A connection is there; what follows is its."""

    audio: AudioStream
    video: VideoStream | None
    counted: bool


@dataclass(frozen=True)
class Disconnected:
    """The connection is lost, or could not be made."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """Nothing follows: the source said so, or with an error it was given up."""

    error: Exception | None = None


Item = Packet | Break | Connected | Disconnected | Ended


@dataclass(frozen=True)
class Arrived:
    """What the reader read, and when, on the monotonic clock."""

    at_s: float
    item: Item


class Buffer:
    """A bounded queue between the reader and the stage.

    Where it is full, `put` waits if the source keeps what is not read; else the oldest packets are dropped and counted. Whoever waits
    for packets that are short is not woken by each but looks every TOGETHER_S.
    """

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._items: deque[Arrived] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._cancelled = False
        self._short = False
        """Whether the last item was a short packet."""
        self.dropped = 0
        """Packets that nobody took in time."""

    def put(self, arrived: Arrived) -> None:
        """Adds an item; returns at once after `cancel`."""
        with self._changed:
            if self._waits:
                while self._bytes >= _KEPT_BYTES and not self._cancelled:
                    self._changed.wait()
            if self._cancelled:
                return
            self._items.append(arrived)
            self._bytes += _size(arrived)
            if not self._waits:
                self._drop_old(arrived.at_s - MAX_AGE_S)
            was_short, self._short = self._short, _is_short(arrived.item)
            if not (was_short and self._short):
                self._changed.notify_all()

    def _drop_old(self, before_s: float) -> None:
        while self._items and (self._items[0].at_s < before_s or self._bytes > MAX_BYTES):
            # What is no packet says how to read those that follow.
            index = next((i for i, one in enumerate(self._items) if isinstance(one.item, Packet)), None)
            if index is None or (self._items[index].at_s >= before_s and self._bytes <= MAX_BYTES):
                return
            self._bytes -= _size(self._items[index])
            del self._items[index]
            self.dropped += 1

    def take(self, timeout_s: float) -> Arrived | None:
        """The oldest item, or None where there is none within `timeout_s`."""
        with self._changed:
            if not self._items:
                self._changed.wait(min(timeout_s, TOGETHER_S) if self._short else timeout_s)
            if not self._items:
                return None
            arrived = self._items.popleft()
            self._bytes -= _size(arrived)
            self._changed.notify_all()
            return arrived

    def cancel(self) -> None:
        """Nothing more will be taken."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()


class Reader:
    """Reads a source until it ends, is given up, or `close`."""

    def __init__(
        self,
        connector: Connector,
        *,
        retry: float,
        backoff: Backoff,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connector = connector
        self._retry = retry
        self._backoff = backoff
        self._clock = clock
        self._cancelled = threading.Event()
        self._feed: Feed | None = None
        self._thread = threading.Thread(target=self._run, name=f"reader {connector.name}", daemon=True)
        self._opened = False
        self._failures = 0
        self._lost_s = 0.0
        self.buffer = Buffer(waits=connector.keeps)

    def start(self) -> None:
        """Begins to connect."""
        self._thread.start()

    def close(self) -> None:
        """Ends it; a call into FFmpeg that cannot be interrupted is left to end by its own timeout."""
        self._cancelled.set()
        self._connector.cancel()
        if self._feed is not None:
            self._feed.close()
        self.buffer.cancel()
        if self._thread.ident is not None:
            self._thread.join(0.2)

    def _put(self, item: Item) -> None:
        self.buffer.put(Arrived(self._clock(), item))

    def _run(self) -> None:
        try:
            while not self._cancelled.is_set():
                try:
                    self._read(self._connector.connect())
                except Lost as lost:
                    failure = lost
                except StreamlationError as error:
                    if not self._opened and not isinstance(error, TryAgain):
                        raise
                    failure = Lost(error.message, gone=isinstance(error, InputMissing))
                else:
                    self._put(Ended())
                    return
                if self._cancelled.is_set() or not self._again(failure):
                    return
        except Exception as error:  # raised again by whoever takes it from the buffer
            self._put(Ended(error))

    def _read(self, feed: Feed) -> None:
        """Reads one connection to its end; returns where the source said that it ended."""
        self._feed = feed
        with contextlib.closing(feed):
            if self._cancelled.is_set():
                return
            self._put(Connected(feed.audio, feed.video, getattr(feed, "counted", False)))
            for item in feed.packets():
                if self._failures or not self._opened:
                    self._succeeded()
                self._put(item)
                if self._cancelled.is_set():
                    return

    def _succeeded(self) -> None:
        if self._failures and self._opened:
            away_s = self._clock() - self._lost_s
            _logger.warning("%s: back after %.1f s", self._connector.name, away_s)
        self._failures = 0
        self._opened = True
        self._backoff.reset()

    def _again(self, lost: Lost) -> bool:
        """Waits for the next try; False where it is given up."""
        name = self._connector.name
        self._put(Disconnected(lost.reason))
        if not self._failures:
            self._lost_s = self._clock()
        self._failures += 1
        if not self._connector.listens and self._failures > self._retry:
            self._give_up(lost)
            return False
        if self._failures % _LOG_EVERY == 1:
            _logger.warning("%s: %s; trying again", name, _without_name(lost.reason, name))
        self._cancelled.wait(self._backoff.next_s())
        return True

    def _give_up(self, lost: Lost) -> None:
        name, reason = self._connector.name, _without_name(lost.reason, self._connector.name)
        tries = f"after {self._failures} tries" if self._failures > 1 else "at the first try"
        if not self._opened:
            kind = InputMissing if lost.gone else Unavailable
            self._put(Ended(kind(f"{name}: {reason}; given up {tries} (see --retry)")))
        elif lost.gone:
            _logger.warning("%s: %s; taken for its end %s", name, reason, tries)
            self._put(Ended())
        else:
            away_s = self._clock() - self._lost_s
            message = f"{name}: lost for {away_s:.0f} s and given up {tries} (see --retry): {reason}"
            self._put(Ended(TryAgain(message)))


def _size(arrived: Arrived) -> int:
    return len(arrived.item.data) + 200 if isinstance(arrived.item, Packet) else 200


def _is_short(item: Item) -> bool:
    return isinstance(item, Packet) and item.duration * item.time_base[0] < _SHORT_S * item.time_base[1]


def _without_name(reason: str, name: str) -> str:
    """What a transport says of itself, its name left out.

    >>> _without_name("http://a/: no connection", "http://a/")
    'no connection'
    """
    return reason.removeprefix(f"{name}: ")
