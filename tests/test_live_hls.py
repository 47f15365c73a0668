"""Live HLS: a packager that writes a playlist in real time, and an origin that goes stale, dies and comes back."""

from __future__ import annotations

import http.server
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import av
import numpy as np
import pytest

from livetools import (
    Broadcast,
    Run,
    Watched,
    assert_heartbeats,
    fatal,
    heard,
    report,
    served,
    talk,
    together,
    wait_until,
)
from ports import free_port
from streamlation_cli.records import Discontinuity, Eos, Header, Status
from streamlation_cli.sources.hls import Hls, Origin, choose
from streamlation_cli.sources.m3u8 import Master, Playlist, parse

_OPTIONS = ("hls_time=1", "hls_list_size=6", "hls_flags=delete_segments+omit_endlist")


class Site:
    """Serves a folder at an address that stays the same, and can be stopped and started."""

    def __init__(self, folder: Path, change: Callable[[str, bytes], bytes] = lambda name, data: data) -> None:
        self.folder = folder
        self.change = change
        self.requests: list[str] = []
        self.port = free_port()
        self._stack = ExitStack()

    def start(self) -> None:
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/").partition("?")[0]
                site.requests.append(name)
                path = site.folder / name
                data = site.change(name, path.read_bytes()) if path.is_file() else b""
                self.send_response(200 if data else 404)
                kind = "application/vnd.apple.mpegurl" if name.endswith("live") else "application/octet-stream"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.port = self._stack.enter_context(served(Handler, self.port))

    def stop(self) -> None:
        self._stack.close()

    def close(self) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/live.m3u8"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        site.start()
        yield site


def packager(folder: Path, *more: str) -> Broadcast:
    """Writes live.m3u8 and its segments, a second each."""
    options = [part for option in (*_OPTIONS, *more) for part in ("--option", option)]
    return Broadcast(str(folder / "live.m3u8"), "hls", *options)


def ready(site: Site) -> None:
    wait_until((site.folder / "live.m3u8").is_file, "the playlist")


@pytest.mark.long
def test_origins_and_packagers_that_die_and_come_back(tmp_path: Path) -> None:
    def with_site(name: str, scenario: Callable[[Site], None]) -> Callable[[], None]:
        (tmp_path / name).mkdir()

        def run() -> None:
            with closing(Site(tmp_path / name)) as site:
                site.start()
                scenario(site)

        return run

    together(
        with_site("mpegts", lambda site: _origin_dies(site, "mpegts")),
        with_site("fmp4", lambda site: _origin_dies(site, "fmp4")),
        with_site("stale", _goes_stale),
        with_site("end", _ends),
    )


def _origin_dies(site: Site, kind: str) -> None:
    """The packager goes on: what was said while the origin was away is read afterwards, and nothing is repeated."""
    with packager(site.folder, f"hls_segment_type={kind}"):
        ready(site)
        with Watched(site.address) as watched:
            watched.wait_for_audio(2)
            site.stop()
            time.sleep(2.5)
            site.start()
            back_s = watched.first_packet_after(time.monotonic())
            report(f"hls {kind}, origin killed", back_s)
            watched.wait_for_audio(5)
            assert watched.interrupt() < 1.0
    (run,) = heard(watched.records)
    assert run.length_s > 6.5
    assert not watched.of(Discontinuity)
    assert back_s < 3.0
    assert watched.of(Status)[-1].counters["reconnects"] >= 1
    assert_heartbeats(watched)


def _goes_stale(site: Site) -> None:
    """A stale playlist is not the end."""
    with packager(site.folder) as broadcast:
        ready(site)
        with Watched(site.address, "--timeout", "1") as watched:
            watched.wait_for_audio(2)
            broadcast.kill()  # the origin goes on serving what there was
            watched.wait_for(lambda: "nothing new" in watched.said, "staleness")
            broadcast.start("--option", "hls_flags=append_list+omit_endlist")
            back_s = watched.first_packet_after(broadcast.on_air_s())
            report("hls, packager killed", back_s)
            assert back_s <= 3.0  # of which a second is its first segment
            watched.wait_for_audio(3)
            assert watched.interrupt() < 1.0
    runs = heard(watched.records)
    assert len(runs) == 2
    assert runs[1].from_s >= runs[0].to_s - 0.1
    (gap,) = watched.of(Discontinuity)
    assert gap.reason in ("ad-break", "gap", "lost", "restart")
    # Where the recording is cut by the wall clock, times go on by it, as far as segments of a second let one know.
    assert abs((runs[1].from_s - runs[0].to_s) - gap.gap_ms / 1000) < 2.0


def _ends(site: Site) -> None:
    with closing(packager(site.folder, "hls_flags=delete_segments")) as broadcast:
        broadcast.start("--stop", "5")
        ready(site)
        with Watched(site.address) as watched:
            assert watched.ends() == 0
    assert len(watched.of(Eos)) == 1
    (run,) = heard(watched.records)
    assert run.to_s > 4.5


def test_a_finished_playlist_is_a_recording(site: Site) -> None:
    with closing(packager(site.folder, "hls_list_size=0", "hls_flags=independent_segments")) as whole:
        whole.start("--stop", "4")
        whole.finish()
    with Watched(site.address) as watched:
        assert watched.ends() == 0
    assert not watched.of(Header)[0].live
    assert heard(watched.records)[0].from_s < 1.5


# What follows is a stream made beforehand, whose playlist the test moves on.


def segment(
    path: Path,
    start_s: float,
    *,
    rate: int = 48000,
    pts_s: float = 0.0,
    codec: str = "aac",
) -> None:
    """A second of the talk as MPEG-TS."""
    sound = talk()[int(start_s * 16000) : int((start_s + 1) * 16000)].astype(np.int16)
    with av.open(str(path), "w", format="mpegts") as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.codec_context.open(strict=False)
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(sound[None, :], format="s16", layout="mono")
        frame.sample_rate = 16000
        samples = 0
        for ready_ in [*resampler.resample(frame), *resampler.resample(None)]:
            ready_.pts = samples + round(pts_s * rate)
            samples += ready_.samples
            out.mux(stream.encode(ready_))
        out.mux(stream.encode(None))


class Tape:
    """A playlist of segments that the test moves on by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.first = 0

    def add(self, name: str, *tags: str) -> None:
        self.lines += [*tags, "#EXTINF:1.0,", name]

    def write(self, *, ended: bool = False, name: str = "live.m3u8") -> None:
        head = ["#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{self.first}"]
        text = "\n".join([*head, *self.lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])
        new = self.folder / "new"
        new.write_text(text)
        new.replace(self.folder / name)


def test_an_advertisement_of_another_kind(site: Site) -> None:
    """Other rate, other clock: marked, decoded anew, and on one timeline."""
    tape = Tape(site.folder)
    segment(site.folder / "a.ts", 0, pts_s=100)
    segment(site.folder / "ad.ts", 10, rate=44100, pts_s=7, codec="mp2")
    segment(site.folder / "b.ts", 20, pts_s=5000)
    tape.add("a.ts")
    tape.write()
    with Watched(site.address) as watched:
        watched.wait_for_audio(0.9)
        tape.add("ad.ts", "#EXT-X-DISCONTINUITY")
        tape.add("b.ts", "#EXT-X-DISCONTINUITY")
        tape.write(ended=True)
        assert watched.ends() == 0, watched.said
    breaks = watched.of(Discontinuity)
    assert [b.reason for b in breaks] == ["ad-break", "ad-break"]
    assert [b.gap_ms for b in breaks] == [0, 0]
    assert (breaks[0].audio.codec, breaks[0].audio.sample_rate_hz) == ("mp3float", 44100)
    assert (breaks[1].audio.codec, breaks[1].audio.sample_rate_hz) == ("aac", 48000)
    places = [(round(run.media_s), round(run.from_s)) for run in heard_short(watched)]
    assert places == [(0, 0), (1, 10), (2, 20)]


def heard_short(watched: Watched) -> list[Run]:
    """As `heard`, for runs of a second."""
    return heard(watched.records, probe=8000)


def test_segments_that_fell_out_of_the_playlist_are_a_gap(site: Site) -> None:
    tape = Tape(site.folder)
    for number in range(6):
        segment(site.folder / f"{number}.ts", number, pts_s=50 + number)
    tape.add("0.ts")
    tape.write()
    with Watched(site.address) as watched:
        watched.wait_for_audio(0.9)
        tape.lines.clear()
        tape.first = 4
        tape.add("4.ts")
        tape.add("5.ts")
        tape.write(ended=True)
        assert watched.ends() == 0, watched.said
    (gap,) = watched.of(Discontinuity)
    assert gap.reason == "lost"
    assert abs(gap.gap_ms - 3000) < 100
    assert [round(run.from_s - run.media_s) for run in heard_short(watched)] == [0, 0]


def test_a_segment_that_is_not_there(site: Site) -> None:
    tape = Tape(site.folder)
    for number in (0, 2):
        segment(site.folder / f"{number}.ts", number, pts_s=50 + number)
    tape.add("0.ts")
    tape.write()
    with Watched(site.address, "--retry-max", "0.1") as watched:
        watched.wait_for_audio(0.9)
        tape.add("1.ts")
        tape.add("2.ts")
        tape.write(ended=True)
        assert watched.ends() == 0, watched.said
    (gap,) = watched.of(Discontinuity)
    assert (gap.reason, gap.gap_ms) == ("lost", 1000)
    assert site.requests.count("1.ts") == 3


def test_an_origin_that_counts_anew(site: Site) -> None:
    tape = Tape(site.folder)
    for number in range(4):
        segment(site.folder / f"{number}.ts", number, pts_s=50 + number)
        segment(site.folder / f"n{number}.ts", 10 + number, pts_s=number)
    tape.first = 100
    for number in range(4):
        tape.add(f"{number}.ts")
    tape.write()
    with Watched(site.address) as watched:
        watched.wait_for_audio(0.9)
        tape.lines.clear()
        tape.first = 0
        tape.add("n0.ts")
        tape.write()
        watched.wait_for_audio(0.9)
        tape.add("n1.ts")
        tape.write(ended=True)
        assert watched.ends() == 0, watched.said
    assert [gap.reason for gap in watched.of(Discontinuity)] == ["restart"]
    runs = heard_short(watched)
    assert [(round(run.from_s), round(run.to_s)) for run in runs] == [(3, 4), (10, 12)]


def test_encrypted_segments(site: Site) -> None:
    key, tape = bytes(range(16)), Tape(site.folder)
    for number in range(2):
        segment(site.folder / "plain.ts", number, pts_s=number)
        encrypt(site.folder / "plain.ts", site.folder / f"{number}.ts", key, number + 7)
    (site.folder / "key").write_bytes(key)
    tape.first = 7
    tape.add("0.ts", '#EXT-X-KEY:METHOD=AES-128,URI="key"')
    tape.write()
    with Watched(site.address) as watched:
        watched.wait_for_audio(0.9)
        tape.add("1.ts")
        tape.write(ended=True)
        assert watched.ends() == 0, watched.said
    (run,) = heard_short(watched)
    assert run.length_s > 1.9
    assert site.requests.count("key") == 1


def encrypt(source: Path, target: Path, key: bytes, number: int) -> None:
    """A file as AES-128 in CBC, by a program that is not ours."""
    how = ["-aes-128-cbc", "-K", key.hex(), "-iv", number.to_bytes(16, "big").hex()]
    subprocess.run(["openssl", "enc", *how, "-in", source, "-out", target], check=True)


def test_copy_protection_is_told(site: Site) -> None:
    tape = Tape(site.folder)
    segment(site.folder / "0.ts", 0)
    tape.add("0.ts", '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x"')
    tape.write()
    with Watched(site.address) as watched:
        assert watched.ends() == 65
        assert "encrypted with SAMPLE-AES" in fatal(watched).message


def test_an_address_without_an_extension(site: Site) -> None:
    """The reply's type tells."""
    tape = Tape(site.folder)
    for number in range(2):
        segment(site.folder / f"{number}.ts", number, pts_s=number)
    tape.add("0.ts")
    tape.write(name="live")
    with Watched(f"http://127.0.0.1:{site.port}/live") as watched:
        watched.wait_for_audio(0.9)
        tape.add("1.ts")
        tape.write(ended=True, name="live")
        assert watched.ends() == 0, watched.said
    assert watched.of(Header)[0].live


def test_interrupted_while_the_origin_is_away(site: Site) -> None:
    site.stop()
    with Watched(site.address) as watched:
        watched.wait_for(lambda: "trying again" in watched.said, "a try")
        assert watched.interrupt() < 1.0


MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="en.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Português",LANGUAGE="pt-BR",URI="pt.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=3000000,CODECS="avc1.64001f,mp4a.40.2",AUDIO="a"
high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=300000,CODECS="avc1.42c00d",AUDIO="a"
low.m3u8
"""


@pytest.mark.parametrize(
    ("wanted", "video", "chosen"),
    [("", False, "en"), ("pt", False, "pt"), ("1", False, "pt"), ("", True, "high")],
)
def test_the_stream_that_is_chosen(wanted: str, video: bool, chosen: str) -> None:
    from streamlation_cli.sources import Request

    master = parse(MASTER, "http://h/x/master.m3u8")
    assert isinstance(master, Master)
    request = Request(input="http://h/x/master.m3u8", session="s", audio_stream=wanted, with_video=video)
    assert choose(master, request) == f"http://h/x/{chosen}.m3u8"


def test_byte_ranges_and_initialisation_sections() -> None:
    text = """#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-MAP:URI="all.mp4",BYTERANGE="700@0"
#EXTINF:2,
#EXT-X-BYTERANGE:1000@700
all.mp4
#EXTINF:2,
#EXT-X-BYTERANGE:500
all.mp4
"""
    playlist = parse(text, "http://h/p.m3u8")
    assert isinstance(playlist, Playlist)
    parts = [(s.part.start, s.part.length) for s in playlist.segments]
    assert parts == [(700, 1000), (1700, 500)]
    header = playlist.segments[0].header
    assert header is not None
    assert (header.start, header.length) == (0, 700)


def test_a_copy_of_the_playlist_that_is_a_little_old_repeats_nothing() -> None:
    from streamlation_cli.sources import Request

    request = Request(input="http://h/p.m3u8", session="s", timeout_s=1)
    origin = Origin(request)
    texts = iter([_numbered(10, 14), _numbered(9, 13), _numbered(11, 15)])
    origin.look = lambda: parse(next(texts), "http://h/p.m3u8")  # type: ignore[method-assign,assignment,return-value]
    numbers = []
    for _ in range(2):
        found = origin.next()
        assert found is not None
        numbers.append(found.number)
        origin.done(found)
    assert numbers == [14, 15]
    assert Hls.keeps


def _numbered(first: int, last: int) -> str:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:0.05", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    return "\n".join(lines + [f"#EXTINF:0.05,\n{n}.ts" for n in range(first, last + 1)])
