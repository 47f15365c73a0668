"""What is asked of a device that plays already, from another process: to pause, to seek, to end, to tell how it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import Unavailable
from ..options import parse_time
from ..records import PROTO, Eos, Header, Status, StreamRecord
from .casting import STAGE
from .connecting import connect, found
from .wishes import check_place

if TYPE_CHECKING:
    from ..stages.cast import Options


def commanded(options: Options, session: str) -> Iterator[StreamRecord]:
    """Has the device that `--to` names do what the options ask for, then tells how it is.

    Raises UsageError for a place past the end, Unavailable where the device plays nothing, does not answer or cannot do that.
    """
    device, kind = found(options.to, options.timeout)
    receiver = connect(device, kind, options.timeout)
    try:
        before = receiver.playback()
        yield Header(session, proto=PROTO, source=receiver.device.uri)
        plays = before.state not in ("idle", "ended", "stopped", "failed")
        if not plays and kind.pulls and (options.pause or options.resume or options.seek or options.stop):
            raise Unavailable(f"{receiver.device.name} plays nothing")
        seek_ms = parse_time("--seek", options.seek) if options.seek else None
        if seek_ms is not None:
            check_place("--seek", options.seek, seek_ms, before.duration_ms)
        if options.volume is not None:
            receiver.set_volume(options.volume / 100)
        if options.pause:
            receiver.pause()
        if options.resume:
            receiver.resume()
        if seek_ms is not None:
            receiver.seek(seek_ms)
        if options.stop:
            receiver.stop()
        playback = receiver.playback()
        counters = {
            name: value
            for name, value in (
                ("position_ms", playback.position_ms), ("duration_ms", playback.duration_ms), ("volume", playback.volume),
                *playback.counters,
            )
            if value is not None
        }  # fmt: skip
        what = f": {playback.title}" if playback.title and playback.state != "idle" else ""
        yield Status(
            session, stage=STAGE, state="completed", counters=counters,
            detail=f"{playback.state} on {receiver.device.name} ({receiver.device.kind}){what}",
        )  # fmt: skip
        yield Eos(session)
    finally:
        receiver.close()
