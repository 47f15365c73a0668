"""A live DASH origin: FFmpeg's packager fed at the speed of sound, and an HTTP server before it that can go stale, die and come back."""

from __future__ import annotations

import http.server
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from beacon import beacon
from ports import free_port

RATE = 48_000
_STEP_S = 0.1


class Packager:
    """Packages the beacon in real time into a folder, until `end`; `hurry` seconds of it at once instead."""

    def __init__(
        self,
        folder: Path,
        *,
        start_s: float = 0.0,
        segment_s: float = 0.5,
        window: int = 10,
        hurry: float = 0.0,
        **options: str,
    ) -> None:
        self.folder = folder
        settings = {
            "seg_duration": str(segment_s), "frag_duration": str(segment_s), "use_template": "1", "use_timeline": "1",
            "window_size": str(window), "extra_window_size": "2", "adaptation_sets": "id=0,streams=a", **options,
        }  # fmt: skip
        webm = settings.get("dash_segment_type") == "webm"
        self._container = av.open(str(folder / "live.mpd"), "w", format="dash", options=settings)
        self._stream = self._container.add_stream("libopus" if webm else "aac", rate=RATE, layout="mono")
        self._said_s = start_s
        self._zero_s = start_s
        self._hurry = hurry
        self._segment_s = segment_s
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Ends the broadcast: the manifest becomes static."""
        self._stop.set()
        self._thread.join()

    def ready(self, segments: int) -> None:
        """Waits until so many more segments are packaged."""
        with self._changed:
            until_s = self._said_s + segments * self._segment_s
            assert self._changed.wait_for(lambda: self._said_s > until_s + _STEP_S, 30)

    def _run(self) -> None:
        context = self._stream.codec_context
        context.open()
        resampler = av.AudioResampler(context.format, "mono", RATE, context.frame_size)
        began = time.monotonic()
        while self._goes_on(began):
            frame = av.AudioFrame.from_ndarray(beacon(self._said_s, _STEP_S, RATE)[None], format="flt", layout="mono")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = round((self._said_s - self._zero_s) * RATE)
            for piece in resampler.resample(frame):
                self._container.mux(self._stream.encode(piece))
            with self._changed:
                self._said_s += _STEP_S
                self._changed.notify_all()
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _goes_on(self, began: float) -> bool:
        said_s = self._said_s - self._zero_s
        if self._hurry:
            return said_s < self._hurry - _STEP_S / 2
        return not self._stop.wait(max(0.0, began + said_s + _STEP_S - time.monotonic()))


class Origin:
    """Serves a folder at one address; `down` and `up` at will. While `frozen` it serves the manifest of that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self._frozen: bytes | None = None
        self._server: _Server | None = None
        self._port = free_port()
        self.up()
        self.address = f"http://127.0.0.1:{self._port}/live.mpd"

    def up(self) -> None:
        """Starts, at the port it had."""
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                path = self.path.partition("?")[0].lstrip("/")
                origin.requests.append(path)
                try:
                    data = (origin.folder / path).read_bytes()
                except OSError:
                    self.send_error(404)
                    return
                if path.endswith(".mpd") and origin._frozen is not None:
                    data = origin._frozen
                self.send_response(200)
                self.send_header("Content-Type", "application/dash+xml" if path.endswith(".mpd") else "audio/mp4")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = _Server(("127.0.0.1", self._port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def down(self) -> None:
        """Dies."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def freeze(self, stale: bool) -> None:
        """Goes stale: the manifest stays as it is now, or is up to date again."""
        self._frozen = (self.folder / "live.mpd").read_bytes() if stale else None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients hang up as they like."""


__all__ = ["Origin", "Packager"]
