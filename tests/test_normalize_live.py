"""What normalize does otherwise in live sessions: short chunks at once, gaps that stay gaps, audio that changes its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from media import (
    Discontinuity,
    Eos,
    Header,
    Packet,
    Pcm,
    Status,
    counters,
    direct,
    encode,
    errors,
    ingested,
    normalized,
    of,
    samples,
)
from streamlation_cli.errors import UsageError
from streamlation_cli.records import StreamRecord
from streamlation_cli.stages import normalize
from streamlation_cli.stages.normalize import Normalizer, Options


def live(path: Path) -> list[Any]:
    """A file's session as if it were live."""
    header, *rest = ingested(path)
    assert isinstance(header, Header)
    return [msgspec.structs.replace(header, live=True, started_at=1000.0, duration_ms=None), *rest]


def later(packets: list[Packet], ms: int) -> list[Packet]:
    """Packets with later times."""
    ticks = [ms * p.time_base[1] // (p.time_base[0] * 1000) for p in packets]
    return [msgspec.structs.replace(p, pts=p.pts + t, dts=None) for p, t in zip(packets, ticks, strict=True)]  # type: ignore[operator]


@pytest.fixture
def opus(tmp_path: Path) -> list[Any]:
    return live(encode(tmp_path / "a.opus", "libopus", "ogg", layout="mono", seconds=3.0))


def runs(records: list[StreamRecord]) -> list[tuple[int, int]]:
    """Start and end of each stretch of pcm, which must be in order and never overlap."""
    found: list[tuple[int, int]] = []
    for one in of(Pcm, records):
        if found and one.start_ms == found[-1][1]:
            found[-1] = (found[-1][0], one.end_ms)
        else:
            assert not found or one.start_ms > found[-1][1]
            found.append((one.start_ms, one.end_ms))
    return found


@pytest.mark.parametrize("gap_ms", [0, 40, 700, 5000, 600_000])
def test_a_gap_that_the_source_marks_stays_a_gap(gap_ms: int, opus: list[Any]) -> None:
    """However long it is, not a sample of silence is made of it."""
    header, packets, eos = opus[0], of(Packet, opus), opus[-1]
    half = len(packets) // 2
    at_ms = packets[half].pts // 48
    mark = Discontinuity(header.session, at_ms=at_ms, gap_ms=gap_ms, reason="reconnect")
    records = normalized([header, *packets[:half], mark, *later(packets[half:], gap_ms), eos])
    assert of(Discontinuity, records) == [mark]
    assert counters(records)["silence_ms"] == 0
    if gap_ms > 100:
        one, two = runs(records)
        assert abs(one[1] - at_ms) <= 20
        assert abs(two[0] - at_ms - gap_ms) <= 20
    position = records.index(mark)
    assert all(one.end_ms <= at_ms + 20 for one in of(Pcm, records[:position]))
    assert abs(len(samples(records)) / 16 - 3000) < 30


def test_audio_of_another_kind_after_a_discontinuity(tmp_path: Path) -> None:
    first = live(encode(tmp_path / "a.ts", "aac", "mpegts", seconds=2.0))
    second_path = encode(tmp_path / "b.mp3", "libmp3lame", "mp3", rate=44100, layout="mono", seconds=2.0)
    second = live(second_path)
    mark = Discontinuity(first[0].session, at_ms=2000, gap_ms=1500, reason="ad-break", audio=second[0].audio)
    packets = [
        msgspec.structs.replace(p, session=first[0].session) for p in later(of(Packet, second), 3500)
    ]  # fmt: skip
    records = normalized([*first[:-2], mark, *packets, first[-1]])
    assert errors(records) == []
    assert counters(records)["bad_packets"] == 0
    assert counters(records)["packets"] == len(of(Packet, first)) + len(packets)
    after = records[records.index(mark) :]
    own = direct(second_path)
    heard = samples(after)
    assert abs(len(heard) - len(own)) < 800
    start = of(Pcm, after)[0].start_ms
    assert abs(start - 3500) <= 40
    likeness = max(
        float(np.corrcoef(heard[shift : shift + 16000], own[:16000])[0, 1]) for shift in range(1200)
    )  # fmt: skip
    assert likeness > 0.99


def test_chunks_of_live_sessions_are_short(opus: list[Any]) -> None:
    """Three packets of 20 ms, the first shorter by what the decoder drops; a length that is asked for is kept to."""
    assert {one.end_ms - one.start_ms for one in of(Pcm, normalized(opus))[:-1]} == {52, 60}
    assert {one.end_ms - one.start_ms for one in of(Pcm, normalized(opus, chunk_ms=250))[:-1]} == {250}
    file = [msgspec.structs.replace(opus[0], live=False, started_at=None), *opus[1:]]
    assert {one.end_ms - one.start_ms for one in of(Pcm, normalized(file))[:-1]} == {500}


def test_a_chunk_length_that_makes_no_sense() -> None:
    with pytest.raises(UsageError, match="--chunk-ms: 5 is out of range"):
        normalize.stage(Options(chunk_ms=5))


@pytest.mark.parametrize(("codec", "format", "rate"), [("libopus", "ogg", 48000), ("aac", "mpegts", 44100)])
def test_nothing_is_held_back(codec: str, format: str, rate: int, tmp_path: Path) -> None:
    """Of the sound of every packet, all but less than a chunk and the decoder's own delay is out with it."""
    session = live(encode(tmp_path / "a", codec, format, rate=rate, seconds=2.0))
    normalizer = Normalizer(session[0], Options())
    list(normalizer.feed(session[0]))
    out_ms = 0
    for packet in of(Packet, session):
        for one in normalizer.feed(packet):
            out_ms = one.end_ms if isinstance(one, Pcm) else out_ms
        base = packet.time_base
        end_ms = (packet.pts + packet.duration) * base[0] * 1000 / base[1]
        assert out_ms > end_ms - 100 - 30


def test_a_heartbeat_in_a_stall_brings_out_what_was_waiting(opus: list[Any]) -> None:
    normalizer = Normalizer(opus[0], Options())
    list(normalizer.feed(opus[0]))
    pcm = [one for packet in of(Packet, opus)[:7] for one in normalizer.feed(packet) if isinstance(one, Pcm)]
    beat = Status(opus[0].session, stage="ingest", state="running", lag_ms=10)
    assert list(normalizer.feed(beat)) == [beat]  # packets came in this second
    rest, passed = list(normalizer.feed(beat))
    assert passed == beat
    assert isinstance(rest, Pcm)
    assert rest.start_ms == pcm[-1].end_ms
    assert rest.end_ms - rest.start_ms < 100
    assert list(normalizer.feed(beat)) == [beat]
    more = [one for packet in of(Packet, opus)[7:] for one in normalizer.feed(packet) if isinstance(one, Pcm)]
    assert more[0].start_ms == rest.end_ms


def test_an_hour_of_reconnects_keeps_nothing(opus: list[Any]) -> None:
    """Memory stays flat: what is held after a thousand gaps is what was held after ten."""
    import tracemalloc

    packets = of(Packet, opus)[:10]
    normalizer = Normalizer(opus[0], Options())
    list(normalizer.feed(opus[0]))
    sizes = []
    tracemalloc.start()
    for number in range(400):
        at_ms = number * 4000
        for packet in later(packets, at_ms):
            for _ in normalizer.feed(packet):
                pass
        list(normalizer.feed(Discontinuity(opus[0].session, at_ms=at_ms + 200, gap_ms=3800, reason="reconnect")))
        if number in (100, 399):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 50_000
    assert isinstance(opus[-1], Eos)
