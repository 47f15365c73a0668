"""All captions of a session so far, as SRT and WebVTT, one of each in every language."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..captions.cues import Layout
from ..captions.formats import Caption, clean
from ..captions.session import utterance_of
from ..captions.settings import Limits
from ..captions.writers import Writer, writer_of
from ..records import Cue, Eos, Error, Header, StreamRecord, Transcript, Translation

FORMATS = ("srt", "vtt")


@dataclass
class _File:
    writer: Writer
    text: bytearray = field(default_factory=bytearray)


class _Language:
    """Captions in one language: text that is done, and what is still being laid out."""

    def __init__(self, language: str) -> None:
        self._layout = Layout(Limits())
        self._files = {name: _File(writer_of(name)) for name in FORMATS}
        for file in self._files.values():
            file.text += file.writer.header(language).encode()

    def say(self, record: Transcript | Translation, header: Header) -> None:
        self.write(*self._layout.add(utterance_of(record, header, bilingual=False)))

    def write(self, *captions: Caption) -> None:
        for caption in captions:
            for file in self._files.values():
                file.text += file.writer.caption(caption).encode(errors="replace")

    def finish(self, media_end_ms: int | None) -> None:
        self.write(*self._layout.finish(media_end_ms))

    def content(self, format: str) -> bytes:
        return bytes(self._files[format].text)


class Captions:
    """Captions of one session. What is written stays as it is, so that what was fetched of a file stays true."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._languages: dict[str, _Language] = {}
        self._cue: Cue | None = None
        self._laid_out: set[str] = set()
        """Languages whose captions are made here; where a log has captions of the same text too, they are left out."""

    def see(self, record: StreamRecord) -> None:
        """Takes final text, captions and the end."""
        match record:
            case Transcript() if record.final:
                self._say(record.language or self._header.language, record)
            case Translation() if record.final:
                self._say(record.target_language, record)
            case Cue():
                if self._cue is not None and self._cue.id != record.id:
                    self._write_cue()
                self._cue = None if record.op == "remove" else record
            case Eos() | Error():
                if isinstance(record, Eos) or record.fatal:
                    self._write_cue()
                    for language in self._languages.values():
                        language.finish(record.duration_ms if isinstance(record, Eos) else None)
            case _:
                pass

    def languages(self) -> list[str]:
        """The languages there is text in; `und` is one that is not known."""
        return list(self._languages)

    def content(self, language: str, format: str) -> bytes | None:
        """The file so far; None where there is no such language."""
        captions = self._languages.get(language)
        return captions.content(format) if captions is not None else None

    def _say(self, language: str, record: Transcript | Translation) -> None:
        self._laid_out.add(language)
        self._of(language).say(record, self._header)

    def _of(self, language: str) -> _Language:
        return self._languages.setdefault(language or "und", _Language(language))

    def _write_cue(self) -> None:
        if self._cue is None:
            return
        cue, self._cue = self._cue, None
        lines = tuple(filter(None, map(clean, cue.lines)))
        if lines and cue.language not in self._laid_out:
            start_ms = max(0, cue.start_ms)
            self._of(cue.language).write(
                Caption(start_ms=start_ms, end_ms=max(start_ms, cue.end_ms), lines=lines, speaker=cue.speaker)
            )
