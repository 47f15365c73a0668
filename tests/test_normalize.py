"""Packets to PCM: bit for bit what direct decoding gives, each sample at its time, damage counted."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import (
    SPEECH,
    Discontinuity,
    Eos,
    Error,
    Header,
    Packet,
    Pcm,
    Status,
    counters,
    direct,
    encode,
    errors,
    ingested,
    moved,
    normalized,
    of,
    samples,
    voice,
    wav,
)  # fmt: skip
from streamlation_cli.media.pcm import floats_of, levels
from streamlation_cli.media.timeline import Jump, Piece, Timeline
from streamlation_cli.records import AudioStream, VideoStream
from streamlation_cli.stages.normalize import Normalizer, Options

CODECS = [
    ("aac", "m4a", "ipod", 48000, "stereo"),
    ("aac", "ts", "mpegts", 48000, "stereo"),
    ("aac", "aac", "adts", 44100, "mono"),
    ("aac", "mkv", "matroska", 48000, "stereo"),
    ("aac", "flv", "flv", 44100, "stereo"),
    ("libopus", "opus", "ogg", 48000, "mono"),
    ("libopus", "webm", "webm", 48000, "stereo"),
    ("libopus", "mp4", "mp4", 48000, "stereo"),
    ("libmp3lame", "mp3", "mp3", 44100, "stereo"),
    ("libmp3lame", "mp4", "mp4", 44100, "stereo"),
    ("flac", "flac", "flac", 44100, "stereo"),
    ("flac", "mkv", "matroska", 48000, "mono"),
    ("vorbis", "ogg", "ogg", 44100, "stereo"),
    ("ac3", "ac3", "ac3", 48000, "5.1"),
    ("eac3", "mkv", "matroska", 48000, "5.1"),
    ("mp2", "mpg", "mpeg", 48000, "stereo"),
    ("pcm_s16le", "wav", "wav", 48000, "stereo"),
    ("pcm_s24le", "wav", "wav", 44100, "stereo"),
    ("pcm_f32le", "wav", "wav", 48000, "5.1"),
    ("pcm_u8", "wav", "wav", 8000, "mono"),
    ("pcm_mulaw", "wav", "wav", 8000, "mono"),
    ("pcm_s16be", "aiff", "aiff", 44100, "stereo"),
    ("pcm_s16be", "mov", "mov", 44100, "stereo"),
    ("alac", "m4a", "ipod", 44100, "stereo"),
    ("wavpack", "wv", "wv", 44100, "stereo"),
    ("tta", "tta", "tta", 44100, "stereo"),
    ("adpcm_ms", "wav", "wav", 22050, "mono"),
    ("adpcm_ima_wav", "wav", "wav", 22050, "stereo"),
    ("g722", "wav", "wav", 16000, "mono"),
    ("g726", "wav", "wav", 8000, "mono"),
    ("wmav2", "wma", "asf", 44100, "stereo"),
    ("real_144", "rm", "rm", 8000, "mono"),
]


@pytest.mark.parametrize("case", CODECS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_shipped_packets_decode_as_the_file_does(case: tuple[str, str, str, int, str], tmp_path: Path) -> None:
    codec, extension, format, rate, layout = case
    bit_rate = 128_000 if codec.startswith("wma") else 0
    path = encode(tmp_path / f"a.{extension}", codec, format, rate=rate, layout=layout, bit_rate=bit_rate)

    records = normalized(ingested(path))

    assert not errors(records)
    expected = direct(path)
    got = samples(records)
    lead = len(got) - len(expected)  # up to one millisecond of silence puts the first sample in its place
    assert 0 <= lead < 16
    assert not got[:lead].any()
    assert np.array_equal(got[lead:], expected)
    pcm = of(Pcm, records)
    assert pcm[0].start_ms == (92 if format == "asf" else 0)
    assert pcm[-1].end_ms == pytest.approx(4000 + pcm[0].start_ms, abs=190)


CONTAINERS = sorted(
    path.name for path in (SPEECH / "containers").glob("*") if path.name != "video-no-audio.mp4"
) or [pytest.param("", marks=pytest.mark.skip(reason="the recordings in ../shared are not here"))]  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_decodes_as_the_file_does(name: str) -> None:
    path = SPEECH / "containers" / name
    records = normalized(ingested(path))

    assert not errors(records)
    expected, got = direct(path), samples(records)
    if name == "jfk-fragmented.mp4":  # the first packet is 23 ms long and the second one starts at 200 ms
        assert counters(records)["silence_ms"] == 176
        assert np.array_equal(got[:300], expected[:300])
        assert not got[400:3180].any()
        assert len(got) == pytest.approx(len(expected) + 176 * 16, abs=16)
    else:
        lead = len(got) - len(expected)
        assert 0 <= lead < 16
        assert np.array_equal(got[lead:], expected)
    start_ms = 2994 if name == "audio-starts-at-3s.mkv" else 0
    assert of(Pcm, records)[0].start_ms == pytest.approx(start_ms, abs=1)
    assert len(got) == pytest.approx(11 * 16000, abs=0.21 * 16000)


def test_records_of_a_session(tmp_path: Path) -> None:
    records = normalized(ingested(wav(tmp_path / "a.wav", voice(16000, 1.3)[None, :])), chunk_ms=500)

    assert [type(record) for record in records] == [Header, Status, Status, Pcm, Pcm, Status, Pcm, Status, Eos]
    pcm = of(Pcm, records)
    assert [(p.seq, p.start_ms, p.end_ms) for p in pcm] == [(0, 0, 500), (1, 500, 1000), (2, 1000, 1300)]
    assert [len(p.data) for p in pcm] == [16000, 16000, 9600]
    assert [(p.rms_dbfs, p.peak_dbfs) for p in pcm] == [levels(np.frombuffer(p.data, "<i2")) for p in pcm]
    status = of(Status, records)
    assert [(s.stage, s.state) for s in status if s.stage == "normalize"] == [
        ("normalize", "running"),
        ("normalize", "completed"),
    ]
    assert counters(records) == {
        "packets": len(of(Packet, ingested(tmp_path / "a.wav"))),
        "bad_packets": 0,
        "silence_ms": 0,
        "dropped_ms": 0,
        "discontinuities": 0,
    }
    assert records[-1].duration_ms == 1300


@pytest.mark.parametrize("chunk_ms", [10, 33, 500, 30_000])
def test_chunk_length_changes_nothing_but_the_chunks(chunk_ms: int, tmp_path: Path) -> None:
    packets = ingested(encode(tmp_path / "a.opus", "libopus", "ogg", layout="mono"))
    records = normalized(packets, chunk_ms=chunk_ms)

    pcm = of(Pcm, records)
    assert np.array_equal(samples(records), samples(normalized(packets)))
    assert all(p.end_ms - p.start_ms == chunk_ms and len(p.data) == 32 * chunk_ms for p in pcm[:-1])
    assert all(a.end_ms == b.start_ms for a, b in pairwise(pcm))


def tone(amplitude: float, seconds: float = 2.0, rate: int = 16000, hz: float = 440) -> np.ndarray[Any, Any]:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)


def test_channels(tmp_path: Path) -> None:
    left, right = tone(0.5, hz=300), tone(0.25, hz=900)
    packets = ingested(wav(tmp_path / "a.wav", np.stack([left, right])))

    def rounded(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.rint(np.rint(x * 32768)).astype(np.int16)

    assert np.array_equal(samples(normalized(packets, channel="left")), rounded(left))
    assert np.array_equal(samples(normalized(packets, channel="right")), rounded(right))
    mix = samples(normalized(packets, channel="mix")).astype(int)
    assert np.abs(mix - rounded((left + right) / 2)).max() <= 1


def test_a_mix_of_full_scale_channels_does_not_clip(tmp_path: Path) -> None:
    loud = tone(0.999, hz=100)
    path = wav(tmp_path / "a.wav", np.stack([loud] * 6))
    mix = samples(normalized(ingested(path))).astype(int)
    assert np.abs(mix).max() < 32767
    assert np.abs(mix - np.rint(loud * 32768)).max() <= 2


def test_one_channel_is_left_right_and_mix_alike(tmp_path: Path) -> None:
    packets = ingested(wav(tmp_path / "a.wav", voice(16000, 1.0)[None, :]))
    left, right, mix = (samples(normalized(packets, channel=channel)) for channel in ("left", "right", "mix"))
    assert np.array_equal(left, right)
    assert np.array_equal(left, mix)
    assert np.array_equal(mix, np.rint(voice(16000, 1.0) * 32768).astype(np.int16))


def test_quiet_sound_keeps_its_shape(tmp_path: Path) -> None:
    """A peak of −45 dBFS has 184 steps of s16 above and below zero; one rounding of them is all that may be lost."""
    quiet = voice(16000, 2.0) / np.abs(voice(16000, 2.0)).max() * 10 ** (-45 / 20)
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(quiet.astype(np.float32)[None, :], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    records = normalized(ingested(path))

    assert np.abs(samples(records) / 32768 - quiet).max() <= 0.5001 / 32768
    assert max(p.peak_dbfs for p in of(Pcm, records)) == pytest.approx(-45, abs=0.05)


def loudness(samples16: np.ndarray[Any, np.dtype[np.int16]]) -> float:
    """Integrated loudness in LUFS, measured by FFmpeg's ebur128."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=16000, format="s16", layout="mono", time_base=Fraction(1, 16000))
    graph.link_nodes(source, graph.add("ebur128", "metadata=1"), sink := graph.add("abuffersink")).configure()
    frame = av.AudioFrame.from_ndarray(samples16[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
    source.push(frame)
    source.push(None)
    value = -70.0
    while True:
        try:
            value = float(sink.pull().metadata["lavfi.r128.I"])
        except (av.BlockingIOError, av.EOFError):
            return value


@pytest.mark.parametrize("gain_db", [-42, 0])
def test_loudness_levels_speech_and_moves_nothing(gain_db: int, shared: Path) -> None:
    packets = ingested(shared / "speech" / "en" / "jfk.flac")
    plain = samples(normalized(packets)).astype(float) * 10 ** (gain_db / 20)
    leveller_in = [p for p in packets if not isinstance(p, Packet)]
    assert len(leveller_in) == 4
    quiet = _quieter(packets, gain_db)
    records = normalized(quiet, loudness="ebu-r128")
    levelled = samples(records)

    assert len(levelled) == len(plain)
    assert loudness(levelled) == pytest.approx(-16, abs=1.5)
    assert of(Pcm, records)[-1].end_ms == 11000
    # The sound is where it was: the strongest correlation is at no shift.
    spectrum = np.fft.rfft(levelled.astype(float), 1 << 19) * np.conj(np.fft.rfft(plain, 1 << 19))
    assert int(np.argmax(np.fft.irfft(spectrum))) == 0


def _quieter(packets: list[Any], gain_db: int) -> list[Any]:
    """The session again with its sound as float samples `gain_db` louder."""
    sound = floats_of(samples(normalized(packets)).tobytes()) * np.float32(10 ** (gain_db / 20))
    stream = AudioStream(
        codec="pcm_f32le", sample_rate_hz=16000, channels=1, layout="mono", sample_format="flt", time_base=(1, 16000)
    )
    blocks = [
        Packet(
            "s",
            seq=i,
            stream="audio",
            pts=at,
            dts=at,
            duration=1600,
            time_base=(1, 16000),
            data=sound[at : at + 1600].tobytes(),
        )
        for i, at in enumerate(range(0, len(sound), 1600))
    ]
    return [Header("s", proto=1, source="x", audio=stream), *blocks, Eos("s")]


@pytest.mark.parametrize("seconds", [0.05, 0.5, 2.9, 3.0, 3.1, 7.77])
def test_loudness_keeps_the_number_of_samples(seconds: float, tmp_path: Path) -> None:
    packets = ingested(wav(tmp_path / "a.wav", voice(16000, 8.0)[None, : int(16000 * seconds)]))
    assert len(samples(normalized(packets, loudness="ebu-r128"))) == int(16000 * seconds)


@pytest.fixture
def opus(tmp_path: Path) -> list[Any]:
    """4 s of 20 ms packets."""
    return ingested(encode(tmp_path / "a.opus", "libopus", "ogg", layout="mono"))


def test_a_gap_becomes_silence(opus: list[Any]) -> None:
    whole = samples(normalized(opus))
    records = normalized(moved(opus, {50: 2.0}))

    pcm = of(Pcm, records)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(pcm))
    assert not of(Discontinuity, records)
    got = samples(records)
    assert len(got) == len(whole) + 32000
    assert counters(records)["silence_ms"] == 2000
    at = 50 * 320 - 104  # of the 6.5 ms that an Opus encoder puts before the sound
    assert np.array_equal(got[: at - 100], whole[: at - 100])
    assert not got[at + 100 : at + 31900].any()
    assert np.array_equal(got[at + 32100 :], whole[at + 100 :])


def test_a_gap_longer_than_the_bound_is_a_discontinuity(opus: list[Any]) -> None:
    records = normalized(moved(opus, {50: 2.0}), max_gap=1.5)

    jump = records.index(of(Discontinuity, records)[0])
    assert records[jump].gap_ms == 2000
    assert records[jump].reason == "gap"
    assert records[jump].at_ms == records[jump - 1].end_ms - 1 == 993  # 993.5 ms
    assert records[jump + 1].start_ms == 2993
    assert len(samples(records)) == pytest.approx(len(samples(normalized(opus))), abs=16)


def test_time_that_comes_twice_is_dropped(opus: list[Any]) -> None:
    records = normalized(moved(opus, {50: -0.5}))

    (jump,) = of(Discontinuity, records)
    assert (jump.reason, jump.gap_ms) == ("overlap", -500)
    pcm = of(Pcm, records)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(pcm))
    assert counters(records)["dropped_ms"] == 500
    assert len(samples(records)) == pytest.approx(len(samples(normalized(opus))) - 8000, abs=2)


def test_a_clock_that_is_set_back_does_not_take_time_back(opus: list[Any]) -> None:
    records = normalized(moved(moved(opus, {0: 100.0}), {50: -90.0}))

    (jump,) = of(Discontinuity, records)
    assert jump.reason == "clock-reset"
    pcm = of(Pcm, records)
    assert pcm[0].start_ms == 100_000
    assert all(a.end_ms == b.start_ms for a, b in pairwise(pcm))
    assert len(samples(records)) == pytest.approx(len(samples(normalized(opus))), abs=32)


def test_one_damaged_time_moves_nothing(opus: list[Any]) -> None:
    records = normalized(moved(opus, {50: 5000.0, 51: 0.0, 100: -60.0, 101: 0.0}))

    assert not of(Discontinuity, records)
    assert np.array_equal(samples(records), samples(normalized(opus)))


def test_rounded_times_move_nothing(opus: list[Any]) -> None:
    jitter = {seq: (0.004 if seq % 3 else -0.003) for seq in range(1, 200)}
    records = normalized(moved(opus, jitter))
    assert np.array_equal(samples(records), samples(normalized(opus)))


def test_slow_drift_is_followed(opus: list[Any]) -> None:
    """Each packet 1 ms later than its samples say: after 4 s the sound is where its times say, within the tolerance."""
    records = normalized(moved(opus, {seq: seq / 1000 for seq in range(201)}))
    assert of(Pcm, records)[-1].end_ms == pytest.approx(4200, abs=50)


def test_lost_packets_leave_a_hole_of_their_length(opus: list[Any]) -> None:
    records = normalized(moved(opus, dict.fromkeys(range(60, 70))))
    assert of(Pcm, records)[-1].end_ms == 4000
    assert counters(records)["silence_ms"] == pytest.approx(200, abs=1)


def test_damaged_packets_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    packets = ingested(encode(tmp_path / "a.mkv", "flac", "matroska"))
    whole = samples(normalized(packets))
    noise = np.random.default_rng(1)
    broken = [
        msgspec.structs.replace(r, data=noise.bytes(len(r.data)))
        if isinstance(r, Packet) and r.seq in range(20, 25)
        else r
        for r in packets
    ]
    records = normalized(broken)

    assert counters(records)["bad_packets"] == 5
    (error,) = of(Error, records)
    assert (error.code, error.fatal) == ("damaged", False)
    assert f"5 of {counters(records)['packets']} audio packets" in error.message
    got = samples(records)
    assert len(got) == pytest.approx(len(whole), abs=16)
    assert np.array_equal(got[:25000], whole[:25000])
    assert np.array_equal(got[-15000:], whole[-15000:])
    assert not got[31000:36000].any()
    assert isinstance(records[-1], Eos)


def test_nothing_decodable_is_fatal() -> None:
    stream = AudioStream(codec="aac", sample_rate_hz=48000, channels=2, layout="stereo", time_base=(1, 48000))
    noise = np.random.default_rng(1)
    packets = [
        Packet(
            "s",
            seq=i,
            stream="audio",
            pts=i * 1024,
            dts=i * 1024,
            duration=1024,
            time_base=(1, 48000),
            data=noise.bytes(300),
        )
        for i in range(20)
    ]
    records = normalized([Header("s", proto=1, source="x.aac", audio=stream), *packets, Eos("s")])
    assert isinstance(records[-1], Error)
    assert (records[-1].code, records[-1].fatal) == ("data", True)
    assert "none of its 20 audio packets" in records[-1].message
    assert not of(Eos, records)


@pytest.mark.parametrize("codec", ["no-such-codec", "h264"])
def test_a_codec_that_cannot_be_decoded_is_one_clear_error(codec: str) -> None:
    stream = AudioStream(codec=codec, sample_rate_hz=48000, channels=2)
    packet = Packet("s", seq=0, stream="audio", pts=0, dts=0, duration=1, time_base=(1, 48000), data=b"x")
    records = normalized([Header("s", proto=1, source="x", audio=stream), packet, packet, Eos("s")])
    assert [(e.code, e.fatal) for e in of(Error, records)] == [("data", True)]
    assert codec in records[-1].message


def test_an_upstream_failure_leaves_what_came_before(opus: list[Any]) -> None:
    failure = Error("a", stage="ingest", code="temporary", message="gone", fatal=True)
    records = normalized([*opus[:102], failure])
    assert records[-1] == failure
    assert of(Status, records)[-1].state == "failed"
    assert len(samples(records)) == 100 * 320 - 104


def test_sample_rate_and_layout_may_change_in_mid_stream(tmp_path: Path) -> None:
    one = encode(tmp_path / "one.aac", "aac", "adts", rate=48000, layout="stereo", seconds=2)
    two = encode(tmp_path / "two.aac", "aac", "adts", rate=32000, layout="mono", seconds=2)
    joined = tmp_path / "joined.aac"
    joined.write_bytes(one.read_bytes() + two.read_bytes())

    records = normalized(ingested(joined))

    first, second = direct(one), direct(two)
    got = samples(records)
    assert len(got) == pytest.approx(len(first) + len(second), abs=0.06 * 16000)
    assert np.array_equal(got[: len(first) - 1000], first[: len(first) - 1000])
    tail = second[-16000:].astype(float)
    spectrum = np.fft.rfft(got[-16000:].astype(float), 1 << 16) * np.conj(np.fft.rfft(tail, 1 << 16))
    strength = np.fft.irfft(spectrum).max() / np.dot(tail, tail)
    assert strength > 0.9


def test_packets_are_kept_on_request_and_video_always_passes(opus: list[Any]) -> None:
    video = Packet("a", seq=0, stream="video", pts=0, dts=0, duration=1, time_base=(1, 25), data=b"v", keyframe=True)
    header = msgspec.structs.replace(opus[0], video=VideoStream(codec="h264", width=2, height=2))
    records = [header, video, *opus[1:]]
    assert of(Packet, normalized(records)) == [video]
    assert len(of(Packet, normalized(records, keep_packets=True))) == 1 + len(of(Packet, opus))


def test_a_session_without_audio_passes_unchanged() -> None:
    records = [Header("s", proto=1, source="x.srt"), Status("s", stage="ingest", state="completed"), Eos("s")]
    assert normalized(records) == records


def test_lag_of_a_live_source(opus: list[Any]) -> None:
    header = msgspec.structs.replace(opus[0], live=True, started_at=1000.0)
    normalizer = Normalizer(header, Options(), clock=lambda: 1005.25)
    out = [o for record in [header, *opus[1:-1]] for o in normalizer.feed(record)]
    out += normalizer.finish(opus[-1])
    assert of(Status, out)[-1].lag_ms == 5250 - 4000
    assert [s.state for s in of(Status, out) if s.stage == "normalize"] == ["running", "running", "completed"]


def test_a_file_says_nothing_of_lag(opus: list[Any]) -> None:
    assert all(status.lag_ms is None for status in of(Status, normalized(opus)))


FRAME_SECONDS = 0.02


def frame(rate: int, seconds: float, value: int) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.full((1, round(rate * seconds)), value, np.int16), format="s16", layout="mono")
    made.sample_rate = rate
    return made


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-0.2, 0.2), st.sampled_from([-30.0, -3.0, 0.5, 3.0, 40.0])),
            st.sampled_from([8000, 16000, 44100]),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 3000),
    st.one_of(st.none(), st.integers(0, 4000)),
)
def test_pieces_never_overlap_and_have_holes_only_at_jumps(
    moves: list[tuple[float | None, int]], max_gap_ms: int, length_ms: int | None
) -> None:
    start_ms = 100 if length_ms is not None else 0
    end_ms = None if length_ms is None else start_ms + length_ms
    timeline = Timeline(channel="mix", max_gap_ms=max_gap_ms, start_ms=start_ms, end_ms=end_ms)
    out: list[Piece | Jump] = []
    at_s, given_samples = 0.0, 0.0
    for move, rate in moves:
        at_s += move or 0.0
        out += timeline.place(frame(rate, FRAME_SECONDS, 1000), None if move is None else at_s)
        at_s += FRAME_SECONDS
        given_samples += FRAME_SECONDS * 16000
    out += timeline.flush()

    position: int | None = None
    hole = False
    for item in out:
        if isinstance(item, Jump):
            hole = item.reason == "gap"
            continue
        if position is not None:
            assert item.start > position if hole else item.start == position
        assert item.start >= start_ms * 16
        position, hole = item.start + len(item.samples), False
    if end_ms is not None and position is not None:
        assert position <= end_ms * 16
    total = sum(len(item.samples) for item in out if isinstance(item, Piece)) - timeline.silence
    assert total <= given_samples + 2 * len(moves)
    if length_ms is None and min(at for at, _ in _starts(moves)) >= 0:
        assert total == pytest.approx(given_samples - timeline.dropped, abs=2 * len(moves))


def _starts(moves: list[tuple[float | None, int]]) -> list[tuple[float, int]]:
    at_s, starts = 0.0, []
    for move, rate in moves:
        at_s += move or 0.0
        starts.append((at_s, rate))
        at_s += FRAME_SECONDS
    return starts
