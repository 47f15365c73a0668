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

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import stdio
from ..delivery.settings import PresentationOptions
from ..errors import StreamlationError, UsageError
from ..options import argument, option, parse_time
from ..records import PROTO, Error, Header, StreamRecord
from ..sessions import Stage

if TYPE_CHECKING:
    from ..receivers.wishes import Wishes

STAGE = "cast"


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
        from ..receivers import commanding

        session = f"cast-{options.to}"
        return _told(options, session, commanding.commanded(options, session))
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
        from ..serving.server import parse_bind
        from . import serve

        if wishes.audio_language or wishes.subtitle_language:
            raise UsageError(
                "--audio-language, --subtitle-language: of records each viewer chooses on the page; leave them out"
            )
        own = serve.Options(
            mix=options.mix, keep_side=options.keep_side, duck_db=options.duck_db, target_latency=options.target_latency,
            video_codec=options.video_codec,
        )  # fmt: skip
        return serve.stage(own, STAGE, parse_bind(options.bind, usual_port=0) if options.bind else None)
    from ..receivers import recording

    return recording.stage(options, settings, wishes)


def _wishes(options: Options) -> Wishes:
    from ..receivers.contents import read_subtitles
    from ..receivers.wishes import Wishes

    return Wishes(
        audio_language=options.audio_language,
        subtitle_language=options.subtitle_language,
        subtitles=read_subtitles(options.subtitles),
        start_ms=parse_time("--start", options.start) if options.start else 0,
    )


def _input(options: Options, session: str) -> Iterator[StreamRecord]:
    """A file or an address, where --to says."""
    from ..engines import needs_extra
    from ..receivers.contents import examine
    from ..receivers.wishes import check_place

    wishes = _wishes(options)
    contents = examine(options.input)
    check_place("--start", options.start, wishes.start_ms, contents.duration_ms)
    if options.to == "-":
        from ..receivers import stdout

        yield from stdout.played(contents, session, wishes, options.format)
    elif options.to == "browser":
        with needs_extra("serving"):
            from ..receivers import browser

        yield from browser.played(contents, session, wishes, options.bind)
    else:
        from ..receivers import playing

        yield from playing.played(contents, session, wishes, options)
