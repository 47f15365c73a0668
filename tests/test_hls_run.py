"""`mux -o talk.m3u8` and `run --live -o talk.m3u8`: the commands, and the playlists while they grow."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from films import AUDIO, film
from hls_media import played
from hls_validator import Validator, follows
from streamlation_cli.delivery.store import FolderStore
from support import PROGRAM, shell, streamlation

STUB = ("--transcribe-engine", "stub", "--translate-engine", "stub", "--dub-engine", "stub")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 14 s."""
    return film(tmp_path_factory.mktemp("talk") / "talk.mp4", seconds=14)


def growing(process: subprocess.Popen[bytes], folder: Path, master: str, lead: str) -> Iterator[Validator]:
    """Each state of a presentation that a process publishes, validated and compared with the one before, until it ends."""
    store = FolderStore(folder)
    before: Validator | None = None
    seen: bytes | None = None
    until_s = time.monotonic() + 90
    while time.monotonic() < until_s:
        over = process.poll() is not None
        if store.get(lead) not in (None, seen) and store.get(master) is not None:
            state, data = _state(store, master, lead)
            if state is not None and data != seen:  # it may have changed since it was looked at
                seen = data
                if before is not None:
                    for name, playlist in before.playlists.items():
                        follows(playlist, state.playlists[name])
                before = state
                yield state
        if over:
            return
        time.sleep(0.05)
    raise AssertionError("it does not end")


def _state(store: FolderStore, master: str, lead: str) -> tuple[Validator | None, bytes | None]:
    """A state that was not changed while it was read, and its leading playlist.

    Playlists are files of their own, published one after another.
    """
    names = {name: store.get(name) for name in _playlists(store, master)[1:]}
    names[master] = store.get(master)  # it says enough of what was listed before
    state = names.get
    playlists = [data or b"" for name, data in names.items() if name != master]
    ended = [data.count(b"#EXT-X-ENDLIST") for data in playlists]
    if not all(ended) and (any(ended) or len({data.count(b"#EXTINF") for data in playlists}) != 1):
        return None, None

    def get(name: str) -> bytes | None:
        return state(name) or store.get(name)

    return Validator(get, master), names[lead]


def _playlists(store: FolderStore, master: str) -> list[str]:
    text = (store.get(master) or b"").decode()
    listed = [line.split('URI="')[1].split('"')[0] for line in text.splitlines() if 'URI="' in line]
    return [master, *listed, text.splitlines()[-1]]


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = next(one for one in container.streams if one.type == kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def test_a_file_becomes_hls_with_all_that_was_made_of_it(talk: Path, tmp_path: Path) -> None:
    """The picture is copied bit for bit, the voice is its own rendition, captions are there in both languages."""
    streamlation(
        "run", talk, "--from", "en", "--to", "pt", *STUB, "-o", "talk.m3u8", "-o", "log.ndjson", cwd=tmp_path
    ).ok()
    state = Validator(FolderStore(tmp_path).get, "talk.m3u8")
    assert [(one["TYPE"], one["LANGUAGE"], one["DEFAULT"]) for one in state.renditions] == [
        ("AUDIO", "pt", "YES"), ("AUDIO", "en", "NO"), ("SUBTITLES", "pt", "NO"), ("SUBTITLES", "en", "NO"),
    ]  # fmt: skip
    heard = played(tmp_path / "talk.m3u8")
    copied = packets(talk, "video")
    assert [size for _, size in heard.video] == [len(data) for data in copied]
    assert heard.frames == len(copied)
    assert heard.audio_seconds["pt"] == pytest.approx(14, abs=0.2)
    assert heard.audio_seconds["en"] == pytest.approx(14, abs=0.2)
    assert state.cues["talk-captions-pt.m3u8"]
    assert state.cues["talk-captions-en.m3u8"]
    # The records make the same of it.
    (tmp_path / "again").mkdir()
    shell("streamlation mux -o again/talk.m3u8 < log.ndjson > /dev/null", cwd=tmp_path).ok()
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.long
def test_a_live_session_is_published_while_it_lasts(talk: Path, tmp_path: Path) -> None:
    """Playlists grow at the speed of the source, every state of them is valid, and all speech is in them at the end."""
    command = [PROGRAM, "run", str(talk), "--live", "--realtime", "--from", "en", "--to", "pt", *STUB]
    command += ["-o", "talk.m3u8", "-o", "log.ndjson", "--target-latency", "6"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        states = list(growing(process, tmp_path, "talk.m3u8", "talk-video.m3u8"))
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert process.returncode == 0, errors
    assert len(states) >= 4, "it grew in steps"
    assert [state.playlists["talk-video.m3u8"].ended for state in states] == [False] * (len(states) - 1) + [True]
    last = states[-1]
    assert last.playlists["talk-video.m3u8"].parts[0].date
    heard = played(tmp_path / "talk.m3u8")
    assert heard.frames == len(packets(talk, "video"))
    assert heard.audio_seconds["pt"] > 13.9, "the last words may be spoken after the end"
    assert heard.audio_seconds["en"] == pytest.approx(14, abs=0.3)
    assert last.cues["talk-captions-pt.m3u8"]


@pytest.mark.long
def test_an_interrupted_live_session_is_over_for_its_players(talk: Path, tmp_path: Path) -> None:
    """Ctrl-C publishes what was there and says that no more will come."""
    command = [
        PROGRAM,
        "run",
        str(talk),
        "--live",
        "--realtime",
        "--from",
        "en",
        "--to",
        "pt",
        *STUB,
        "-o",
        "talk.m3u8",
    ]
    command += ["--target-latency", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        for number, state in enumerate(growing(process, tmp_path, "talk.m3u8", "talk-video.m3u8")):
            assert number > 1 or not state.playlists["talk-video.m3u8"].ended
            if number == 1:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert Validator(FolderStore(tmp_path).get, "talk.m3u8").playlists["talk-video.m3u8"].ended


def test_sound_without_a_picture(tmp_path: Path) -> None:
    """Audio in, audio-only HLS out."""
    streamlation(
        "run", AUDIO / "hello_en.flac", "--from", "en", "--to", "pt", *STUB, "-o", "hello.m3u8", cwd=tmp_path
    ).ok()
    state = Validator(FolderStore(tmp_path).get, "hello.m3u8")
    assert state.variant_uri == "hello-dub-pt.m3u8"
    assert played(tmp_path / "hello.pt.m3u8").audio_seconds == {"pt": pytest.approx(2.4, abs=0.3)}


def test_what_makes_no_sense_is_refused(talk: Path, tmp_path: Path) -> None:
    ass = streamlation("mux", "-o", "a.m3u8", "--captions", "ass", cwd=tmp_path)
    assert ass.status == 2
    assert "in HLS they are WebVTT" in ass.stderr
    nowhere = streamlation("run", talk, *STUB, "-o", "no/a.m3u8", cwd=tmp_path)
    assert nowhere.status == 74
    assert "there is no folder" in nowhere.stderr


def test_a_picture_that_hls_cannot_have(tmp_path: Path) -> None:
    film(tmp_path / "old.avi", video="mpeg4", audio="mp3", seconds=2, bframes=0)
    refused = streamlation("run", "old.avi", *STUB, "-o", "old.m3u8", cwd=tmp_path)
    assert refused.status == 2
    assert "takes no mpeg4 video" in refused.stderr
    assert not list(tmp_path.glob("old*.m3u8*"))
