"""`mux` and `run -o talk.pt.mp4`: what goes in comes out, bit for bit and on time; what cannot be is said."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import srt

from films import RATE_HZ, captions, film, flags, frames, offset_ms, packets, sound
from streamlation_cli.dubbing.waveform import from_s16, resampled
from streamlation_cli.ndjson import decode
from streamlation_cli.records import Speech
from support import PROGRAM, eos, header, ndjson, shell, streamlation

STUB = ("--transcribe-engine", "stub", "--translate-engine", "stub", "--dub-engine", "stub")


@pytest.fixture(scope="module")
def dubbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film, and what one `run` made of it."""
    folder = tmp_path_factory.mktemp("dubbed")
    film(folder / "talk.mp4")
    outputs = [f"-otalk.pt.{extension}" for extension in ("mp4", "mkv", "mov", "ts", "srt", "ndjson")]
    streamlation("run", "talk.mp4", "--from", "en", "--to", "pt", *STUB, *outputs, cwd=folder).ok()
    return folder


def speech(log: Path) -> list[Speech]:
    found = [decode(line) for line in log.read_bytes().splitlines() if b'"type":"speech"' in line]
    return [record for record in found if isinstance(record, Speech)]


@pytest.mark.parametrize("name", ["talk.pt.mp4", "talk.pt.mkv", "talk.pt.mov"])
def test_picture_and_original_are_the_same_bit_for_bit(dubbed: Path, name: str) -> None:
    for kind, index in (("video", 0), ("audio", 1)):
        before, after = packets(dubbed / "talk.mp4", kind), packets(dubbed / name, kind, index)
        assert [p.data for p in after] == [p.data for p in before]
        assert [(p.keyframe, p.skip_samples) for p in after] == [(p.keyframe, p.skip_samples) for p in before]
        # Matroska's clock has milliseconds.
        assert max(abs(a.pts_s - b.pts_s) for a, b in zip(after, before, strict=True)) <= 0.0005
        decoded = [shown for shown, _ in frames(dubbed / "talk.mp4", kind)]
        assert [shown for shown, _ in frames(dubbed / name, kind, index)] == decoded
    assert any(p.pts_s != p.dts_s for p in packets(dubbed / name, "video"))  # there are B-frames


def test_a_transport_stream_shows_the_same(dubbed: Path) -> None:
    """Its packets have start codes and no lengths, and its clock starts anywhere; what is seen and heard is the same."""
    shifts = []
    for kind, index in (("video", 0), ("audio", 1)):
        before, after = frames(dubbed / "talk.mp4", kind), frames(dubbed / "talk.pt.ts", kind, index)
        if kind == "video":
            assert [shown for shown, _ in after] == [shown for shown, _ in before]
        shifts.append(after[0][1] - before[0][1])
    assert abs(shifts[0] - shifts[1]) < 0.03


@pytest.mark.parametrize("name", ["talk.pt.mp4", "talk.pt.mkv", "talk.pt.mov", "talk.pt.ts"])
def test_every_utterance_starts_when_it_was_planned(dubbed: Path, name: str) -> None:
    track, spoken = sound(dubbed / name), speech(dubbed / "talk.pt.ndjson")
    assert len(spoken) >= 4
    video_start_s = frames(dubbed / name, "video")[0][1]  # a transport stream's clock is not at 0
    for record in spoken:
        samples = resampled(from_s16(record.data), record.sample_rate_hz, RATE_HZ)
        late_ms, sureness = offset_ms(track, samples, record.start_ms + video_start_s * 1000)
        assert sureness > 0.9, record.id
        assert abs(late_ms) < 30, record.id  # 80 is promised


def test_tracks_have_languages_and_the_dub_plays(dubbed: Path) -> None:
    expected = [
        ("video", "h264", True), ("audio", "aac", "por", True), ("audio", "aac", "eng", False),
        ("subtitle", "mov_text", "por", False), ("subtitle", "mov_text", "eng", False),
    ]  # fmt: skip
    found = flags(dubbed / "talk.pt.mp4")
    assert found[0][1::2] == ("h264", True)
    assert found[1:] == expected[1:]
    expected = [(*row[:1], row[1].replace("mov_text", "subrip"), *row[2:]) for row in expected]
    found = flags(dubbed / "talk.pt.mkv")
    assert [row[0] for row in found] == [row[0] for row in expected]
    assert found[1:] == expected[1:]
    assert [row[2] for row in flags(dubbed / "talk.pt.ts")[1:]] == ["por", "eng"]


@pytest.mark.parametrize("name", ["talk.pt.mp4", "talk.pt.mkv"])
def test_captions_are_those_of_subtitle(dubbed: Path, name: str) -> None:
    written = [
        (round(cue.start.total_seconds() * 1000), round(cue.end.total_seconds() * 1000), cue.content)
        for cue in srt.parse((dubbed / "talk.pt.srt").read_text("utf-8"))
    ]
    assert written
    assert captions(dubbed / name, 0) == written
    english = streamlation("subtitle", "--text", "transcript", stdin=(dubbed / "talk.pt.ndjson").read_bytes()).ok()
    assert [text for _, _, text in captions(dubbed / name, 1)] == [
        cue.content for cue in srt.parse(english.stdout.decode())
    ]


def test_the_pipe_gives_the_same_bytes_as_run(dubbed: Path, tmp_path: Path) -> None:
    shell(
        f"streamlation ingest {dubbed / 'talk.mp4'} --video --from en | streamlation normalize --keep-packets | "
        "streamlation transcribe --from en --engine stub | streamlation translate --to pt --engine stub | "
        "streamlation dub --engine stub | streamlation mux -o pipe.mp4 -o pipe.mkv -o pipe.ts > log.ndjson",
        cwd=tmp_path,
    ).ok()
    for extension in ("mp4", "mkv", "ts"):
        assert (tmp_path / f"pipe.{extension}").read_bytes() == (dubbed / f"talk.pt.{extension}").read_bytes(), (
            extension
        )
    shell("streamlation mux -o again.mp4 < log.ndjson > same.ndjson", cwd=tmp_path).ok()
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "pipe.mp4").read_bytes()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".mkv", ".mp4", ".mp4", ".ndjson", ".ndjson", ".ts"]


def test_webm_has_opus_and_webvtt(tmp_path: Path) -> None:
    film(tmp_path / "talk.webm", video="libvpx-vp9", audio="libopus", seconds=8)
    outputs = ("-o", "out.webm", "-o", "out.mp4", "-o", "out.ndjson")
    streamlation("run", "talk.webm", "--from", "en", "--to", "pt", *STUB, *outputs, cwd=tmp_path).ok()
    assert [row[:3] for row in flags(tmp_path / "out.webm")] == [
        ("video", "vp9", ""), ("audio", "opus", "por"), ("audio", "opus", "eng"), ("subtitle", "webvtt", "por"),
        ("subtitle", "webvtt", "eng"),
    ]  # fmt: skip
    assert [row[1] for row in flags(tmp_path / "out.mp4")] == ["vp9", "aac", "opus", "mov_text", "mov_text"]
    for name in ("out.webm", "out.mp4"):
        for kind, index in (("video", 0), ("audio", 1)):
            before, after = packets(tmp_path / "talk.webm", kind), packets(tmp_path / name, kind, index)
            assert [p.data for p in after] == [p.data for p in before], name
        track = sound(tmp_path / name)
        for record in speech(tmp_path / "out.ndjson"):
            samples = resampled(from_s16(record.data), record.sample_rate_hz, RATE_HZ)
            late_ms, sureness = offset_ms(track, samples, record.start_ms)
            assert sureness > 0.9
            assert abs(late_ms) < 30
    assert captions(tmp_path / "out.webm")[0] == captions(tmp_path / "out.mp4")[0]


def test_ass_captions_and_none(dubbed: Path, tmp_path: Path) -> None:
    log = (dubbed / "talk.pt.ndjson").read_bytes()
    streamlation("mux", "-o", "a.mkv", "--captions", "ass", stdin=log, cwd=tmp_path).ok()
    assert [row[1] for row in flags(tmp_path / "a.mkv")][3:] == ["ass", "ass"]
    assert captions(tmp_path / "a.mkv")[0][2].startswith("0,0,Default,,0,0,0,,")
    streamlation("mux", "-o", "b.mp4", "--captions", "none", stdin=log, cwd=tmp_path).ok()
    assert [row[0] for row in flags(tmp_path / "b.mp4")] == ["video", "audio", "audio"]
    refused = streamlation("mux", "-o", "c.mp4", "--captions", "ass", stdin=log, cwd=tmp_path)
    assert refused.status == 2
    assert ".mkv" in refused.stderr


def test_each_mix_sounds_as_dub_writes_it(dubbed: Path, tmp_path: Path) -> None:
    """But for AAC, at the same level: a voice in one channel would be 3 LU softer than in two."""
    for mix in ("replace", "duck", "keep"):
        options = ("--from", "en", "--to", "pt", *STUB, "--mix", mix)
        streamlation("run", dubbed / "talk.mp4", *options, "-o", f"{mix}.mp4", "-o", f"{mix}.wav", cwd=tmp_path).ok()
        mixed, written = sound(tmp_path / f"{mix}.mp4"), sound(tmp_path / f"{mix}.wav")
        length = min(len(mixed), len(written))
        assert abs(len(mixed) - len(written)) < RATE_HZ // 10
        difference = mixed[:length] - written[:length]
        assert np.sqrt((difference**2).mean()) < 0.1 * np.sqrt((written**2).mean()), mix
        with av.open(tmp_path / f"{mix}.mp4") as container:
            assert container.streams.audio[0].layout.name == "stereo"
            assert mix != "replace" or 0 < (container.streams.audio[0].bit_rate or 0) < 70_000, (
                "less than at a steady rate"
            )


def test_translated_captions_without_a_voice_are_shown(tmp_path: Path) -> None:
    film(tmp_path / "talk.mp4", seconds=6)
    shell(
        "streamlation ingest talk.mp4 --video | streamlation normalize --keep-packets | streamlation transcribe --from en "
        "--engine stub | streamlation translate --to pt --engine stub | streamlation mux -o out.mkv > /dev/null",
        cwd=tmp_path,
    ).ok()
    assert [row[::2] for row in flags(tmp_path / "out.mkv")][1:] == [
        ("audio", "eng"), ("subtitle", "por"), ("subtitle", "eng"),
    ]  # fmt: skip
    assert [row[3] for row in flags(tmp_path / "out.mkv")][1:] == [True, True, False]


def test_without_a_picture_there_is_sound_and_text(tmp_path: Path, samples: Path) -> None:
    outputs = ("-o", "out.mp4", "-o", "out.mka", "-o", "out.webm")
    streamlation("run", samples / "hello_en.flac", "--from", "en", "--to", "pt", *STUB, *outputs, cwd=tmp_path).ok()
    assert [row[0] for row in flags(tmp_path / "out.mp4")] == ["audio", "audio", "subtitle", "subtitle"]
    assert [row[1] for row in flags(tmp_path / "out.mka")] == ["aac", "flac", "subrip", "subrip"]
    assert [row[1] for row in flags(tmp_path / "out.webm")] == ["opus", "opus", "webvtt", "webvtt"]
    original = sound(samples / "hello_en.flac")
    assert np.array_equal(sound(tmp_path / "out.mka", 1), original)
    encoded = sound(tmp_path / "out.webm", 1)
    late_ms, sureness = offset_ms(encoded, original[RATE_HZ // 2 : RATE_HZ], 500)
    assert sureness > 0.95
    assert abs(late_ms) < 1


def test_a_subtitle_file_becomes_a_voice(tmp_path: Path) -> None:
    (tmp_path / "talk.srt").write_text(
        "1\n00:00:01,000 --> 00:00:03,000\nGood morning.\n\n2\n00:00:04,000 --> 00:00:06,000\nThank you.\n\n"
    )
    streamlation("run", "talk.srt", "--from", "en", "--to", "pt", *STUB, "-o", "out.mka", cwd=tmp_path).ok()
    assert [row[:3] for row in flags(tmp_path / "out.mka")] == [
        ("audio", "aac", "por"), ("subtitle", "subrip", "por"), ("subtitle", "subrip", "eng"),
    ]  # fmt: skip
    assert [start for start, _, _ in captions(tmp_path / "out.mka")] == [1000, 4000]
    track = sound(tmp_path / "out.mka")
    assert np.abs(track[: RATE_HZ * 9 // 10]).max() < 0.01
    assert np.abs(track[RATE_HZ : RATE_HZ * 3 // 2]).max() > 0.05


def test_standard_output_is_a_stream(dubbed: Path, tmp_path: Path) -> None:
    log = (dubbed / "talk.pt.ndjson").read_bytes()
    for format, magic in (("mpegts", b"\x47"), ("matroska", b"\x1a\x45\xdf\xa3")):
        made = streamlation("mux", "-o", "-", "--format", format, stdin=log).ok()
        assert made.stdout.startswith(magic)
        (tmp_path / format).write_bytes(made.stdout)
        shown = [hash_ for hash_, _ in frames(tmp_path / format, "video")]
        assert shown == [hash_ for hash_, _ in frames(dubbed / "talk.mp4", "video")]


# Refusals


def test_a_picture_that_the_file_cannot_take_is_refused_with_a_way_out(dubbed: Path, tmp_path: Path) -> None:
    refused = streamlation("run", dubbed / "talk.mp4", "--from", "en", *STUB, "-o", "talk.webm", cwd=tmp_path)
    assert refused.status == 2
    assert "talk.webm takes no h264 video" in refused.stderr
    assert ".mkv" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "-o FILE"),
        (("-o", "talk.avi"), "must be one of mp4"),
        (("-o", "talk.mp4", "--burn-in"), "subtitles="),
        (("-o", "a.mp4", "--min-duration", "3", "--max-duration", "1"), "--min-duration"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    refused = streamlation("mux", *arguments, stdin=ndjson(header(), eos()), cwd=tmp_path)
    assert refused.status == 2
    assert says in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_missing_packets_are_told_in_one_line(tmp_path: Path, samples: Path) -> None:
    refused = shell(
        f"streamlation ingest {samples / 'hello_en.flac'} | streamlation normalize | streamlation transcribe --engine stub | "
        "streamlation mux -o out.mka > log.ndjson",
        cwd=tmp_path,
    )
    assert refused.status == 2
    assert refused.stderr.count("\n") == 1
    assert "normalize --keep-packets" in refused.stderr
    assert not (tmp_path / "out.mka").exists()


def test_a_folder_that_is_not_there(dubbed: Path, tmp_path: Path) -> None:
    log = (dubbed / "talk.pt.ndjson").read_bytes()
    refused = streamlation("mux", "-o", "no/where.mp4", stdin=log, cwd=tmp_path)
    assert refused.status == 74
    assert "no folder no" in refused.stderr


def test_an_empty_session_leaves_no_file(tmp_path: Path) -> None:
    made = streamlation("mux", "-o", "out.mkv", stdin=ndjson(header(), eos()), cwd=tmp_path).ok()
    assert "nothing in it" in made.stderr
    assert not list(tmp_path.iterdir())


# Half files


def midway(log: Path, folder: Path, name: str) -> subprocess.Popen[bytes]:
    """`mux` that has had every record but the last."""
    process = subprocess.Popen([PROGRAM, "mux", "-o", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder)
    assert process.stdin is not None
    assert process.stdout is not None
    lines = log.read_bytes().splitlines(keepends=True)[:-1]
    for line in lines:
        process.stdin.write(line)
        process.stdin.flush()
        process.stdout.readline()
    return process


def ended(process: subprocess.Popen[bytes], number: int) -> int:
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def test_a_kill_leaves_nothing_under_the_name(dubbed: Path, tmp_path: Path) -> None:
    process = midway(dubbed / "talk.pt.ndjson", tmp_path, "out.mp4")
    assert ended(process, signal.SIGKILL) == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.part"]


def test_an_interrupt_leaves_a_playable_part(dubbed: Path, tmp_path: Path) -> None:
    process = midway(dubbed / "talk.pt.ndjson", tmp_path, "out.mp4")
    assert ended(process, signal.SIGINT) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.part"]
    part = (tmp_path / "out.mp4.part").rename(tmp_path / "part.mp4")
    assert len(frames(part, "video")) == len(frames(dubbed / "talk.mp4", "video"))


def test_a_stream_that_stops_short_leaves_a_playable_part(dubbed: Path, tmp_path: Path) -> None:
    lines = (dubbed / "talk.pt.ndjson").read_bytes().splitlines(keepends=True)
    broken = streamlation("mux", "-o", "out.mp4", stdin=b"".join(lines[: len(lines) // 2]), cwd=tmp_path)
    assert broken.status == 65
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.part"]
    part = (tmp_path / "out.mp4.part").rename(tmp_path / "part.mp4")
    pictures = len(frames(part, "video"))
    assert pictures > 100
    with av.open(str(part)) as container:
        (rate,) = (stream.average_rate for stream in container.streams.video)
        assert container.duration / 1e6 == pytest.approx(
            pictures / float(rate), abs=0.5
        )  # no silence is added to what came


# Odd inputs


def remuxed(path: Path, *arguments: str) -> Path:
    """The file joined anew, nothing recognised in it."""
    target = path.with_name(f"{path.stem}.out.mkv")
    shell(
        f"streamlation ingest '{path}' --video {' '.join(arguments)} | streamlation mux -o '{target}' > /dev/null",
        cwd=path.parent,
    ).ok()
    return target


@pytest.mark.parametrize("extension", ["mkv", "ts", "flv", "mov", "avi"])
def test_every_container_gives_what_is_in_it(extension: str, tmp_path: Path) -> None:
    path = film(
        tmp_path / f"talk.{extension}", seconds=4, audio="libmp3lame" if extension == "avi" else "aac",
        bframes=0 if extension == "avi" else 2,
    )  # fmt: skip
    joined = remuxed(path)
    for kind in ("video", "audio"):
        before, after = frames(path, kind), frames(joined, kind)
        assert [shown for shown, _ in after] == [shown for shown, _ in before]
        steps = np.diff([at for _, at in after]) - np.diff([at for _, at in before])
        assert np.abs(steps).max() < 0.002


def test_pictures_at_odd_times_keep_them(tmp_path: Path) -> None:
    path = film(
        tmp_path / "vfr.mp4", seconds=6, at=lambda number: Fraction(number, 25) + Fraction(number % 5 * 6, 1000)
    )
    joined = remuxed(path)
    before, after = frames(path, "video"), frames(joined, "video")
    assert [shown for shown, _ in after] == [shown for shown, _ in before]
    assert np.allclose([at for _, at in after], [at for _, at in before], atol=0.0015)
    assert len({round(step, 3) for step in np.diff([at for _, at in before])}) > 1


def test_sound_that_starts_late_starts_late(shared: Path, tmp_path: Path) -> None:
    path = shared / "speech" / "containers" / "audio-starts-at-3s.mkv"
    streamlation(
        "run", path, "--from", "en", "--to", "pt", *STUB, "-o", "out.mp4", "-o", "log.ndjson", cwd=tmp_path
    ).ok()
    before, after = packets(path, "audio"), packets(tmp_path / "out.mp4", "audio", 1)
    assert [p.data for p in after] == [p.data for p in before]
    assert abs(after[0].pts_s - before[0].pts_s) < 0.001
    first = speech(tmp_path / "log.ndjson")[0]
    samples = resampled(from_s16(first.data), first.sample_rate_hz, RATE_HZ)
    late_ms, sureness = offset_ms(sound(tmp_path / "out.mp4"), samples, first.start_ms)
    assert first.start_ms >= 3000
    assert sureness > 0.9
    assert abs(late_ms) < 30


def test_a_cover_picture_is_no_video(tmp_path: Path, samples: Path) -> None:
    cover = tmp_path / "cover.m4a"
    with av.open(str(cover), "w", format="mp4") as container, av.open(str(samples / "hello_en.flac")) as source:
        voice = container.add_stream("aac", rate=16000, layout="mono")
        picture = container.add_stream("mjpeg")
        picture.width, picture.height = 64, 64
        picture.pix_fmt = "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
        container.mux(picture.encode(image))
        container.mux(picture.encode(None))
        for frame in source.decode(audio=0):
            container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
    streamlation("run", cover, "--from", "en", "--to", "pt", *STUB, "-o", "out.mp4", cwd=tmp_path).ok()
    assert [row[0] for row in flags(tmp_path / "out.mp4")] == ["audio", "audio", "subtitle", "subtitle"]


def test_a_film_without_sound_is_refused(shared: Path, tmp_path: Path) -> None:
    path = shared / "speech" / "containers" / "video-no-audio.mp4"
    refused = streamlation("run", path, *STUB, "-o", "out.mp4", cwd=tmp_path)
    assert refused.status == 65
    assert "no audio stream" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_a_kept_part_starts_at_its_start(tmp_path: Path) -> None:
    path = film(tmp_path / "talk.mp4")
    part = ("--start", "6.4", "--duration", "5")
    outputs = ("-o", "out.mp4", "-o", "log.ndjson", "-o", "out.srt")
    streamlation("run", path, *part, "--from", "en", "--to", "pt", *STUB, *outputs, cwd=tmp_path).ok()
    visible = [(shown, at) for shown, at in frames(tmp_path / "out.mp4", "video") if 0 <= at < 4.99]
    whole = [(shown, at - 6.4) for shown, at in frames(path, "video") if at >= 6.4]
    for (shown, at), (expected, expected_at) in zip(visible, whole, strict=False):
        assert shown == expected
        assert abs(at - expected_at) < 0.002
    assert len(visible) == 125
    for record in speech(tmp_path / "log.ndjson"):
        samples = resampled(from_s16(record.data), record.sample_rate_hz, RATE_HZ)
        late_ms, sureness = offset_ms(sound(tmp_path / "out.mp4"), samples, record.start_ms - 6400)
        assert sureness > 0.9
        assert abs(late_ms) < 30
    first = next(srt.parse((tmp_path / "out.srt").read_text("utf-8")))
    assert captions(tmp_path / "out.mp4")[0][0] == round(first.start.total_seconds() * 1000) - 6400


def test_damaged_packets_are_copied_as_they_are(dubbed: Path, tmp_path: Path) -> None:
    """And the exit status is that of the damage."""
    lines = []
    for number, line in enumerate((dubbed / "talk.pt.ndjson").read_bytes().splitlines()):
        record = json.loads(line)
        if record["type"] == "packet" and 100 < number < 110:
            record["data"] = "/////w=="
        lines.append(record)
    damaged = {
        "type": "error", "session": "talk", "stage": "ingest", "code": "damaged", "message": "a part", "fatal": False
    }  # fmt: skip
    lines.insert(-1, damaged)
    made = streamlation("mux", "-o", "out.mp4", stdin=ndjson(*lines), cwd=tmp_path)
    assert made.status == 65
    stored = packets(tmp_path / "out.mp4", "video") + packets(tmp_path / "out.mp4", "audio", 1)
    assert sum(packet.data == b"\xff\xff\xff\xff" for packet in stored) == 9
    assert len(stored) == sum(line["type"] == "packet" for line in lines)


def test_two_sessions_go_to_two_files(tmp_path: Path) -> None:
    for name in "ab":
        film(tmp_path / f"{name}.mp4", seconds=4)
    streamlation(
        "run", "a.mp4", "b.mp4", "--jobs", "2", "--from", "en", "--to", "pt", *STUB, "-o", "{session}.mkv", cwd=tmp_path
    ).ok()
    for name in "ab":
        assert len(flags(tmp_path / f"{name}.mkv")) == 5


def test_the_spoken_words_are_in_the_dubbed_track(shared: Path, tmp_path: Path) -> None:
    """Portuguese speech, an English voice, and what Whisper hears of it in the file."""
    path = film(tmp_path / "fala.mp4", sound=shared / "speech" / "pt" / "fleurs-pt-000.ogg", language="por")
    streamlation("run", path, "--from", "pt", "--to", "en", "-o", "out.mp4", cwd=tmp_path).ok()
    assert [row[2] for row in flags(tmp_path / "out.mp4")][1:] == ["eng", "por", "eng", "por"]
    heard = streamlation(
        "run", "out.mp4", "--audio-stream", "eng", "--from", "en", "-o", "-", "--subtitle-format", "txt", cwd=tmp_path
    )
    text = re.sub(r"\W+", " ", heard.ok().stdout.decode().lower())
    for words in ("statement", "tragic", "family"):
        assert words in text


FLAT = """
import resource, sys
from streamlation_cli.records import AudioStream, Eos, Header, Packet, Speech, Status, Transcript, Translation, VideoStream
from streamlation_cli.stages import mux

def records(seconds):
    yield Header("s", proto=1, source="x", duration_ms=seconds * 1000, target_language="pt", language="en",
        audio=AudioStream(codec="mp3float", sample_rate_hz=48000, channels=2, layout="stereo", time_base=(1, 48000)),
        video=VideoStream(codec="vp8", width=640, height=360, frame_rate=(25, 1), time_base=(1, 1000), pixel_format="yuv420p"))
    for stage in ("transcribe", "translate", "dub"):
        yield Status("s", stage=stage, state="running")
    picture, sound, voice = bytes(3000), b"\\xff\\xfb\\xe4\\x44" + bytes(1148), bytes(2 * 16000)
    seq = 0
    for second in range(seconds):
        for frame in range(25):
            at = second * 1000 + frame * 40
            yield Packet("s", seq=seq, stream="video", pts=at, dts=at, duration=40, time_base=(1, 1000), data=picture, keyframe=not frame)
            seq += 1
        for frame in range(41 + second % 3 // 2):
            at = (second * 125 // 3 + frame) * 1152
            yield Packet("s", seq=seq, stream="audio", pts=at, dts=at, duration=1152, time_base=(1, 48000), data=sound, keyframe=True)
            seq += 1
        if second % 60 == 59 and not seconds * 2 // 5 < second < seconds * 3 // 5:
            for at in range((second - 55) * 1000, second * 1000, 5000):
                name = f"t{at}"
                yield Transcript("s", id=name, start_ms=at, end_ms=at + 3000, text="A sentence that was said.", final=True, language="en")
                yield Translation("s", id="x" + name, start_ms=at, end_ms=at + 3000, text="Uma frase que foi dita.", final=True,
                    source_text="", source_language="en", target_language="pt")
                yield Speech("s", id="x" + name, start_ms=at, end_ms=at + 1000, sample_rate_hz=16000, voice="v", data=voice)
    yield Eos("s", duration_ms=seconds * 1000)

for record in mux.stage(mux.Options(output=(sys.argv[1],)))(records(int(sys.argv[2]))):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.long
def test_memory_is_flat_over_two_hours(tmp_path: Path) -> None:
    """600 MB of packets, which wait for words by the minute and once, in a long silence, for 24 minutes."""
    peaks = []
    for name, seconds in (("short.mkv", 600), ("long.mkv", 7200)):
        told = subprocess.run(
            [sys.executable, "-c", FLAT, str(tmp_path / name), str(seconds)],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        peaks.append(int(told.stdout))
        size = (tmp_path / name).stat().st_size
    assert size > 500_000_000
    assert peaks[1] < peaks[0] + 30, peaks


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_a_picture_that_players_turn_is_turned_in_the_copy(degrees: int, tmp_path: Path) -> None:
    """As telephones write it."""
    film(tmp_path / "upright.mp4", seconds=1, degrees=degrees)
    for name in ("out.mp4", "out.mkv", "out.mov"):
        shell(f"streamlation ingest upright.mp4 --video | streamlation mux -o {name} > log.ndjson", cwd=tmp_path).ok()
        with av.open(str(tmp_path / name)) as container:
            assert next(container.decode(video=0)).rotation % 360 == degrees % 360


def test_a_full_disk_ends_it_where_there_is_no_other_output(tmp_path: Path) -> None:
    """Files are no larger than 70 kB here, as if there were no more room; the film would take its time."""
    film(tmp_path / "talk.mp4", sound="talk_en_60s.opus", seconds=40)
    (tmp_path / "out").mkdir()
    begun_s = time.monotonic()
    command = "streamlation run talk.mp4 --realtime --live --from en --transcribe-engine stub -o out/talk.m3u8"
    full = shell(f"ulimit -f 70; {command} --hls-time 6 --target-latency 2", cwd=tmp_path)
    assert time.monotonic() - begun_s < 30
    assert full.status == 74, full
    (line,) = full.stderr.splitlines()
    assert "File too large" in line
    assert not list((tmp_path / "out").glob(".*"))


def test_a_refusal_ends_it_at_once(tmp_path: Path) -> None:
    """At the speed of life the film would take its time; the one that is taken is written all the same."""
    film(tmp_path / "talk.webm", video="libvpx", audio="libopus", sound="talk_en_60s.opus", seconds=40)
    film(tmp_path / "short.mp4", seconds=2)
    begun_s = time.monotonic()
    command = ("run", "--from", "en", *STUB, "--realtime")
    refused = streamlation(*command, "talk.webm", "-o", "talk.mp4", cwd=tmp_path)
    both = streamlation(*command, "talk.webm", "short.mp4", "-o", "{session}.out.mp4", cwd=tmp_path)
    piped = shell(
        "streamlation ingest talk.webm --video --realtime | streamlation normalize --keep-packets | "
        "streamlation mux -o talk.mp4 > /dev/null || echo ${PIPESTATUS[@]}",
        cwd=tmp_path,
    )
    assert time.monotonic() - begun_s < 40
    for ended in (refused, both, piped):
        (line,) = ended.stderr.splitlines()
        assert "takes no vp8 video" in line
    assert refused.status == both.status == 2
    assert piped.stdout.decode().split() == ["0", "0", "2"]
    assert sorted(path.name for path in tmp_path.glob("*.mp4*")) == ["short.mp4", "short.out.mp4"]
