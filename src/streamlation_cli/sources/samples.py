"""Raw samples as a live source: read a few times a second, however often they are written.

A source writes every 10 or 20 ms, and to take that costs nearly as much as to take ten times as much.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Mapping

from ..records import AudioStream, Packet
from .container import describe_audio
from .demuxed import Bytes
from .feeds import Break
from .reading import TOGETHER_S

_LONGEST_S = 0.25
"""Of a packet, where more is there."""
_AHEAD_S = 5.0
"""A source that has given so much more than the time that went by is none that speaks now, and is read as fast as it gives."""


class SamplesFeed:
    """A `Feed` of raw samples; `source` needs no demuxer."""

    video = None
    counted = True

    def __init__(self, source: Bytes, *, format: str, options: Mapping[str, str]) -> None:
        """`format` and `options` as FFmpeg's demuxer takes them (see `raw`)."""
        self._source = source
        self._closed = threading.Event()
        self.audio = _described(format, options)

    def packets(self) -> Iterator[Packet | Break]:
        """As `Feed` says."""
        rate = self.audio.sample_rate_hz
        size = self.audio.bit_rate // (8 * rate)  # of a sample in all channels
        most = round(rate * _LONGEST_S) * size
        at, held = 0, b""
        begun_s = time.monotonic()
        while not self._closed.is_set() and (data := self._source.read(most)):
            held += data
            count = len(held) // size
            if count:
                whole, held = held[: count * size], held[count * size :]
                yield Packet("", seq=0, stream="audio", pts=at, dts=at, duration=count, time_base=(1, rate), data=whole)
                at += count
            if len(data) < most and at / rate < time.monotonic() - begun_s + _AHEAD_S:
                self._closed.wait(TOGETHER_S)
        if self._source.failure is not None and not self._closed.is_set():
            raise self._source.failure

    def close(self) -> None:
        """As `Feed` says."""
        self._closed.set()
        self._source.close()


def _described(format: str, options: Mapping[str, str]) -> AudioStream:
    """What FFmpeg says of samples of this format."""
    import av

    with av.open(io.BytesIO(), format=format, options=dict(options)) as nothing:
        return describe_audio(nothing.streams.audio[0])
