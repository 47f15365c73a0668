"""What a live transport gives: connections to a source that may break off and come back.

    connector(request) -> Connector          one a source; keeps what must survive a reconnect
        connect() -> Feed                    one a connection; the first and each later one, in the reader's thread
            packets() -> Packet | Break …    as they arrive, on the connection's own clock

How a connection ends is told in one way each: `packets` returns where the source said that it has ended, and raises
`Lost` where it broke off, stalled or went stale. A StreamlationError is final at the first connection; later `live.py`
tries again all the same, for a source that was there once may come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..records import AudioStream, Packet, VideoStream


class Lost(Exception):
    """The source broke off, went stale or is not there now; another try may work. Never leaves this package.

    `gone`: whoever serves the source answers and says that it is not there (any more).
    """

    def __init__(self, reason: str, *, gone: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        """Half a sentence for a person: `the connection was reset`."""
        self.gone = gone


@dataclass(frozen=True, kw_only=True)
class Break:
    """Among the packets: the clock of what follows has nothing to do with that of what came before."""

    reason: str
    """What the `discontinuity` record is to say: `ad-break`, `lost` …"""
    gap_s: float | None = None
    """How much is missing in between; None where only the time of arrival tells."""
    audio: AudioStream | None = None
    """How to decode what follows, where that differs."""


def same_sound(one: AudioStream, other: AudioStream) -> bool:
    """Whether the decoder of one decodes the other: their measured bit rates and places in the container may differ."""
    return all(getattr(one, name) == getattr(other, name) for name in _DECODING)


_DECODING = ("codec", "sample_rate_hz", "channels", "layout", "sample_format", "time_base", "extradata")


class Feed(Protocol):
    """One connection to a live source."""

    @property
    def audio(self) -> AudioStream:
        """How to decode its sound."""

    @property
    def video(self) -> VideoStream | None:
        """Its pictures, where they were asked for and are there."""

    @property
    def counted(self) -> bool:
        """Its times only count samples (raw samples, MP3, ADTS): they go on as if nothing was where the source pauses."""

    def packets(self) -> Iterator[Packet | Break]:
        """Packets as they arrive, their `pts` and `dts` on the connection's own clock; `session` and `seq` are filled in later.

        Returns where the source said that it has ended; raises Lost where it broke off, stalled or went stale.
        """

    def close(self) -> None:
        """From any thread, any number of times: `packets` comes back soon, whatever it was waiting for."""


class Connector(Protocol):
    """How to reach one live source."""

    name: str
    """The source in messages and in the header, credentials removed."""
    keeps: bool
    """The source keeps what was not read yet (segments on an origin, a pipe) and a new connection goes on where the last one
    stopped, on the same clock: nothing is dropped, and being behind makes reading wait. Otherwise the source does not wait,
    and what lies behind the live edge after a reconnect is dropped."""
    listens: bool
    """It waits for a publisher: for ever, without counting tries."""

    def connect(self) -> Feed:
        """The source's next connection, with `request.timeout_s` to come about.

        Raises Lost where another try may work, a StreamlationError that is final at the first connection.
        """

    def cancel(self) -> None:
        """From any thread: a `connect` in progress comes back soon, and later ones fail at once."""
