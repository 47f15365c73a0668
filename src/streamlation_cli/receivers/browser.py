"""A page that plays a finished file in any browser: the device of those who have none."""

from __future__ import annotations

import sys
import time
import webbrowser
from collections.abc import Iterator
from html import escape

from .. import stdio
from ..records import PROTO, Header, Status, StreamRecord
from ..serving.server import Server
from . import Media
from .casting import STAGE, TICK_S

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0; background: #000; color: #fff; font: 1.1rem/1.5 system-ui, sans-serif; }}
  video {{ display: block; width: 100%; max-height: 100vh; }}
  p {{ margin: 1rem; }}
  ::cue {{ font-size: 1.2em; background: rgba(0, 0, 0, .75); }}
</style></head>
<body><main>
<video controls autoplay playsinline crossorigin src="{address}{start}" aria-label="{title}">{tracks}</video>
<p role="alert" hidden>This browser cannot play {title}. Another browser or a player such as mpv may: <a href="{address}">{address}</a></p>
</main>
<script>
  const video = document.querySelector("video");
  video.addEventListener("error", () => {{ document.querySelector("[role=alert]").hidden = false; }});
</script></body></html>
"""


def page(media: Media) -> str:
    """The page of a file and its subtitles."""
    tracks = "".join(
        f'<track kind="subtitles" src="{escape(subtitle.address)}" srclang="{escape(subtitle.language or "und")}" '
        f'label="{escape(subtitle.name)}"{" default" if number == media.subtitle else ""}>'
        for number, subtitle in enumerate(media.subtitles)
    )
    start = f"#t={media.start_ms / 1000:g}" if media.start_ms else ""
    return _PAGE.format(title=escape(media.title), address=escape(media.address), start=start, tracks=tracks)


def played(media: Media, session: str, source: str, server: Server) -> Iterator[StreamRecord]:
    """Serves the page until a signal comes, and opens it here where there is a browser."""
    address = server.serve_text("index.html", page(media), "text/html; charset=utf-8")
    yield Header(session, proto=PROTO, source=source, duration_ms=media.duration_ms)
    print(f"streamlation cast: {address}", file=sys.stderr, flush=True)
    webbrowser.open(address)
    yield Status(session, stage=STAGE, state="running", detail=f"served at {address}")
    while (code := stdio.interrupt_requested()) is None:
        time.sleep(TICK_S)
    raise stdio.Interrupted(code)
