"""Serves a page with live captions to any browser, and passes the records on.

The page shows what is said and its translation while it is spoken, in large type, how late it is, and in words what goes
wrong. It takes the records of any live chain, of a log, or captions as `cue` records. Several sessions may be served at once.

Where the records carry packets (`ingest --video`, `normalize --keep-packets`; `run --serve` sees to both) the page plays picture
and sound, the dubbed voice or the original, as late as they need for voice and captions to be in their places.

The address is printed on stderr. By default only this machine can open it. `--bind 0.0.0.0:8080` serves everyone on the
network; viewing then takes a token: `--token`, or one that is made and is part of the printed address. A second address,
for control, lets its holder pause the captions for everyone, and stop the process. Tokens are better given as
$STREAMLATION_SERVE_TOKEN and $STREAMLATION_SERVE_CONTROL_TOKEN, which no list of processes shows.

While somebody watches there is a `status` record a second: how many play, wait or read, how far they are, how late.

Beside the page: `/status` (JSON), `/stream` (WebSocket) and `/events` (server-sent events) with the records as they come,
and all captions so far as `/captions/SESSION/LANGUAGE.srt` and `.vtt`.

When its input has ended, `serve` ends too where the records are passed on; where standard output is a terminal it goes on
until it is interrupted, so that a finished session can be read. `--linger` says how long.

Examples:

\b
  streamlation ingest rtmp://localhost/live/talk | streamlation normalize | streamlation transcribe --live |
    streamlation translate --live --to pt | streamlation serve
  streamlation serve --bind 0.0.0.0:8080 --linger 3600 < log.ndjson > /dev/null
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from .. import stdio
from ..delivery.settings import PresentationOptions
from ..errors import UsageError
from ..options import option
from ..records import Header, StreamRecord, Unknown, ends_session
from ..sessions import Records, Stage

STAGE = "serve"
logger = logging.getLogger("streamlation.serve")

_TICK_S = 0.1
"""How soon a signal is noticed while nothing comes any more."""


@dataclass(frozen=True, kw_only=True)
class Options(PresentationOptions):
    """Where to serve, and to whom."""

    bind: str = option(
        "--bind", "127.0.0.1:8080", metavar="HOST:PORT",
        help="address to serve on; 0.0.0.0 is every network, port 0 any free one",
    )  # fmt: skip
    token: str = option(
        "--token", "", metavar="TOKEN",
        help="what viewers must have in the address; made where others than this machine are served",
    )  # fmt: skip
    control_token: str = option(
        "--control-token", "", metavar="TOKEN", help="what it takes to pause and stop; made where it is not given"
    )
    audit_log: str = option(
        "--audit-log", "", metavar="FILE", help="append a JSON line for each request and what was decided"
    )
    captions_only: bool = option("--captions-only", False, help="no player, though the records carry picture and sound")
    target_latency: float = option(
        "--target-latency", 0.0, metavar="SECONDS", minimum=0, maximum=60, shared=True,
        help="how late a live picture may be; 0: as late as speech and captions need, up to 30 s",
    )  # fmt: skip
    linger: float | None = option(
        "--linger", None, metavar="SECONDS", minimum=0, kind=float,
        help="go on serving so long after the input has ended; without it until interrupted on a terminal, else not at all",
    )  # fmt: skip


def stage(options: Options, name: str = STAGE, address: tuple[str, int] | None = None) -> Stage:
    """Serves what passes by; `name` is who reports, `address` the host and port instead of what `--bind` says.

    Raises UsageError for an address that is none, Unavailable where it cannot be served on.
    """
    from ..engines import needs_extra
    from ..serving.server import Server, parse_bind

    host, port = address or parse_bind(options.bind)
    from ..delivery import pictures
    from ..delivery.joining import Settings

    with needs_extra("serve"):
        from ..serving.access import Access, Audit, Guard
        from ..serving.board import Board
        from ..serving.pages import Pages
        from ..serving.playing import Players
        from ..serving.viewers import Telling, Viewers

    for flag, token in (("--token", options.token), ("--control-token", options.control_token)):
        if token and not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
            raise UsageError(f"{flag}: a token is part of an address: letters, digits and . _ ~ - only")
    if options.token and options.token == options.control_token:
        raise UsageError("--control-token: it must be another than --token, or every viewer has control")

    linger_s = options.linger if options.linger is not None else (float("inf") if stdio.stdout_is_terminal() else 0.0)

    board = Board()
    viewers = Viewers()
    access = Access(host, options.token, options.control_token, Audit(options.audit_log))
    stack = contextlib.ExitStack()
    stack.callback(access.audit.close)
    server = stack.enter_context(
        Server(
            host,
            port,
            routes=Pages(board, viewers, _stop).routes(),
            guard=lambda app: Guard(app, access),
            before_stop=board.close,
        )
    )
    players = None
    if not options.captions_only:
        pictures.check(options.video_codec)
        players = Players(
            lambda store: urlsplit(server.serve_store(store)).path,
            board.set_media,
            Settings.of(options),
            options.target_latency,
            name,
        )
        stack.callback(players.close)
    _announce(server.address, access.view_token, access.control_token)

    def seen(records: Iterable[StreamRecord]) -> Records:
        for record in records:
            board.see(record)
            yield record

    telling: dict[str, Telling] = {}

    def told(record: StreamRecord) -> Iterator[StreamRecord]:
        """How those who watch are; they themselves need not be told."""
        if isinstance(record, Header):
            telling[record.session] = Telling(viewers, record.session, name)
        elif ends_session(record):
            telling.pop(record.session, None)
        elif not isinstance(record, Unknown) and record.session in telling:
            status = telling[record.session].due()
            if status is not None:
                yield status

    def run(records: Iterable[StreamRecord]) -> Records:
        with stack:
            for record in records:
                said = players.see(record) if players is not None else []
                if ends_session(record):  # nothing of a session follows its end
                    yield from seen(said)
                    yield from seen([record])
                else:
                    yield from seen([record])
                    yield from seen(said)
                yield from told(record)
            until_s = time.monotonic() + linger_s
            while time.monotonic() < until_s and not stdio.interrupt_requested():
                time.sleep(_TICK_S)

    return run


def _announce(address: str, view_token: str, control_token: str) -> None:
    # Of the level that is shown unless -q asks for errors only: without the address there is nothing to open.
    logger.warning("%s", f"{address}/?token={view_token}" if view_token else f"{address}/")
    logger.warning("%s (control)", f"{address}/?token={control_token}")


def _stop() -> None:
    """As if somebody had pressed Ctrl-C: everything ends in its order, and what was done is kept."""
    os.kill(os.getpid(), signal.SIGINT)
