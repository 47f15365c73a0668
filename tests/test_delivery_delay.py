"""The delay of a live presentation: it waits for what is said, grows when the chain is late, shrinks when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hls_media import captions, in_order, picture
from hls_validator import Validator
from media import voice
from streamlation_cli.delivery.delay import LEAST_MS, MOST_MS, START_MS, Delay
from streamlation_cli.delivery.hls import HlsOptions, HlsSink, takes
from streamlation_cli.delivery.joining import Joiner, Settings
from streamlation_cli.delivery.store import MemoryStore
from streamlation_cli.records import (
    Eos,
    Header,
    Packet,
    Speech,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    VideoStream,
)  # fmt: skip

STARTED_AT = 1_700_000_000.0


class Clock:
    """The time of day, set by hand."""

    def __init__(self) -> None:
        self.now = STARTED_AT

    def __call__(self) -> float:
        return self.now


def packet(second: float) -> Packet:
    """100 ms of sound that end at a second."""
    return Packet(
        "s",
        seq=0,
        stream="audio",
        pts=round(1000 * second) - 100,
        dts=None,
        duration=100,
        time_base=(1, 1000),
        data=b"",
    )


def said(number: int, start_s: float, end_s: float, *, final: bool = True) -> Transcript:
    return Transcript(
        "s", id=f"u{number}", start_ms=round(1000 * start_s), end_ms=round(1000 * end_s), text="words", final=final
    )


def translated(number: int, start_s: float, end_s: float) -> Translation:
    return Translation(
        "s", id=f"s{number}", start_ms=round(1000 * start_s), end_ms=round(1000 * end_s), text="palavras", final=True,
        source_text="words", source_language="en", target_language="pt",
    )  # fmt: skip


def spoken(number: int, start_s: float, end_s: float, data: bytes = b"\0\0") -> Speech:
    return Speech(
        "s",
        id=f"s{number}",
        start_ms=round(1000 * start_s),
        end_ms=round(1000 * end_s),
        sample_rate_hz=16000,
        voice="v",
        data=data,
    )


def session(wish_s: float = 0.0, stages: tuple[str, ...] = ("transcribe", "translate", "dub")) -> tuple[Delay, Clock]:
    """The delay of a session in which these stages work."""
    clock = Clock()
    target = "pt" if "translate" in stages else ""
    header = Header("s", proto=1, source="x", live=True, started_at=STARTED_AT, target_language=target)
    delay = Delay(header, "mux", wish_s, clock=clock)
    for stage in stages:
        delay.see(Status("s", stage=stage, state="running"))
    return delay, clock


def play(delay: Delay, clock: Clock, until_s: float, since_s: float = 0.0, behind_s: float = 0.0) -> None:
    """Sound comes as time goes by, each piece `behind_s` after it was made."""
    for tenth in range(round(10 * since_s) + 1, round(10 * until_s) + 1):
        clock.now = STARTED_AT + tenth / 10 + behind_s
        delay.see(packet(tenth / 10))


def test_it_begins_before_anything_is_known() -> None:
    delay, clock = session()
    play(delay, clock, 20)
    assert delay.until_ms == 20_000 - START_MS
    assert delay.lag_ms == START_MS


def test_a_live_file_decides_nothing_before_its_delay_is_over() -> None:
    delay, clock = session()
    play(delay, clock, 5)
    assert delay.until_ms == 0


def test_it_grows_to_what_is_needed_and_nothing_is_late() -> None:
    """A sentence of 6 s whose speech comes 7 s after it ended: what is said waits, and later sentences need no wait."""
    delay, clock = session()
    play(delay, clock, 14)
    delay.see(said(1, 13, 14, final=False))
    play(delay, clock, 26, 14)
    assert delay.until_ms == 13_000, "waits where the utterance begins"
    delay.see(said(1, 13, 19))
    delay.see(translated(1, 13, 19))
    delay.see(spoken(1, 13, 19))
    assert delay.until_ms == 13_000, "13.5 s behind: what this speech needed, and a margin"
    assert delay.delay_ms == 13_500
    assert delay.counters == {"delay_grew": 1, "breaches": 0}
    play(delay, clock, 30, 26)
    assert delay.until_ms == 16_500


def test_it_shrinks_slowly_to_what_is_needed() -> None:
    """Sentences that need 3 s, for a minute; it never jumps."""
    delay, clock = session()
    at = 0.0
    decided = []
    for number in range(30):
        play(delay, clock, at + 4, at)
        at += 4
        delay.see(said(number, at - 3, at - 1))
        delay.see(translated(number, at - 3, at - 1))
        delay.see(spoken(number, at - 3, at - 1))
        decided.append(delay.until_ms)
    assert delay.delay_ms == 3_500
    steps = np.diff([one for one in decided if one])
    assert steps.max() <= 4 * 1000 * 1.06
    assert delay.counters == {"delay_grew": 0, "breaches": 0}


def test_a_pause_does_not_shrink_it() -> None:
    """Three minutes of music say nothing of how late speech is."""
    delay, clock = session()
    play(delay, clock, 20)
    delay.see(spoken(1, 10, 12))
    grown = delay.delay_ms
    play(delay, clock, 200, 20)
    assert delay.delay_ms == grown == 10_500


@pytest.mark.parametrize("languages", [1, 3])
def test_a_slow_utterance_is_remembered_for_ten_however_many_languages_are_spoken(languages: int) -> None:
    delay, clock = session()
    delays = []
    for number in range(30):
        at = 10.0 * number + 20
        play(delay, clock, at, at - 10)
        begins_s = at - (12 if number == 0 else 3)
        for _ in range(languages):
            delay.see(translated(number, begins_s, begins_s + 1))
            delay.see(spoken(number, begins_s, begins_s + 1))
        delays.append(delay.delay_ms)
    assert delays[:10] == [12_500] * 10
    assert delays[11] < 12_500
    assert delays[-1] == 3_500


@pytest.mark.parametrize(("late_ms", "breaches"), [(80, 0), (81, 1)])
def test_what_nobody_hears_to_be_late_is_no_breach(late_ms: int, breaches: int) -> None:
    delay, clock = session()
    play(delay, clock, 20)
    delay.see(spoken(1, (delay.until_ms - late_ms) / 1000, 14))
    assert delay.counters["breaches"] == breaches


def test_what_is_never_spoken_is_not_waited_for_for_ever() -> None:
    delay, clock = session()
    play(delay, clock, 20)
    delay.see(said(1, 15, 20, final=False))
    play(delay, clock, 60, 20)
    assert delay.until_ms == 60_000 - START_MS


def test_what_was_said_and_left_out_is_not_waited_for_after_the_next_speech() -> None:
    """The voice was too late for the first sentence; the second came."""
    delay, clock = session()
    play(delay, clock, 10)
    delay.see(said(1, 3, 5))
    delay.see(translated(1, 3, 5))
    delay.see(said(2, 6, 8))
    delay.see(translated(2, 6, 8))
    play(delay, clock, 11, 10)
    assert delay.until_ms == 3_000
    delay.see(spoken(2, 6, 8))
    play(delay, clock, 15, 11)
    assert 7_000 <= delay.until_ms < 8_000


def test_without_a_voice_the_translation_is_waited_for() -> None:
    delay, clock = session(stages=("transcribe", "translate"))
    play(delay, clock, 14)
    delay.see(said(1, 10, 12))
    play(delay, clock, 20, 14)
    assert delay.until_ms == 10_000
    delay.see(translated(1, 10, 12))
    play(delay, clock, 21, 20)
    assert delay.until_ms == 21_000 - 10_500


def test_the_wish_is_kept_and_what_comes_later_is_said() -> None:
    """No more than 5 s behind; speech that needs 9 s is a breach, once said, and so is that it is over."""
    delay, clock = session(wish_s=5)
    play(delay, clock, 20)
    assert delay.until_ms == 15_000
    list(delay.events())
    delay.see(spoken(1, 11, 13))
    (event,) = delay.events()
    assert event.detail == (
        "target-latency: speech or captions came 4.0 s too late: what they need exceeds the target of 5 s"
    )
    assert event.counters["breaches"] == 1
    delay.see(spoken(2, 12, 13))
    assert list(delay.events()) == [], "it goes on"
    play(delay, clock, 21, 20)
    delay.see(spoken(3, 18, 19))
    assert [event.detail for event in delay.events()] == ["target-latency: speech and captions are in time again"]
    assert delay.delay_ms == 5_000


def test_a_chain_that_is_behind_leaves_less_of_the_wish() -> None:
    """The wish is about the clock: what arrives 3 s late may wait 5 s where 8 s are wished for."""
    delay, clock = session(wish_s=8)
    play(delay, clock, 20, behind_s=3)
    assert delay.until_ms == 15_000
    assert delay.lag_ms == 8_000
    assert list(delay.events()) == []
    play(delay, clock, 20.1, 20, behind_s=20)
    assert [event.detail for event in delay.events()] == ["target-latency: latency 21.0 s exceeds the target of 8 s"]
    play(delay, clock, 25, 20.1, behind_s=20)
    assert delay.delay_ms == LEAST_MS, "there is nothing left of it"
    play(delay, clock, 40, 25, behind_s=0)
    assert "target-latency: latency 1.0 s can be within the target of 8 s" in [event.detail for event in delay.events()]
    assert delay.counters["breaches"] == 1


def test_it_has_an_end() -> None:
    delay, clock = session()
    play(delay, clock, 60)
    delay.see(spoken(1, 1, 2))
    assert delay.delay_ms == MOST_MS


def test_it_reports_every_ten_seconds() -> None:
    delay, clock = session()
    reports: list[Status] = []
    for tenth in range(1, 601):
        clock.now = STARTED_AT + tenth / 10
        delay.see(packet(tenth / 10))
        reports += delay.events()
    assert [report.lag_ms for report in reports] == [START_MS] * 5
    assert reports[-1].counters == {"delay_grew": 0, "breaches": 0, "delay_ms": START_MS, "chain_lag_ms": 0}


# With the joiner and HLS


def live(late_s: float) -> Iterator[tuple[float, StreamRecord]]:
    """A minute of a picture, and of speech of 2 s every 6 s, when each record arrives: speech `late_s` after it ended."""
    track, units = picture(60, rate=10, every_s=2, bframes=0)
    events: list[tuple[float, int, StreamRecord]] = []
    for number, unit in enumerate(units):
        record: StreamRecord = Packet(
            "s", seq=number, stream="video", pts=unit.pts, dts=unit.dts, duration=unit.duration, time_base=track.time_base,
            data=unit.data, keyframe=unit.keyframe,
        )  # fmt: skip
        events.append((float(unit.dts_s) + 0.1, 0, record))
    tone = (10000 * voice(16000, 2.0) / 0.4).astype("<i2").tobytes()
    for number in range(9):
        start_s = 2.0 + 6 * number
        events += [
            (start_s + 1, 1, said(number, start_s, start_s + 1, final=False)),
            (start_s + late_s, 2, said(number, start_s, start_s + 2)),
            (start_s + late_s, 3, translated(number, start_s, start_s + 2)),
            (start_s + late_s, 4, spoken(number, start_s, start_s + 2, tone)),
        ]
    for at, _, record in sorted(events, key=lambda event: event[:2]):
        yield at, record


@pytest.mark.parametrize(("late_s", "delay_s"), [(4.0, 4.5), (12.0, 12.5)])
def test_no_speech_is_lost_however_late_the_chain_is(late_s: float, delay_s: float) -> None:
    """Each of nine utterances is in the dubbed track, where it belongs, and so is its caption."""
    track, _ = picture(0.5, rate=10, every_s=2, bframes=0)
    header = Header(
        "s", proto=1, source="x", live=True, started_at=STARTED_AT, language="en", target_language="pt",
        video=VideoStream(
            codec=track.codec, width=track.width, height=track.height, frame_rate=track.frame_rate, time_base=track.time_base,
            extradata=track.extradata,
        ),
    )  # fmt: skip
    clock = Clock()
    delay = Delay(header, "mux", clock=clock)
    joiner = Joiner(header, takes("x.m3u8"), Settings(copy_audio=False), live=True)
    store = MemoryStore()
    sink = HlsSink(store, HlsOptions(live=True, window_s=0, started_at=STARTED_AT))
    opened = False

    def write(units: Any) -> None:
        nonlocal opened
        units = list(units)
        if not opened and joiner.tracks:
            sink.open(joiner.tracks)
            opened = True
        for unit in units:
            sink.write(unit)

    starts: list[StreamRecord] = [
        Status("s", stage=stage, state="running") for stage in ("transcribe", "translate", "dub")
    ]
    for at, record in [(0.0, one) for one in starts] + list(live(late_s)):
        clock.now = STARTED_AT + at
        list(joiner.feed(record))
        delay.see(record)
        write(joiner.settle(delay.until_ms))
    write(joiner.finish(Eos("s", duration_ms=60_000)))
    sink.commit()
    joiner.close()
    assert joiner.counters["speech"] == 9
    assert joiner.counters["late_speech"] == 0
    assert joiner.counters["late_captions"] == joiner.counters["clipped_captions"] == 0
    assert delay.counters["breaches"] == 0
    assert delay.delay_ms == pytest.approx(1000 * delay_s, abs=3000 if late_s < 8 else 200)
    state = Validator(store.get)
    shown = {round(start) for _, start, _, _ in state.cues["master-captions-pt.m3u8"]}
    assert shown == {2 + 6 * number for number in range(9)}
    loud = _loud_seconds(store)
    assert loud == {second for number in range(9) for second in (2 + 6 * number, 3 + 6 * number)}


def _loud_seconds(store: MemoryStore) -> set[int]:
    """The seconds in which the dubbed track speaks."""
    import io

    import av

    names = sorted(
        (name for name in store.names if name.startswith("master-dub-pt-") and name.endswith(".m4s")),
        key=lambda name: int(name.removeprefix("master-dub-pt-").removesuffix(".m4s")),
    )
    data = b"".join(store.get(name) or b"" for name in ("master-dub-pt-init-1.mp4", *names))
    loud: dict[int, list[float]] = {}
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            loud.setdefault(int(frame.time + 0.02), []).append(float(np.abs(frame.to_ndarray()).mean()))
    return {second for second, levels in loud.items() if np.mean(levels) > 0.02}


def test_captions_alone_need_no_voice(tmp_path: Any) -> None:
    """A window of captions without cues validates while the picture goes on."""
    store = MemoryStore()
    video, text = picture(8), captions([])
    sink = HlsSink(store, HlsOptions(live=True))
    sink.open([video[0], text[0]])
    for unit in in_order(video, text):
        sink.write(unit)
    sink.commit()
    assert Validator(store.get).cues == {"master-captions-pt.m3u8": []}
