"""The joiner: units in order over all tracks, in a file when records say so, in a live session when it is told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import ingested, voice
from streamlation_cli.delivery.copying import Times
from streamlation_cli.delivery.joining import Joiner, Settings
from streamlation_cli.delivery.lanes import Padded
from streamlation_cli.delivery.tracks import Takes, Unit
from streamlation_cli.dubbing.audiofile import Block
from streamlation_cli.errors import UsageError
from streamlation_cli.records import (
    AudioStream,
    Cue,
    Discontinuity,
    Eos,
    Header,
    Packet,
    Speech,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    VideoStream,
)

TAKES = Takes(video=frozenset({"h264"}), audio=frozenset({"mp3"}), name="here", instead="go there")
MP3 = AudioStream(codec="mp3float", sample_rate_hz=48_000, channels=2, layout="stereo", time_base=(1, 48_000))
H264 = VideoStream(codec="h264", width=64, height=48, frame_rate=(25, 1), time_base=(1, 1000))


def header(**fields: object) -> Header:
    values = {"audio": MP3, "video": H264, "language": "en", "target_language": "pt"} | fields
    return Header("s", proto=1, source="x", **values)  # type: ignore[arg-type]


def announced(*stages: str) -> list[StreamRecord]:
    return [Status("s", stage=stage, state="running") for stage in stages]


CHAIN = announced("ingest", "transcribe", "translate", "dub")


def picture(at_ms: int, dts_ms: int | None = None, *, keyframe: bool = False) -> Packet:
    return Packet(
        "s", seq=0, stream="video", pts=at_ms, dts=at_ms if dts_ms is None else dts_ms, duration=40, time_base=(1, 1000),
        data=f"v{at_ms}".encode(), keyframe=keyframe,
    )  # fmt: skip


def sound(number: int) -> Packet:
    return Packet(
        "s", seq=0, stream="audio", pts=number * 1152, dts=number * 1152, duration=1152, time_base=(1, 48_000),
        data=f"a{number}".encode(), keyframe=True,
    )  # fmt: skip


def film(seconds: float) -> list[Packet]:
    """Both streams, as a container interleaves them."""
    pictures = [picture(number * 40, keyframe=not number % 25) for number in range(round(seconds * 25))]
    sounds = [sound(number) for number in range(round(seconds * 48_000 / 1152))]
    return sorted(
        [*pictures, *sounds], key=lambda packet: (packet.dts or 0) * packet.time_base[0] / packet.time_base[1]
    )


def transcript(start_ms: int, end_ms: int, text: str = "What was said.") -> Transcript:
    return Transcript("s", id=f"u{start_ms}", start_ms=start_ms, end_ms=end_ms, text=text, final=True, language="en")


def translation(start_ms: int, end_ms: int, text: str = "O que foi dito.") -> Translation:
    return Translation(
        "s", id=f"s{start_ms}", start_ms=start_ms, end_ms=end_ms, text=text, final=True, source_text="",
        source_language="en", target_language="pt",
    )  # fmt: skip


def speech(start_ms: int, length_ms: int) -> Speech:
    samples = (voice(16_000)[: length_ms * 16] * 20_000).astype("<i2")
    return Speech(
        "s", id=f"s{start_ms}", start_ms=start_ms, end_ms=start_ms + length_ms, sample_rate_hz=16_000, voice="v",
        data=samples.tobytes(),
    )  # fmt: skip


def said(start_ms: int, length_ms: int = 1000) -> list[StreamRecord]:
    end_ms = start_ms + length_ms
    return [transcript(start_ms, end_ms), translation(start_ms, end_ms), speech(start_ms, length_ms)]


def joined(
    records: Iterable[StreamRecord], head: Header | None = None, takes: Takes = TAKES
) -> tuple[Joiner, list[Unit]]:
    """All units of a file."""
    joiner = Joiner(head or header(), takes)
    units = [unit for record in records for unit in joiner.feed(record)]
    units += joiner.finish(Eos("s", duration_ms=6000))
    joiner.close()
    return joiner, units


def of(units: Iterable[Unit], name: str) -> list[Unit]:
    return [unit for unit in units if unit.track.name == name]


def heard(units: Iterable[Unit]) -> np.ndarray:
    """An encoded track's samples from time 0 on, mono."""
    import av

    units = list(units)
    track = units[0].track
    context = av.CodecContext.create(track.codec, "r")
    context.extradata = track.extradata
    parts = []
    for unit in units:
        packet = av.Packet(unit.data)
        packet.pts = unit.pts
        parts += [frame.to_ndarray()[0] for frame in context.decode(packet)]
    samples = np.concatenate(parts)
    # The decoder knows nothing of the padding here: it is cut off by hand.
    return samples[-units[0].pts :] if units[0].pts < 0 else samples


def onset_ms(samples: np.ndarray) -> float:
    return float(np.flatnonzero(np.abs(samples) > 0.02)[0]) / 48


# Files


def test_units_of_a_file_come_in_order_and_whole() -> None:
    joiner, units = joined([*CHAIN, *film(6), *said(1000), *said(4000)])
    assert [track.name for track in joiner.tracks] == ["video", "dub-pt", "original", "captions-pt", "captions-en"]
    times = [unit.dts_s for unit in units]
    assert times == sorted(times)
    assert [unit.data for unit in of(units, "video")] == [p.data for p in film(6) if p.stream == "video"]
    assert [unit.data for unit in of(units, "original")] == [p.data for p in film(6) if p.stream == "audio"]
    assert [(unit.pts, unit.lines) for unit in of(units, "captions-pt")] == [
        (1000, ("O que foi dito.",)), (4000, ("O que foi dito.",)),
    ]  # fmt: skip
    assert 990 < onset_ms(heard(of(units, "dub-pt"))) < 1010
    assert joiner.counters["late_speech"] == 0


def test_units_come_before_the_end() -> None:
    """What is certain is not kept until the end: up to the last speech, minus what is still laid out."""
    joiner = Joiner(header(), TAKES)
    early = [unit for record in [*CHAIN, *film(6), *said(1000), *said(4000)] for unit in joiner.feed(record)]
    assert early[-1].dts_s > 2
    joiner.close()


@given(st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_however_records_interleave_the_units_are_the_same(random: object) -> None:
    """As far as each kind keeps its own order and speech comes after its text."""
    kinds: list[list[StreamRecord]] = [
        [p for p in film(4) if p.stream == "video"], [p for p in film(4) if p.stream == "audio"], [*said(500), *said(2500)],
    ]  # fmt: skip
    mixed: list[StreamRecord] = [*CHAIN, kinds[1].pop(0)]
    while any(kinds):
        kind = random.choice([kind for kind in kinds if kind])  # type: ignore[attr-defined]
        mixed.append(kind.pop(0))
    _, units = joined(mixed)
    _, expected = joined([*CHAIN, *film(4), *said(500), *said(2500)])
    for name in ("video", "original", "dub-pt", "captions-pt", "captions-en"):
        assert [(u.pts, u.data, u.lines) for u in of(units, name)] == [
            (u.pts, u.data, u.lines) for u in of(expected, name)
        ]
    times = [unit.dts_s for unit in units]
    assert times == sorted(times)


def test_without_announcements_the_tracks_are_what_came() -> None:
    joiner, units = joined([*film(2), transcript(0, 900)])
    assert [track.name for track in joiner.tracks] == ["video", "original", "captions-en"]
    assert [track.default for track in joiner.tracks] == [True, True, False]
    assert len(of(units, "captions-en")) == 1


def test_cues_laid_out_upstream_are_taken_as_they_are() -> None:
    cues = [
        Cue("s", op="add", id="1", start_ms=500, end_ms=1500, lines=("Uma",), language="pt"),
        Cue("s", op="update", id="1", start_ms=500, end_ms=1600, lines=("Uma frase",), language="pt"),
        Cue("s", op="add", id="2", start_ms=2000, end_ms=3000, lines=("errado",), language="pt"),
        Cue("s", op="remove", id="2", start_ms=2000, end_ms=3000),
        Cue("s", op="add", id="3", start_ms=3000, end_ms=4000, lines=("Outra",), language="pt"),
    ]
    _, units = joined([*announced("transcribe", "translate", "subtitle"), *film(5), *cues])
    assert [(u.pts, u.duration, u.lines) for u in of(units, "captions-pt")] == [
        (500, 1100, ("Uma frase",)), (3000, 1000, ("Outra",)),
    ]  # fmt: skip


def test_text_that_may_still_change_is_no_caption() -> None:
    draft = Transcript("s", id="u1", start_ms=0, end_ms=900, text="What", final=False, language="en")
    joiner, _ = joined([*announced("transcribe"), *film(2), draft], header(target_language=""))
    assert [track.name for track in joiner.tracks] == ["video", "original"]


def test_sound_that_the_sink_does_not_take_is_encoded(samples: object) -> None:
    records = ingested(f"{samples}/hello_en.flac")
    head, *rest = records
    assert isinstance(head, Header)
    joiner, units = joined(rest[:-1], head)
    assert [(track.codec, track.source) for track in joiner.tracks] == [("aac", "encoded")]
    assert units[0].pts == -1024
    assert units[0].skip_samples == (1024, 0)
    ends_s = (units[-1].pts + units[-1].duration) / 48_000
    assert 6 <= ends_s < 6.05  # as long as the session says


def test_a_video_that_the_sink_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match=r"here takes no hevc video.*go there"):
        Joiner(header(video=VideoStream(codec="hevc", width=1, height=1)), TAKES)


def test_text_before_any_packet_says_what_is_missing() -> None:
    joiner = Joiner(header(), TAKES)
    with pytest.raises(UsageError, match="--keep-packets"):
        list(joiner.feed(transcript(0, 900)))
    joiner.close()


# Live


class Live:
    """A live joiner and what it gave."""

    def __init__(self, head: Header | None = None, **options: object) -> None:
        self.joiner = Joiner(head or header(live=True), TAKES, Settings(**options), live=True)  # type: ignore[arg-type]
        self.units: list[Unit] = []
        self.feed(*CHAIN)

    def feed(self, *records: StreamRecord) -> None:
        for record in records:
            assert list(self.joiner.feed(record)) == []

    def settle(self, until_ms: int) -> list[Unit]:
        new = list(self.joiner.settle(until_ms))
        self.units += new
        return new

    def finish(self) -> None:
        self.units += self.joiner.finish(Eos("s", duration_ms=6000))
        self.joiner.close()

    def of(self, name: str) -> list[Unit]:
        return of(self.units, name)


def test_a_live_session_is_told_when() -> None:
    live = Live()
    live.feed(*film(6))
    assert live.settle(0) == []
    assert live.joiner.tracks == ()
    first = live.settle(2000)
    assert [track.name for track in live.joiner.tracks] == ["video", "dub-pt", "original", "captions-pt", "captions-en"]
    assert 1.9 < first[-1].dts_s < 2
    assert live.settle(1500) == []
    live.settle(4000)
    live.finish()
    times = [unit.dts_s for unit in live.units]
    assert times == sorted(times)
    assert len(live.of("video")) == 150
    assert np.abs(heard(live.of("dub-pt"))).max() < 0.001  # nobody spoke


def test_speech_in_time_is_where_it_belongs() -> None:
    live = Live()
    live.feed(*film(6))
    live.settle(1000)
    live.feed(*said(1500))
    live.settle(4000)
    live.finish()
    assert 1490 < onset_ms(heard(live.of("dub-pt"))) < 1510
    assert live.joiner.counters["late_speech"] == 0
    assert [unit.pts for unit in live.of("captions-pt")] == [1500]


def test_late_speech_comes_as_soon_as_it_can_and_is_counted() -> None:
    live = Live()
    live.feed(*film(6))
    live.settle(3000)
    live.feed(*said(1500, 800), *said(2500, 800))
    live.settle(5000)
    live.finish()
    samples = heard(live.of("dub-pt"))
    assert 2990 < onset_ms(samples) < 3010
    assert np.abs(samples[3850 * 48 : 4500 * 48]).max() > 0.02  # the second one follows the first
    counters = live.joiner.counters
    assert (counters["speech"], counters["late_speech"], counters["worst_late_ms"]) == (2, 2, 1500)


def test_late_captions_are_clipped_or_shown_later_and_never_lost() -> None:
    live = Live()
    live.feed(*film(6))
    live.settle(3000)
    live.feed(translation(0, 800), translation(2600, 4800))
    live.settle(5500)
    live.finish()
    first, second = live.of("captions-pt")
    assert (first.pts, first.duration) == (3000, 1300)
    # It begins when the one before it has gone, and ends when it was to.
    assert (second.pts, second.pts + second.duration) == (4300, 5300)
    assert live.joiner.counters["late_captions"] == 1
    assert live.joiner.counters["clipped_captions"] == 1


def test_a_caption_is_out_before_the_next_one_is_known() -> None:
    live = Live()
    live.feed(*film(6), translation(1000, 2000))
    assert [unit.pts for unit in of(live.settle(1500), "captions-pt")] == [1000]
    live.finish()
    assert len(live.of("captions-pt")) == 1


def test_packets_that_come_late_come_nevertheless() -> None:
    live = Live()
    packets = film(6)
    late = [packet for packet in packets if packet.stream == "video" and 1000 <= (packet.pts or 0) < 1500]
    live.feed(
        *(packet for packet in packets if packet not in late and (packet.stream == "audio" or (packet.pts or 0) < 1500))
    )
    live.settle(2000)
    live.feed(*late)
    live.settle(2500)
    assert [unit.data for unit in live.of("video")][-1] == b"v1480"
    live.finish()


def test_a_silent_stretch_holds_nothing_back() -> None:
    """Neither captions nor speech for minutes: picture and sound go on."""
    live = Live()
    for second in range(120):
        live.feed(*(picture(second * 1000 + number * 40, keyframe=not number) for number in range(25)))
        got = live.settle(second * 1000 + 500)
        assert got
    live.joiner.close()


def test_a_source_that_stalls_leaves_silence_under_the_voice() -> None:
    """The original that is encoded goes on in silence where it does not come, and what comes too late is left out."""

    class Bed:
        def __init__(self) -> None:
            self.there = 0
            self.given = 0

        def read(self, count: int, *, last: bool) -> Block:
            count = min(count, self.there - self.given)
            block = np.arange(self.given, self.given + count, dtype=np.float32)
            self.given += count
            return np.stack([block, block])

    bed = Bed()
    padded = Padded(bed)
    bed.there = 100
    assert padded.read(300, last=False).shape == (2, 100)
    padded.until = 250
    assert np.array_equal(padded.read(300, last=False)[0], np.zeros(150))
    bed.there = 400
    assert padded.read(50, last=False)[0].tolist() == list(range(250, 300))


# Times of copied packets


def placed(times: Times, packets: Iterable[Packet]) -> Iterator[tuple[int | None, int | None]]:
    for packet in packets:
        yield from ((one.pts, one.dts) for one in times.place(packet))
    yield from ((one.pts, one.dts) for one in times.flush())


def video(pts: int | None, dts: int | None, duration: int = 40) -> Packet:
    return Packet("s", seq=0, stream="video", pts=pts, dts=dts, duration=duration, time_base=(1, 1000), data=b"x")


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([(0, -80), (120, -40), (40, 0)], [(0, -80), (120, -40), (40, 0)]),
        ([(0, None), (120, None), (40, 0), (80, 40)], [(0, -80), (120, -40), (40, 0), (80, 40)]),
        ([(0, None), (40, None)], [(0, -79), (40, -39)]),
        ([(None, 0), (None, 40)], [(0, 0), (40, 40)]),
        ([(None, None), (None, None)], [(0, 0), (40, 40)]),
        ([(0, 0), (40, 40), (40, 40), (80, 80)], [(0, 0), (40, 40), (41, 41), (80, 80)]),
        ([(20_000, 20_000), (0, 0), (40, 40)], [(20_000, 20_000), (20_040, 20_040), (20_080, 20_080)]),
        ([(10, 50)], [(50, 50)]),
    ],
    ids=[
        "as they are",
        "dts begin late",
        "no dts",
        "no pts",
        "no times",
        "twice the same",
        "a clock set back",
        "pts too early",
    ],
)
def test_times_of_copied_packets(packets: list[tuple[int | None, int | None]], expected: list[tuple[int, int]]) -> None:
    assert list(placed(Times(), (video(*packet) for packet in packets))) == expected


def test_times_begin_at_the_start_that_was_asked_for() -> None:
    assert list(placed(Times(6000), [video(6000, 5960), video(6120, 6000)])) == [(0, -40), (120, 0)]


@given(
    st.lists(st.tuples(st.none() | st.integers(-(10**6), 10**6), st.none() | st.integers(-(10**6), 10**6)), max_size=40)
)
def test_whatever_the_times_dts_rise_and_pts_do_not_precede_them(times: list[tuple[int | None, int | None]]) -> None:
    made = list(placed(Times(), (video(*pair) for pair in times)))
    assert len(made) == len(times)
    last = -math.inf
    for pts, dts in made:
        assert pts is not None
        assert dts is not None
        assert dts > last
        assert pts >= dts
        last = dts


def changing(samples: object) -> tuple[Header, list[StreamRecord]]:
    """A session whose sound goes on in stereo after two seconds of mono, a reconnect between them."""
    head, *first = ingested(f"{samples}/hello_en.flac")
    other, *second = ingested(f"{samples}/turns_en.opus")
    assert isinstance(head, Header)
    assert isinstance(other, Header)
    assert other.audio is not None
    numerator, denominator = other.audio.time_base
    packets = [
        msgspec.structs.replace(packet, session="s", pts=(packet.pts or 0) + 3 * denominator // numerator, dts=None)
        for packet in second
        if isinstance(packet, Packet)
    ]
    sounds = [msgspec.structs.replace(packet, session="s") for packet in first if isinstance(packet, Packet)]
    gap = Discontinuity("s", at_ms=3000, gap_ms=594, reason="reconnect", audio=other.audio)
    return msgspec.structs.replace(head, session="s"), [*sounds, gap, *packets]


def test_sound_that_goes_on_in_another_format_is_encoded_on(samples: object) -> None:
    head, records = changing(samples)
    joiner, units = joined(records, head)
    assert joiner.problem == ""
    made = heard(of(units, "original"))
    assert np.abs(made[48_000:96_000]).max() > 0.05
    assert np.abs(made[round(2.5 * 48_000) : round(2.9 * 48_000)]).max() < 0.01
    assert np.abs(made[round(3.3 * 48_000) : 5 * 48_000]).max() > 0.05


def test_a_copied_track_ends_where_the_format_changes_and_says_so(samples: object) -> None:
    head, records = changing(samples)
    joiner, units = joined(records, head, Takes(audio=None))
    assert "at 3.0 s" in joiner.problem
    assert {unit.track.codec for unit in units} == {"flac"}
    assert max(unit.dts_s for unit in units) < 3
