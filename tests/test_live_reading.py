"""The reader, its buffer and the timeline of live sources, with clocks that the tests turn."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlation_cli.errors import InputMissing, TryAgain, Unavailable
from streamlation_cli.records import AudioStream, Discontinuity, Packet, VideoStream
from streamlation_cli.sources.backoff import Backoff
from streamlation_cli.sources.feeds import Break, Feed, Lost, same_sound
from streamlation_cli.sources.livetime import LiveTime, Timed
from streamlation_cli.sources.reading import MAX_AGE_S, Arrived, Buffer, Connected, Disconnected, Ended, Reader

AAC = AudioStream(codec="aac", sample_rate_hz=48000, channels=2)
MP2 = AudioStream(codec="mp2", sample_rate_hz=44100, channels=2)


def packet(pts_s: float | None, length_s: float = 0.1, stream: Any = "audio") -> Packet:
    pts = None if pts_s is None else round(pts_s * 1000)
    return Packet(
        "", seq=0, stream=stream, pts=pts, dts=pts, duration=round(length_s * 1000), time_base=(1, 1000), data=b"x" * 100
    )  # fmt: skip


def timed(at_s: float, pts_s: float | None, length_s: float = 0.1, stream: str = "audio") -> Timed:
    return Timed(at_s, packet(pts_s, length_s, stream))


class Line:
    """A `LiveTime` and what it made of what came."""

    def __init__(self, *, keeps: bool = False, counted: bool = False) -> None:
        self.time = LiveTime(keeps=keeps)
        self.time.counted = counted
        self.out: list[Packet | Discontinuity] = []

    def begin(self, at_s: float, pts_s: float) -> None:
        first = timed(at_s, pts_s)
        self.time.begin(AAC, [first])
        self.out += self.time.place(first)

    def come(self, at_s: float, *pts_s: float | None) -> None:
        for one in pts_s:
            self.out += self.time.place(timed(at_s, one))

    @property
    def starts_ms(self) -> list[int | None]:
        return [one.pts for one in self.out if isinstance(one, Packet)]

    @property
    def breaks(self) -> list[tuple[int, int, str]]:
        return [(one.at_ms, one.gap_ms, one.reason) for one in self.out if isinstance(one, Discontinuity)]


def test_media_time_begins_with_the_first_packet() -> None:
    line = Line()
    line.begin(50.0, 7000.0)
    line.come(50.1, 7000.1)
    assert line.starts_ms == [0, 100]
    assert line.time.lag_s(50.1) == pytest.approx(0.0)
    assert line.time.lag_s(51.1) == pytest.approx(1.0)


def test_what_lies_far_behind_the_live_edge_at_the_start_is_left_out() -> None:
    burst = [timed(10.0, number / 10) for number in range(50)]
    line = Line()
    zero_s, kept = line.time.begin(AAC, burst)
    assert kept[0].start_s == pytest.approx(3.0, abs=0.11)
    assert zero_s == pytest.approx(8.0, abs=0.11)  # the newest, just said, ends at media time 2 s


def test_a_source_that_keeps_what_was_not_read_loses_nothing_at_the_start() -> None:
    burst = [timed(10.0, number / 10) for number in range(50)]
    zero_s, kept = LiveTime(keeps=True).begin(AAC, burst)
    assert len(kept) == 50
    assert zero_s == pytest.approx(5.0)


def test_a_hole_in_the_sources_clock_is_a_gap() -> None:
    line = Line()
    line.begin(50.0, 0.0)
    line.come(53.0, 3.0)
    line.come(53.1, 3.1)
    assert line.breaks == [(100, 2900, "gap")]
    assert line.starts_ms == [0, 3000, 3100]


def test_a_clock_that_begins_anew_goes_on_by_the_time_of_arrival() -> None:
    for new_s in (0.0, 9000.0):
        line = Line()
        line.begin(50.0, 100.0)
        line.come(52.1, new_s)
        line.come(52.2, new_s + 0.1)
        assert line.breaks == [(100, 2000, "clock")]
        assert line.starts_ms == [0, 2100, 2200]


def test_a_clock_that_begins_anew_in_a_source_that_keeps_goes_on_at_once() -> None:
    line = Line(keeps=True)
    line.begin(50.0, 100.0)
    line.come(55.0, 1.0, 1.1)
    assert line.breaks == [(100, 0, "clock")]
    assert line.starts_ms == [0, 100, 200]


def test_one_damaged_time_is_no_jump() -> None:
    line = Line()
    line.begin(50.0, 0.0)
    line.come(50.1, 9000.0)
    assert line.starts_ms == [0]
    line.come(50.2, 0.2)
    assert line.breaks == []
    assert line.starts_ms == [0, 100, 200]


def test_a_damaged_time_at_the_end_is_not_lost() -> None:
    line = Line()
    line.begin(50.0, 0.0)
    line.come(50.1, 9000.0)
    line.out += line.time.flush()
    assert line.starts_ms == [0, 100]


def test_packets_without_times_and_with_the_same_time_follow_each_other() -> None:
    line = Line()
    line.begin(50.0, 0.0)
    line.come(50.3, None, 0.2, 0.2, None)
    assert line.starts_ms == [0, 100, 200, 300, 400]


def test_after_a_reconnect_time_goes_on_by_the_wall_clock() -> None:
    line = Line()
    line.begin(50.0, 100.0)  # ends at media time 0.1 s
    burst = [timed(60.0, 5 + number / 10) for number in range(3)]
    line.time.reconnect(AAC, burst)
    for one in burst:
        line.out += line.time.place(one)
    # The newest of them has just been said: it ends at 10.1 s.
    assert line.starts_ms == [0, 9800, 9900, 10000]
    assert line.breaks == [(100, 9700, "reconnect")]


def test_what_a_burst_repeats_is_left_out() -> None:
    line = Line()
    line.begin(50.0, 100.0)
    for number in range(1, 20):
        line.come(50.0 + number / 10, 100 + number / 10)
    # It broke at media time 2 s; the server, back at 3 s, sends the last 2.5 s.
    burst = [timed(52.9, number / 10) for number in range(25)]
    line.time.reconnect(AAC, burst)
    for one in burst:
        line.out += line.time.place(one)
    assert line.time.dropped == 15
    assert line.breaks == [(2000, 0, "reconnect")]
    assert line.starts_ms == [number * 100 for number in range(30)]


def test_a_source_that_keeps_goes_on_where_it_was() -> None:
    line = Line(keeps=True)
    line.begin(50.0, 100.0)
    line.time.reconnect(AAC, ())
    line.come(58.0, 100.1, 100.2)
    assert line.breaks == []
    assert line.starts_ms == [0, 100, 200]


def test_another_kind_of_audio_is_told() -> None:
    line = Line(keeps=True)
    line.begin(50.0, 100.0)
    line.time.reconnect(MP2, ())
    line.come(51.0, 100.1)
    (mark,) = [one for one in line.out if isinstance(one, Discontinuity)]
    assert (mark.gap_ms, mark.audio) == (0, MP2)


def test_measured_bit_rates_are_no_other_kind_of_audio() -> None:
    assert same_sound(
        AAC, AudioStream(codec="aac", sample_rate_hz=48000, channels=2, bit_rate=5, index=3, language="en")
    )
    assert not same_sound(AAC, MP2)


def test_a_break_with_a_known_gap() -> None:
    line = Line(keeps=True)
    line.begin(50.0, 100.0)
    line.time.interrupt(Break(reason="lost", gap_s=4.0, audio=MP2))
    line.come(51.0, 3.0, 3.1)
    assert line.breaks == [(100, 4000, "lost")]
    assert line.starts_ms == [0, 4100, 4200]


def test_a_pause_of_a_source_that_only_counts_samples() -> None:
    line = Line(counted=True)
    line.begin(50.0, 0.0)
    for number in range(1, 5):
        line.come(53.0 + number / 10, number / 10)
    line.out += line.time.flush()
    assert line.breaks == [(100, 3000, "pause")]
    assert line.starts_ms == [0, 3100, 3200, 3300, 3400]


def test_what_was_held_up_on_its_way_is_no_pause() -> None:
    line = Line(counted=True)
    line.begin(50.0, 0.0)
    for number in range(1, 31):
        line.come(53.0 + number / 300, number / 10)
    for number in range(31, 36):
        line.come(53.1 + (number - 31) / 10, number / 10)
    line.out += line.time.flush()
    assert line.breaks == []
    assert line.starts_ms == [number * 100 for number in range(36)]


def test_video_goes_with_the_sound() -> None:
    line = Line()
    line.begin(50.0, 100.0)
    line.out += line.time.place(timed(50.0, 100.05, stream="video"))
    line.out += line.time.place(timed(50.0, 9000.0, stream="video"))
    assert [one.pts for one in line.out if isinstance(one, Packet)] == [0, 50]
    assert line.time.dropped == 1


def test_jitter_is_that_of_rfc_3550() -> None:
    line = Line()
    line.begin(50.0, 0.0)
    expected = 0.0
    for number in range(1, 100):
        late_s = 0.04 if number % 2 else 0.0
        line.come(50.0 + number / 10 + late_s, number / 10)
        expected += (0.04 - expected) / 16
    assert line.time.jitter_s == pytest.approx(expected, rel=0.01)


# The buffer


def test_a_buffer_of_a_source_that_does_not_wait_drops_the_oldest_packets_only() -> None:
    buffer = Buffer(waits=False)
    buffer.put(Arrived(0.0, Connected(AAC, None, False)))
    for second in range(100):
        buffer.put(Arrived(float(second), packet(second)))
    assert buffer.dropped == 99 - MAX_AGE_S
    first = buffer.take(0)
    assert first is not None
    assert isinstance(first.item, Connected)
    second = buffer.take(0)
    assert second is not None
    assert second.at_s == 99 - MAX_AGE_S


def test_a_buffer_of_a_source_that_waits_makes_it_wait() -> None:
    buffer = Buffer(waits=True)
    big = Packet("", seq=0, stream="audio", pts=0, dts=0, duration=1, time_base=(1, 1), data=bytes(5 << 20))
    buffer.put(Arrived(0.0, big))
    thread = threading.Thread(target=buffer.put, args=(Arrived(1e9, big),))
    thread.start()
    assert buffer.take(1) is not None
    thread.join(5)
    assert not thread.is_alive()
    assert buffer.dropped == 0
    blocked = threading.Thread(target=buffer.put, args=(Arrived(0.0, big),))
    blocked.start()
    buffer.cancel()
    blocked.join(5)
    assert not blocked.is_alive()


@pytest.mark.timed
def test_short_packets_are_taken_together_and_what_is_none_at_once() -> None:
    buffer = Buffer(waits=False)
    stop = threading.Event()

    def read() -> None:
        for number in range(100):
            buffer.put(Arrived(time.monotonic(), packet(number / 100, 0.01)))
            stop.wait(0.01)
        buffer.put(Arrived(time.monotonic(), Ended()))

    thread = threading.Thread(target=read)
    thread.start()
    waits = late_s = 0.0
    while True:
        begun_s = time.monotonic()
        arrived = buffer.take(5.0)
        now_s = time.monotonic()
        waits += now_s - begun_s > 0.002
        if arrived is None:
            continue
        late_s = max(late_s, now_s - arrived.at_s)
        if isinstance(arrived.item, Ended):
            break
    thread.join()
    assert waits <= 16
    assert late_s < 0.2
    assert now_s - arrived.at_s < 0.05


# The reader


class Scripted:
    """A `Connector` whose connections go as the test says: what each gives, and how it ends."""

    name = "test://source"

    def __init__(self, *script: Any, keeps: bool = False, listens: bool = False) -> None:
        self.keeps = keeps
        self.listens = listens
        self.connects = 0
        self._script = iter(script)

    def connect(self) -> Feed:
        self.connects += 1
        what = next(self._script, None)
        if what is None:
            raise Lost("nobody there")
        if isinstance(what, Exception):
            raise what
        return _Scripted(what)

    def cancel(self) -> None:
        pass


class _Scripted:
    audio = AAC
    video: VideoStream | None = None
    counted = False

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self.closed = False

    def packets(self) -> Iterator[Packet | Break]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        self.closed = True


def read(connector: Scripted, *, retry: float = 3) -> tuple[list[Any], list[float]]:
    """What the reader put into its buffer, and how long it waited in between; it waits on no real clock."""
    waits: list[float] = []

    class Counting(Backoff):
        def next_s(self) -> float:
            waits.append(super().next_s())
            return 0.0

    reader = Reader(connector, retry=retry, backoff=Counting(2.0, random=lambda: 1.0))
    reader.start()
    items: list[Any] = []
    while not items or not isinstance(items[-1], Ended):
        arrived = reader.buffer.take(5)
        assert arrived is not None
        items.append(arrived.item)
    reader.close()
    return items, waits


def kinds(items: list[Any]) -> list[type]:
    return [type(item) for item in items]


def test_a_source_that_breaks_off_is_connected_to_again() -> None:
    items, waits = read(Scripted([packet(0), Lost("reset")], [packet(0)]))
    assert kinds(items) == [Connected, Packet, Disconnected, Connected, Packet, Ended]
    assert items[-1].error is None
    assert waits == [0.25]


def test_waits_grow_to_their_cap_and_begin_anew_after_a_packet() -> None:
    down: list[Any] = [Lost("down")] * 6
    _, waits = read(Scripted([packet(0), Lost("x")], *down, [packet(1), Lost("x")], [packet(2)]), retry=20)
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 0.25]


def test_waits_are_anywhere_below_their_bound() -> None:
    backoff = Backoff(2.0, random=random.Random(1).random)
    waits = [backoff.next_s() for _ in range(200)][4:]
    assert 0 < min(waits) < 0.1
    assert 1.9 < max(waits) <= 2.0


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ([Lost("nobody")] * 4, Unavailable, "nobody; given up after 4 tries"),
        ([Lost("no such stream", gone=True)] * 4, InputMissing, "no such stream; given up after 4 tries"),
        ([InputMissing("test://source: not there")], InputMissing, "test://source: not there"),
        ([TryAgain("test://source: busy")] * 4, Unavailable, "test://source: busy; given up after 4 tries"),
        ([[packet(0), Lost("reset")]], TryAgain, "given up after 4 tries (see --retry): nobody there"),
        ([ValueError("a bug")], ValueError, "a bug"),
    ],
)
def test_a_source_that_is_given_up(script: list[Any], error: type[Exception], said: str) -> None:
    items, _ = read(Scripted(*script))
    assert type(items[-1].error) is error
    assert said in str(items[-1].error)


def test_a_source_that_is_gone_has_ended() -> None:
    items, _ = read(Scripted([packet(0), Lost("reset")], *[Lost("no such stream", gone=True)] * 3))
    assert items[-1].error is None


def test_who_listens_does_so_for_ever() -> None:
    connector = Scripted(*[Lost("bad handshake")] * 50, [packet(0)], listens=True)
    items, _ = read(connector, retry=0)
    assert items[-1].error is None
    assert connector.connects == 51


def test_no_retries() -> None:
    connector = Scripted()
    items, _ = read(connector, retry=0)
    assert connector.connects == 1
    assert "given up at the first try" in str(items[-1].error)


def test_an_error_after_the_source_was_there_is_tried_again() -> None:
    items, _ = read(Scripted([packet(0), InputMissing("404")], [packet(1)]))
    assert items[-1].error is None


def test_closing_ends_a_wait() -> None:
    waiting = threading.Event()

    class Long(Backoff):
        def next_s(self) -> float:
            waiting.set()
            return 3600.0

    reader = Reader(Scripted(), retry=5, backoff=Long(3600.0))
    reader.start()
    assert waiting.wait(5)
    reader.close()
    assert not _alive("reader test://source")


def _alive(name: str) -> bool:
    thread: Callable[[], list[threading.Thread]] = threading.enumerate
    return any(one.name == name and one.is_alive() for one in thread())


def test_a_day_in_a_minute_stays_flat() -> None:
    """Packets of a day, with a jump each hour: nothing that is kept grows."""
    line = LiveTime(keeps=False)
    first = timed(0.0, 0.0, 1.0)
    line.begin(AAC, [first])
    shift = 0
    for second in range(1, 86_400):
        shift += 7 if second % 3600 == 0 else 0
        for one in line.place(timed(float(second), (second + shift * 1000) % 50_000, 1.0)):
            assert isinstance(one, Packet | Discontinuity)
    held = [value for value in vars(line).values() if isinstance(value, list | dict | set)]
    assert all(len(one) == 0 for one in held)
    assert abs(line.end_s - 86_400) < 2
