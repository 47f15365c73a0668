"""Joins the original's packets, dubbed speech and captions into a file that players play: mp4, mkv, webm, HLS and others.

The extension of each `-o` says what is written: mp4, m4v, mov, mkv, webm, ts, or without a picture m4a, mka. With `-o -` a
stream goes to standard output, as --format says. Every record passes on.

The picture is copied, and so is the original sound where the file's format takes it; else that is encoded (AAC, in WebM
Opus). A picture that the format does not take is refused, unless --video-codec h264 asks to encode it anew. The dubbed voice is
a track of its own and plays unless the viewer chooses the original, which follows it; with voices in several languages
(`translate --to pt | dub | translate --to es | dub`) the first one plays. --mix says what is heard under each voice. Each
language that the records carry is a caption track: mov_text in MP4, SubRip in Matroska (--captions ass for ASS), WebVTT in WebM.
A translation without a dubbed track is shown from the start, other captions when they are switched on. An input without a
picture gives a file without one.

The records must hold the packets: `ingest --video` has those of the picture, `normalize --keep-packets` keeps those of the
sound; `run -o talk.pt.mp4` sees to both.

An .m3u8 is HLS: fragmented MP4 and WebVTT segments and the playlists of each track beside it. A live session is published as it
goes, and late enough that the dubbed voice and the captions are in their places: as late as they
turn out to need. With several sounds NAME.LANGUAGE.m3u8 offers each alone, for devices that cannot choose.

A file is written as `NAME.part` and renamed when it is whole. Packets wait for the words that were said in them in a temporary
file (TMPDIR), so memory does not grow with the length; only the index of an MP4 does, by about 35 MiB an hour.

Examples:

\b
  streamlation ingest talk.mp4 --video | streamlation normalize --keep-packets | streamlation transcribe |
    streamlation translate --to pt | streamlation dub | streamlation mux -o talk.pt.mp4 > /dev/null
  streamlation mux -o talk.pt.mkv --captions ass --mix duck < log.ndjson > /dev/null
  streamlation run rtmp://localhost/live/talk --live --to pt -o live/talk.m3u8
  streamlation mux -o - < log.ndjson | mpv -
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from ..artefacts import STDOUT, Targets
from ..captions.settings import LayoutOptions
from ..delivery.settings import PresentationOptions
from ..errors import UsageError
from ..options import option
from ..records import StreamRecord
from ..sessions import Records, Stage, by_session, refuses

STAGE = "mux"


@dataclass(frozen=True, kw_only=True)
class Options(PresentationOptions, LayoutOptions):
    """What is written, and what is in it."""

    output: tuple[str, ...] = option(
        "--output", (), short="-o", metavar="FILE", repeatable=True,
        help="file to write; its extension decides the format, {session} in it becomes the session's name, - is standard output",
    )  # fmt: skip
    format: str = option("--format", "mpegts", choices=("mpegts", "matroska"), help="format of standard output")
    captions: str = option(
        "--captions", "auto", choices=("auto", "subrip", "ass", "none"),
        help="caption tracks: what the file's format usually has, SubRip or ASS in Matroska, or none",
    )  # fmt: skip
    target_latency: float = option(
        "--target-latency", 0.0, metavar="SECONDS", minimum=0, maximum=60, shared=True,
        help="live HLS: how late it may be; 0: as late as speech and captions need, up to 30 s",
    )  # fmt: skip
    hls_time: float = option(
        "--hls-time", 2.0, metavar="SECONDS", minimum=0.5, maximum=30, help="HLS: length of a segment"
    )
    hls_window: float = option(
        "--hls-window", 60.0, metavar="SECONDS", minimum=0, maximum=86400,
        help="live HLS: how far back it can be played; 0 keeps everything",
    )  # fmt: skip
    burn_in: bool = option("--burn-in", False, help="draw captions into the picture (refused: nothing here draws text)")


def takes_stdout(options: Options) -> bool:
    """Whether standard output gets the media."""
    return STDOUT in options.output


def stage(options: Options) -> Stage:
    """Joins each session into its files; raises UsageError at once where the options make no sense."""
    from ..delivery import pictures
    from ..delivery.session import Muxing, destination

    if not options.output:
        raise UsageError("mux: say where to: -o FILE, or -o - for standard output")
    if options.burn_in:
        raise UsageError(
            "--burn-in: nothing here draws text (PyAV's FFmpeg has no subtitles filter); the captions are tracks that players "
            "show, and `ffmpeg -i IN -vf subtitles=CAPTIONS.srt OUT` burns in what `subtitle` writes"
        )
    pictures.check(options.video_codec)
    options.limits()
    outputs = [(Targets(name), destination(name, options)) for name in dict.fromkeys(options.output)]
    one_session = not all(targets.are_many for targets, _ in outputs)

    def run(records: Iterable[StreamRecord]) -> Records:
        with contextlib.closing(by_session(STAGE, lambda header: Muxing(header, options, outputs))(records)) as muxed:
            for record in muxed:
                yield record
                if one_session and refuses(STAGE, record):
                    return

    return run
