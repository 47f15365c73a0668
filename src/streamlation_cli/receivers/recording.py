"""Records on a device: each session streamed to it as it comes, and watched over to the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from .. import stdio
from ..delivery.joining import Settings
from ..errors import UsageError
from ..records import Eos, Error, Header, State, Status, StreamRecord, ends_session
from ..serving.server import Server
from ..sessions import Records, Stage, by_session, fails, refuses
from . import Kind, Media, Playback, Receiver
from .casting import REPORT_S, STAGE, Casting, or_else
from .connecting import connect, found, server_for
from .playlists import Chosen
from .streaming import Streaming
from .wishes import Wishes

if TYPE_CHECKING:
    from ..stages.cast import Options

logger = logging.getLogger("streamlation.cast")
_WAY_OUT = "`cast --to browser` serves the session at an address to open by hand"
_MOST_LATENCY_MS = 600_000
"""A device's position that would mean more is not on the stream's timeline."""


class _Session:
    """One session; see `Handler`.

    The device is connected to when the session begins, and told to play when it has enough to begin with.
    """

    def __init__(
        self, header: Header, kind: Kind, receiver: Receiver, server: Server, wishes: Wishes, settings: Settings, options: Options
    ) -> None:  # fmt: skip
        self._header = header
        self._kind = kind
        self._receiver = receiver
        self._server = server
        self._wishes = wishes
        self._options = options
        self._buffer_ms = kind.buffer_ms if options.buffer is None else round(options.buffer * 1000)
        self._streaming = Streaming(header, STAGE, settings, options.target_latency)
        self._casting: Casting | None = None
        self._over = False
        self._reported_s = 0.0

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield record
        if isinstance(record, Header):
            yield Status(
                record.session, stage=STAGE, state="running", detail=f"waiting for enough to play on {self._name}",
                counters={"buffer_target_ms": self._buffer_ms},
            )  # fmt: skip
            return
        if self._over:
            return
        yield from self._streaming.feed(record)
        if self._casting is None:
            if self._streaming.ready_ms >= self._buffer_ms and self._streaming.has_media:
                yield from self._begin()
        else:
            yield from self._look()

    @property
    def _name(self) -> str:
        return f"{self._receiver.device.name} ({self._receiver.device.kind})"

    def _begin(self) -> Iterator[StreamRecord]:
        media = self._media()
        self._casting = Casting(
            self._header.session,
            self._receiver,
            media,
            _WAY_OUT,
            patience_s=self._options.patience,
            latency_ms=self._latency_ms,
            targets={"buffer_target_ms": self._buffer_ms},
        )
        self._casting.start(None if self._options.volume is None else self._options.volume / 100)
        self._reported_s = time.monotonic()
        yield self._casting.status("running")

    def _media(self) -> Media:
        streaming, wishes = self._streaming, self._wishes
        sound = streaming.sound(wishes.audio_language)
        streaming.check_captions(wishes.subtitle_language)
        name = streaming.master(sound)
        if not self._kind.pulls and sound is not None:
            name = f"master-{sound.name}.m3u8"
        # Without a wish a player begins where its makers, or ours, know that it plays well.
        behind_s = self._options.buffer or 0.0 if self._header.live else 0.0
        store = Chosen(streaming.store, text=wishes.subtitle_language, behind_s=behind_s)
        address = self._server.serve_store(store, name)
        logger.info("%s plays %s", self._receiver.device.name, address)
        return Media(
            address=address,
            content_type="application/vnd.apple.mpegurl",
            title=self._header.session,
            live=self._header.live,
            duration_ms=self._header.duration_ms,
            has_video=any(track.kind == "video" for track in streaming.tracks),
        )

    def _latency_ms(self, playback: Playback) -> int | None:
        if playback.position_ms is None or not self._kind.tells_media_time or playback.state != "playing":
            return None
        latency_ms = self._streaming.latency_ms(playback.position_ms)
        return latency_ms if latency_ms is not None and 0 <= latency_ms < _MOST_LATENCY_MS else None

    def _look(self) -> Iterator[StreamRecord]:
        assert self._casting is not None
        now = time.monotonic()
        if now - self._reported_s < REPORT_S / 2:  # records come by the hundred
            return
        self._reported_s = now
        playback, _ = self._casting.look()
        yield self._casting.status("running")
        if playback.state in ("stopped", "replaced"):
            # Somebody at the device ended it; the records go on to whoever else reads them.
            self._over = True
            logger.warning("%s: playback was ended there", self._receiver.device.name)

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        there = self._streaming.finish(end)
        if isinstance(end, Error) and end.code in ("interrupted", "terminated"):
            yield from self._ended("failed")
            return
        if self._over or not there:
            if not there and isinstance(end, Eos):
                logger.warning(
                    "%s: nothing was cast, for there is neither picture nor sound in it", self._header.session
                )
            yield from self._ended("completed")
            return
        if self._casting is None:
            yield from self._begin()
        assert self._casting is not None
        try:
            yield from self._casting.watch()
        except stdio.Interrupted:
            yield from self._ended("failed")
            raise

    def _ended(self, state: State) -> Iterator[StreamRecord]:
        self.abandon()
        if self._casting is not None:
            yield self._casting.status(state)
        else:
            yield Status(self._header.session, stage=STAGE, state=state)

    def abandon(self) -> None:
        """Ends playback where it has not ended."""
        self._streaming.abandon()
        if self._casting is not None and not self._over:
            self._over = True
            self._casting.abandon()


def stage(options: Options, settings: Settings, wishes: Wishes) -> Stage:
    """Casts sessions to the device that `--to` names, one after another, or at the same time where its kind takes many.

    The device is found when the stage runs: that raises UsageError where `--to` can mean several or devices of that kind
    cannot heed the wishes, Unavailable where there is none.
    """

    def run(records: Iterable[StreamRecord]) -> Records:
        playing: dict[str, bool] = {}
        """Session → whether it is live."""
        with ExitStack() as stack:
            with or_else(_WAY_OUT):
                device, kind = found(options.to, options.timeout, wishes)
            server = stack.enter_context(server_for(device, kind, options.bind))

            def make(header: Header) -> _Session:
                if playing and not kind.many:
                    other = next(iter(playing))
                    raise UsageError(
                        f"{header.session}: {device.name} plays {other} already; cast one session at a time"
                    )
                playing[header.session] = header.live
                with or_else(_WAY_OUT):
                    receiver = connect(device, kind, options.timeout)
                stack.callback(receiver.close)
                return _Session(header, kind, receiver, server, wishes, settings, options)

            # Entered last, so that playback ends before the device and the server are let go.
            for record in stack.enter_context(closing(by_session(STAGE, make)(records))):
                live = ends_session(record) and playing.pop(record.session, False)
                yield record
                # What is live would be read for ever, and made upstream for nobody; behind a file another may follow.
                lost = live and fails(STAGE, record)
                if (lost or refuses(STAGE, record)) and not playing and not kind.many:
                    return

    return run
