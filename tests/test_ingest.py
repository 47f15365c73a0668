"""Inputs to records: what is opened, what is refused and how it is told, where a part starts and ends."""

from __future__ import annotations

import ctypes
import logging
import queue
import re
import shutil
import signal
import subprocess
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media import (
    SPEECH,
    Eos,
    Error,
    Header,
    Packet,
    Pcm,
    Status,
    direct,
    encode,
    errors,
    ingested,
    normalized,
    of,
    samples,
    voice,
    wav,
)  # fmt: skip
from streamlation_cli.errors import UsageError
from streamlation_cli.options import parse_time
from streamlation_cli.records import Transcript
from streamlation_cli.stages import ingest
from streamlation_cli.stages.ingest import Options, Pacer
from support import PROGRAM, shell, streamlation


def first(records: list[Any]) -> Header:
    assert isinstance(records[0], Header)
    return records[0]


def test_the_records_of_a_file(tmp_path: Path) -> None:
    path = encode(tmp_path / "a talk.v2.m4a", "aac", "ipod", rate=44100)
    records = ingested(path)

    header = first(records)
    assert (header.session, header.source, header.proto, header.live) == ("a talk.v2", str(path), 1, False)
    assert header.duration_ms == 4000
    assert header.audio is not None
    assert (header.audio.codec, header.audio.sample_rate_hz, header.audio.layout) == ("aac", 44100, "stereo")
    assert header.audio.time_base == (1, 44100)
    assert len(header.audio.extradata) == 5
    assert [type(r) for r in records[1:-2]] == [Status] + [Packet] * (len(records) - 4)
    packets = of(Packet, records)
    assert [p.seq for p in packets] == list(range(len(packets)))
    assert packets[0].pts == -1024
    assert packets[0].skip_samples == (1024, 0)
    assert all(p.stream == "audio" and p.keyframe for p in packets)
    assert of(Status, records)[-1].counters == {"packets": len(packets), "bytes": sum(len(p.data) for p in packets)}
    assert records[-1] == Eos("a talk.v2", duration_ms=4000)


def test_no_packet_is_decoded(tmp_path: Path) -> None:
    """The packets are the very bytes of the file."""
    path = encode(tmp_path / "a.mp3", "libmp3lame", "mp3", rate=44100)
    data = path.read_bytes()
    joined = b"".join(p.data for p in of(Packet, ingested(path)))
    assert joined in data


DAMAGED = {
    "mp4-no-moov.mp4": [("ingest", "data", True)],
    "random.mp3": [("ingest", "data", True)],
    "text.wav": [("ingest", "data", True)],
    "zero-bytes.wav": [("ingest", "data", True)],
    "truncated-50pct.mp3": [("ingest", "damaged", False)],
}


@pytest.mark.parametrize(("name", "expected"), DAMAGED.items())
def test_damaged_recordings(name: str, expected: list[Any], shared: Path) -> None:
    path = shared / "speech" / "corrupt" / name
    records = normalized(ingested(path))
    assert errors(records) == expected
    (error,) = of(Error, records)
    assert str(path) in error.message
    assert "\n" not in error.message
    if name == "truncated-50pct.mp3":
        assert np.array_equal(samples(records), direct(path))
        assert re.search(r"announces 11\.0 s and ends at 5\.5 s, 5\.5 s \(50%\)", error.message)
        assert isinstance(records[-1], Eos)
    else:
        assert len(records) == 1


def test_every_damaged_recording_is_listed(shared: Path) -> None:
    assert {path.name for path in (shared / "speech" / "corrupt").iterdir()} == set(DAMAGED)


@pytest.mark.parametrize("path", sorted((SPEECH / "robust").glob("*")), ids=lambda path: path.name)
def test_odd_recordings(path: Path) -> None:
    records = normalized(ingested(path))
    assert not errors(records)
    assert np.array_equal(samples(records), direct(path))


def test_truncated_files_keep_what_is_there(tmp_path: Path) -> None:
    for codec, extension, format in (
        ("flac", "flac", "flac"), ("aac", "mkv", "matroska"), ("libopus", "opus", "ogg"), ("pcm_s16le", "wav", "wav"),
        ("libmp3lame", "mp3", "mp3"), ("pcm_s16be", "aiff", "aiff"), ("aac", "ts", "mpegts"), ("ac3", "mkv", "matroska"),
    ):  # fmt: skip
        whole = encode(tmp_path / f"{codec}.{extension}", codec, format)
        cut = tmp_path / f"cut-{codec}.{extension}"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2 + 7])
        records = normalized(ingested(cut))
        assert ("ingest", "damaged", False) in errors(records), cut
        assert "truncated" in of(Error, records)[0].message
        kept, expected = samples(records), samples(normalized(ingested(whole)))
        assert 0.35 < len(kept) / len(expected) < 0.65, cut
        same = len(kept) - 3000
        assert np.array_equal(kept[:same], expected[:same]), cut
        assert isinstance(records[-1], Eos)


def test_a_faststart_mp4_cut_short(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mp4", "aac", "mp4", options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    records = normalized(ingested(cut))
    assert ("ingest", "damaged", False) in errors(records)
    assert 0.35 < len(samples(records)) / (4 * 16000) < 0.65


def test_a_hole_in_an_ogg_file_is_counted(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.opus", "libopus", "ogg", layout="mono", seconds=20.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 12000 :])
    records = normalized(ingested(path))
    (error,) = [e for e in of(Error, records) if e.stage == "ingest"]
    match = re.search(r"([\d.]+) s are missing in 1 place", error.message)
    assert match
    assert float(match[1]) > 0.5
    assert of(Pcm, records)[-1].end_ms == 20000


def test_a_stream_of_unknown_length_is_no_damage(tmp_path: Path) -> None:
    """`sox -p` and `ffmpeg -f wav -` cannot go back to write how long the file is."""
    path = wav(tmp_path / "a.wav", voice(16000, 1.03)[None, :])
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    path.write_bytes(data)
    records = normalized(ingested(path))
    assert not errors(records)
    assert len(samples(records)) == 16480
    result = streamlation("ingest", "-", stdin=bytes(data)).ok()
    assert not result.of_type("error")


@pytest.mark.parametrize(
    ("make", "status", "says"),
    [
        (lambda p: p / "absent.mp3", 66, "no such file"),
        (lambda p: p, 66, "is a directory"),
        (lambda p: p / "a.mp3" / "b.mp3", 66, ""),
        (
            lambda p: (p / "link.mp3").symlink_to("nowhere.mp3") or p / "link.mp3",
            66,
            "nowhere.mp3, which does not exist",
        ),
        (lambda p: (p / "empty.mp3").touch() or p / "empty.mp3", 65, "the file is empty"),
        (lambda p: (p / "text.mp3").write_text("hello\n" * 99) and p / "text.mp3", 65, "not media"),
        (lambda p: "rtmpx://host/live", 2, "rtmpx: addresses cannot be opened"),
    ],
)
def test_what_cannot_be_opened_is_one_line_and_the_right_status(
    make: Any, status: int, says: str, tmp_path: Path
) -> None:
    target = make(tmp_path)
    result = streamlation("ingest", target)
    assert result.status == status, result
    assert result.stderr.count("\n") == 1, result
    assert says in result.stderr
    if status != 2:
        (record,) = result.records
        assert (record["type"], record["fatal"]) == ("error", True)


def test_no_permission(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp3", "libmp3lame", "mp3")
    path.chmod(0)
    command = [PROGRAM, "ingest", str(path)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_as_one_bound_by_modes)
    assert process.returncode == 66, process.stderr
    assert "a.mp3: " in process.stderr


def _as_one_bound_by_modes() -> None:
    """Takes root's right to read every file from the program to be started; harmless for other users."""
    bounding_set_drop, override_modes, read_everything = 24, 1, 2
    libc = ctypes.CDLL(None)
    for capability in (override_modes, read_everything):
        libc.prctl(bounding_set_drop, capability, 0, 0, 0)


def test_no_audio_says_what_there_is(shared: Path) -> None:
    (error,) = ingested(shared / "speech" / "containers" / "video-no-audio.mp4")
    assert (error.code, error.fatal) == ("data", True)
    assert "no audio stream in it; it has video h264" in error.message


def test_no_samples(tmp_path: Path) -> None:
    records = ingested(wav(tmp_path / "a.wav", np.zeros((1, 0))))
    assert errors(records) == [("ingest", "data", True)]


@pytest.fixture
def two_tracks(shared: Path) -> Path:
    return shared / "speech" / "containers" / "two-tracks-en-pt.mkv"


TRACKS = {"": 1, "0": 1, "1": 2, "eng": 1, "pt": 2, "por": 2, "pt-BR": 2, "Portuguese": 2}


@pytest.mark.parametrize(("wanted", "index"), TRACKS.items())
def test_the_audio_track_is_chosen(wanted: str, index: int, two_tracks: Path) -> None:
    records = normalized(ingested(two_tracks, audio_stream=wanted))
    audio = first(records).audio
    assert audio is not None
    assert (audio.index, audio.language) == (index, {1: "eng", 2: "por"}[index])
    assert np.array_equal(samples(records), direct(two_tracks, audio=index - 1))


@pytest.mark.parametrize("wanted", ["2", "fr", "english-ish"])
def test_a_track_that_is_not_there(wanted: str, two_tracks: Path) -> None:
    (error,) = ingested(two_tracks, audio_stream=wanted)
    assert error.code == "data"
    assert f"no audio stream {wanted}; it has 0 (eng, opus), 1 (por, opus)" in error.message


def test_video_packets_on_request(shared: Path) -> None:
    path = shared / "speech" / "containers" / "jfk-video.mp4"
    plain, records = ingested(path), ingested(path, video=True)
    video = [p for p in of(Packet, records) if p.stream == "video"]
    assert len(video) == 110
    assert video[0].keyframe
    header = first(records)
    assert header.video is not None
    assert (header.video.codec, header.video.width > 0, header.video.frame_rate) == ("h264", True, (10, 1))
    assert header.video.extradata
    assert first(plain).video is None
    audio = [(p.pts, p.data) for p in of(Packet, records) if p.stream == "audio"]
    assert audio == [(p.pts, p.data) for p in of(Packet, plain)]


def shift_of(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    """By how many samples `one` is later than `other`, where they match best."""
    size = 1 << (len(one) + len(other)).bit_length()
    match = np.fft.irfft(np.fft.rfft(one.astype(float), size) * np.conj(np.fft.rfft(other.astype(float), size)))
    best = int(np.argmax(match))
    return best if best < size // 2 else best - size


PARTS = [
    ("pcm_s16le", "wav", "wav", 44100), ("flac", "flac", "flac", 44100), ("libmp3lame", "mp3", "mp3", 44100),
    ("aac", "m4a", "ipod", 48000), ("libopus", "opus", "ogg", 48000), ("vorbis", "ogg", "ogg", 44100), ("aac", "ts", "mpegts", 48000),
    ("aac", "mkv", "matroska", 48000),
]  # fmt: skip


@pytest.mark.parametrize("case", PARTS, ids=lambda case: case[1])
@pytest.mark.parametrize(
    ("start", "duration"), [("4.321", "2.5"), ("0:00:07.5", ""), ("", "00:01.234"), ("0.2", "0.1")]
)
def test_a_part_is_exactly_what_the_whole_has_there(
    case: tuple[str, str, str, int], start: str, duration: str, tmp_path: Path
) -> None:
    codec, extension, format, rate = case
    path = encode(tmp_path / f"a.{extension}", codec, format, rate=rate, seconds=9.0)
    whole, records = normalized(ingested(path)), normalized(ingested(path, start=start, duration=duration))

    assert not errors(records)
    start_ms = parse_time("--start", start or "0")
    end_ms = start_ms + parse_time("--duration", duration) if duration else of(Pcm, whole)[-1].end_ms
    pcm = of(Pcm, records)
    assert pcm[0].start_ms == start_ms
    assert pcm[-1].end_ms == pytest.approx(end_ms, abs=0 if duration else 1)
    header = first(records)
    assert (header.start_ms, header.end_ms) == (start_ms, end_ms if duration else None)
    assert records[-1].duration_ms == pytest.approx(end_ms, abs=31)
    lead = of(Pcm, whole)[0].start_ms * 16
    part, got = samples(whole)[start_ms * 16 - lead : end_ms * 16 - lead], samples(records)
    if codec != "aac":
        assert np.array_equal(got, part)
    elif extension != "mkv":  # an AAC decoder makes its noise anew
        assert np.sqrt(np.mean((got.astype(float) - part) ** 2)) < 0.02 * np.sqrt(np.mean(part.astype(float) ** 2))
    else:  # Matroska's clock ticks in milliseconds
        assert abs(shift_of(got, part)) <= 16
    if start == "4.321":
        assert len(of(Packet, ingested(path, start=start, duration=duration))) < len(of(Packet, ingested(path))) * 0.6


def test_a_part_of_a_pipe(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", "aac", "matroska", seconds=9.0)
    part = [p for p in ingested(path, start="4.5", duration="2") if isinstance(p, Packet)]
    assert part
    piped = shell(f"cat {path} | {PROGRAM} ingest - --start 4.5 --duration 2 | {PROGRAM} normalize", cwd=tmp_path).ok()
    pcm = piped.of_type("pcm")
    assert (pcm[0]["start_ms"], pcm[-1]["end_ms"]) == (4500, 6500)


def test_a_start_after_the_end(tmp_path: Path) -> None:
    records = ingested(wav(tmp_path / "a.wav", voice(16000, 2.0)[None, :]), start="100")
    assert errors(records) == [("ingest", "data", True)]
    assert "no audio after 100 s" in records[-1].message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "INPUT is missing"),
        ({"input": "a", "start": "soon"}, "--start: 'soon' is no time"),
        ({"input": "a", "start": "1:75"}, "up to 59"),
        ({"input": "a", "duration": "0"}, "keeps nothing"),
        ({"input": "a", "format": "s16le"}, "give its --rate and --channels"),
        ({"input": "a", "rate": 16000}, "give its --format"),
        ({"input": "a", "format": "mp3", "channels": 1}, "describe raw audio"),
        ({"input": "gopher://a/b"}, "gopher: addresses"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        ingest.source(Options(**options))


def test_an_unknown_format(tmp_path: Path) -> None:
    (error,) = ingested(encode(tmp_path / "a.mp3", "libmp3lame", "mp3"), format="nonsense")
    assert (error.code, error.fatal) == ("usage", True)


def test_raw_samples(tmp_path: Path) -> None:
    sound = np.rint(voice(44100, 1.5) * 20000).astype("<i2")
    path = tmp_path / "a.raw"
    path.write_bytes(np.stack([sound, sound // 2], axis=1).tobytes())
    records = normalized(ingested(path, format="s16le", rate=44100, channels=2))
    assert not errors(records)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(path.read_bytes())
    assert np.array_equal(samples(records), direct(tmp_path / "a.wav"))


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_raw_channels(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    sound = np.rint(voice(16000, 1.0) * 20000).astype("<i2")
    path.write_bytes(np.stack([sound] * channels, axis=1).tobytes())
    records = normalized(ingested(path, format="s16le", rate=16000, channels=channels), channel="left")
    assert np.array_equal(samples(records), sound)


def test_raw_samples_from_a_pipe() -> None:
    sound = np.rint(voice(16000, 1.0) * 20000).astype("<i2")
    result = streamlation(
        "ingest", "-", "--format", "s16le", "--rate", "16000", "--channels", "1", stdin=sound.tobytes() + b"x"
    ).ok()
    header = result.of_type("header")[0]
    assert (header["session"], header["source"]) == ("stdin", "stdin")
    import base64

    assert b"".join(base64.b64decode(p["data"]) for p in result.of_type("packet"))[: len(sound) * 2] == sound.tobytes()


@pytest.mark.parametrize(("codec", "format", "options"), [
    ("aac", "matroska", {}), ("pcm_s16le", "wav", {}), ("aac", "mpegts", {}), ("libopus", "ogg", {}), ("libmp3lame", "mp3", {}),
    ("aac", "mp4", {"movflags": "frag_keyframe+empty_moov"}), ("aac", "mp4", {"movflags": "faststart"}),
])  # fmt: skip
def test_a_container_on_standard_input(codec: str, format: str, options: dict[str, str], tmp_path: Path) -> None:
    path = encode(tmp_path / "a", codec, format, options=options)
    result = shell(f"cat a | {PROGRAM} ingest - --session x", cwd=tmp_path).ok()
    assert result.of_type("header")[0]["session"] == "x"
    assert len(result.of_type("packet")) == len(of(Packet, ingested(path)))


def test_an_mp4_index_at_the_end_needs_a_file_that_can_seek(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", "aac", "mp4")
    result = streamlation("ingest", "-", stdin=path.read_bytes())
    assert result.status == 65, result
    assert "index at the end" in result.stderr
    redirected = shell(f"{PROGRAM} ingest - < a.mp4", cwd=tmp_path).ok()
    assert len(redirected.of_type("packet")) == len(of(Packet, ingested(path)))


@pytest.mark.parametrize("stdin", [b"", b"hello\n"])
def test_nothing_useful_on_standard_input(stdin: bytes) -> None:
    result = streamlation("ingest", "-", stdin=stdin)
    assert result.status == 65, result
    assert result.stderr.count("\n") == 1


def test_packets_come_before_the_input_ends(tmp_path: Path) -> None:
    """A pipe that stays open: what it has given so far is out."""
    data = encode(tmp_path / "a.ts", "aac", "mpegts", seconds=30.0).read_bytes()
    with subprocess.Popen([PROGRAM, "ingest", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines: queue.Queue[bytes] = queue.Queue()
        out = process.stdout
        reader = threading.Thread(target=lambda: [lines.put(line) for line in out])
        reader.start()
        process.stdin.write(data[: len(data) * 9 // 10])
        process.stdin.flush()
        early = [lines.get(timeout=30) for _ in range(600)]
        assert early[0].startswith(b'{"type":"header"')
        assert early[-1].startswith(b'{"type":"packet"')
        process.stdin.close()
        reader.join()
        assert process.wait() == 0


def test_an_interrupt_ends_a_waiting_pipe_in_good_order(tmp_path: Path) -> None:
    data = encode(tmp_path / "a.ts", "aac", "mpegts", seconds=30.0).read_bytes()
    with subprocess.Popen(
        [PROGRAM, "ingest", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        lines: queue.Queue[bytes] = queue.Queue()
        out = process.stdout
        reader = threading.Thread(target=lambda: [lines.put(line) for line in out])
        reader.start()
        process.stdin.write(data)
        process.stdin.flush()
        for _ in range(600):
            lines.get(timeout=30)
        process.send_signal(signal.SIGINT)
        reader.join()
        last = lines.queue[-1]
        assert b'"code":"interrupted"' in last
        assert b'"fatal":true' in last
        assert process.wait() == 130
        assert b"Traceback" not in process.stderr.read()
        process.stdin.close()


SRT = "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Olá,</i>\r\nmundo!\r\n\r\n2\r\n00:01:05,000 --> 00:01:06,000\r\nAté já\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_subtitles_become_transcripts(encoding: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(SRT.encode(encoding))
    with caplog.at_level(logging.WARNING, logger="streamlation.ingest"):
        records = ingested(path, language="pt")

    header = first(records)
    assert (header.session, header.audio, header.language, header.duration_ms) == ("a", None, "pt", 66000)
    texts = of(Transcript, records)
    assert [(t.id, t.start_ms, t.end_ms, t.text, t.final, t.language) for t in texts] == [
        ("1", 1000, 2500, "Olá, mundo!", True, "pt"),
        ("2", 65000, 66000, "Até já", True, "pt"),
    ]
    assert records[-1] == Eos("a", duration_ms=66000)
    assert ("Windows-1252" in caplog.text) == (encoding == "cp1252")


def test_blocks_that_are_no_captions_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(SRT + "\n3\nlater --> 00:02:00,000\nx\n\n4\n00:03:00,000 --> 00:03:01,000\nthe end\n")
    records = ingested(path)
    assert [t.text for t in of(Transcript, records)] == ["Olá, mundo!", "Até já", "the end"]
    (error,) = of(Error, records)
    assert (error.code, error.fatal) == ("damaged", False)
    assert re.search(r"1 blocks? could not be read", error.message)
    assert isinstance(records[-1], Eos)


def test_a_part_of_subtitles_keeps_its_times(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(SRT)
    records = ingested(path, start="60", duration="5.5")
    assert [(t.start_ms, t.end_ms, t.text) for t in of(Transcript, records)] == [(65000, 65500, "Até já")]


def test_webvtt_from_a_pipe_passes_to_the_end(tmp_path: Path) -> None:
    text = "WEBVTT\nLanguage: pt\n\n00:01.000 --> 00:02.000\n<v Ana>Olá\n"
    result = streamlation("ingest", "-", "--format", "vtt", stdin=text.encode()).ok()
    (transcript,) = result.of_type("transcript")
    assert (transcript["text"], transcript["start_ms"]) == ("Olá", 1000)


@pytest.mark.parametrize("content", ["", "nothing here", "\0\1\2"])
def test_subtitle_files_without_captions(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(content)
    assert errors(ingested(path)) == [("ingest", "data", True)]


def test_media_that_is_called_srt_is_no_subtitle_file(tmp_path: Path) -> None:
    shutil.copy(encode(tmp_path / "a.mp3", "libmp3lame", "mp3"), tmp_path / "a.srt")
    assert errors(ingested(tmp_path / "a.srt")) == [("ingest", "data", True)]


def test_realtime_holds_each_packet_until_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of the test's own: a packet is out when it would have been recorded, and not before."""
    now = [50.0]

    def sleep(seconds: float) -> None:
        assert seconds > 0
        now[0] += seconds

    monkeypatch.setattr(ingest, "Pacer", lambda: Pacer(lambda: now[0], sleep, lambda: 1_000_000.0))
    path = encode(tmp_path / "a.opus", "libopus", "ogg", layout="mono")
    for start_s in (0.0, 2.0):
        began = now[0]
        source = ingest.source(Options(input=str(path), realtime=True, start=str(start_s)))
        header = next(source)
        assert isinstance(header, Header)
        assert header.live
        assert header.started_at == 1_000_000.0 - start_s
        for record in source:
            if isinstance(record, Packet):
                assert record.pts is not None
                end_s = (record.pts + record.duration) / 48000 - start_s
                assert now[0] - began == pytest.approx(max(0.0, end_s), abs=1e-6)
        assert now[0] - began == pytest.approx(4.0 - start_s, abs=0.03)


def test_realtime_does_not_wait_for_time_that_has_passed() -> None:
    pacer = Pacer(lambda: 10.0, lambda _: pytest.fail("it slept"), lambda: 0.0)
    pacer.start(0)
    pacer._zero_s = 0.0
    pacer.wait(Packet("s", seq=0, stream="audio", pts=0, dts=0, duration=9, time_base=(1, 1), data=b""))


def test_languages_and_sessions_are_taken_as_given(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp3", "libmp3lame", "mp3")
    assert first(ingested(path)).language == ""
    assert first(ingested(path, language="auto")).language == ""
    records = ingested(path, language="pt-BR", session="mine")
    assert first(records).language == "pt-BR"
    assert {record.session for record in records} == {"mine"}


def test_colons_and_odd_names(tmp_path: Path) -> None:
    for name in ("12:30 talk.mp3", "%d.mp3", "-.mp3", "a#b?c.mp3", "ação – (1) 日本.mp3", "concat:x.mp3"):
        path = encode(tmp_path / "x.mp3", "libmp3lame", "mp3").rename(tmp_path / name)
        assert first(ingested(path)).session == name.removesuffix(".mp3")
        assert first(ingested(path.as_uri())).audio is not None


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """Peak memory of ingest and normalize over 20 s and over 40 min of the same sound."""
    short = encode(tmp_path / "short.aac", "aac", "adts", rate=16000, layout="mono", seconds=20.0)
    long = tmp_path / "long.aac"
    long.write_bytes(short.read_bytes() * 120)
    script = (
        "import resource, sys; sys.argv[0] = 'streamlation'; from streamlation_cli.cli import main\n"
        "import atexit; atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))\n"
        "main()"
    )
    (tmp_path / "measure.py").write_text(script)
    peaks = {}
    for path in (short, long):
        command = f"python measure.py ingest {path.name} 2>a.txt | python measure.py normalize 2>b.txt >/dev/null; cat a.txt b.txt"
        peaks[path] = [int(line) for line in shell(command, cwd=tmp_path).ok().stdout.split()]
    assert len(peaks[short]) == len(peaks[long]) == 2
    for before, after in zip(peaks[short], peaks[long], strict=True):
        assert after < before * 1.1
