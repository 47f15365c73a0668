"""One session's text on its way to captions, and the files they are written to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..artefacts import Artefact, GrowingFile
from ..errors import UsageError
from ..ndjson import encode
from ..records import Cue, Eos, Error, Header, Status, StreamRecord, Transcript, Translation
from .cues import Layout
from .formats import Caption, clean
from .settings import FORMATS, Limits
from .units import Utterance
from .windows import Windows
from .writers import writer_of

if TYPE_CHECKING:
    from ..stages.subtitle import Options

STAGE = "subtitle"


class Captioning:
    """Captions of one session."""

    def __init__(self, header: Header, options: Options, limits: Limits, to_stream: bool) -> None:
        self.closed = False
        self._session = header.session
        self._outputs: list[Output] = []
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
        self._outputs.append(Output(Artefact(target), format, self._header, self._words))

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        match record:
            case Header():
                yield record
                yield Status(self._session, stage=STAGE, state="running")
            case Transcript() | Translation() if self._is_ours(record):
                yield from self._spoken(record)
            case Cue():
                yield from self._cue(record)
            case _:
                yield record

    def _is_ours(self, record: Transcript | Translation) -> bool:
        """Whether it is not a translation into another language, which is another stage's."""
        return isinstance(record, Transcript) or record.target_language == self._header.target_language

    def _shows(self, record: Transcript | Translation) -> bool:
        """Whether captions are made of its text."""
        return isinstance(record, Transcript) == (self._text == "transcript") and self._is_ours(record)

    def _spoken(self, record: Transcript | Translation) -> Iterator[StreamRecord]:
        if not self._to_stream:
            yield record
        if not record.final:  # what may still change is not laid out
            return
        if isinstance(record, Transcript) and self._windows is not None:
            self._windows.original(record)
        if not self._shows(record):
            return
        utterance = utterance_of(record, self._header, bilingual=self._text == "both")
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
            yield cue_of(self._session, self._count, caption, self._language)

    def cut(self) -> Iterator[StreamRecord]:
        """The captions of all that has come, where what follows cannot be waited for."""
        for caption in self._layout.cut():
            yield from self._caption(caption)

    @property
    def settled_ms(self) -> int:
        """No caption that is still to come starts before this."""
        waiting_ms = self._windows.settled_ms if self._windows is not None else None
        settled_ms = self._layout.settled_ms
        return settled_ms if waiting_ms is None else min(settled_ms, waiting_ms)

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
            self._session, stage=STAGE, state="completed" if whole else "failed", counters=self._layout.counters
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


def utterance_of(record: Transcript | Translation, header: Header, bilingual: bool) -> Utterance:
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


def cue_of(session: str, number: int, caption: Caption, language: str) -> Cue:
    return Cue(
        session, op="add", id=str(number), start_ms=caption.start_ms, end_ms=caption.end_ms, lines=caption.lines,
        words=caption.words, language=caption.language or language, speaker=caption.speaker, confidence=caption.confidence,
    )  # fmt: skip


class Output:
    """One file, or standard output, of one session."""

    def __init__(self, artefact: Artefact | GrowingFile, format: str, header: Header, words: bool) -> None:
        self._artefact = artefact
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
            self._write_bytes(encode(cue_of(self._header.session, self._count, caption, language)), language)
        elif not (laid_out and self._format == "txt"):
            self._write(self._writer.caption(caption), language)

    def commit(self, language: str, end: Eos) -> None:
        """The session is whole."""
        self.begin(language)
        if self._writer is None:
            self._artefact.write(encode(end))
        self._artefact.commit()

    def abandon(self) -> None:
        """The session is not whole; what was written stays beside the target."""
        self._artefact.abandon()

    def begin(self, language: str) -> None:
        """Writes what comes before the first caption, once."""
        if not self._begun:
            self._begun = True
            header = self._writer.header(language).encode() if self._writer else encode(self._header)
            self._artefact.write(header)

    def _write(self, text: str, language: str) -> None:
        self._write_bytes(text.encode(errors="replace"), language)

    def _write_bytes(self, data: bytes, language: str) -> None:
        self.begin(language)
        self._artefact.write(data)
