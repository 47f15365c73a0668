"""Packets of the input copied into a presentation: their times made fit for a container, and the lane that they wait in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import msgspec

from ..dubbing.spool import Spool
from ..records import Eos, Error, Packet
from .tracks import Track, Unit

_CLOCK_RESET_S = 10.0
"""A jump back that is longer is a clock that was set anew, and the track goes on where it was; as `normalize` has it."""
_MOST_WITHOUT_DTS = 32
"""Packets at the start of a video that may lack a decoding time: no codec reorders more."""


class Times:
    """The times of one copied stream made fit for a container: all there, dts rising and never later than pts.

    Times are otherwise those of the input, `start_ms` earlier.
    """

    def __init__(self, start_ms: int = 0) -> None:
        self._start_ms = start_ms
        self._offset: int | None = None
        self._last_dts: int | None = None
        self._end = 0
        self._without: list[Packet] = []

    def place(self, packet: Packet) -> Iterator[Packet]:
        """The packet, and those before it that waited for a time."""
        if packet.dts is None and packet.stream == "video" and packet.pts is not None:
            self._without.append(packet)
            if self._last_dts is None and len(self._without) < _MOST_WITHOUT_DTS:
                return
        yield from self.flush(packet.dts)
        if packet.dts is not None or packet.stream == "audio" or packet.pts is None:
            yield self._placed(packet, packet.dts if packet.dts is not None else packet.pts)

    def flush(self, before: int | None = None) -> Iterator[Packet]:
        """The packets that wait for a time, which comes before `before`."""
        waiting, self._without = self._without, []
        for at, packet in enumerate(waiting):
            dts = self._end
            if self._last_dts is None:
                assert packet.pts is not None
                first = before if before is not None else min(one.pts or 0 for one in waiting) + 1
                dts = first - sum(max(1, one.duration) for one in waiting[at:])
            yield self._placed(packet, dts, raw=self._last_dts is None)

    def _placed(self, packet: Packet, dts: int | None, *, raw: bool = True) -> Packet:
        numerator, denominator = packet.time_base
        if self._offset is None:
            self._offset = -round(self._start_ms * denominator / (1000 * numerator))
        if dts is None:
            dts, raw = self._end, False
        reordering = max(0, packet.pts - dts) if packet.pts is not None and raw else 0
        if raw:
            dts += self._offset
        if self._last_dts is not None:
            back_s = (self._last_dts - dts) * numerator / denominator
            if back_s > _CLOCK_RESET_S:
                self._offset += self._end - dts
                dts = self._end
            dts = max(dts, self._last_dts + 1)
        pts = packet.pts + self._offset if packet.pts is not None else dts + reordering
        self._last_dts = dts
        self._end = dts + max(1, packet.duration)
        return msgspec.structs.replace(packet, pts=max(pts, dts), dts=dts)


class CopiedLane:
    """A `lanes.Lane` of packets as they came, waiting in a spool."""

    def __init__(self, track: Track, start_ms: int = 0, end_ms: int | None = None) -> None:
        self.track = track
        self._times = Times(start_ms)
        self._cut = start_ms > 0
        self._before_start: list[Packet] = []
        """Of a kept part: the packets since the last video keyframe before it, from which decoding begins."""
        self._length_s = math.inf if end_ms is None else (end_ms - start_ms) / 1000
        self._spool = Spool()
        self._head: Packet | None = None
        self._tick_s = track.time_base[0] / track.time_base[1]
        self._reached_s = -math.inf

    def feed(self, packet: Packet) -> None:
        """Takes a packet."""
        for placed in self._times.place(packet):
            self._put(placed)

    def _put(self, packet: Packet) -> None:
        assert packet.dts is not None
        assert packet.pts is not None
        tick_s = packet.time_base[0] / packet.time_base[1]
        if packet.dts * tick_s >= self._length_s:
            return
        if self._cut and packet.pts * tick_s < 0:
            if packet.stream == "video":
                self._before_start = [packet] if packet.keyframe else [*self._before_start, packet]
            return
        if packet.keyframe and packet.pts <= 0:
            self._before_start.clear()
        for waiting in (*self._before_start, packet):
            self._spool.append(waiting)
        self._before_start.clear()
        self._cut = False
        self._reached_s = max(self._reached_s, packet.dts * tick_s)

    def first(self) -> Packet | None:
        """The first packet, where it has come."""
        if self._head is None:
            record = self._spool.pop()
            assert record is None or isinstance(record, Packet)
            self._head = record
        return self._head

    def align(self) -> None:
        """Puts the padding before the sound into the track, where the first packet has some.

        A container whose clock is coarser than the sound's has rounded the padding; here it is exact, to the sample.
        """
        head, rate = self.first(), self.track.sample_rate_hz
        if head is None or head.skip_samples is None or not head.skip_samples[0] or not rate:
            return
        padding = head.skip_samples[0]
        self.track = replace(self.track, padding_samples=padding)
        if self._tick_s * rate > 1:
            assert head.pts is not None
            self.track = replace(self.track, time_base=(1, rate))
            if abs(head.pts * self._tick_s + padding / rate) <= self._tick_s:
                self._head = msgspec.structs.replace(head, pts=-padding, dts=-padding, time_base=(1, rate))
            self._tick_s = 1 / rate

    def peek(self) -> float | None:
        """See `Lane`."""
        head = self.first()
        if head is None:
            return None
        assert head.dts is not None
        return head.dts * head.time_base[0] / head.time_base[1]

    def take(self) -> Unit:
        """See `Lane`."""
        head, self._head = self._head, None
        assert head is not None
        assert head.pts is not None
        assert head.dts is not None
        pts, dts, duration = head.pts, head.dts, head.duration
        if head.time_base != self.track.time_base:
            ratio = Fraction(*head.time_base) / Fraction(*self.track.time_base)
            pts, dts, duration = round(pts * ratio), round(dts * ratio), round(duration * ratio)
        return Unit(
            track=self.track, pts=pts, dts=dts, duration=duration, data=head.data, keyframe=head.keyframe,
            skip_samples=head.skip_samples,
        )  # fmt: skip

    def settled_s(self) -> float:
        """See `Lane`."""
        return self._reached_s

    def settle(self, until_ms: int) -> None:
        """See `Lane`."""
        self._reached_s = max(self._reached_s, until_ms / 1000)

    def finish(self, end: Eos | Error, duration_ms: int) -> None:
        """See `Lane`."""
        for placed in self._times.flush():
            self._put(placed)
        self._reached_s = math.inf

    def close(self) -> None:
        """See `Lane`."""
        self._spool.close()
