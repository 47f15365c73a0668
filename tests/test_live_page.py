"""Pages with a player in them, found by the real yt-dlp on a site of our own."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beacon import holes
from dashorigin import Packager
from livetools import Watched
from media import Header, Packet, encode, errors, ingested, of
from streamlation_cli.records import Error

PAGE = '<html><head><title>Live</title></head><body><video src="{}" controls></video></body></html>'


@contextmanager
def site(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves a folder; yields its address and what was asked for."""
    asked: list[str] = []
    types = {"": "text/html", ".html": "text/html", ".m3u8": "application/vnd.apple.mpegurl", ".mp3": "audio/mpeg"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self, body: bool = True) -> None:
            name = self.path.partition("?")[0].lstrip("/") or "index.html"
            asked.append(name)
            try:
                data = (folder / name).read_bytes()
            except OSError:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", types.get(Path(name).suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.long
@pytest.mark.parametrize("prefix", ["", "page:"])
def test_a_page_with_a_live_stream(prefix: str, tmp_path: Path) -> None:
    packager = Packager(tmp_path, hls_playlist="1")
    try:
        packager.ready(2)
        with site(tmp_path) as (address, _):
            (tmp_path / "index.html").write_text(PAGE.format(f"{address}/master.m3u8"))
            with Watched(f"{prefix}{address}/") as watched:
                watched.wait_for_audio(1.0)
                assert watched.interrupt() < 1.0
                assert of(Header, watched.records)[0].live
                assert holes([block for block, _ in watched.blocks()]) == []
    finally:
        packager.end()


def test_a_page_with_a_recording(tmp_path: Path) -> None:
    encode(tmp_path / "talk.mp3", "libmp3lame", "mp3", rate=44100)
    with site(tmp_path) as (address, _):
        (tmp_path / "index.html").write_text(PAGE.format(f"{address}/talk.mp3"))
        records = ingested(f"{address}/")
        assert not errors(records)
        assert not of(Header, records)[0].live
        assert [p.data for p in of(Packet, records)] == [p.data for p in of(Packet, ingested(tmp_path / "talk.mp3"))]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with site(tmp_path) as (address, asked):
        (tmp_path / "index.html").write_text("<html><body>nothing plays here</body></html>")
        (error,) = ingested(f"{address}/")
        assert isinstance(error, Error)
        assert (error.code, "no stream found behind this page" in error.message) == ("no-input", True)
        asked.clear()
        assert errors(ingested(f"page:{address}/", offline=True)) == [("ingest", "offline", True)]
        assert not asked


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    with site(tmp_path) as (address, _):
        (tmp_path / "index.html").write_text(PAGE.format("x.m3u8"))
        gone = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'yt_dlp' else f(n, *a)"
        with Watched(f"{address}/", before=gone, PATH="/nowhere") as watched:
            assert watched.ends() == 69
            assert "pip install 'streamlation[pages]'" in watched.said
            assert len(watched.said.splitlines()) == 1


def test_interrupted_while_the_page_is_looked_at(tmp_path: Path) -> None:
    asked, release = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            release.wait()

        do_HEAD = do_GET

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Watched(f"page:http://127.0.0.1:{server.server_address[1]}/") as watched:
            assert asked.wait(20)
            assert watched.interrupt() < 1.0
    finally:
        release.set()
        server.shutdown()
        thread.join()
        server.server_close()
