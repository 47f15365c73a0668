"""`--video-codec`: the picture encoded anew, each picture at its time; and what is said where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from films import film, flags, frames, packets
from hls_media import played
from hls_validator import Validator
from media import ingested
from streamlation_cli.delivery.pictures import EncodedPicture
from streamlation_cli.delivery.store import FolderStore
from streamlation_cli.delivery.tracks import Track
from streamlation_cli.records import Header, Packet, VideoStream
from support import eos, header, ndjson, shell, streamlation

STUB = ("--transcribe-engine", "stub", "--translate-engine", "stub", "--dub-engine", "stub")
SIZE = (192, 108)


def broadcast(path: Path, seconds: float = 6, *, interlaced: bool = False) -> Path:
    """MPEG-2 and MP2 in a transport stream, as television sends them: B-frames, pixels that are not square where interlaced."""
    with av.open(str(path), "w", format="mpegts") as container:
        picture: Any = container.add_stream(
            "mpeg2video", rate=25, options={"flags": "+ildct+ilme"} if interlaced else {}
        )
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        picture.codec_context.gop_size, picture.codec_context.max_b_frames = 12, 2
        picture.codec_context.bit_rate = 1_000_000
        if interlaced:
            picture.codec_context.sample_aspect_ratio = Fraction(4, 3)
        sound: Any = container.add_stream("mp2", rate=48_000, layout="mono")
        for number in range(round(seconds * 25)):
            image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            image[:, number % SIZE[0] :][:, :20] = (255, number % 255, 80)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for start in range(0, round(seconds * 48_000), 1152):
            tone = np.sin(np.arange(start, start + 1152) * 2 * np.pi * 500 / 48_000) * 8000
            block = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
            block.sample_rate, block.pts = 48_000, start
            container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path


def opened(path: Path) -> tuple[Header, list[Packet]]:
    """A file's header and the packets of its picture."""
    records = ingested(path, video=True)
    (head,) = (record for record in records if isinstance(record, Header))
    return head, [record for record in records if isinstance(record, Packet) and record.stream == "video"]


def decoded(picture: EncodedPicture, made: Iterable[Packet]) -> list[Any]:
    """The pictures that its packets show."""
    track = picture.described(Track(name="video", kind="video"))
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.extradata = track.extradata
    found = []
    for packet in made:
        raw = av.Packet(packet.data)
        raw.pts, raw.dts = packet.pts, packet.dts
        found += decoder.decode(raw)
    return [*found, *decoder.decode(None)]


def image(path: Path, number: int) -> Any:
    """A picture of a file in colours, as small integers may not be subtracted."""
    with av.open(str(path)) as container:
        for at, frame in enumerate(container.decode(video=0)):
            if at == number:
                return frame.to_ndarray(format="rgb24").astype(np.int16)
    raise AssertionError(number)


def test_a_webm_becomes_an_mp4_that_plays_everywhere(tmp_path: Path) -> None:
    """Pictures come at no steady rate, and none is lost, moved or shown twice."""
    at = lambda number: Fraction(number * 40 + number % 3 * 9, 1000)  # noqa: E731
    film(tmp_path / "talk.webm", video="libvpx-vp9", audio="libopus", seconds=6, at=at)
    outputs = [f"-otalk.pt.{extension}" for extension in ("mp4", "mkv", "ts")]
    command = ("run", "talk.webm", "--from", "en", "--to", "pt", *STUB, "--video-codec", "h264", *outputs)
    streamlation(*command, cwd=tmp_path).ok()
    before = frames(tmp_path / "talk.webm", "video")
    for extension in ("mp4", "mkv", "ts"):
        path = tmp_path / f"talk.pt.{extension}"
        assert flags(path)[0][:2] == ("video", "h264")
        after = frames(path, "video")
        shift_s = after[0][1] - before[0][1]  # a transport stream's clock is not at 0
        assert [round(at_s - shift_s, 3) for _, at_s in after] == [round(at_s, 3) for _, at_s in before]
        assert abs(image(path, 100) - image(tmp_path / "talk.webm", 100)).mean() < 3
        times = [(packet.pts_s, packet.dts_s) for packet in packets(path, "video")]
        assert any(pts_s != dts_s for pts_s, dts_s in times)  # there are B-frames


@pytest.mark.parametrize("interlaced", [False, True])
def test_television_becomes_hls_and_mp4(tmp_path: Path, interlaced: bool) -> None:
    broadcast(tmp_path / "talk.ts", interlaced=interlaced)
    shell(
        "streamlation ingest talk.ts --video | streamlation normalize --keep-packets | "
        "streamlation mux --video-codec h264 -o talk.m3u8 -o talk.mp4 > /dev/null",
        cwd=tmp_path,
    ).ok()
    shown = played(tmp_path / "talk.m3u8")
    assert len(shown.video) == 150
    state = Validator(FolderStore(tmp_path).get, "talk.m3u8")
    assert [float(part.duration_s) for part in state.playlists["talk-video.m3u8"].parts] == [2.0, 2.0, 2.0]
    with av.open(str(tmp_path / "talk.mp4")) as container:
        (stream,) = container.streams.video
        pictures = list(container.decode(stream))
        assert len(pictures) == 150
        assert not any(frame.interlaced_frame for frame in pictures)
        assert (stream.width, stream.height) == SIZE
        with av.open(str(tmp_path / "talk.ts")) as before:
            assert stream.sample_aspect_ratio == before.streams.video[0].sample_aspect_ratio
        assert (stream.sample_aspect_ratio != 1) is interlaced


def test_a_live_picture_waits_for_nothing(tmp_path: Path) -> None:
    """A packet comes out for each that goes in, at the same time, in the order it is shown."""
    film(tmp_path / "talk.webm", video="libvpx-vp9", audio="libopus", seconds=5)
    head, before = opened(tmp_path / "talk.webm")
    assert head.video is not None
    picture = EncodedPicture(head.video, "h264", live=True, keyframes_s=2)
    after = []
    for packet in before:
        (one,) = picture.feed(packet)
        assert one.pts == one.dts == packet.pts
        after.append(one)
    assert not list(picture.finish())
    keyframes_s = [
        one.pts * one.time_base[0] / one.time_base[1] for one in after if one.keyframe and one.pts is not None
    ]
    assert keyframes_s == pytest.approx([0, 2, 4], abs=0.001)


def test_a_kept_part_begins_and_ends_at_the_picture(tmp_path: Path) -> None:
    film(tmp_path / "talk.mp4", seconds=6)
    cut = ("--start", "1.5", "--duration", "2")
    command = ("run", "talk.mp4", *cut, "--from", "en", *STUB, "--video-codec", "h264", "-o", "part.mp4")
    streamlation(*command, cwd=tmp_path).ok()
    times = [at_s for _, at_s in frames(tmp_path / "part.mp4", "video")]
    assert times == pytest.approx([number / 25 + 0.02 for number in range(50)], abs=0.0011)
    assert abs(image(tmp_path / "part.mp4", 0) - image(tmp_path / "talk.mp4", 38)).mean() < 3


def test_a_clock_that_is_set_back_and_packets_that_are_broken(tmp_path: Path) -> None:
    """As a live source has them: the picture goes on."""
    film(tmp_path / "talk.mp4", seconds=2, bframes=0)
    head, before = opened(tmp_path / "talk.mp4")
    assert head.video is not None
    tick = head.video.time_base[1] // head.video.time_base[0]
    late = [
        msgspec.structs.replace(one, pts=(one.pts or 0) + 60 * tick, dts=(one.dts or 0) + 60 * tick) for one in before
    ]
    late[30] = msgspec.structs.replace(late[30], data=b"\0" * 40)
    picture = EncodedPicture(head.video, "h264", live=True)
    after = [one for packet in [*before[7:], *late, *before] for one in picture.feed(packet)]
    times_s = [one.pts / tick for one in after if one.pts is not None]
    assert 25 / 25 - 0.1 < times_s[0] < 1.1  # nothing can be decoded before a keyframe
    assert max(times_s) > 61.9
    assert len(times_s) >= 25 + 49 + 50 - 2
    assert after[times_s.index(max(times_s)) + 1].keyframe
    assert picture.counters["undecodable_packets"] <= 1
    assert len(decoded(picture, after)) == len(after)


def test_colours_odd_sizes_and_ten_bits() -> None:
    """What plays everywhere has 8 bits, colours for two pixels each way, and says what its colours mean."""
    source: Any = av.CodecContext.create("libx264", "w")
    source.width, source.height, source.pix_fmt, source.time_base = 161, 91, "yuv444p10le", Fraction(1, 25)
    source.options = {"tune": "zerolatency"}
    source.color_primaries = source.color_trc = source.colorspace = 1
    source.open()
    video = VideoStream(codec="h264", width=161, height=91, time_base=(1, 25), extradata=source.extradata or b"")
    picture = EncodedPicture(video, "h264", live=True)
    after = []
    for number in range(10):
        frame = av.VideoFrame.from_ndarray(np.full((91, 161, 3), 25 * number, np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        for one in source.encode(frame.reformat(format="yuv444p10le", dst_colorspace="ITU709")):
            times: dict[str, Any] = {"pts": one.pts, "dts": one.dts, "duration": 1, "time_base": (1, 25)}
            packet = Packet("s", seq=0, stream="video", data=bytes(one), keyframe=one.is_keyframe, **times)
            after += picture.feed(packet)
    after += picture.finish()
    pictures = decoded(picture, after)
    assert len(pictures) == 10
    assert {(one.width, one.height, one.format.name) for one in pictures} == {(160, 90, "yuv420p")}
    assert (pictures[0].color_primaries, pictures[0].color_trc, pictures[0].colorspace) == (1, 1, 1)


@pytest.mark.parametrize(("target", "says"), [("talk.mp4", "--video-codec h264"), ("talk.m3u8", "--video-codec h264")])
def test_a_refusal_names_the_way_out(tmp_path: Path, target: str, says: str) -> None:
    broken = header(video={"codec": "vp8", "width": 160, "height": 90, "time_base": [1, 1000]})
    refused = streamlation("mux", "-o", target, stdin=ndjson(broken, eos()), cwd=tmp_path)
    assert refused.status == 2
    assert f"{target} takes no vp8 video; {says}" in refused.stderr


def test_what_cannot_encode_here_is_said_at_once(tmp_path: Path) -> None:
    """No machine that builds this has Apple's encoder; and a WebM takes no H.264 however it is made."""
    refused = streamlation(
        "mux", "-o", "a.mp4", "--video-codec", "h264_videotoolbox", stdin=ndjson(header(), eos()), cwd=tmp_path
    )
    if sys.platform != "darwin":
        assert refused.status == 69
        assert "h264_videotoolbox cannot be used here" in refused.stderr
    vp8 = header(video={"codec": "vp8", "width": 160, "height": 90, "time_base": [1, 1000]})
    refused = streamlation("mux", "-o", "a.webm", "--video-codec", "h264", stdin=ndjson(vp8, eos()), cwd=tmp_path)
    assert refused.status == 2
    assert "a.webm takes no h264 video; write an .mp4 or .mkv" in refused.stderr
    refused = streamlation("cast", "a.webm", "--to", "-", "--video-codec", "h264", cwd=tmp_path)
    assert refused.status == 2
    assert "run a.webm --video-codec h264" in refused.stderr


GROWTH = """
import resource, sys
from streamlation_cli.delivery.pictures import EncodedPicture
from streamlation_cli.ndjson import decode
import msgspec

head, *packets = map(decode, open(sys.argv[1], "rb").read().splitlines())
picture = EncodedPicture(head.video, "h264", live=sys.argv[2] == "live", keyframes_s=2)
base = head.video.time_base
seconds = 6 * base[1] // base[0]
peaks = []
for turn in range(60):
    for packet in packets:
        for _ in picture.feed(msgspec.structs.replace(packet, pts=packet.pts + turn * seconds, dts=packet.dts + turn * seconds)):
            pass
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[14], peaks[-1])
"""


@pytest.mark.parametrize("how", ["live", "file"])
def test_memory_stays_flat(tmp_path: Path, how: str) -> None:
    """Six minutes of a small picture need what a minute and a half do."""
    film(tmp_path / "talk.webm", video="libvpx-vp9", audio="libopus", seconds=6)
    head, before = opened(tmp_path / "talk.webm")
    log = tmp_path / "log.ndjson"
    log.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in (head, *before)))
    told = subprocess.run([sys.executable, "-c", GROWTH, log, how], stdout=subprocess.PIPE, check=True, text=True)
    early, late = map(float, told.stdout.split())
    assert late - early < 5, told.stdout
