"""Opens an input and emits it as a session of records: a header, its compressed packets, the end.

INPUT is a file, an address, or `-` for standard input. Media is demuxed, not decoded. A subtitle file (.srt, .vtt) becomes
transcripts, so that captions can be translated. Raw samples need --format, --rate and --channels.

A kept part (--start, --duration) keeps the source's times: what is said at 65 s stays at 65 s.

Live sources are read at their live edge: HLS and DASH (http, .m3u8 or .mpd), rtmp, rtsp (?udp for UDP), srt, udp (MPEG-TS),
whep, alsa; standard input and endless http streams (Icecast) with --live. rtmp, rtsp, srt and whip wait for a publisher with
--listen. A source that breaks off or stalls is connected to again, and the gap is marked by a `discontinuity` record; a
`status` record each second says how it is. A session ends where the source says that it has ended, or is given up (--retry).

    streamlation ingest talk.mp4 | streamlation normalize | streamlation transcribe

    arecord -f S16_LE -r 16000 | streamlation ingest - --live --format s16le --rate 16000 --channels 1

    streamlation ingest rtmp://0.0.0.0/live/key --listen | streamlation normalize | streamlation transcribe --live
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from .. import sources, stdio
from ..errors import StreamlationError, UsageError
from ..options import argument, option, parse_time
from ..records import Eos, Error, Packet, Status, StreamRecord, Transcript
from ..sources import STDIN, Media, Request, raw

_STAGE = "ingest"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to ingest and how."""

    input: str = argument("INPUT", "", help="file, address, or - for standard input")
    session: str = option("--session", "", metavar="NAME", help="name of the session; default: the file's name")
    language: str = option(
        "--from", "auto", metavar="LANG", shared=True, help="language that is spoken, or auto to detect it"
    )
    audio_stream: str = option(
        "--audio-stream", "", metavar="INDEX|LANG", help="audio track: its number from 0, or its language"
    )
    video: bool = option("--video", False, help="emit the video's packets too")
    start: str = option("--start", "", metavar="TIME", help="where to start: seconds or HH:MM:SS.mmm")
    duration: str = option("--duration", "", metavar="TIME", help="how much to keep: seconds or HH:MM:SS.mmm")
    realtime: bool = option("--realtime", False, help="emit at the speed of the recording, as a live source would")
    format: str = option(
        "--format",
        "",
        metavar="FORMAT",
        help="container, subtitle (srt, vtt) or raw PCM format (s16le, …) of the input",
    )
    rate: int = option("--rate", 0, metavar="HZ", minimum=0, maximum=768_000, help="sample rate of raw PCM")
    channels: int = option("--channels", 0, metavar="N", minimum=0, maximum=64, help="channels of raw PCM")
    live: bool = option(
        "--live",
        False,
        shared=True,
        help="work while people speak; standard input and endless http streams are read at their live edge",
    )
    listen: bool = option("--listen", False, help="wait for a publisher at this address, again after each one")
    timeout: float = option(
        "--timeout",
        0.0,
        metavar="SECONDS",
        minimum=0,
        help=f"how long a network source may say nothing; 0: {sources.TIMEOUT_S:g} s, a live one {sources.LIVE_TIMEOUT_S:g} s",
    )
    retry: float = option(
        "--retry",
        120,
        metavar="N|inf",
        minimum=0,
        kind=float,
        help="tries in a row to reach a live source again before it is given up; inf: for ever",
    )
    retry_max: float = option(
        "--retry-max", 1.0, metavar="SECONDS", minimum=0, maximum=3600, help="longest wait between two of these tries"
    )
    offline: bool = option("--offline", False, shared=True, help="never open a network connection")


def source(options: Options) -> Iterator[StreamRecord]:
    """The session of one input: header, packets or transcripts, then `eos` or a fatal `error`.

    Raises UsageError at once where the options make no sense.
    """
    request = request_of(options)
    return _session(request, Pacer() if options.realtime else None)


def request_of(options: Options) -> Request:
    """The options checked and read; raises UsageError."""
    if not options.input:
        raise UsageError("INPUT is missing: name a file, an address, or - for standard input")
    start_ms = parse_time("--start", options.start) if options.start else 0
    duration_ms = parse_time("--duration", options.duration) if options.duration else None
    if duration_ms == 0:
        raise UsageError("--duration: 0 keeps nothing")
    request = Request(
        input=options.input,
        session=options.session or session_name(options.input),
        language="" if options.language == "auto" else options.language,
        format=options.format.lower(),
        sample_rate_hz=options.rate or None,
        channels=options.channels or None,
        with_video=options.video,
        audio_stream=options.audio_stream,
        start_ms=start_ms,
        end_ms=None if duration_ms is None else start_ms + duration_ms,
        offline=options.offline,
        timeout_s=options.timeout,
        live=options.live,
        listen=options.listen,
        retry=options.retry,
        retry_max_s=options.retry_max,
    )
    sources.transport_of(request)  # so that an address of an unknown kind is told at once
    raw.check(request)
    return request


def session_name(name: str) -> str:
    """The session's name where the user gives none: the file's name without its extension.

    >>> session_name("a/talk.en.mp4"), session_name("https://h/x/my%20talk.mp3?k=1"), session_name("-"), session_name("http://h/")
    ('talk.en', 'my talk', 'stdin', 'h')
    """
    if name == STDIN:
        return "stdin"
    if sources.scheme_of(name):
        parts = urlsplit(name)
        return PurePosixPath(unquote(parts.path)).stem or parts.hostname or "input"
    return PurePosixPath(name).stem or "input"


def _session(request: Request, pacer: Pacer | None) -> Iterator[StreamRecord]:
    media: Media | None = None
    counters: dict[str, int | float] = {"packets": 0, "bytes": 0}
    try:
        try:
            media = sources.open_media(request)
        except stdio.Interrupted as interrupted:  # before there is a session that it could end
            yield Error(request.session, stage=_STAGE, code=interrupted.code, message=interrupted.code, fatal=True)
            return
        header = media.header
        if pacer is not None and not header.live:
            header = msgspec.structs.replace(header, live=True, started_at=pacer.start(request.start_ms))
        else:
            pacer = None
        yield header
        yield Status(request.session, stage=_STAGE, state="running")
        for record in media.records():
            if pacer is not None:
                pacer.wait(record)
            _count(record, counters)
            yield record
        yield Status(request.session, stage=_STAGE, state="completed", counters=counters | media.metrics())
        yield Eos(request.session, duration_ms=media.end_ms)
    except StreamlationError as error:
        if media is not None:
            yield Status(request.session, stage=_STAGE, state="failed", counters=counters | media.metrics())
        yield Error(request.session, stage=_STAGE, code=error.code, message=error.message, fatal=True)
    finally:
        if media is not None:
            media.close()


def _count(record: StreamRecord, counters: dict[str, int | float]) -> None:
    if isinstance(record, Packet):
        counters["packets"] += 1
        counters["bytes"] += len(record.data)
    elif isinstance(record, Transcript):
        counters["captions"] = counters.get("captions", 0) + 1
    elif isinstance(record, Error):
        counters["errors"] = counters.get("errors", 0) + 1


class Pacer:
    """Holds records back until their time has come, as if the source were live."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._wall_clock = wall_clock
        self._zero_s = 0.0

    def start(self, at_ms: int) -> float:
        """Media time `at_ms` is now; returns the Unix time of media time 0."""
        self._zero_s = self._clock() - at_ms / 1000
        return self._wall_clock() - at_ms / 1000

    def wait(self, record: StreamRecord) -> None:
        """Returns when the media that `record` holds would have been recorded to its end."""
        end_s = _end_s(record)
        if end_s is not None and (left_s := self._zero_s + end_s - self._clock()) > 0:
            self._sleep(left_s)


def _end_s(record: StreamRecord) -> float | None:
    if isinstance(record, Transcript):
        return record.end_ms / 1000
    if isinstance(record, Packet):
        at = record.dts if record.dts is not None else record.pts
        return None if at is None else (at + record.duration) * record.time_base[0] / record.time_base[1]
    return None
