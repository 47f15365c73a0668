"""A real HTTP server on this machine that serves a folder and misbehaves where asked to."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Site:
    """What is served and what was asked for.

    /redirect/NAME sends on to /NAME; /status/N answers with that status; /stall/NAME sends half and then nothing;
    /cut/NAME announces the whole and closes after half; /mute/NAME never answers; /plain/NAME serves without ranges;
    /short/NAME serves without ranges and closes after half.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str | None]] = []
        """Path and Range header of each request."""
        self.released = threading.Event()
        self.url = ""


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """Serves `folder` until the block ends."""
    site = Site(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            site.requests.append((self.path, self.headers.get("Range")))
            how, _, name = self.path.lstrip("/").partition("?")[0].rpartition("/")
            if how == "redirect":
                self._answer(302, {"Location": f"/{name}", "Content-Length": "0"})
            elif how == "status":
                self._answer(int(name), {"Content-Length": "0"})
            elif how == "mute":
                site.released.wait()
                self.close_connection = True
            else:
                self._file(how, name)

        def _file(self, how: str, name: str) -> None:
            path = site.folder / name
            if not path.is_file():
                self._answer(404, {"Content-Length": "0"})
                return
            data = path.read_bytes()
            start = 0
            asked = self.headers.get("Range")
            ranges = how not in ("plain", "short")
            if asked and ranges:
                start = int(asked.removeprefix("bytes=").split("-")[0])
                if start >= len(data):
                    self._answer(416, {"Content-Length": "0"})
                    return
            headers = {"Content-Length": str(len(data) - start), "Content-Type": "application/octet-stream"}
            if ranges:
                headers |= {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            self._answer(206 if asked and ranges else 200, headers)
            half = len(data) // 2
            self.wfile.write(data[start:] if how not in ("stall", "cut", "short") else data[start : max(start, half)])
            if how == "stall":
                self.wfile.flush()
                site.released.wait()
            if how in ("stall", "cut", "short"):
                self.close_connection = True

        def _answer(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up as they like
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
