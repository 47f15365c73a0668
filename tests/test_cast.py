"""Casting to a Chromecast: a stand-in speaks its protocol, fetches what it is told to play, and plays it with FFmpeg."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from av.stream import Disposition

from castdevice import CastDevice, cast_device
from castfiles import FPS, film
from fileserver import FileServer
from media import ingested, normalized
from ports import free_port
from streamlation_cli import ndjson
from streamlation_cli.delivery.joining import Settings
from streamlation_cli.errors import Unavailable, UsageError
from streamlation_cli.receivers import KINDS, Device, finding
from streamlation_cli.receivers.contents import examine
from streamlation_cli.receivers.keys import _split
from streamlation_cli.receivers.preparing import fits
from streamlation_cli.records import Header, Speech, Transcript, Translation
from support import PROGRAM, Result, shell, streamlation
from terminal import OnTerminal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cast")


@pytest.fixture
def device(folder: Path) -> Iterator[CastDevice]:
    with cast_device(folder) as running:
        yield running


@pytest.fixture(scope="module")
def talk(folder: Path) -> Path:
    """English first, then Portuguese; subtitles in both; what a Chromecast plays as it is."""
    return film(folder / "talk.mp4")


def to(device: CastDevice) -> list[str]:
    return ["--to", f"127.0.0.1:{device.port}"]


def cast(name: Path | str, device: CastDevice, *flags: str) -> Result:
    return streamlation("cast", name, *to(device), *flags, timeout=60)


def states(result: Result) -> list[str]:
    """The device's states in their order, each once."""
    words = [record["detail"].partition(" ")[0] for record in result.of_type("status")]
    return [word for word, before in zip(words, ["", *words], strict=False) if word != before]


class Running:
    """`cast` in the background, its records read as they come."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "cast", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.records: list[dict[str, Any]] = []

    def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Reads on to the first record that is as wanted."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            record = json.loads(line)
            self.records.append(record)
            if seen(record):
                return record
        raise AssertionError((self.records, self.process.stderr.read() if self.process.stderr else ""))

    def until_played(self, position_ms: int) -> dict[str, Any]:
        return self.until(
            lambda record: (
                record["type"] == "status"
                and record["detail"].startswith("playing")
                and record["counters"]["position_ms"] >= position_ms
            )
        )

    def end(self, timeout: float = 30) -> tuple[int, str]:
        """Exit status and what it said."""
        out, errors = self.process.communicate(timeout=timeout)
        self.records += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, errors.decode()


def test_a_film_plays_with_the_subtitles_that_are_wanted(device: CastDevice, talk: Path) -> None:
    result = cast(talk, device, "--subtitle-language", "pt", "--volume", "30").ok()
    (load,) = device.loads
    media = load.message["media"]
    assert (media["contentType"], media["streamType"], media["metadata"]["title"]) == ("video/mp4", "BUFFERED", "talk")
    assert [(track["language"], track["name"]) for track in media["tracks"]] == [
        ("en", "English"),
        ("pt", "Portuguese"),
    ]
    assert load.message["activeTrackIds"] == [2]
    assert "Boa noite." in load.texts[1]
    assert "00:00:03.000 --> 00:00:05.900\nEstas são as notícias." in load.texts[1]
    assert all(cors == "*" for _, _, cors in load.fetched)
    assert load.frames["video"] == 6 * FPS
    assert load.frames["audio"] > 250
    assert device.volume == pytest.approx(0.3)
    assert states(result) == ["loading", "buffering", "playing", "ended"]
    positions = [record["counters"]["position_ms"] for record in result.of_type("status")]
    assert positions == sorted(positions)
    assert 5900 <= positions[-1] <= 6100
    last = result.of_type("status")[-1]
    assert (last["state"], last["progress"], last["counters"]["volume"]) == ("completed", 1.0, 0.3)
    assert result.records[-1]["type"] == "eos"
    assert result.stderr == ""


def test_what_is_no_format_of_a_chromecast_is_rewritten_with_the_wanted_sound(device: CastDevice, folder: Path) -> None:
    source = film(folder / "talk.mkv", audio="ac3", seconds=4)
    result = cast(source, device, "--audio-language", "pt", "--subtitle-language", "off").ok()
    assert "the sound is ac3, which Chromecast devices do not play; it is encoded as AAC" in result.stderr
    (load,) = device.loads
    assert load.audio_languages == ["por"]
    assert load.frames["video"] == 4 * FPS
    assert "activeTrackIds" not in load.message
    assert len(load.texts) == 2


def test_another_sound_of_a_film_is_made_the_first_and_the_picture_stays_as_it_is(
    device: CastDevice, talk: Path, tmp_path: Path
) -> None:
    from streamlation_cli.receivers.preparing import remux

    contents = examine(str(talk))
    chromecast = KINDS["chromecast"]
    assert fits(chromecast, contents, contents.sound_of("en"))
    assert not fits(chromecast, contents, contents.sound_of("pt"))
    rewritten = remux(contents, contents.sound_of("pt"), chromecast, tmp_path)
    with av.open(str(talk)) as before, av.open(str(rewritten)) as after:
        assert [stream.metadata["language"] for stream in after.streams.audio] == ["por"]
        for kind, index in (("video", 0), ("audio", 1)):
            chosen = [stream for stream in before.streams if stream.type == kind][index if kind == "audio" else 0]
            original = [bytes(packet) for packet in before.demux(chosen) if packet.size]
            before.seek(0)
            copied = [bytes(packet) for packet in after.demux(**{kind: 0}) if packet.size]
            after.seek(0)
            assert copied == original, kind


def test_records_are_played_as_they_come(device: CastDevice, talk: Path) -> None:
    script = f"streamlation ingest {talk} --video | streamlation normalize --keep-packets | streamlation cast {' '.join(to(device))}"
    result = shell(script, cwd=talk.parent, timeout=60).ok()
    (load,) = device.loads
    media = load.message["media"]
    assert media["contentType"] == "application/vnd.apple.mpegurl"
    assert media["hlsVideoSegmentFormat"] == "fmp4"
    assert load.fetched[0][2] == "*"
    assert load.frames["video"] == 6 * FPS
    kinds = {record["type"] for record in result.records}
    assert {"packet", "pcm", "status", "eos"} <= kinds
    own = [record for record in result.of_type("status") if record["stage"] == "cast"]
    assert own[-1]["state"] == "completed"
    assert own[-1]["detail"].startswith("ended")


def test_a_refusal_says_who_refuses_what_and_what_to_do(device: CastDevice, folder: Path) -> None:
    result = cast(film(folder / "new.mp4", video="libx265", seconds=1, texts=()), device)
    assert result.status == 69, result
    warning, message = result.stderr.splitlines()
    assert "the picture is hevc, which only newer Chromecast devices play" in warning
    assert "refuses to play this (MEDIA_SRC_NOT_SUPPORTED)" in message
    assert "--to browser` serves it at an address to open by hand" in message
    assert device.loads[0].refused == "codec hevc"
    assert result.records[-1]["code"] == "unavailable"


def test_a_picture_that_no_chromecast_plays_is_refused_before_it_is_loaded(device: CastDevice, folder: Path) -> None:
    source = film(folder / "old.avi", video="mpeg4", audio="libmp3lame", sounds=("eng",), texts=(), seconds=1)
    result = cast(source, device)
    assert result.status == 69
    assert (
        "the picture is mpeg4, which Chromecast devices do not play (they play h264, vp8); convert it: ffmpeg"
        in result.stderr
    )
    assert device.loads == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--audio-language", "fr"), "has no sound in French; it has en, pt"),
        (("--subtitle-language", "fr"), "has no subtitles in French; it has en, pt; --subtitles FILE adds others"),
        (("--subtitles", "missing.srt"), "missing.srt: no such file"),
    ],
)
def test_languages_and_files_that_are_not_there(
    device: CastDevice, talk: Path, flags: tuple[str, ...], says: str
) -> None:
    result = cast(talk, device, *flags)
    assert result.status in (2, 66)
    assert says in result.stderr
    assert device.loads == []


def test_what_has_no_subtitles_or_no_sound_has_none_in_any_language(device: CastDevice, talk: Path) -> None:
    silent = film(talk.parent / "silent.mp4", sounds=(), texts=(), seconds=1)
    with FileServer() as server:
        address = server.put("/talk.mp4", talk.read_bytes(), headers={"Content-Type": "video/mp4"})
        refused: tuple[tuple[list[str], str], ...] = (
            ([str(silent), *to(device), "--subtitle-language", "de"], "no subtitles in German; it has none"),
            ([str(silent), *to(device), "--audio-language", "de"], "no sound in German; it has none"),
            ([str(silent), "--to", "-", "--subtitle-language", "de"], "no subtitles in German; it has none"),
            ([str(silent), "--to", "browser", "--subtitle-language", "de"], "no subtitles in German; it has none"),
            ([str(silent), "--to", "airplay://127.0.0.1:1", "--subtitle-language", "de"], "AirPlay devices get the sound alone"),
            ([address, *to(device), "--subtitle-language", "pt"], "(those of a playlist or an address are not read)"),
            ([address, *to(device), "--audio-language", "pt"], "play the first sound of an address; download it"),
        )  # fmt: skip
        for arguments, says in refused:
            result = streamlation("cast", *arguments)
            assert (result.status, says in result.stderr, len(result.stderr.splitlines())) == (2, True, 1), result
    assert device.loads == []


def test_subtitle_files_are_offered_before_those_of_the_film(device: CastDevice, talk: Path, tmp_path: Path) -> None:
    subtitles = tmp_path / "talk.es.srt"
    subtitles.write_text("1\n00:00:01,000 --> 00:00:02,000\nBuenas noches.\n")
    running = Running(str(talk), *to(device), "--subtitles", str(subtitles), "--start", "3")
    running.until_played(3000)
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 130
    (load,) = device.loads
    assert [track["language"] for track in load.message["media"]["tracks"]] == ["es", "en", "pt"]
    assert load.message["activeTrackIds"] == [1]
    assert "Buenas noches." in load.texts[0]
    assert load.message["currentTime"] == 3.0
    assert device.commands[-1] == "STOP"
    assert running.records[-1]["code"] == "interrupted"


def test_a_device_that_goes_away_is_given_up_with_a_way_to_go_on(device: CastDevice, talk: Path) -> None:
    running = Running(str(talk), *to(device), "--patience", "1")
    running.until_played(1000)
    device.vanish()
    status, errors = running.end()
    assert status == 69
    assert "has not answered for 1 s at 0:0" in errors
    assert "go on with --start" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("restarted", [False, True], ids=["network", "restart"])
def test_a_device_that_comes_back_goes_on(folder: Path, talk: Path, restarted: bool) -> None:
    with cast_device(folder, speed=2.0) as device:
        running = Running(str(talk), *to(device), "--patience", "20", "--start", "1")
        running.until_played(1500)
        device.vanish()
        running.until(lambda record: record.get("detail", "").startswith("lost"))
        if restarted:
            device.forget()
        device.come_back()
        status, errors = running.end()
        assert (status, errors) == (0, "")
        assert running.records[-2]["detail"].startswith("ended")
        assert running.records[-2]["counters"]["reconnects"] >= 1
        starts = [load.message.get("currentTime", 0) for load in device.loads]
        assert starts[0] == 1.0
        assert len(starts) == (2 if restarted else 1)
        if restarted:
            assert starts[1] >= 1.5
            assert running.records[-2]["counters"]["restarts"] == 1


def test_another_process_controls_what_plays(folder: Path, talk: Path) -> None:
    with cast_device(folder, speed=1.0) as device:
        running = Running(str(talk), *to(device))
        running.until_played(500)

        def told(*flags: str) -> dict[str, Any]:
            return streamlation("cast", *to(device), *flags).ok().of_type("status")[-1]  # type: ignore[no-any-return]

        status = told("--status")
        assert status["detail"].startswith("playing on")
        assert status["detail"].endswith("(chromecast): talk")
        assert told("--pause")["detail"].startswith("paused")
        assert running.until(lambda record: record["detail"].startswith("paused"))
        assert told("--seek", "4", "--volume", "70")["counters"]["volume"] == 0.7
        told("--resume")
        assert running.until_played(4000)["counters"]["volume"] == 0.7
        told("--stop")
        assert running.end() == (0, "")
        assert running.records[-2]["detail"].startswith("stopped")
        assert device.commands == ["LAUNCH", "LOAD", "PAUSE", "SET_VOLUME", "SEEK", "PAUSE", "PLAY", "STOP"]


def test_a_connection_that_is_read_while_it_is_written_to_holds(
    folder: Path, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlation_cli.receivers import Media, chromecast
    from streamlation_cli.serving.server import Server

    monkeypatch.setattr(chromecast, "_ASK_EVERY_S", 0.0)
    with cast_device(folder, speed=1.0) as device, Server() as server:
        receiver = chromecast.connect(Device(kind="chromecast", name="x", host="127.0.0.1", port=device.port), 10)
        media = Media(address=server.serve_file(talk), content_type="video/mp4", title="talk", duration_ms=6000)
        steps: tuple[Callable[[], None], ...] = (
            lambda: receiver.load(media, 0.4), receiver.pause, lambda: receiver.seek(1500), receiver.resume,
            lambda: receiver.set_volume(0.6), receiver.stop,
        )  # fmt: skip
        for step in steps * 25:
            step()
            for _ in range(10):  # each asks the device, which answers while the next is asked
                playback = receiver.playback()
        assert playback.counters == (("reconnects", 0),)
        assert len(device.loads) == 25
        receiver.close()


def test_an_address_plays_on_without_this_process(device: CastDevice, talk: Path) -> None:
    with FileServer() as server:
        address = server.put("/talk.mp4", talk.read_bytes(), headers={"Content-Type": "video/mp4"})
        result = cast(address, device).ok()
        assert states(result)[-1] == "playing"
        assert result.of_type("status")[-1]["counters"]["position_ms"] < 5000
        assert device.player is not None
        assert device.player.state == "PLAYING"
        assert device.loads[0].message["media"]["contentId"] == address
        device.player.join()
        assert device.loads[0].frames["video"] == 6 * FPS


def test_keys_on_a_terminal(folder: Path, talk: Path) -> None:
    with (
        cast_device(folder, speed=1.0) as device,
        OnTerminal(["cast", str(talk), *to(device)], keyboard=True, columns=100) as terminal,
    ):
        terminal.until(lambda screen: "playing 0:01 of 0:06, volume 50%" in screen)
        terminal.send(b" ")
        terminal.until(lambda screen: ": paused 0:0" in screen)
        terminal.send(b" \x1b[A")
        terminal.until(lambda screen: "volume 55%" in screen)
        terminal.send(b"ss")
        terminal.until(lambda screen: "subtitles: Portuguese" in screen)
        terminal.send(b"q")
        assert terminal.finish() == 0
        assert "space pause" in terminal.screen.text
        assert device.commands == [
            "LAUNCH",
            "LOAD",
            "PAUSE",
            "PLAY",
            "SET_VOLUME",
            "EDIT_TRACKS_INFO",
            "EDIT_TRACKS_INFO",
            "STOP",
        ]


def test_a_device_that_is_not_there(talk: Path) -> None:
    result = streamlation("cast", talk, "--to", "127.0.0.1:9")
    assert result.status == 69
    assert "--to 127.0.0.1:9: nothing answers there" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say where to"),
        (("--to", "x", "--status", "talk.mp4"), "leave INPUT out"),
        (("--to", "dlna:ftp://x", "--status"), "not the address of a device"),
        (("--to", "stub", "rtsp://x/y"), "pipe the records in"),
        (("--to", "roku://192.0.2.1", "--status"), "no kind of device is called so"),
        (("--to", "stub", "--start", "5"), "for a finished file"),
    ],
)
def test_command_lines_that_make_no_sense(arguments: tuple[str, ...], says: str) -> None:
    result = streamlation("cast", *arguments)
    assert result.status == 2, result
    assert says in result.stderr


def test_places_past_the_end_and_a_device_that_plays_nothing(folder: Path, talk: Path) -> None:
    with cast_device(folder, speed=0.15) as device:
        past = cast(talk, device, "--start", "6:00")
        assert (past.status, past.records[-1]["message"]) == (2, "--start 6:00: that is past the end, which is at 0:06")
        for flags in (["--seek", "3"], ["--pause"], ["--stop"]):
            result = streamlation("cast", *to(device), *flags)
            assert (result.status, "plays nothing" in result.stderr) == (69, True)
        playing = Running(str(talk), *to(device))
        playing.until_played(200)
        result = streamlation("cast", *to(device), "--seek", "90")
        assert (result.status, "past the end, which is at 0:06" in result.stderr) == (2, True)
        assert "SEEK" not in device.commands
        # There is nothing to play, so it is a command.
        with OnTerminal(["cast", *to(device), "--volume", "20"], keyboard=True, columns=120) as terminal:
            assert terminal.finish() == 0
            assert "completed, playing on 127.0.0.1" in terminal.screen.text
        assert device.volume == pytest.approx(0.2)
        playing.process.send_signal(signal.SIGTERM)
        assert playing.end()[0] == 143
        assert device.commands[-1] == "STOP"


@pytest.mark.parametrize("how", ["search", "probe", "connect"])
def test_an_interrupt_is_heeded_while_a_device_is_waited_for(talk: Path, how: str) -> None:
    with contextlib.ExitStack() as stack:
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # it takes connections, and says nothing
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        target = {"search": "Nobody", "probe": address, "connect": f"chromecast://{address}"}[how]
        process = subprocess.Popen(
            [PROGRAM, "cast", "-v", str(talk), "--to", target, "--timeout", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )  # fmt: skip
        assert process.stderr is not None
        if how == "search":
            assert b"looking for a device called Nobody" in process.stderr.readline()
        else:
            stack.enter_context(mute.accept()[0])
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 130
        assert time.monotonic() - began < 1.5
        assert [json.loads(line)["type"] for line in out.splitlines()] == ["header", "error"]


def test_where_there_is_no_device_there_is_a_way_out(talk: Path, log: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with FileServer() as server:
        address = server.put("/talk.mp4", talk.read_bytes(), headers={"Content-Type": "video/mp4"})
        for source, way_out in (
            (talk, f"`streamlation cast {talk} --to browser` serves it at an address to open by hand"),
            (address, f"to watch it by hand open {address}"),
            (f"- < {log}", "`cast --to browser` serves the session at an address to open by hand"),
        ):
            arguments = str(source).removeprefix("- ")
            for target, says in ((nobody, "nothing answers there"), (f"airplay://{nobody}", "nothing answers at")):
                result = shell(f"streamlation cast --to {target} {arguments} > /dev/null", cwd=talk.parent)
                assert (result.status, says in result.stderr, way_out in result.stderr) == (69, True, True), result
                assert len(result.stderr.splitlines()) == 1


def tv(name: str, host: str, kind: str = "chromecast") -> Device:
    return Device(kind=kind, name=name, host=host, port=8009)


def test_names_that_several_devices_have(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        tv("Living Room", "192.0.2.1", "dlna"), tv("Living Room", "192.0.2.1"), tv("Kitchen", "192.0.2.2"),
        tv("Kitchen", "192.0.2.3"), tv("Bedroom left", "192.0.2.4"), tv("Bedroom right", "192.0.2.5"),
    ]  # fmt: skip
    monkeypatch.setattr(finding, "discover", lambda *_, **__: there)
    assert finding.find("living room") == there[1]  # one television that speaks two protocols
    assert finding.find("Bedroom l") == there[4]
    for name in ("Kitchen", "Bedroom"):
        with pytest.raises(UsageError, match=r"several devices are called so: .*192.0.2.*192.0.2.*name one by its URI"):
            finding.find(name)
    with pytest.raises(Unavailable, match="found: Living Room, Living Room, Kitchen"):
        finding.find("Garage")


def test_who_has_the_same_name_is_waited_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Searching:
        """One answers at once, its namesake a little later, others for as long as is searched."""

        @staticmethod
        def discover(timeout_s: float, found: Callable[[Device], None]) -> None:
            found(tv("Kitchen", "192.0.2.2"))
            over.wait(0.3)
            found(tv("Kitchen", "192.0.2.3"))
            over.wait(timeout_s)

    class OneKind:
        what = "devices"

        def load(self) -> type[Searching]:
            return Searching

    over = threading.Event()
    monkeypatch.setattr(finding, "KINDS", {"chromecast": OneKind()})
    began = time.monotonic()
    found = finding.discover(30, ("chromecast",), "kitchen")
    over.set()
    assert [device.host for device in found] == ["192.0.2.2", "192.0.2.3"]
    assert time.monotonic() - began < 10


def test_standard_output_gets_a_stream_that_players_play(talk: Path) -> None:
    for flags, codecs in (
        (("--format", "mpegts"), ["h264", "aac"]),
        (("--format", "matroska"), ["h264", "aac", "srt", "srt"]),
    ):
        data = streamlation("cast", talk, "--to", "-", "--audio-language", "pt", *flags).ok().stdout
        (talk.parent / "out").write_bytes(data)
        with av.open(str(talk.parent / "out")) as container:
            assert [stream.codec_context.name for stream in container.streams] == codecs
            assert container.streams.audio[0].metadata["language"] == "por"
            assert sum(isinstance(frame, av.VideoFrame) for frame in container.decode(video=0)) == 6 * FPS


def test_standard_output_has_the_subtitles_of_a_file_where_its_format_holds_them(talk: Path, tmp_path: Path) -> None:
    subtitles = tmp_path / "talk.es.srt"
    subtitles.write_text("1\n00:00:04,000 --> 00:00:05,000\nBuenas <i>noches</i>.\n")
    wanted = ("--to", "-", "--subtitles", subtitles, "--subtitle-language", "pt", "--start", "3.5")
    result = streamlation("cast", talk, *wanted)
    assert (result.status, "mpegts holds no subtitles; give --format matroska" in result.stderr) == (2, True)
    (tmp_path / "out.mkv").write_bytes(streamlation("cast", talk, *wanted, "--format", "matroska").ok().stdout)
    with av.open(str(tmp_path / "out.mkv")) as container:
        tracks = [
            (one.metadata["language"], bool(one.disposition & Disposition.default))
            for one in container.streams.subtitles
        ]
        assert tracks == [("spa", False), ("eng", False), ("por", True)]
        packets = [
            (one.stream.index - 2, one.pts, bytes(one).decode())
            for one in container.demux(*container.streams.subtitles)
            if one.size
        ]
    assert packets == [
        (1, 3000, "This is the news."), (2, 3000, "Estas são as notícias."), (0, 4000, "Buenas noches."),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def log(talk: Path) -> Path:
    """Records of the film: spoken English, translated into Portuguese, and dubbed."""
    tone = (np.sin(2 * np.pi * 2000 * np.arange(2 * 16_000) / 16_000) * 8000).astype("<i2").tobytes()
    header, *rest = normalized(ingested(talk, video=True), keep_packets=True)
    session, times = header.session, {"start_ms": 1000, "end_ms": 3000}
    assert isinstance(header, Header)
    header = msgspec.structs.replace(header, language="en", target_language="pt")
    own = [
        Transcript(session, id="1", text="Good evening.", language="en", final=True, **times),
        Translation(
            session,
            id="1",
            text="Boa noite.",
            source_text="Good evening.",
            source_language="en",
            target_language="pt",
            final=True,
            **times,
        ),
        Speech(session, id="1", sample_rate_hz=16_000, voice="tone", data=tone, **times),
    ]
    path = talk.parent / "log.ndjson"
    path.write_bytes(b"".join(map(ndjson.encode, [header, *rest[:-1], *own, rest[-1]])))  # type: ignore[arg-type]
    return path


def test_the_languages_of_records_are_chosen_or_refused(device: CastDevice, log: Path, tmp_path: Path) -> None:
    def cast_log(flags: str) -> Result:
        return shell(f"streamlation cast {flags} < {log} > out", cwd=tmp_path, timeout=60)

    for flags, says in (
        ("--to - --subtitle-language pt", "mpegts holds no subtitles; give --format matroska"),
        ("--to - --format matroska --subtitle-language de", "there is none in German; there are pt, en"),
        ("--to - --audio-language de", "there is none in German; there are pt, en"),
        (f"{to(device)[0]} {to(device)[1]} --subtitle-language de", "there is none in German; there are pt, en"),
        ("--to browser --subtitle-language pt", "each viewer chooses on the page"),
        ("--to airplay://127.0.0.1:1 --subtitle-language pt", "AirPlay devices get the sound alone"),
    ):
        result = cast_log(flags)
        assert (result.status, says in result.stderr) == (2, True), result
    assert device.loads == []
    cast_log("--to - --format matroska --audio-language en --subtitle-language en").ok()
    with av.open(str(tmp_path / "out")) as container:
        tracks = [
            (one.type, one.metadata.get("language"), bool(one.disposition & Disposition.default))
            for one in container.streams
        ]
    assert tracks == [
        ("video", None, True), ("audio", "eng", True), ("subtitle", "por", False), ("subtitle", "eng", True),
    ]  # fmt: skip


def test_a_live_session_that_is_refused_ends_at_once(device: CastDevice, folder: Path) -> None:
    film(folder / "long.mp4", seconds=40, sounds=("eng",), texts=())
    began_s = time.monotonic()
    result = shell(
        "streamlation ingest long.mp4 --live --realtime --video | streamlation normalize --keep-packets | "
        f"streamlation cast {' '.join(to(device))} --buffer 2 --target-latency 2 --audio-language de > out",
        cwd=folder,
        timeout=60,
    )
    assert (result.status, "there is none in German" in result.stderr) == (2, True), result
    assert time.monotonic() - began_s < 30


def test_a_device_lost_in_a_live_pipe_ends_it(device: CastDevice, folder: Path) -> None:
    film(folder / "long.mp4", seconds=120, sounds=("eng",), texts=())
    pipe = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c",
         f"{PROGRAM} ingest long.mp4 --live --realtime --video | {PROGRAM} normalize --keep-packets | "
         f"{PROGRAM} cast {' '.join(to(device))} --buffer 2 --target-latency 2 --patience 1"],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert pipe.stdout is not None
    for line in pipe.stdout:
        if b'"detail":"playing' in line:
            break
    device.vanish()
    _, errors = pipe.communicate(timeout=60)  # the film would go on for longer
    assert pipe.returncode == 69, errors
    assert "has not answered for 1 s" in errors.decode()


def test_hls_in_a_folder_plays_in_the_wanted_languages(device: CastDevice, log: Path, tmp_path: Path) -> None:
    shell(f"streamlation mux -o talk.m3u8 < {log} > out", cwd=tmp_path).ok()
    cast(tmp_path / "talk.m3u8", device, "--audio-language", "en", "--subtitle-language", "en").ok()
    (load,) = device.loads
    assert load.audio_languages == ["en"]
    result = cast(tmp_path / "talk.m3u8", device, "--subtitle-language", "de")
    assert (result.status, "has no subtitles in German; it has en, pt" in result.stderr) == (2, True)


@pytest.mark.parametrize("how", ["file", "records"])
def test_how_standard_output_is_read_is_told_to_events(talk: Path, how: str) -> None:
    cast_it = "streamlation cast --to - --events told"
    script = {
        "file": f"{cast_it} {talk}",
        "records": f"streamlation ingest {talk} --video | streamlation normalize --keep-packets | {cast_it}",
    }[how]
    # A reader that takes a little and then nothing for a while.
    shell(f"{script} | (head -c 1000; sleep 2.5; cat) > out", cwd=talk.parent, timeout=60).ok()
    told = [json.loads(line) for line in (talk.parent / "told").read_text().splitlines()]
    last = [record for record in told if record["type"] == "status" and record["stage"] == "cast"][-1]
    assert (last["state"], last["detail"]) == ("completed", "ended on standard output")
    assert last["counters"]["bytes"] == (talk.parent / "out").stat().st_size
    assert last["counters"]["position_ms"] == pytest.approx(6000, abs=100)
    assert last["counters"]["blocked_ms"] > 1000


def test_records_are_mixed_as_is_asked_for(log: Path, tmp_path: Path) -> None:
    shell(f"streamlation cast --to - --mix keep --keep-side right < {log} > kept.ts", cwd=tmp_path).ok()
    with av.open(str(tmp_path / "kept.ts")) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    for channel, hertz in zip(np.concatenate(blocks, axis=1)[:, 60_000:108_000], (2000, 330), strict=True):
        assert np.argmax(np.abs(np.fft.rfft(channel))) == pytest.approx(hertz, abs=20)  # a second of 48 kHz: 1 Hz each


def test_a_player_that_stops_reading_ends_it_quietly(talk: Path) -> None:
    result = shell(f"streamlation cast {talk} --to - | head -c 1000 > /dev/null", cwd=talk.parent)
    assert (result.status, result.stderr) == (0, "")


def test_every_kind_is_whole() -> None:
    """A kind that is registered can be connected to and looked for, and has what the loop around it needs."""
    for kind in KINDS.values():
        module = kind.load()
        assert callable(module.connect), kind.name
        assert kind.name == "stub" or callable(module.discover), kind.name
        receiver = next(value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__
                        and hasattr(value, "playback"))  # fmt: skip
        for method in ("load", "playback", "pause", "resume", "seek", "set_volume", "show_subtitle", "stop", "close"):
            assert callable(getattr(receiver, method)), (kind.name, method)
        assert not kind.pulls or kind.name == "stub" or kind.buffer_ms >= 4000


def test_records_in_a_browser_are_served_where_it_says() -> None:
    stdin = b'{"type":"header","session":"s","proto":1,"source":"x"}\n{"type":"eos","session":"s"}\n'
    for bind, host in (("127.0.0.1", "127.0.0.1"), ("localhost:0", "localhost"), ("::1", "[::1]")):
        result = streamlation("cast", "--to", "browser", "--bind", bind, stdin=stdin).ok()
        address = re.search(rf"http://{re.escape(host)}:(\d+)/", result.stderr)
        assert address, result.stderr
        assert address[1] != "8080"  # any free port where none is named


def test_the_page_of_a_film_plays_it_with_subtitles(folder: Path, talk: Path) -> None:
    from chromium import chromium, page_of

    process = subprocess.Popen(
        [PROGRAM, "cast", str(talk), "--to", "browser", "--subtitle-language", "pt", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "BROWSER": "true"},
    )  # fmt: skip
    assert process.stderr is not None
    address = process.stderr.readline().decode().split()[-1]
    assert ":8080/" not in address  # any free port where none is named
    with chromium() as browser, page_of(browser, address) as page:
        page.wait_for_function(
            "document.querySelector('video').currentTime > 2.5 && document.querySelector('video').readyState >= 3"
        )
        shown = page.evaluate(
            "[...document.querySelector('video').textTracks].map(t => [t.language, t.mode, t.cues && t.cues.length])"
        )
        assert shown == [["en", "disabled", None], ["pt", "showing", 2]]
    process.send_signal(signal.SIGINT)
    records = [json.loads(line) for line in process.communicate(timeout=20)[0].splitlines()]
    assert process.returncode == 130
    told = [record for record in records if record.get("detail") == "playing in a browser"]
    positions = [record["counters"]["position_ms"] for record in told]
    assert len(positions) >= 2
    assert positions == sorted(positions)
    assert positions[-1] > 1000
    assert told[-1]["counters"]["duration_ms"] == pytest.approx(6000, abs=100)
    assert 0 < told[-1]["progress"] < 1
    assert {record["stage"] for record in told} == {"cast"}


def test_the_commands_of_the_guide(folder: Path, talk: Path) -> None:
    """Each on the stand-in, in its order; those that control on a film that plays."""
    (folder / "talk.pt.mp4").write_bytes(talk.read_bytes())
    for language in ("pt", "en"):
        (folder / f"talk.{language}.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nOlá.\n")
    guide = (Path(__file__).parent.parent / "docs" / "television.md").read_text()
    plays, controls = re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)
    with cast_device(folder, speed=20.0) as device:
        for command in plays.splitlines():
            assert states(shell(command.replace('"Living Room"', to(device)[1]), cwd=folder).ok())[-1] == "ended", (
                command
            )
        assert [load.audio_languages[0] for load in device.loads] == ["eng", "eng", "eng"]
        assert [load.message.get("activeTrackIds") for load in device.loads] == [[2], None, [1]]
    with cast_device(folder, speed=0.15) as device:
        running = Running(str(talk), *to(device))
        running.until_played(200)
        told = [
            shell(command.replace('"Living Room"', to(device)[1]), cwd=folder)
            .ok()
            .of_type("status")[-1]["detail"]
            .split()[0]
            for command in controls.replace("--seek 90", "--seek 3").splitlines()
        ]
        assert (told[0], told[1], told[3], told[4]) == ("playing", "paused", "playing", "idle")
        assert running.end() == (0, "")
        assert device.volume == 0.25


def test_devices_are_listed_as_a_table_for_people() -> None:
    devices = [
        Device(kind="chromecast", name="Living Room", host="192.0.2.7", port=8009, model="Chromecast Ultra"),
        Device(kind="dlna", name="TV", host="192.0.2.8", port=80, location="http://192.0.2.8/d.xml"),
    ]
    assert finding.listing(devices, as_text=True).splitlines() == [
        "NAME         KIND        MODEL             URI",
        "Living Room  chromecast  Chromecast Ultra  chromecast://192.0.2.7:8009",
        "TV           dlna        -                 dlna:http://192.0.2.8/d.xml",
    ]
    assert "no device answered" in finding.listing([], as_text=True)
    assert finding.listing([], as_text=False) == ""


def live_records(talk: Path) -> list[Any]:
    """The film's records as a live source would send them, as fast as they are taken."""
    return [
        msgspec.structs.replace(record, live=True, started_at=1000.0, language="en")
        if isinstance(record, Header)
        else record
        for record in normalized(ingested(talk, video=True), keep_packets=True)
    ]


def test_a_live_session_becomes_a_stream_that_grows(talk: Path) -> None:
    from streamlation_cli.receivers.streaming import Streaming

    records = live_records(talk)
    streaming = Streaming(records[0], "cast", Settings(), 2.0)
    ready = []
    for record in records[1:-1]:
        for status in streaming.feed(record):
            assert status.stage == "cast"
        ready.append(streaming.ready_ms)
    assert ready == sorted(ready)
    assert 2000 <= ready[-1] <= 5000
    assert streaming.store.get("master.m3u8") is not None
    assert streaming.finish(records[-1])
    assert streaming.ready_ms == pytest.approx(6000, abs=100)
    playlist = streaming.store.get("master-video.m3u8") or b""
    assert b"#EXT-X-ENDLIST" in playlist
    assert streaming.sound("").name == "original"
    with pytest.raises(UsageError, match="--audio-language fr: there is none in French; there are en"):
        streaming.sound("fr")


def test_how_much_a_device_has_before_it_plays_can_be_said(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "live.ndjson").write_bytes(b"".join(map(ndjson.encode, live_records(talk))))
    began = {}
    for seconds in (2, 40):
        command = f"streamlation cast --to stub --target-latency 2 --buffer {seconds} < live.ndjson"
        records = shell(command, cwd=tmp_path).ok().records
        own = [
            record
            for record in records
            if record["type"] == "status" and record.get("counters", {}).get("buffer_target_ms")
        ]
        assert {record["counters"]["buffer_target_ms"] for record in own} == {seconds * 1000}
        plays = next(record for record in own if not record["detail"].startswith("waiting"))
        began[seconds] = sum(record["type"] == "pcm" for record in records[: records.index(plays)])
    assert 0 < began[2] < began[40] == sum(record["type"] == "pcm" for record in records)


def test_a_live_stream_begins_as_far_before_its_end_as_is_said(talk: Path) -> None:
    from streamlation_cli.receivers import Media
    from streamlation_cli.receivers.airsound import Sound
    from streamlation_cli.receivers.playlists import Chosen
    from streamlation_cli.receivers.streaming import Streaming
    from streamlation_cli.serving.server import Server

    records = live_records(talk)
    streaming = Streaming(records[0], "cast", Settings(), 2.0)
    for record in records[1:-1]:
        list(streaming.feed(record))
    positions = []
    with Server() as server:
        for behind_s in (0.0, 2.0):
            address = server.serve_store(Chosen(streaming.store, behind_s=behind_s))
            sound = Sound(
                Media(
                    address=address, content_type="application/vnd.apple.mpegurl", title="", live=True, has_video=False
                )
            )
            sound.read(44)
            sound.read(4)
            positions.append(sound.position_ms)
            sound.close()
    streaming.abandon()
    assert 4000 < streaming.ready_ms < 6000
    assert positions == [pytest.approx(0, abs=150), pytest.approx(2000, abs=150)]  # the segment with that place


def test_a_film_without_sound_is_nothing_for_a_loudspeaker(folder: Path) -> None:
    from streamlation_cli.receivers.preparing import plays

    silent = film(folder / "silent.mp4", sounds=(), texts=(), seconds=1)
    with pytest.raises(Unavailable, match="there is no sound in it, and AirPlay devices get nothing else"):
        plays(KINDS["airplay"], examine(str(silent)))


def test_keys_are_told_apart() -> None:
    assert list(_split("s\x1b[A\x1b[Bq")) == ["s", "\x1b[A", "\x1b[B", "q"]


def test_a_sound_for_airplay_is_the_film_s_own_and_can_be_paused_and_sought_in(talk: Path) -> None:
    from streamlation_cli.receivers.airsound import RATE, Sound
    from streamlation_cli.receivers.preparing import prepare
    from streamlation_cli.receivers.wishes import Wishes
    from streamlation_cli.serving.server import Server

    with Server() as server:
        media = prepare(examine(str(talk)), KINDS["airplay"], Wishes(audio_language="pt"), server, talk.parent)
    sound = Sound(replace(media, address=str(talk)))
    try:
        header = sound.read(44)
        assert header[:4] + header[8:12] == b"RIFFWAVE"
        first = b"".join(sound.read(4096) for _ in range(40))
        assert _pitch(first) == pytest.approx(660, abs=5)  # the Portuguese one
        sound.paused = True
        assert not any(sound.read(4096))
        sound.paused = False
        sound.seek_media(5000)
        rest = bytearray()
        while data := sound.read(4096):
            rest += data
        assert len(rest) / (RATE * 4) == pytest.approx(1.0, abs=0.1)
        assert sound.position_ms == pytest.approx(6000, abs=100)
    finally:
        sound.close()
    assert threading.active_count() < 20


def _pitch(data: bytes) -> float:
    """The loudest frequency in 44.1 kHz stereo s16le, Hz."""
    samples = np.frombuffer(data, "<i2")[::2].astype(float)
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * 44_100 / len(samples))
