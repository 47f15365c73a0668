"""The media time of a live source whose own clock may jump, begin anew or be missing.

    source's clock   5.0 ── 9.0   │ lost │   0.0 ── 2.0 │ reset │ 7000.0 ──     pts
    media time       0.0 ── 4.0 ┄┄┄┄┄┄┄┄┄┄  7.5 ── 9.5 ┄┄┄┄┄┄┄   9.6 ──         what the records say

Media time 0 is the first packet. Within a connection the source's clock counts; where it has nothing to say (a reconnect, a
reset), the time of arrival does: the newest packet has just been said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ..records import AudioStream, Discontinuity, Packet
from .feeds import Break, same_sound

JUMP_S = 0.5
"""A packet further than this from where the last one ended is a jump; less is left to the decoder's timeline."""
_NEAR_S = 0.1
"""A jump is believed when the next packet follows it this nearly; a time that stands alone is damaged."""
_AHEAD_S = 1.0
"""A forward jump is missing media unless it goes further than this beyond what can have been said by now."""
_AHEAD_KEPT_S = 60.0
"""The same where media comes in blocks (segments), which may be well ahead of time."""
_NO_GAP_S = 0.25
"""Where only arrival tells the gap, less than this is its jitter."""
PAUSE_S = 1.0
"""A source whose times only count samples paused where nothing came for so long, unless what did not come then comes now."""
_PAUSE_LOOK_S = 0.3
START_S = 2.0
"""Media further behind the live edge than this is left out at the start."""
_VIDEO_FAR_S = 10.0
_JITTER_GAIN = 1 / 16
"""RFC 3550, section 6.4.1."""


@dataclass(frozen=True)
class Timed:
    """A packet and when it arrived, on the monotonic clock."""

    at_s: float
    packet: Packet

    @property
    def start_s(self) -> float | None:
        """On the source's clock."""
        packet = self.packet
        pts = packet.pts if packet.pts is not None else packet.dts
        return None if pts is None else pts * packet.time_base[0] / packet.time_base[1]

    @property
    def length_s(self) -> float:
        """How long it lasts, as far as the container says."""
        return self.packet.duration * self.packet.time_base[0] / self.packet.time_base[1]


class LiveTime:
    """Puts the packets of one live session on its timeline, and counts what is wrong with their clock."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self.counted = False
        """The source's times only count samples."""
        self._last_at_s: float | None = None
        self._after_pause: list[Timed] = []
        self._zero_s = 0.0
        self._offset_s = 0.0
        self._begun = False
        self._audio: AudioStream | None = None
        self._new_audio: AudioStream | None = None
        self._break: Break | None = None
        self._suspect: Timed | None = None
        self._last_start_s: float | None = None
        self._last: tuple[float, float] | None = None
        self.end_s = 0.0
        """Media time at which the audio so far ends."""
        self.jitter_s = 0.0
        self.discontinuities = 0
        self.dropped = 0
        """Packets left out: heard already, too old at the start, or video without a time."""

    def begin(self, audio: AudioStream, first: Sequence[Timed]) -> tuple[float, list[Timed]]:
        """The first packets of the session: returns the monotonic time of media time 0 and the packets that are kept."""
        self._audio = audio
        edge_s = _edge_s(first)
        kept = list(first)
        if edge_s is not None and not self._keeps:
            kept = [t for t in first if t.start_s is None or t.at_s - t.start_s - edge_s < START_S or not _is_audio(t)]
            self.dropped += len(first) - len(kept)
        start_s = next((t.start_s for t in kept if _is_audio(t) and t.start_s is not None), 0.0)
        self._offset_s = -start_s
        self._begun = True
        self._zero_s = (edge_s if edge_s is not None else (kept[0].at_s if kept else 0.0)) + start_s
        return self._zero_s, kept

    def reconnect(self, audio: AudioStream, first: Sequence[Timed]) -> None:
        """A new connection with these first packets: on the old clock where the source keeps what was not read."""
        self._last = self._last_at_s = None
        self._suspect = None
        self._new_audio = None if self._audio is not None and same_sound(audio, self._audio) else audio
        if self._keeps:
            if self._new_audio is not None:
                self._break = self._break or Break(reason="reconnect", gap_s=0.0, audio=audio)
            return
        edge_s = _edge_s(first)
        if edge_s is not None:
            self._offset_s = edge_s - self._zero_s
        self._break = Break(reason="reconnect", audio=self._new_audio)

    def interrupt(self, mark: Break) -> None:
        """The clock of what follows is another."""
        self._last = None
        earlier = self._break
        if earlier is not None and earlier.audio is not None and mark.audio is None:
            mark = Break(reason=mark.reason, gap_s=mark.gap_s, audio=earlier.audio)
        self._break = mark

    def lag_s(self, now_s: float) -> float:
        """How long ago the last sound was said."""
        return max(0.0, now_s - self._zero_s - self.end_s)

    def place(self, timed: Timed) -> Iterator[Packet | Discontinuity]:
        """A packet on the timeline, before it a discontinuity where there is one; a damaged time is corrected."""
        if not _is_audio(timed):
            yield from self._video(timed)
            return
        silent_s = 0.0 if self._last_at_s is None else timed.at_s - self._last_at_s
        self._last_at_s = timed.at_s
        if self._after_pause or (self.counted and self._break is None and silent_s > PAUSE_S):
            self._after_pause.append(timed)
            if timed.at_s - self._after_pause[0].at_s >= _PAUSE_LOOK_S:
                yield from self._pause_over()
            return
        yield from self._place(timed)

    def _pause_over(self) -> Iterator[Packet | Discontinuity]:
        """What came first after a silence: more than was said meanwhile is what was held up, else the source had paused."""
        held, self._after_pause = self._after_pause, []
        said_s = sum(timed.length_s for timed in held[1:])
        if said_s < 2 * (held[-1].at_s - held[0].at_s) + PAUSE_S / 2:
            self.interrupt(Break(reason="pause"))
        for timed in held:
            yield from self._place(timed)

    def _place(self, timed: Timed) -> Iterator[Packet | Discontinuity]:
        timed = self._without_repeated_time(timed)
        self._measure(timed)
        if self._break is not None:
            yield from self._after_break(timed)
            return
        if self._suspect is not None:
            suspect, self._suspect = self._suspect, None
            assert suspect.start_s is not None
            if timed.start_s is not None and abs(timed.start_s - suspect.start_s - suspect.length_s) <= _NEAR_S:
                yield from self._jump(suspect)
                yield self._put(timed, timed.start_s + self._offset_s)
                return
            yield self._put(suspect, self.end_s)
        start_s = None if timed.start_s is None else timed.start_s + self._offset_s
        if start_s is None:
            yield self._put(timed, self.end_s)
        elif abs(start_s - self.end_s) <= JUMP_S:
            yield self._put(timed, start_s)
        else:
            self._suspect = timed

    def _without_repeated_time(self, timed: Timed) -> Timed:
        """A muxer that does not know the time writes the same one again and again."""
        start_s, last_s = timed.start_s, self._last_start_s
        self._last_start_s = start_s
        if start_s is None or start_s != last_s:
            return timed
        return Timed(timed.at_s, msgspec.structs.replace(timed.packet, pts=None, dts=None))

    def flush(self) -> Iterator[Packet | Discontinuity]:
        """What is still held."""
        if self._after_pause:
            yield from self._pause_over()
        if self._suspect is not None:
            suspect, self._suspect = self._suspect, None
            yield self._put(suspect, self.end_s)

    def _video(self, timed: Timed) -> Iterator[Packet]:
        start_s = None if timed.start_s is None else timed.start_s + self._offset_s
        if self._break is not None or (start_s is not None and abs(start_s - self.end_s) > _VIDEO_FAR_S):
            self.dropped += 1
        else:
            yield self._moved(timed, self._offset_s)

    def _after_break(self, timed: Timed) -> Iterator[Packet | Discontinuity]:
        mark = self._break
        assert mark is not None
        if timed.start_s is None:
            start_s = self._by_arrival_s(timed) if mark.gap_s is None else self.end_s + mark.gap_s
        elif mark.reason == "reconnect" and mark.gap_s is None:
            start_s = timed.start_s + self._offset_s
            if start_s + timed.length_s / 2 < self.end_s:
                self.dropped += 1  # heard already, before the connection broke
                return
            start_s = max(start_s, self.end_s)
        else:
            start_s = self._by_arrival_s(timed) if mark.gap_s is None else self.end_s + mark.gap_s
            self._offset_s = start_s - timed.start_s
        self._break = None
        yield self._discontinuity(start_s - self.end_s, mark.reason, mark.audio)
        yield self._put(timed, start_s)

    def _jump(self, timed: Timed) -> Iterator[Packet | Discontinuity]:
        """The clock has jumped: media is missing where that fits the time of arrival, else the clock began anew."""
        assert timed.start_s is not None
        start_s = timed.start_s + self._offset_s
        ahead_s = start_s + timed.length_s - (timed.at_s - self._zero_s)
        reason = "gap"
        if start_s < self.end_s or ahead_s > (_AHEAD_KEPT_S if self._keeps else _AHEAD_S):
            reason = "clock"
            start_s = self.end_s if self._keeps else self._by_arrival_s(timed)
            self._offset_s = start_s - timed.start_s
        yield self._discontinuity(start_s - self.end_s, reason, None)
        yield self._put(timed, start_s)

    def _by_arrival_s(self, timed: Timed) -> float:
        start_s = timed.at_s - self._zero_s - timed.length_s
        return start_s if start_s - self.end_s >= _NO_GAP_S else self.end_s

    def _discontinuity(self, gap_s: float, reason: str, audio: AudioStream | None) -> Discontinuity:
        self.discontinuities += 1
        if audio is not None:
            self._audio = audio
        return Discontinuity("", at_ms=round(self.end_s * 1000), gap_ms=round(gap_s * 1000), reason=reason, audio=audio)

    def _put(self, timed: Timed, start_s: float) -> Packet:
        offset_s = self._offset_s if timed.start_s is None else start_s - timed.start_s
        self.end_s = max(self.end_s, start_s + timed.length_s)
        if timed.start_s is None:
            base = timed.packet.time_base
            return msgspec.structs.replace(timed.packet, pts=round(start_s * base[1] / base[0]), dts=None)
        return self._moved(timed, offset_s)

    def _moved(self, timed: Timed, offset_s: float) -> Packet:
        packet = timed.packet
        ticks = round(offset_s * packet.time_base[1] / packet.time_base[0])
        pts = None if packet.pts is None else packet.pts + ticks
        dts = None if packet.dts is None else packet.dts + ticks
        return msgspec.structs.replace(packet, pts=pts, dts=dts)

    def _measure(self, timed: Timed) -> None:
        if timed.start_s is None:
            return
        transit_s = timed.at_s - timed.start_s
        if self._last is not None and abs(timed.start_s - self._last[1]) <= JUMP_S:
            self.jitter_s += (abs(transit_s - self._last[0]) - self.jitter_s) * _JITTER_GAIN
        self._last = (transit_s, timed.start_s)


def _is_audio(timed: Timed) -> bool:
    return timed.packet.stream == "audio"


def _edge_s(first: Sequence[Timed]) -> float | None:
    """Monotonic time of the source's time 0, if the newest of these packets had just been said when it arrived."""
    ends = [t.at_s - t.start_s - t.length_s for t in first if _is_audio(t) and t.start_s is not None]
    return min(ends) if ends else None
