"""The tracks of a presentation while it is joined: each gives its units in order and says how far it is decided."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Protocol

import msgspec
import numpy as np

from ..captions.session import Captioning
from ..dubbing.audiofile import SAMPLE_RATE_HZ, Block
from ..dubbing.bed import OriginalSound
from ..dubbing.spool import Spool
from ..dubbing.track import Bed, DubTrack
from ..dubbing.waveform import from_s16, resampled
from ..records import Cue, Eos, Error, Packet, Speech, StreamRecord
from .encoding import SoundEncoder
from .tracks import Track, Unit

_STEP = SAMPLE_RATE_HZ
"""Samples encoded at a time."""
_FEW = 24
"""Units, half a second: with fewer left the next step is begun."""
_CLOCK_RESET_S = 10.0
"""A jump back that is longer is a clock that was set anew, and the track goes on where it was; as `normalize` has it."""
_READ_MS = 1000
"""A late caption of which no more would be seen is shown later instead."""
_MOST_WITHOUT_DTS = 32
"""Packets at the start of a video that may lack a decoding time: no codec reorders more."""


class Lane(Protocol):
    """One track while it is joined."""

    track: Track

    def peek(self) -> float | None:
        """When the next unit is to be decoded, in seconds; None where it is not known yet or there is none."""

    def take(self) -> Unit:
        """The next unit; only after `peek` gave its time."""

    def settled_s(self) -> float:
        """No unit that `peek` does not know yet comes before this time."""

    def settle(self, until_ms: int) -> None:
        """What is still to come begins at `until_ms` or later."""

    def finish(self, end: Eos | Error, duration_ms: int) -> None:
        """Nothing more will come."""

    def close(self) -> None:
        """Frees what waits."""


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
    """Packets as they came, waiting in a spool."""

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


class Padded:
    """A bed that goes on in silence where it is declared that its sound will not come in time; what comes later is left out."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._position = 0
        self._owed = 0
        """Samples that were given as silence and are still to be taken from the bed."""
        self.until = 0
        """Up to this sample it does not wait."""

    def read(self, count: int, *, last: bool) -> Block:
        """See `Bed`."""
        while self._owed:
            skipped = self._bed.read(min(self._owed, _STEP), last=last).shape[1]
            if not skipped:
                break
            self._owed -= skipped
        block = np.zeros((2, 0), np.float32) if self._owed else self._bed.read(count, last=last)
        missing = min(count, self.until - self._position) - block.shape[1]
        if missing > 0:
            block = np.concatenate((block, np.zeros((2, missing), np.float32)), axis=1)
            self._owed += missing
        self._position += block.shape[1]
        return block


class SoundLane:
    """An original that is decoded and encoded anew: 48 kHz, mono or stereo, from media time 0."""

    def __init__(self, encoder: SoundEncoder, sound: OriginalSound, start_ms: int = 0) -> None:
        self.track = encoder.track
        self._encoder = encoder
        self._sound = sound
        self._bed = Padded(_after(sound, start_ms))
        self._end: int | None = None
        self._done = False

    def peek(self) -> float | None:
        """See `Lane`."""
        return _peek(self._encoder, self._produce)

    def _produce(self) -> bool:
        """Encodes the next second; whether there was anything to do."""
        if self._done:
            return False
        count = _STEP if self._end is None else min(_STEP, self._end - self._encoder.written)
        block = self._bed.read(count, last=self._end is not None) if count > 0 else None
        if block is not None and block.shape[1]:
            self._encoder.write(block[: self.track.channels])  # mono is there twice
        elif self._end is not None:
            self._encoder.finish()
            self._done = True
        else:
            return False
        return True

    def take(self) -> Unit:
        """See `Lane`."""
        return self._encoder.ready().popleft()

    def settled_s(self) -> float:
        """See `Lane`."""
        return math.inf if self._done else self._encoder.next_s

    def settle(self, until_ms: int) -> None:
        """See `Lane`."""
        self._bed.until = max(self._bed.until, until_ms * SAMPLE_RATE_HZ // 1000)

    def finish(self, end: Eos | Error, duration_ms: int) -> None:
        """See `Lane`."""
        self._end = duration_ms * SAMPLE_RATE_HZ // 1000

    def close(self) -> None:
        """See `Lane`."""
        self._encoder.close()
        self._sound.close()


class DubLane:
    """Speech on the media's timeline, alone or with the original."""

    def __init__(
        self, encoder: SoundEncoder, sound: OriginalSound | None, counters: dict[str, int], start_ms: int = 0, *,
        mix: str, keep_side: str, duck_db: float, live: bool,
    ) -> None:  # fmt: skip
        self.track = encoder.track
        self._encoder = encoder
        self._sound = sound
        self._bed = None if sound is None else Padded(_after(sound, start_ms))
        self._dub = DubTrack([encoder], self._bed, duck_db, mix=mix, keep_side=keep_side, live=live)
        self._counters = counters
        self._start_ms = start_ms
        self._settled_ms = 0
        self._free_ms = 0
        self._advanced_ms = 0
        self._end_ms: int | None = None
        self._done = False

    def speak(self, speech: Speech) -> int:
        """Places speech at its time or as soon after as it can be; returns when it ends."""
        wanted_ms = speech.start_ms - self._start_ms
        start_ms = max(wanted_ms, self._settled_ms, self._free_ms, 0)
        samples = resampled(from_s16(speech.data), speech.sample_rate_hz, SAMPLE_RATE_HZ)
        self._free_ms = start_ms + -(-len(samples) * 1000 // SAMPLE_RATE_HZ)
        self._dub.add(start_ms, samples)
        self._counters["speech"] += 1
        if start_ms > wanted_ms:
            self._counters["late_speech"] += 1
            self._counters["worst_late_ms"] = max(self._counters["worst_late_ms"], start_ms - wanted_ms)
        return self._free_ms

    def peek(self) -> float | None:
        """See `Lane`."""
        return _peek(self._encoder, self._produce)

    def _produce(self) -> bool:
        """Mixes the next second; whether there was anything to do."""
        if self._done:
            return False
        goal_ms = self._settled_ms if self._end_ms is None else self._end_ms
        if self._advanced_ms < goal_ms:
            self._advanced_ms = min(goal_ms, self._advanced_ms + 1000)
            self._dub.advance(self._advanced_ms)
        elif self._end_ms is not None:
            self._dub.finish(self._end_ms)
            self._encoder.finish()
            self._done = True
        else:
            before = self._encoder.written
            self._dub.advance(goal_ms)  # the sound under it may have come by now
            return self._encoder.written > before
        return True

    def take(self) -> Unit:
        """See `Lane`."""
        return self._encoder.ready().popleft()

    def settled_s(self) -> float:
        """See `Lane`."""
        return math.inf if self._done else self._encoder.next_s

    def settle(self, until_ms: int) -> None:
        """See `Lane`."""
        self._settled_ms = max(self._settled_ms, until_ms)
        if self._bed is not None:
            self._bed.until = max(self._bed.until, until_ms * SAMPLE_RATE_HZ // 1000)

    def finish(self, end: Eos | Error, duration_ms: int) -> None:
        """See `Lane`."""
        self._end_ms = max(duration_ms, self._free_ms)

    def close(self) -> None:
        """See `Lane`."""
        self._encoder.close()
        if self._sound is not None:
            self._sound.close()


class CaptionLane:
    """Captions of one language: text laid out as `subtitle` does it, or cues that were laid out upstream."""

    def __init__(self, track: Track, captioning: Captioning, counters: dict[str, int], start_ms: int = 0) -> None:
        self.track = track
        self._captioning = captioning
        self._counters = counters
        self._start_ms = start_ms
        self._units: deque[Unit] = deque()
        self._cue: Cue | None = None
        self._settled_ms = 0
        self._free_ms = 0
        """When the last caption that was late ends: two are never shown at once."""
        self._finished = False
        self.shown = False
        """Whether text of it has come."""

    def feed(self, record: StreamRecord, *, own: bool = True) -> None:
        """Takes a transcript, a translation or a cue; not `own`: the original of what will come translated."""
        self.shown = self.shown or own
        if isinstance(record, Cue):
            if self._cue is not None and self._cue.id != record.id:
                self._add(self._cue)
            self._cue = None if record.op == "remove" else record
        else:
            self._add_all(self._captioning.feed(record))

    def _add_all(self, records: Iterable[StreamRecord]) -> None:
        for record in records:
            if isinstance(record, Cue):
                self._add(record)

    def _add(self, cue: Cue) -> None:
        start_ms, end_ms = cue.start_ms - self._start_ms, cue.end_ms - self._start_ms
        if end_ms <= 0:  # before the kept part
            return
        start_ms = max(start_ms, 0)
        free_ms = max(self._settled_ms, self._free_ms)
        if start_ms < free_ms:
            if end_ms - free_ms >= min(end_ms - start_ms, _READ_MS):
                self._counters["clipped_captions"] += 1
            else:  # nobody could read what is left of it
                self._counters["late_captions"] += 1
                self._free_ms = end_ms = free_ms + end_ms - start_ms
            start_ms = free_ms
        self._counters["captions"] += 1
        lines = tuple(line for line in cue.lines if line.strip())
        if lines:
            self._units.append(
                Unit(
                    track=self.track, pts=start_ms, dts=start_ms, duration=max(1, end_ms - start_ms), lines=lines,
                    keyframe=True,
                )
            )  # fmt: skip
            self._settled_ms = start_ms

    def peek(self) -> float | None:
        """See `Lane`."""
        return self._units[0].dts / 1000 if self._units else None

    def take(self) -> Unit:
        """See `Lane`."""
        return self._units.popleft()

    def settled_s(self) -> float:
        """See `Lane`."""
        if self._finished:
            return math.inf
        # A cue that may yet be updated has begun already.
        certain_ms = self._captioning.settled_ms if self._cue is None else self._cue.start_ms
        self._settled_ms = max(self._settled_ms, certain_ms - self._start_ms)
        return self._settled_ms / 1000

    def settle(self, until_ms: int) -> None:
        """See `Lane`."""
        if self._captioning.settled_ms - self._start_ms < until_ms:
            self._add_all(self._captioning.cut())
        if self._cue is not None and self._cue.start_ms - self._start_ms < until_ms:
            cue, self._cue = self._cue, None
            self._add(cue)
        self._settled_ms = max(self._settled_ms, until_ms)

    def finish(self, end: Eos | Error, duration_ms: int) -> None:
        """See `Lane`."""
        self._add_all(self._captioning.finish(end))
        if self._cue is not None:
            self._add(self._cue)
        self._finished = True

    def close(self) -> None:
        """See `Lane`."""


def _peek(encoder: SoundEncoder, produce: Callable[[], bool]) -> float | None:
    """When an encoder's next unit is to be decoded; while that is written the encoder works on what comes after it."""
    while True:
        units = encoder.ready()
        if encoder.is_busy or len(units) >= _FEW or not produce():
            break
    return _dts_s(units[0]) if units else None


def _dts_s(unit: Unit) -> float:
    return unit.dts * unit.track.time_base[0] / unit.track.time_base[1]


def _after(sound: OriginalSound, start_ms: int) -> Bed:
    """The sound from `start_ms` on."""
    left = start_ms * SAMPLE_RATE_HZ // 1000
    while left:
        left -= sound.read(min(left, _STEP), last=False).shape[1]
    return sound
