"""Casts a file, an address or the records to a television or a loudspeaker: Chromecast, AirPlay, DLNA, a browser, mpv.

Given INPUT, a finished file or an http address is played: `cast talk.pt.mp4 --to "Living Room"`. Without it the records of
standard input are: they are joined into a live HLS stream as they come, and pass on. --to says where to:

\b
  NAME                        a device by its name, or how that begins; `cast --list` shows all that answer
  HOST, HOST:PORT             a device by its address, where it cannot be discovered; what it is, is found out
  chromecast://HOST:8009, airplay://HOST:7000, dlna:http://HOST:PORT/description.xml
  browser                     a page that any browser on the network opens
  -                           MPEG-TS on standard output, for `| mpv -`

Subtitles that are tracks of the file, and those of --subtitles, are all offered to the device before it starts;
--subtitle-language says which are shown. --audio-language chooses among the file's sounds. Of live records a device gets
one sound and one language of subtitles, chosen when it starts: to have another, end it and cast again. A language that is not
there is refused, and so are subtitles on AirPlay and in MPEG-TS (--format matroska holds them). What the device does
not play is said before it starts; a sound or a container that it does not play is rewritten, a picture only of records
(--video-codec).

Most devices fetch what they play from this process, so it stays until playback ends, and ends playback when it is
interrupted. An address that the device fetches by itself plays on without it: `cast` returns when it has started, unless
--wait is given. On a terminal: space pauses, ←/→ seek, ↑/↓ set the volume, s changes subtitles, q stops. From elsewhere the
same is done with --pause, --resume, --seek, --volume, --stop, and --status tells how a device is.

Of records, --mix says what is heard under the dubbed voice, as in `run`.

Once a second and whenever something changes there is a `status` record with state, position, volume, stalls and, live, latency;
for a browser those of all who watch; for standard output position, bytes, and how long the player let us wait (`--events` gets them).
AirPlay gets the sound alone.

Examples:

\b
  streamlation cast --list
  streamlation cast talk.pt.mp4 --to "Living Room" --subtitle-language pt
  streamlation cast talk.mp4 --subtitles talk.pt.srt --subtitles talk.en.srt --to 192.168.1.20
  streamlation cast --to "Living Room" --seek 90
  streamlation ingest rtmp://localhost/live/talk --video | streamlation normalize --keep-packets |
    streamlation transcribe --live | streamlation translate --live --to pt | streamlation dub --live |
    streamlation cast --to "Living Room"
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import stdio
from ..delivery.settings import PresentationOptions
from ..errors import StreamlationError, Unavailable, UsageError
from ..options import argument, option
from ..records import PROTO, Eos, Error, Header, Status, StreamRecord, ends_session
from ..render import clock
from ..sessions import Stage, by_session, fails, refuses

if TYPE_CHECKING:
    from ..delivery.joining import Settings
    from ..receivers import Device, Kind, Media, Playback, Receiver
    from ..receivers.casting import Casting
    from ..receivers.contents import Contents
    from ..receivers.wishes import Wishes
    from ..serving.server import Server

STAGE = "cast"
logger = logging.getLogger("streamlation.cast")


@dataclass(frozen=True, kw_only=True)
class Options(PresentationOptions):
    """What to play where, and how."""

    input: str = argument("INPUT", "", help="file or http address to play; without it the records of standard input")
    to: str = option(
        "--to",
        "",
        metavar="DEVICE",
        own=True,
        help="name, address or URI of a device, browser, or - for standard output",
    )
    list: bool = option(
        "--list", False, help="list the devices that answer, and exit; a JSON line each where it is piped"
    )
    audio_language: str = option(
        "--audio-language", "", metavar="LANG", help="which of the sounds; default: the default track"
    )
    subtitles: tuple[str, ...] = option(
        "--subtitles",
        (),
        metavar="FILE",
        repeatable=True,
        help="SRT or WebVTT file to offer; talk.pt.srt is Portuguese",
    )
    subtitle_language: str = option(
        "--subtitle-language", "", metavar="LANG|off", help="which subtitles are shown; default: the default track"
    )
    start: str = option("--start", "", metavar="TIME", help="where to begin: seconds or HH:MM:SS")
    volume: float | None = option(
        "--volume", None, metavar="PERCENT", minimum=0, maximum=100, kind=float, help="set the volume"
    )
    wait: bool = option(
        "--wait", False, help="stay until playback ends, also where the device does not need this process"
    )
    status: bool = option("--status", False, help="tell how the device is, and exit")
    pause: bool = option("--pause", False, help="pause what the device plays, and exit")
    resume: bool = option("--resume", False, help="go on with what the device plays, and exit")
    seek: str = option("--seek", "", metavar="TIME", help="go to a place in what the device plays, and exit")
    stop: bool = option("--stop", False, help="end what the device plays, and exit")
    timeout: float = option(
        "--timeout",
        10.0,
        metavar="SECONDS",
        minimum=1,
        maximum=120,
        help="how long a device may take to be found and to answer",
    )
    patience: float = option(
        "--patience", 20.0, metavar="SECONDS", minimum=0, help="how long a device that is lost is waited for"
    )
    target_latency: float = option(
        "--target-latency", 0.0, metavar="SECONDS", minimum=0, maximum=60, shared=True,
        help="of live records: how late the stream may be before the device gets it; 0: as late as the voice needs",
    )  # fmt: skip
    buffer: float | None = option(
        "--buffer", None, metavar="SECONDS", minimum=1, maximum=50, kind=float,
        help="of live records: how much the device is to have before it plays; "
        "default: 6 for Chromecast and DLNA, 4 for AirPlay",
    )  # fmt: skip
    format: str = option("--format", "mpegts", choices=("mpegts", "matroska"), help="format of standard output")
    bind: str = option(
        "--bind", "", metavar="HOST[:PORT]",
        help="address that the device fetches media from; default: this machine's own on the way to it, any free port",
    )  # fmt: skip


def report(options: Options, as_text: bool) -> str | None:
    """The devices, where --list asks for them."""
    if not options.list:
        return None
    from ..receivers.finding import DISCOVERY_S, discover, listing

    return listing(discover(min(DISCOVERY_S, options.timeout)), as_text)


def takes_stdout(options: Options) -> bool:
    """Whether standard output gets the media."""
    return options.to == "-"


def alone(options: Options) -> Iterator[StreamRecord] | None:
    """The session of a file, an address or a command; None where records are to be read."""
    _check(options)
    if _commands(options):
        return _told(options, f"cast-{options.to}", _command(options))
    if not options.input:
        return None
    from .ingest import session_name

    session = session_name(options.input)
    return _told(options, session, _input(options, session))


def _check(options: Options) -> None:
    if not options.to:
        raise UsageError(
            "cast: say where to: --to NAME, ADDRESS or URI of a device (`cast --list` shows them), browser, or -"
        )
    if _commands(options) and options.input:
        raise UsageError(
            "--status, --pause, --resume, --seek and --stop are for what a device plays already; leave INPUT out"
        )
    if options.to in ("-", "browser") and (_commands(options) or options.volume is not None):
        raise UsageError(
            f"--to {options.to}: what plays there is controlled where it is watched; leave --volume and the like out"
        )
    if _commands(options) and (
        options.audio_language or options.subtitle_language or options.subtitles or options.start
    ):
        raise UsageError(
            "languages, --subtitles and --start are for what is to begin; end what plays (--stop), and cast again"
        )
    if options.buffer is not None and (options.input or options.to in ("-", "browser")):
        raise UsageError(
            "--buffer is for records on a device; what plays a file, or in a browser, fetches as much as it likes"
        )
    if options.input and options.video_codec != "copy":
        raise UsageError(
            f"--video-codec is for records; the picture of a file is encoded by "
            f"`run {options.input} --video-codec {options.video_codec} -o FILE`"
        )


def _commands(options: Options) -> bool:
    asked = options.status or options.pause or options.resume or bool(options.seek) or options.stop
    # The volume alone is a command where there is nothing to play: neither a file nor a pipe.
    return asked or (options.volume is not None and not options.input and os.isatty(0))


def _told(options: Options, session: str, work: Iterator[StreamRecord]) -> Iterator[StreamRecord]:
    """`work` as a whole session: what it raises becomes its fatal error."""
    begun = False
    try:
        for record in work:
            begun = begun or isinstance(record, Header)
            yield record
    except stdio.Interrupted:
        if not begun:  # else nobody would be told that there is nothing
            yield Header(session, proto=PROTO, source=options.input or options.to)
        raise
    except StreamlationError as error:
        if not begun:
            yield Header(session, proto=PROTO, source=options.input or options.to)
        yield Error(session, stage=STAGE, code=error.code, message=error.message, fatal=True)


def stage(options: Options) -> Stage:
    """Casts each session; raises UsageError or Unavailable at once where that cannot work."""
    from ..delivery import pictures
    from ..delivery.joining import Settings

    _check(options)
    pictures.check(options.video_codec)
    settings = Settings.of(options)
    wishes = _wishes(options)
    if wishes.subtitles or wishes.start_ms:
        raise UsageError("--subtitles and --start are for a finished file; leave them out, or name INPUT")
    if options.to == "-":
        from ..receivers import stdout

        return stdout.stage(options.format, settings, wishes)
    if options.to == "browser":
        from . import serve

        if wishes.audio_language or wishes.subtitle_language:
            raise UsageError(
                "--audio-language, --subtitle-language: of records each viewer chooses on the page; leave them out"
            )
        own = serve.Options(
            mix=options.mix, keep_side=options.keep_side, duck_db=options.duck_db, target_latency=options.target_latency,
            video_codec=options.video_codec,
        )  # fmt: skip
        return serve.stage(replace(own, bind=options.bind) if options.bind else own, STAGE)
    return lambda records: _records(records, options, wishes, settings)


def _records(
    records: Iterable[StreamRecord], options: Options, wishes: Wishes, settings: Settings
) -> Iterator[StreamRecord]:
    from ..receivers.casting import or_else
    from ..receivers.finding import DISCOVERY_S, find
    from ..receivers.recording import WAY_OUT, Session
    from ..receivers.wishes import heeds

    playing: dict[str, bool] = {}
    """Session → whether it is live."""
    with ExitStack() as stack:
        with or_else(WAY_OUT):
            device = find(options.to, min(DISCOVERY_S, options.timeout))
        kind = _kind(device)
        heeds(kind, wishes)
        server = stack.enter_context(_server(options, device, kind))

        def make(header: Header) -> Session:
            if playing and not kind.many:
                other = next(iter(playing))
                raise UsageError(f"{header.session}: {device.name} plays {other} already; cast one session at a time")
            playing[header.session] = header.live
            with or_else(WAY_OUT):
                receiver: Receiver = kind.load().connect(device, options.timeout)
            stack.callback(receiver.close)
            return Session(header, kind, receiver, server, wishes, settings, options)

        # Entered last, so that playback ends before the device and the server are let go.
        for record in stack.enter_context(closing(by_session(STAGE, make)(records))):
            live = ends_session(record) and playing.pop(record.session, False)
            yield record
            # What is live would be read for ever, and made upstream for nobody; behind a file another may follow.
            lost = live and fails(STAGE, record)
            if (lost or refuses(STAGE, record)) and not playing and not kind.many:
                return


def _kind(device: Device) -> Kind:
    from ..receivers import KINDS

    return KINDS[device.kind]


def _connect(options: Options, wishes: Wishes | None = None) -> tuple[Kind, Receiver]:
    from ..receivers.finding import DISCOVERY_S, find
    from ..receivers.wishes import heeds

    with stdio.woken_by_signals():
        device = find(options.to, min(DISCOVERY_S, options.timeout))
    kind = _kind(device)
    if wishes is not None:
        heeds(kind, wishes)
    module = kind.load()
    with stdio.woken_by_signals():
        receiver: Receiver = module.connect(device, options.timeout)
    return kind, receiver


def _wishes(options: Options) -> Wishes:
    from ..receivers.contents import read_subtitles
    from ..receivers.wishes import Wishes
    from .ingest import parse_time

    return Wishes(
        audio_language=options.audio_language,
        subtitle_language=options.subtitle_language,
        subtitles=read_subtitles(options.subtitles),
        start_ms=parse_time("--start", options.start) if options.start else 0,
    )


def _input(options: Options, session: str) -> Iterator[StreamRecord]:
    """A file or an address on a device."""
    from ..receivers.casting import or_else
    from ..receivers.contents import examine
    from ..receivers.preparing import prepare

    wishes = _wishes(options)
    contents = examine(options.input)
    _check_time("--start", options.start, wishes.start_ms, contents.duration_ms)
    if options.to == "-":
        from ..receivers import stdout

        yield from stdout.played(contents, session, wishes, options.format)
        return
    if options.to == "browser":
        yield from _in_browser(options, contents, session, wishes)
        return
    way_out = _way_out(options, contents.path)
    with or_else(way_out):
        kind, receiver = _connect(options, wishes)
    with ExitStack() as stack:
        stack.callback(receiver.close)
        server = stack.enter_context(_server(options, receiver.device, kind))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamlation-cast-")))
        media = prepare(contents, kind, wishes, server, folder)
        logger.info("%s plays %s (%s)", receiver.device.name, media.address, media.content_type)
        serves = bool(contents.path) or bool(media.subtitles) or not kind.pulls
        yield Header(session, proto=PROTO, source=options.input, duration_ms=media.duration_ms, live=media.live)
        yield from _played(options, session, receiver, media, way_out, stays=serves or options.wait)
        yield Eos(session, duration_ms=media.duration_ms)


def _check_time(flag: str, text: str, wanted_ms: int, duration_ms: int | None) -> None:
    if text and duration_ms is not None and wanted_ms >= duration_ms:
        raise UsageError(f"{flag} {text}: that is past the end, which is at {clock(duration_ms).rpartition('.')[0]}")


def _in_browser(options: Options, contents: Contents, session: str, wishes: Wishes) -> Iterator[StreamRecord]:
    from ..engines import needs_extra
    from ..receivers import IN_BROWSER

    with needs_extra("serving"):
        from ..receivers import browser
    from ..receivers.preparing import prepare
    from ..serving.server import Server, parse_bind

    host, port = parse_bind(options.bind) if options.bind else ("0.0.0.0", 0)
    film = browser.Film()
    with (
        Server(host, port, routes=film.routes) as server,
        tempfile.TemporaryDirectory(prefix="streamlation-cast-") as folder,
    ):
        media = prepare(contents, IN_BROWSER, wishes, server, Path(folder))
        yield from browser.played(film, media, session, options.input, server)


def _way_out(options: Options, path: str) -> str:
    if not path:
        return f"to watch it by hand open {options.input}"
    return f"`streamlation cast {options.input} --to browser` serves it at an address to open by hand"


def _server(options: Options, device: Device, kind: Kind) -> Server:
    """A server that the device reaches; nothing is served to the network but what has an unguessable path."""
    from ..serving.server import Server, address_towards, parse_bind

    if options.bind:
        host, port = parse_bind(options.bind if ":" in options.bind or options.bind.isdigit() else f"{options.bind}:0")
        return Server(host, port)
    return Server(address_towards(device.host) if kind.pulls else "127.0.0.1", 0)


def _played(
    options: Options, session: str, receiver: Receiver, media: Media, way_out: str, *, stays: bool
) -> Iterator[StreamRecord]:
    from ..receivers.casting import Casting
    from ..receivers.keys import HELP, Keys, single_keys

    with single_keys() as has_keys, _Line(receiver.device) as line:
        casting = Casting(session, receiver, media, way_out, patience_s=options.patience, show=line.show)
        ended = False
        try:
            casting.start(None if options.volume is None else options.volume / 100)
            if has_keys:
                casting.commands = Keys(media, casting.stop, line.say).commands
                line.say(HELP)
            yield from casting.watch(until=_anything if stays else _has_begun)
            ended = True
        finally:
            if not ended:
                _stop_quietly(casting)


def _anything(_playback: Playback) -> bool:
    return False


def _has_begun(playback: Playback) -> bool:
    return playback.state in ("playing", "paused")


def _stop_quietly(casting: Casting) -> None:
    """What led here is already being reported."""
    try:
        casting.stop()
    except Unavailable as error:
        logger.info("%s", error.message)


class _Line:
    """How the device is, on one line of standard error where that is a terminal."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._on = sys.stderr.isatty()
        self._shown = ""

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(file=sys.stderr)

    def show(self, playback: Playback) -> None:
        """Replaces the line."""
        if not self._on:
            return
        position = clock(playback.position_ms).rpartition(".")[0] if playback.position_ms is not None else ""
        length = f" of {clock(playback.duration_ms).rpartition('.')[0]}" if playback.duration_ms else ""
        volume = f", volume {playback.volume:.0%}" if playback.volume is not None else ""
        text = f"{self._device.name}: {playback.state} {position}{length}{volume}"
        if text != self._shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def say(self, text: str) -> None:
        """A line that stays."""
        print(f"\r\x1b[K{text}" if self._on else text, file=sys.stderr, flush=True)
        self._shown = ""


def _command(options: Options) -> Iterator[StreamRecord]:
    """What is asked of a running device, then how it is."""
    from .ingest import parse_time

    session = f"cast-{options.to}"
    kind, receiver = _connect(options)
    try:
        before = receiver.playback()
        yield Header(session, proto=PROTO, source=receiver.device.uri)
        plays = before.state not in ("idle", "ended", "stopped", "failed")
        if not plays and kind.pulls and (options.pause or options.resume or options.seek or options.stop):
            raise Unavailable(f"{receiver.device.name} plays nothing")
        if options.seek:
            _check_time("--seek", options.seek, parse_time("--seek", options.seek), before.duration_ms)
        if options.volume is not None:
            receiver.set_volume(options.volume / 100)
        if options.pause:
            receiver.pause()
        if options.resume:
            receiver.resume()
        if options.seek:
            receiver.seek(parse_time("--seek", options.seek))
        if options.stop:
            receiver.stop()
        playback = receiver.playback()
        counters = {
            name: value
            for name, value in (
                ("position_ms", playback.position_ms), ("duration_ms", playback.duration_ms), ("volume", playback.volume),
                *playback.counters,
            )
            if value is not None
        }  # fmt: skip
        what = f": {playback.title}" if playback.title and playback.state != "idle" else ""
        yield Status(
            session, stage=STAGE, state="completed", counters=counters,
            detail=f"{playback.state} on {receiver.device.name} ({receiver.device.kind}){what}",
        )  # fmt: skip
        yield Eos(session)
    finally:
        receiver.close()
