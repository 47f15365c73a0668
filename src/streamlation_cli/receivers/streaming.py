"""A session's records as a live HLS stream in memory, for devices that fetch."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..delivery.hls import HlsOptions, HlsSink, takes
from ..delivery.joining import Settings
from ..delivery.presenting import Presentation
from ..delivery.store import MemoryStore
from ..delivery.tracks import Track
from ..records import Eos, Error, Header, Status, StreamRecord
from .playlists import OFF
from .wishes import track_of

NAME = "master.m3u8"
_WINDOW_S = 60.0
"""How far a live stream can be gone back in."""


class Streaming:
    """One session on its way into a store. Raises UsageError where the picture cannot be copied."""

    def __init__(self, header: Header, stage: str, settings: Settings, target_latency_s: float = 0.0) -> None:
        self.store = MemoryStore()
        self.header = header
        self._sink = HlsSink(
            self.store,
            HlsOptions(name=NAME, live=True, window_s=_WINDOW_S if header.live else 0, started_at=header.started_at),
        )
        self._presentation = Presentation(
            header, takes(NAME), lambda: self._sink, settings, stage=stage, live=header.live,
            target_latency_s=target_latency_s, needs_media=True,
        )  # fmt: skip

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Empty until they are known."""
        return self._presentation.tracks

    @property
    def ready_ms(self) -> int:
        """How much of it is published."""
        return round(self._sink.reached_s * 1000) - self.header.start_ms if self.has_media else 0

    def feed(self, record: StreamRecord) -> Iterator[Status]:
        """Takes a record; what there is to say of the delay, which lets words and the dubbed voice come after the picture."""
        return self._presentation.feed(record)

    def finish(self, end: Eos | Error) -> bool:
        """Nothing more comes; whether there is anything."""
        self._presentation.finish(end)
        self._presentation.commit()
        return self.has_media

    def abandon(self) -> None:
        """Nothing more comes, though more was to."""
        self._presentation.abandon()

    @property
    def has_media(self) -> bool:
        """Whether there is a picture or sound in it."""
        return self._presentation.opened

    def sound(self, language: str) -> Track | None:
        """The track of a language, the one that plays by default where it is empty; raises UsageError where there is none."""
        sounds = [track for track in self.tracks if track.kind == "audio"]
        if not language:
            return next((track for track in sounds if track.default), sounds[0] if sounds else None)
        return track_of(sounds, "--audio-language", language)

    def check_captions(self, language: str) -> None:
        """Raises UsageError where there are none in that language; empty and `off` are always there."""
        if language not in ("", OFF):
            track_of([track for track in self.tracks if track.kind == "text"], "--subtitle-language", language)

    def master(self, sound: Track | None) -> str:
        """Name of the playlist that offers that sound alone: many devices cannot be told which to play."""
        return self._sink.masters.get(sound.name, NAME) if sound is not None else NAME

    def latency_ms(self, position_ms: int) -> int | None:
        """How long ago what is at that place happened; None where the session is not live."""
        if not self.header.live or self.header.started_at is None:
            return None
        return round((time.time() - self.header.started_at) * 1000) - position_ms
