"""Lays text out as readable captions and writes them as SRT, WebVTT, ASS, plain text or records.

The text is the translations of a stream that has been translated, those of the last `translate` before it, else its
transcripts; --text says otherwise. `cue` records, as in a log, are written as they are. With no -o the captions go to standard
output as --format says (srt). With -o files the records pass through unchanged, so other stages can follow; `--format ndjson`
puts `cue` records in the place of transcripts and of the last `translate`'s translations.

A caption has at most --max-lines lines of --max-chars characters (East Asian wide characters count two), can be read at
--max-cps characters a second, and stays --min-duration to --max-duration seconds. Text is never dropped to reach
that: captions of speech too fast to read are counted in the stage's status record.

With --live captions are made while people speak, of the words that are committed, and of others only as far as few of
them are ever taken back. `--style rollup` fills a line word by word and scrolls it up when the next one begins; `popon`
shows a caption when it is whole. A line once broken stays as it is. `cue` records say what is on screen: `add` puts a
caption in the place of the one before, `update` (same `id`) is that caption with more words or its end. Files
are valid at every moment: each finished caption is appended, each word in one of them. Lines wait up to 1.5 seconds for the line
before to be read; speech faster than that is shown faster, and counted. On a terminal, without -o, the text, its
translation and how late they are is shown in place.

With `--text both` a caption shows the source's line above the translation's: the lines are shared, the translation gets the
larger half, and each language is held to --max-cps by itself. Plain text (txt) is not cut into captions: it
has a line for each utterance.

    streamlation subtitle --format vtt --words < log.ndjson > talk.vtt

    streamlation ingest talk.srt | streamlation translate --to pt | streamlation subtitle -o talk.pt.srt -o talk.pt.vtt
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from .. import stdio
from ..artefacts import STDOUT, Targets
from ..captions.settings import FORMATS, LayoutOptions, Limits, format_of
from ..errors import UsageError
from ..options import option
from ..records import Header, StreamRecord
from ..sessions import Records, Stage, by_session


@dataclass(frozen=True, kw_only=True)
class Options(LayoutOptions):
    """What to show, how it must read, and where it goes."""

    output: tuple[str, ...] = option(
        "--output", (), short="-o", metavar="FILE", repeatable=True,
        help="file to write; its extension decides the format, {session} in it becomes the session's name, - is standard output",
    )  # fmt: skip
    format: str = option(
        "--format", "srt", choices=(*FORMATS, "ndjson"),
        help="format of standard output, and of files whose extension names none",
    )  # fmt: skip
    text: str = option(
        "--text", "auto", choices=("auto", "translation", "transcript", "both"),
        help="text to show; auto is the translation where there is one; both shows the source's line above it",
    )  # fmt: skip
    live: bool = option(
        "--live", False, shared=True, help="work on speech while it is spoken: say what is known before it is final"
    )  # fmt: skip
    style: str = option(
        "--style", "rollup", choices=("rollup", "popon"),
        help="with --live: lines that fill and scroll up, or captions that come up whole",
    )  # fmt: skip
    words: bool = option("--words", False, help="highlight word by word (WebVTT timestamps, ASS karaoke)")


def takes_stdout(options: Options) -> bool:
    """Whether captions go to standard output, and no records."""
    return options.format != "ndjson" and (not options.output or STDOUT in options.output)


def stage(options: Options) -> Stage:
    """Transcripts, translations and cues into captions; raises UsageError at once where the options make no sense."""
    from ..captions.live import LiveCaptioning
    from ..captions.session import STAGE, Captioning
    from ..view import View

    limits = _limits(options)
    # A person who watches is shown the captions in place, not a file that scrolls by; `-o -` asks for the file.
    watched = options.live and takes_stdout(options) and not options.output and stdio.stdout_is_terminal()
    outputs = [(Targets(name), _format_of(name, options)) for name in ([] if watched else _artefacts(options))]
    to_stream = options.format == "ndjson" and (not options.output or STDOUT in options.output)

    def run(records: Iterable[StreamRecord]) -> Records:
        view: View | None = None

        def make(header: Header) -> Captioning:
            if options.live:
                handler: Captioning = LiveCaptioning(header, options, limits, to_stream, view.see if view else None)
            else:
                handler = Captioning(header, options, limits, to_stream)
            try:
                for targets, format in outputs:
                    handler.open(targets.of(header.session), format)
            except BaseException:
                handler.abandon()
                raise
            return handler

        with contextlib.ExitStack() as stack:
            if watched:
                view = stack.enter_context(View(stdio.stdout()))
            for record in stack.enter_context(contextlib.closing(by_session(STAGE, make)(records))):
                if view is not None:
                    view.see(record)
                yield record

    return run


def _artefacts(options: Options) -> list[str]:
    names = list(dict.fromkeys(options.output)) or [STDOUT]
    return [name for name in names if name != STDOUT or options.format != "ndjson"]


def _format_of(name: str, options: Options) -> str:
    return (None if name == STDOUT else format_of(name)) or options.format


def _limits(options: Options) -> Limits:
    limits = options.limits()
    if options.text == "both" and limits.max_lines < 2:
        raise UsageError("--text both needs a line for each language: give --max-lines 2 or more")
    return limits
