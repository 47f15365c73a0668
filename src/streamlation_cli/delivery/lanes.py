"""The tracks of a presentation while it is joined: each gives its units in order and says how far it is decided.

Those whose units are made here: sound that is encoded, captions that are laid out. Copied ones are in `copying`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from ..captions.session import Captioning
from ..dubbing.audiofile import SAMPLE_RATE_HZ, Block
from ..dubbing.bed import OriginalSound
from ..dubbing.track import Bed, DubTrack
from ..dubbing.waveform import from_s16, resampled
from ..records import Cue, Eos, Error, Speech, StreamRecord
from .encoding import SoundEncoder
from .tracks import Track, Unit

_STEP = SAMPLE_RATE_HZ
"""Samples encoded at a time."""
_FEW = 24
"""Units, half a second: with fewer left the next step is begun."""
_READ_MS = 1000
"""A late caption of which no more would be seen is shown later instead."""


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
