"""Lays text out as readable captions and writes them as SRT, WebVTT, ASS, plain text or records.

The text is the translations of a stream that has been translated, else its transcripts; --text says otherwise. `cue`
records, as in a log, are written as they are. With no -o the captions go to standard output as --format says (srt). With
-o files the records pass through unchanged, so other stages can follow; `--format ndjson` puts `cue` records
in the place of transcripts and translations.

A caption has at most --max-lines lines of --max-chars characters (East Asian wide characters count two), can be read at
--max-cps characters a second, and stays --min-duration to --max-duration seconds. Text is never dropped to reach
that: captions of speech too fast to read are counted in the stage's status record.

With `--text both` a caption shows the source's line above the translation's: the lines are shared, the translation gets the
larger half, and each language is held to --max-cps by itself. Plain text (txt) is not cut into captions: it
has a line for each utterance.

    streamlation subtitle --format vtt --words < log.ndjson > talk.vtt

    streamlation ingest talk.srt | streamlation translate --to pt | streamlation subtitle -o talk.pt.srt -o talk.pt.vtt
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..artefacts import STDOUT, Artefact, Targets
from ..captions.cues import Layout
from ..captions.formats import Caption, clean
from ..captions.lines import Limits
from ..captions.units import Utterance
from ..captions.windows import Windows
from ..captions.writers import FORMATS, format_of, writer_of
from ..errors import UsageError
from ..ndjson import encode
from ..options import option
from ..records import Cue, Eos, Error, Header, Status, StreamRecord, Transcript, Translation
from ..sessions import Stage, by_session

_STAGE = "subtitle"
_DEFAULT = Limits()


@dataclass(frozen=True, kw_only=True)
class Options:
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
    words: bool = option("--words", False, help="highlight word by word (WebVTT timestamps, ASS karaoke)")
    max_chars: int = option(
        "--max-chars", _DEFAULT.max_chars, metavar="N", minimum=8, maximum=500, help="most characters in a line"
    )
    max_lines: int = option(
        "--max-lines", _DEFAULT.max_lines, metavar="N", minimum=1, maximum=8, help="most lines in a caption"
    )
    max_cps: float = option(
        "--max-cps", _DEFAULT.max_cps, metavar="N", minimum=1, maximum=1000, help="most characters a second"
    )
    min_duration: float = option(
        "--min-duration", _DEFAULT.min_duration_ms / 1000, metavar="SECONDS", minimum=0.05, maximum=60,
        help="least time that a caption is shown",
    )  # fmt: skip
    max_duration: float = option(
        "--max-duration", _DEFAULT.max_duration_ms / 1000, metavar="SECONDS", minimum=0.1, maximum=600,
        help="most time that a caption is shown",
    )  # fmt: skip
    min_gap: float = option(
        "--min-gap", _DEFAULT.min_gap_ms / 1000, metavar="SECONDS", minimum=0, maximum=10,
        help="least time between two captions",
    )  # fmt: skip


def takes_stdout(options: Options) -> bool:
    """Whether captions go to standard output, and no records."""
    return options.format != "ndjson" and (not options.output or STDOUT in options.output)


def stage(options: Options) -> Stage:
    """Transcripts, translations and cues into captions; raises UsageError at once where the options make no sense."""
    limits = _limits(options)
    outputs = [(Targets(name), _format_of(name, options)) for name in _artefacts(options)]
    to_stream = options.format == "ndjson" and (not options.output or STDOUT in options.output)

    def run(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
        handlers: list[_Handler] = []

        def make(header: Header) -> _Handler:
            handlers[:] = [handler for handler in handlers if not handler.closed]
            handler = _Handler(header, options, limits, to_stream)
            handlers.append(handler)
            for targets, format in outputs:
                handler.open(targets.of(header.session), format)
            return handler

        try:
            yield from by_session(_STAGE, make)(records)
        finally:
            # The stream stopped short, or a session failed: nothing half written may look finished.
            for handler in handlers:
                handler.abandon()

    return run


def _artefacts(options: Options) -> list[str]:
    names = list(dict.fromkeys(options.output)) or [STDOUT]
    return [name for name in names if name != STDOUT or options.format != "ndjson"]


def _format_of(name: str, options: Options) -> str:
    return (None if name == STDOUT else format_of(name)) or options.format


def _limits(options: Options) -> Limits:
    if options.min_duration > options.max_duration:
        raise UsageError(
            f"--min-duration {options.min_duration:g} is more than --max-duration {options.max_duration:g}"
        )
    if options.text == "both" and options.max_lines < 2:
        raise UsageError("--text both needs a line for each language: give --max-lines 2 or more")
    return Limits(
        max_chars=options.max_chars,
        max_lines=options.max_lines,
        max_cps=options.max_cps,
        min_duration_ms=round(options.min_duration * 1000),
        max_duration_ms=round(options.max_duration * 1000),
        min_gap_ms=round(options.min_gap * 1000),
    )


class _Handler:
    """Captions of one session."""

    def __init__(self, header: Header, options: Options, limits: Limits, to_stream: bool) -> None:
        self.closed = False
        self._session = header.session
        self._outputs: list[_Output] = []
        self._to_stream = to_stream
        self._text = _text_of(header, options)
        self._header = header
        self._words = options.words
        self._layout = Layout(limits, bilingual=self._text == "both")
        of_subtitles = header.audio is None and header.video is None and self._text != "transcript"
        self._windows = Windows(self._text == "both", limits.max_chars) if of_subtitles else None
        self._language = header.language if self._text == "transcript" else header.target_language
        self._pending: Cue | None = None
        self._count = 0

    def open(self, target: str, format: str) -> None:
        """One more place where the captions go."""
        self._outputs.append(_Output(target, format, self._header, self._words))

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        match record:
            case Header():
                yield record
                yield Status(self._session, stage=_STAGE, state="running")
            case Transcript() | Translation():
                yield from self._spoken(record)
            case Cue():
                yield from self._cue(record)
            case _:
                yield record

    def _spoken(self, record: Transcript | Translation) -> Iterator[StreamRecord]:
        if not self._to_stream:
            yield record
        if not record.final:  # what may still change is not laid out
            return
        if isinstance(record, Transcript) and self._windows is not None:
            self._windows.original(record)
        if isinstance(record, Transcript) != (self._text == "transcript"):
            return
        utterance = _utterance(record, self._header, bilingual=self._text == "both")
        if isinstance(record, Translation) and self._windows is not None:
            for whole in self._windows.translated(record, utterance):
                yield from self._lay_out(whole)
        else:
            yield from self._lay_out(utterance)

    def _lay_out(self, utterance: Utterance) -> Iterator[StreamRecord]:
        self._language = self._language or utterance.language
        for output in self._outputs:
            output.utterance(utterance)
        for caption in self._layout.add(utterance):
            yield from self._caption(caption)

    def _cue(self, record: Cue) -> Iterator[StreamRecord]:
        """A cue of a log; it is held until the next one begins, for it may yet be updated or taken back."""
        yield record
        if self._pending is not None and self._pending.id != record.id:
            self._write_pending()
        self._pending = None if record.op == "remove" else record

    def _write_pending(self) -> None:
        if self._pending is None:
            return
        cue, self._pending = self._pending, None
        lines = tuple(filter(None, map(clean, cue.lines)))
        self._language = self._language or cue.language
        if lines:
            self._layout.counters["cues"] += 1
            start_ms = max(0, cue.start_ms)
            caption = Caption(
                start_ms=start_ms, end_ms=max(start_ms, cue.end_ms), lines=lines, speaker=cue.speaker, words=cue.words,
                confidence=cue.confidence, language=cue.language,
            )  # fmt: skip
            for output in self._outputs:
                output.caption(caption, self._language, laid_out=False)

    def _caption(self, caption: Caption) -> Iterator[StreamRecord]:
        self._count += 1
        for output in self._outputs:
            output.caption(caption, self._language)
        if self._to_stream:
            yield _record(self._session, self._count, caption, self._language)

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        # What the container announced is an estimate: good enough where nothing better is known.
        media_end = (isinstance(end, Eos) and end.duration_ms) or self._header.duration_ms
        for caption_text in self._windows.finish() if self._windows is not None else ():
            yield from self._lay_out(caption_text)
        for caption in self._layout.finish(media_end):
            yield from self._caption(caption)
        self._write_pending()
        whole = isinstance(end, Eos)
        if isinstance(end, Eos):
            for output in self._outputs:
                output.commit(self._language, end)
        else:
            self.abandon()
        self.closed = True
        yield Status(
            self._session, stage=_STAGE, state="completed" if whole else "failed", counters=self._layout.counters
        )

    def abandon(self) -> None:
        """The session will not be whole."""
        if not self.closed:
            self.closed = True
            for output in self._outputs:
                output.abandon()


def _text_of(header: Header, options: Options) -> str:
    if options.text == "auto":
        return "translation" if header.target_language else "transcript"
    if options.text != "transcript" and not header.target_language:
        raise UsageError(
            f"--text {options.text}: session {header.session} has not been translated; put `translate --to LANG` before subtitle"
        )
    return options.text


def _utterance(record: Transcript | Translation, header: Header, bilingual: bool) -> Utterance:
    said = Utterance(
        start_ms=record.start_ms, end_ms=record.end_ms, text=record.text, words=record.words, speaker=record.speaker,
        language=record.target_language if isinstance(record, Translation) else record.language,
        confidence=record.confidence, interpolated=isinstance(record, Translation),
        own_times=not record.words and header.audio is None,
    )  # fmt: skip
    if not (bilingual and isinstance(record, Translation)) or record.source_text == record.text:
        return said
    source = Utterance(
        start_ms=record.start_ms, end_ms=record.end_ms, text=record.source_text, words=record.source_words,
        language=record.source_language,
    )  # fmt: skip
    return replace(said, second=source)


def _record(session: str, number: int, caption: Caption, language: str) -> Cue:
    return Cue(
        session, op="add", id=str(number), start_ms=caption.start_ms, end_ms=caption.end_ms, lines=caption.lines,
        words=caption.words, language=caption.language or language, speaker=caption.speaker, confidence=caption.confidence,
    )  # fmt: skip


class _Output:
    """One file, or standard output, of one session."""

    def __init__(self, target: str, format: str, header: Header, words: bool) -> None:
        self._artefact = Artefact(target)
        self._header = header
        self._format = format
        self._writer = writer_of(format, words) if format in FORMATS else None
        self._begun = False
        self._count = 0

    def utterance(self, utterance: Utterance) -> None:
        """Plain text has a line for each utterance, laid out or not."""
        if self._format == "txt":
            second = [utterance.second.text] if utterance.second else []
            lines = tuple(filter(None, map(clean, [*second, utterance.text])))
            if lines:
                self._write("\n".join(lines) + ("\n\n" if utterance.second else "\n"), utterance.language)

    def caption(self, caption: Caption, language: str, laid_out: bool = True) -> None:
        """One caption; `laid_out` says that its text came as an utterance before."""
        if self._writer is None:
            self._count += 1
            self._write_bytes(encode(_record(self._header.session, self._count, caption, language)), language)
        elif not (laid_out and self._format == "txt"):
            self._write(self._writer.caption(caption), language)

    def commit(self, language: str, end: Eos) -> None:
        """The session is whole."""
        self._begin(language)
        if self._writer is None:
            self._artefact.write(encode(end))
        self._artefact.commit()

    def abandon(self) -> None:
        """The session is not whole; what was written stays beside the target."""
        self._artefact.abandon()

    def _begin(self, language: str) -> None:
        if not self._begun:
            self._begun = True
            header = self._writer.header(language).encode() if self._writer else encode(self._header)
            self._artefact.write(header)

    def _write(self, text: str, language: str) -> None:
        self._write_bytes(text.encode(errors="replace"), language)

    def _write_bytes(self, data: bytes, language: str) -> None:
        self._begin(language)
        self._artefact.write(data)
