"""A page that plays a finished file in any browser: the device of those who have none."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from html import escape
from pathlib import Path

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from .. import stdio
from ..records import PROTO, Header, Status, StreamRecord
from ..serving.server import Server, parse_bind
from ..serving.viewers import REPORT_S, Viewers, is_own_page, status_of
from . import IN_BROWSER, Media
from .casting import STAGE, TICK_S
from .contents import Contents
from .preparing import prepare
from .wishes import Wishes

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0; background: #000; color: #fff; font: 1.1rem/1.5 system-ui, sans-serif; }}
  video {{ display: block; width: 100%; max-height: 100vh; }}
  p {{ margin: 1rem; }}
  a {{ color: #9cc1ff; }}
  ::cue {{ font-size: 1.2em; background: rgba(0, 0, 0, .75); }}
</style></head>
<body><main>
<video controls autoplay playsinline crossorigin src="{address}{start}" aria-label="{title}">{tracks}</video>
<p role="alert" hidden>This browser cannot play {title}. Another browser or a player such as mpv may: <a href="{address}">{address}</a></p>
</main>
<script>{script}</script></body></html>
"""

_SCRIPT = """
const video = document.querySelector("video");
const WAITS = ["loading", "buffering"];
let state = "loading", since = performance.now(), waited = 0, stalls = 0, played = false;
function how() {
  if (video.error) { return "failed"; }
  if (video.ended) { return "ended"; }
  if (video.paused) { return played ? "paused" : video.readyState < 3 ? "loading" : "ready"; }
  return video.readyState < 3 ? (played ? "buffering" : "loading") : "playing";
}
function look() {
  played ||= video.currentTime > 0 && !video.paused;
  const now = how();
  if (now === state) { return; }
  if (WAITS.includes(state) && played) { waited += performance.now() - since; }
  stalls += state === "playing" && now === "buffering" && !video.seeking;
  [state, since] = [now, performance.now()];
  report();
}
function ms(seconds) { return Number.isFinite(seconds) ? Math.round(seconds * 1000) : null; }
function ahead() {
  for (let at = 0; at < video.buffered.length; at += 1) {
    if (video.currentTime >= video.buffered.start(at) - 0.1 && video.currentTime <= video.buffered.end(at)) {
      return video.buffered.end(at) - video.currentTime;
    }
  }
  return 0;
}
let line = null;
function connect() {
  line = new WebSocket(location.origin.replace("http", "ws") + "%(path)s");
  line.onopen = report;
  line.onclose = () => setTimeout(connect, 3000);
}
function report() {
  if (line?.readyState !== WebSocket.OPEN) { return; }
  line.send(JSON.stringify({
    session: "", state, position_ms: ms(video.currentTime), duration_ms: ms(video.duration), loaded_ms: ms(ahead()), stalls,
    buffering_ms: Math.round(waited), volume: video.muted ? 0 : video.volume,
  }));
}
video.addEventListener("error", () => { document.querySelector("[role=alert]").hidden = false; });
setInterval(look, 250);
setInterval(report, 1000);
connect();
"""
"""Reports how the player is; see `serving.viewers`."""


class Film:
    """A page that plays media, and who has it open. `path` is where it reports to."""

    def __init__(self) -> None:
        self.viewers = Viewers()
        self.path = f"/player/{secrets.token_urlsafe(16)}"
        self.routes = [WebSocketRoute(self.path, self._listen)]

    async def _listen(self, socket: WebSocket) -> None:
        if not is_own_page(socket):
            await socket.close()
            return
        await socket.accept()
        await self.viewers.listen(socket)

    def page(self, media: Media) -> str:
        """The page of a file and its subtitles."""
        tracks = "".join(
            f'<track kind="subtitles" src="{escape(subtitle.address)}" srclang="{escape(subtitle.language or "und")}" '
            f'label="{escape(subtitle.name)}"{" default" if number == media.subtitle else ""}>'
            for number, subtitle in enumerate(media.subtitles)
        )
        start = f"#t={media.start_ms / 1000:g}" if media.start_ms else ""
        return _PAGE.format(
            title=escape(media.title), address=escape(media.address), start=start, tracks=tracks,
            script=_SCRIPT % {"path": self.path},
        )  # fmt: skip


def played(contents: Contents, session: str, wishes: Wishes, bind: str) -> Iterator[StreamRecord]:
    """Serves the page of a file or an address until a signal comes, which raises Interrupted.

    `bind` is HOST, PORT or HOST:PORT, or empty for every network; without a port it is any free one. Raises UsageError where it is
    no address or a wanted language is not there, Unavailable where it cannot be served on or no browser plays the picture.
    """
    host, port = parse_bind(bind, usual_port=0) if bind else ("0.0.0.0", 0)
    film = Film()
    with (
        Server(host, port, routes=film.routes) as server,
        tempfile.TemporaryDirectory(prefix="streamlation-cast-") as folder,
    ):
        media = prepare(contents, IN_BROWSER, wishes, server, Path(folder))
        yield from _watched(film, media, session, contents.name, server)


def _watched(film: Film, media: Media, session: str, source: str, server: Server) -> Iterator[StreamRecord]:
    """Opens the page here where there is a browser, and tells how it is played."""
    address = server.serve_text("index.html", film.page(media), "text/html; charset=utf-8")
    yield Header(session, proto=PROTO, source=source, duration_ms=media.duration_ms)
    print(f"streamlation cast: {address}", file=sys.stderr, flush=True)
    webbrowser.open(address)
    yield Status(session, stage=STAGE, state="running", detail=f"served at {address}")
    told_s, before = time.monotonic(), ""
    while (code := stdio.interrupt_requested()) is None:
        time.sleep(TICK_S)
        audience = film.viewers.of("")
        now = time.monotonic()
        due = bool(audience.reports) and now - told_s >= REPORT_S
        if due or audience.words != before:
            if before or audience.reports:
                yield status_of(audience, session, STAGE)
            told_s, before = now, audience.words
    raise stdio.Interrupted(code)
