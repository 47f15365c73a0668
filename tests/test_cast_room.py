"""Casting in a network with an AirPlay loudspeaker (shairport-sync), a DLNA renderer (gmediarender) and a stand-in for a
Chromecast, all of which announce themselves by multicast. What the loudspeaker plays is recognised with Whisper."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from castfiles import film
from support import PROGRAM, Result, shell

HERE = Path(__file__).resolve().parent
ADDRESS = "10.77.0.1"
RENDERER = f"dlna:http://{ADDRESS}:49494/description.xml"
SPEAKER = f"airplay://{ADDRESS}:5000"

# Debian's shairport-sync takes any a=fmtp line for ALAC, and crashes on pyatv's, which describes the PCM that it sends.
CAST = (
    "import pyatv.support.rtsp as rtsp\n"
    'rtsp.ANNOUNCE_PAYLOAD = "\\r\\n".join(l for l in rtsp.ANNOUNCE_PAYLOAD.split("\\r\\n") if not l.startswith("a=fmtp"))\n'
    "from streamlation_cli.cli import main\n"
    "main()\n"
)


class Room:
    """The network and its devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        unshare = ["unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--net", "--mount"]
        self._devices = subprocess.Popen(
            [*unshare, "bash", str(HERE / "livingroom.sh"), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._devices.stdout is not None
        word, _, pid = self._devices.stdout.readline().partition(" ")
        assert word == "ready", self._logs()
        self._enter = ["nsenter", "--target", pid.strip(), "--net", "--mount", f"--wd={folder}"]
        self._chromecast = subprocess.Popen(
            [*self._enter, sys.executable, str(HERE / "castdevice.py"), ADDRESS, str(folder), "Living Room"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._chromecast.stdout is not None
        assert self._chromecast.stdout.readline() == "ready\n"
        self.cast = [*self._enter, sys.executable, "-c", CAST, "cast"]
        (folder / "cast.py").write_text(CAST)

    def _logs(self) -> str:
        errors = self._devices.communicate()[1]
        return errors + "".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))

    def run(self, *arguments: str | Path, timeout: float = 60) -> Result:
        """`streamlation cast ARGUMENTS` in the room."""
        command = [*self.cast, *map(str, arguments)]
        process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        return Result(shlex.join(map(str, arguments)), process.returncode, process.stdout, process.stderr.decode())

    def kill_renderer(self) -> None:
        os.kill(int((self.folder / "gmediarender.pid").read_text()), signal.SIGKILL)

    def heard(self) -> Path:
        """What the loudspeaker has played since it was last asked, as a WAV file."""
        raw = self.folder / "sound.raw"
        data = raw.read_bytes()
        os.truncate(raw, 0)
        path = self.folder / "heard.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((2, 2, 44_100, 0, "NONE", ""))
            file.writeframes(data)
        return path

    def close(self) -> None:
        for process in (self._chromecast, self._devices):
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("room"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def talk(room: Room) -> Path:
    return film(room.folder / "talk.mp4", seconds=3)


@pytest.fixture(scope="module")
def feature(room: Room) -> Path:
    """Long enough for something to happen meanwhile."""
    return film(room.folder / "feature.mp4", seconds=20, texts=())


def details(result: Result) -> list[str]:
    """The device's states in their order, each once."""
    words = [record["detail"].partition(" ")[0] for record in result.of_type("status")]
    return [word for word, before in zip(words, ["", *words], strict=False) if word != before]


def words_in(path: Path) -> list[str]:
    """What Whisper hears."""
    script = f"streamlation ingest {path} | streamlation normalize | streamlation transcribe --from en"
    texts = shell(script, cwd=path.parent).ok().of_type("transcript")
    return " ".join(record["text"] for record in texts).lower().replace(",", "").replace(".", "").split()


@pytest.mark.long
def test_all_kinds_of_devices_are_found_in_one_search(room: Room) -> None:
    found = [json.loads(line) for line in room.run("--list").ok().stdout.splitlines()]
    assert [(device["name"], device["kind"], device["address"]) for device in found] == [
        ("Bedroom", "dlna", ADDRESS), ("Kitchen", "airplay", ADDRESS), ("Living Room", "chromecast", ADDRESS),
    ]  # fmt: skip
    assert found[0]["uri"] == RENDERER
    assert found[1]["uri"] == SPEAKER


@pytest.mark.long
def test_a_device_is_found_by_its_name(room: Room, talk: Path) -> None:
    result = room.run(talk, "--to", "living room").ok()
    assert details(result)[-1] == "ended"
    assert "on Living Room (chromecast)" in result.of_type("status")[-1]["detail"]
    result = room.run(talk, "--to", "Attic", "--timeout", "1")
    assert result.status == 69
    assert "no device of that name answered within 1 s (found: " in result.stderr
    assert "Living Room" in result.stderr


@pytest.mark.long
def test_the_words_of_a_recording_arrive_at_an_airplay_loudspeaker(room: Room, samples: Path) -> None:
    result = room.run(samples / "hello_en.flac", "--to", SPEAKER, "--volume", "50").ok()
    assert details(result)[-2:] == ["playing", "ended"]
    last = result.of_type("status")[-1]["counters"]
    assert last["position_ms"] == pytest.approx(2406, abs=50)
    assert last["device_latency_ms"] == 2250
    assert words_in(room.heard()) == "hello and welcome to the show".split()


@pytest.mark.long
def test_records_arrive_at_an_airplay_loudspeaker(room: Room, talk: Path) -> None:
    cast = shlex.join([*room.cast, "--to", f"{ADDRESS}:5000"])
    script = f"streamlation ingest {talk} | streamlation normalize --keep-packets | {cast}"
    result = shell(script, cwd=room.folder, timeout=60).ok()
    own = [record for record in result.of_type("status") if record["stage"] == "cast"]
    assert own[-1]["detail"].startswith("ended")
    with wave.open(str(room.heard())) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")[::2].astype(float)
    assert np.argmax(np.abs(np.fft.rfft(samples))) * 44_100 / len(samples) == pytest.approx(330, abs=2)
    loud = np.abs(samples) > 1000
    assert np.count_nonzero(loud) / 44_100 > 2.3  # of 3 s; a sine is as loud nine tenths of its time


@pytest.mark.long
def test_a_dlna_renderer_plays_a_film(room: Room, talk: Path) -> None:
    result = room.run(talk, "--to", f"{ADDRESS}:49494", "--volume", "30", "--subtitle-language", "pt").ok()
    assert details(result) == ["loading", "playing", "ended"]
    last = result.of_type("status")[-1]
    assert last["detail"] == "ended on Bedroom (dlna)"
    assert last["counters"]["volume"] == pytest.approx(0.3)
    positions = [record["counters"]["position_ms"] for record in result.of_type("status")]
    assert positions == sorted(positions)
    log = (room.folder / "gmediarender.log").read_text(errors="replace")
    assert "sec:CaptionInfoEx" in log
    assert "talk.mp4" in log


@pytest.mark.long
def test_a_dlna_renderer_plays_records_and_is_controlled_from_elsewhere(room: Room, feature: Path) -> None:
    cast = shlex.join([*room.cast, "--to", RENDERER])
    script = f"streamlation ingest {feature} --video | streamlation normalize --keep-packets | {cast}"
    process = subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        record = json.loads(line)
        if record.get("stage") == "cast" and record["detail"].startswith("playing"):
            break
    paused = room.run("--to", RENDERER, "--pause").ok().of_type("status")[-1]
    assert paused["detail"].startswith("paused on Bedroom")
    room.run("--to", RENDERER, "--stop").ok()
    rest = [json.loads(line) for line in process.communicate(timeout=30)[0].splitlines()]
    assert process.returncode == 0
    assert rest[-2]["detail"].startswith("stopped on Bedroom")


@pytest.mark.long
def test_what_airplay_cannot_do_is_said(room: Room, talk: Path) -> None:
    result = room.run("--to", SPEAKER, "--pause")
    assert result.status == 69
    assert "AirPlay sound is controlled by the process that sends it" in result.stderr


@pytest.mark.long
def test_a_renderer_that_goes_away_is_given_up(room: Room, feature: Path) -> None:
    process = subprocess.Popen(
        [*room.cast, str(feature), "--to", RENDERER, "--patience", "1", "--timeout", "2"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        record = json.loads(line)
        if record["type"] == "status" and record["detail"].startswith("playing"):
            break
    room.kill_renderer()
    errors = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 69, errors
    assert "Bedroom has not answered for 1 s" in errors
    result = room.run(feature, "--to", RENDERER, "--timeout", "2")
    assert result.status == 69
    assert "does not answer at 10.77.0.1:49494" in result.stderr


@pytest.mark.long
def test_a_network_without_multicast(tmp_path: Path) -> None:
    """Nothing but the loopback interface, which is down."""
    unshare = ["unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--net"]
    process = subprocess.run(
        [*unshare, PROGRAM, "cast", "--list", "--timeout", "1"], capture_output=True, check=False, timeout=30
    )
    assert process.returncode == 69, process.stdout
    (line,) = process.stderr.decode().splitlines()
    assert "devices cannot be searched for here" in line
    assert "name one by its address: --to HOST" in line
