"""A finished file or an address on a device: served to it, watched over, controlled by keys where there is a terminal."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import PROTO, Eos, Header, StreamRecord
from ..render import clock
from . import Device, Media, Playback, Receiver
from .casting import Casting, or_else
from .connecting import connect, found, server_for
from .contents import Contents
from .keys import HELP, Keys, single_keys
from .preparing import prepare
from .wishes import Wishes

if TYPE_CHECKING:
    from ..stages.cast import Options

logger = logging.getLogger("streamlation.cast")


def played(contents: Contents, session: str, wishes: Wishes, options: Options) -> Iterator[StreamRecord]:
    """Plays it on the device that `--to` names, to the end, or until the device goes on by itself and nobody is to wait.

    Raises UsageError where a wanted language is not there, Unavailable where the device is not, or does not play it, Interrupted.
    """
    way_out = _way_out(contents)
    with or_else(way_out):
        device, kind = found(options.to, options.timeout, wishes)
        receiver = connect(device, kind, options.timeout)
    with ExitStack() as stack:
        stack.callback(receiver.close)
        server = stack.enter_context(server_for(receiver.device, kind, options.bind))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamlation-cast-")))
        media = prepare(contents, kind, wishes, server, folder)
        logger.info("%s plays %s (%s)", receiver.device.name, media.address, media.content_type)
        serves = bool(contents.path) or bool(media.subtitles) or not kind.pulls
        yield Header(session, proto=PROTO, source=contents.name, duration_ms=media.duration_ms, live=media.live)
        yield from _watched(options, session, receiver, media, way_out, stays=serves or options.wait)
        yield Eos(session, duration_ms=media.duration_ms)


def _way_out(contents: Contents) -> str:
    if not contents.path:
        return f"to watch it by hand open {contents.name}"
    return f"`streamlation cast {contents.name} --to browser` serves it at an address to open by hand"


def _watched(
    options: Options, session: str, receiver: Receiver, media: Media, way_out: str, *, stays: bool
) -> Iterator[StreamRecord]:
    with single_keys() as has_keys, _Line(receiver.device) as line:
        casting = Casting(session, receiver, media, way_out, patience_s=options.patience, show=line.show)
        ended = False
        try:
            casting.start(None if options.volume is None else options.volume / 100)
            if has_keys:
                casting.commands = Keys(media, casting.stop, line.say).commands
                line.say(HELP)
            yield from casting.watch() if stays else casting.watch(until=_has_begun)
            ended = True
        finally:
            if not ended:
                casting.abandon()


def _has_begun(playback: Playback) -> bool:
    return playback.state in ("playing", "paused")


class _Line:
    """How the device is, on one line of standard error where that is a terminal."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._on = sys.stderr.isatty()
        self._shown = ""

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(file=sys.stderr)

    def show(self, playback: Playback) -> None:
        """Replaces the line."""
        if not self._on:
            return
        position = clock(playback.position_ms).rpartition(".")[0] if playback.position_ms is not None else ""
        length = f" of {clock(playback.duration_ms).rpartition('.')[0]}" if playback.duration_ms else ""
        volume = f", volume {playback.volume:.0%}" if playback.volume is not None else ""
        text = f"{self._device.name}: {playback.state} {position}{length}{volume}"
        if text != self._shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def say(self, text: str) -> None:
        """A line that stays."""
        print(f"\r\x1b[K{text}" if self._on else text, file=sys.stderr, flush=True)
        self._shown = ""
