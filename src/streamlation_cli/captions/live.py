"""One live session's text on its way to captions, while it is being spoken.

transcripts, translations ─► Text (which words are new) ─► `rolling` (lines that stay) ─┬─► cue add, update …   roll-up
                                                                                       └─► `blocks` ─► captions: pop-on,
                                                                                           and what files get
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from ..artefacts import STDOUT, Artefact, GrowingFile
from ..lag import Lag, media_now_ms
from ..records import Cue, Discontinuity, Eos, Error, Header, State, Status, StreamRecord, Transcript, Translation
from .blocks import Blocks, words_of
from .formats import Caption
from .line_breaks import Unit, ends_sentence
from .rolling import CLEAR_MS, Line, Rolling
from .session import STAGE, Captioning, Output, cue_of, utterance_of
from .settings import Limits
from .times import LINGER_MS
from .units import timed_units

if TYPE_CHECKING:
    from ..stages.subtitle import Options

SILENCE_MS = 2000
"""So long after the last word's end, its words being late, the line is whole though none follows."""
_MOST_OPEN = 64
"""Utterances that never became final are forgotten beyond this many."""

Spoken = Transcript | Translation


class Text:
    """The records of one language: which of their words are new, which may still change."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._taken: dict[str, int] = {}
        """Id → how many characters have been taken, spaces not counted: the one measure that no way of cutting changes."""

    def hear(self, record: Spoken, header: Header) -> tuple[list[Unit], list[Unit]]:
        """Newly committed units and those that may change, of the next revision of a record."""
        units = timed_units(utterance_of(record, header, bilingual=False), self._max_chars)
        edges = list(accumulate((len(unit.text) for unit in units), initial=0))
        taken = self._taken.pop(record.id, 0)
        stable = sum(len("".join(word.text.split())) for word in record.words[: record.stable_words])
        until = edges[-1] if record.final else max(taken, stable)
        new: list[Unit] = []
        volatile: list[Unit] = []
        for unit, begin, end in zip(units, edges, edges[1:], strict=False):
            if end <= taken:
                continue
            if begin < taken:  # a mark that closes the word before it, where words are not written apart
                unit = replace(unit, text=unit.text[taken - begin :], spaced=False)
            if end <= until and not volatile:
                new.append(unit)
                taken = end
            else:
                volatile.append(unit)
        if not record.final:
            self._taken[record.id] = taken
            while len(self._taken) > _MOST_OPEN:
                self._taken.pop(next(iter(self._taken)))
        return new, volatile


class LiveCaptioning(Captioning):
    """Captions of one session that change while they are read."""

    def __init__(
        self,
        header: Header,
        options: Options,
        limits: Limits,
        to_stream: bool,
        watch: Callable[[StreamRecord], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(header, options, limits, to_stream)
        self._limits = limits
        self._pop_on = options.style == "popon"
        self._watch = watch
        self._lag = Lag(header, STAGE, clock)
        self._now_ms = 0
        both = self._text == "both"
        own_lines = (limits.max_lines + 1) // 2 if both else limits.max_lines
        above_lines = max(1, limits.max_lines - own_lines)
        self._own, self._own_text = Rolling(limits, own_lines), Text(limits.max_chars)
        self._above = Rolling(limits, above_lines) if both else None
        self._above_text = Text(limits.max_chars)
        self._volatile: dict[Rolling, list[Unit]] = {}
        self._before: dict[Rolling, list[str]] = {}
        """The words that may change of the last revision: a word is shown that was the same twice."""
        self._blocks = Blocks(limits, own_lines, above_lines)
        self._on_screen: Cue | None = None
        """The cue on screen."""
        self._numbers = (0, 0)
        """Numbers of its newest lines."""
        self._unreported: list[int] = []
        """When words were over that are in no emitted cue yet."""

    def open(self, target: str, format: str) -> None:
        """One more place where the captions go; a file is valid from the start."""
        artefact = Artefact(target) if target == STDOUT else GrowingFile(target)
        output = Output(artefact, format, self._header, self._words)
        output.begin(self._language)
        self._outputs.append(output)

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        self._now_ms = max(self._now_ms, media_now_ms(record, self._header) or 0)
        if isinstance(record, Header | Cue):
            yield from super().feed(record)
        elif isinstance(record, Spoken) and self._is_ours(record):
            if not self._to_stream:
                yield record
            self._hear(record)
        else:
            yield record
        if isinstance(record, Discontinuity):
            yield from self._settle(whole=True)
        yield from self._advance()
        if isinstance(record, Spoken) and record.final and self._pop_on and self._shows(record):
            yield from self._sentence_over(record)
        yield from self._settle(whole=False)
        report = self._lag.report(self._now_ms, self._totals())
        if report is not None:
            yield report

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        media_end_ms = (isinstance(end, Eos) and end.duration_ms) or None
        yield from self._advance(at_once=True)
        yield from self._settle(whole=True, media_end_ms=media_end_ms)
        for caption in self._blocks.rest():
            yield from self._whole(caption)
        self._write_pending()
        if isinstance(end, Eos):
            for output in self._outputs:
                output.commit(self._language, end)
        else:
            self.abandon()
        self.closed = True
        counters = {**self._totals(), **self._lag.percentiles()}
        state: State = "completed" if isinstance(end, Eos) else "failed"
        yield Status(self._session, stage=STAGE, state=state, counters=counters)

    # Words in

    def _hear(self, record: Spoken) -> None:
        if self._shows(record):
            rolling, text = self._own, self._own_text
            language = record.language if isinstance(record, Transcript) else record.target_language
            self._language = self._language or language
            if record.final:
                for output in self._outputs:
                    output.utterance(utterance_of(record, self._header, bilingual=self._text == "both"))
        elif self._above is not None and isinstance(record, Transcript):
            rolling, text, language = self._above, self._above_text, record.language
        else:
            return
        new, volatile = text.hear(record, self._header)
        rolling.commit(new, self._now_ms, record.speaker, language, record.confidence)
        if rolling is self._above:
            self._blocks.above(new, language)
        now = [unit.text for unit in volatile]
        before = self._before.get(rolling, [])
        if new:  # what was said of the words before counts for those that are left
            before = before[len(new) :]
        same = next(
            (at for at, (a, b) in enumerate(zip(now, before, strict=False)) if a != b), min(len(now), len(before))
        )
        self._before[rolling] = now
        self._volatile[rolling] = volatile[:same]

    # Cues out

    def _advance(self, *, at_once: bool = False) -> Iterator[StreamRecord]:
        """Shows what is due."""
        for rolling in filter(None, (self._above, self._own)):
            for line in rolling.advance(self._now_ms, at_once=at_once):
                yield from self._changed()
                if rolling is self._own:
                    yield from self._line_over(line)
            rolling.show(self._volatile.get(rolling, []))
        yield from self._changed()
        growing = self._own.line
        if growing is not None and growing.units and self._blocks.is_full and not self._own.is_closed:
            for caption in self._blocks.close(growing.start_ms):
                yield from self._whole(caption)

    def _line_over(self, line: Line) -> Iterator[StreamRecord]:
        for caption in self._blocks.add(line):
            yield from self._whole(caption)

    def _sentence_over(self, record: Spoken) -> Iterator[StreamRecord]:
        """Pop-on captions come up with the end of a sentence, for nobody knows when the next begins."""
        line = self._own.line
        if self._own.is_waiting or line is None or not line.units or not ends_sentence(line.units[-1].text):
            return
        yield from self._settle(whole=True)

    def _settle(self, *, whole: bool, media_end_ms: int | None = None) -> Iterator[StreamRecord]:
        """Finishes the caption at hand where it is over: the text ends here (`whole`), or nobody has spoken for long."""
        line = self._own.line
        if self._own.is_waiting or line is None:
            return
        if not whole and self._now_ms - line.end_ms < CLEAR_MS + SILENCE_MS:
            return
        for over in self._own.close():
            yield from self._line_over(over)
        for caption in self._blocks.close(None, media_end_ms):
            yield from self._whole(caption)

    def _changed(self) -> Iterator[StreamRecord]:
        """The roll-up cue as it is now, where it is another."""
        self._unreported += self._own.shown_now()
        if self._pop_on:
            return
        newest = [
            rolling.line for rolling in (self._above, self._own) if rolling is not None and rolling.line is not None
        ]
        lines = (*(self._above.seen() if self._above else ()), *self._own.seen())
        if not lines or not newest:
            return
        numbers = (
            self._above.line.number if self._above and self._above.line else 0,
            self._own.line.number if self._own.line else 0,
        )
        if self._on_screen is not None and numbers == self._numbers:
            if lines == self._on_screen.lines:
                return
            cue = msgspec.structs.replace(
                self._on_screen, op="update", lines=lines, end_ms=self._end_ms(self._on_screen.start_ms)
            )
        else:
            began = [
                line.start_ms
                for line, old in zip(newest[::-1], self._numbers[::-1], strict=False)
                if line.number != old
            ]
            start_ms = max(began, default=newest[-1].start_ms)
            if self._on_screen is not None:
                start_ms = max(start_ms, self._on_screen.start_ms + 1)
                yield from self._emit(msgspec.structs.replace(self._on_screen, op="update", end_ms=start_ms))
            self._count += 1
            cue = Cue(
                self._session, op="add", id=str(self._count), start_ms=start_ms, end_ms=self._end_ms(start_ms), lines=lines,
                language=newest[-1].language or self._language, speaker=newest[-1].speaker, confidence=newest[-1].confidence,
            )  # fmt: skip
        growing = self._own.line
        cue = msgspec.structs.replace(cue, words=words_of(growing.units) if growing is not None else ())
        self._on_screen, self._numbers = cue, numbers
        yield from self._emit(cue)

    def _end_ms(self, start_ms: int) -> int:
        """When the cue on screen may go if nothing more is said."""
        lines = [
            rolling.line for rolling in (self._above, self._own) if rolling is not None and rolling.line is not None
        ]
        readable_ms = start_ms + self._limits.needed_ms(max((line.columns for line in lines), default=0))
        return max(*(line.end_ms + LINGER_MS for line in lines), readable_ms, start_ms + 1)

    def _whole(self, caption: Caption) -> Iterator[StreamRecord]:
        """A finished caption: files get it, and the screen where captions pop on."""
        for output in self._outputs:
            output.caption(caption, self._language)
        if self._pop_on:
            self._count += 1
            yield from self._emit(cue_of(self._session, self._count, caption, self._language))

    def _emit(self, cue: Cue) -> Iterator[StreamRecord]:
        ends, self._unreported = self._unreported, []
        emitted_at = self._lag.emitted(*ends)
        cue = msgspec.structs.replace(cue, emitted_at=emitted_at)
        if self._watch is not None:
            self._watch(cue)
        if self._to_stream:
            yield cue

    def _totals(self) -> dict[str, int | float]:
        return {**self._blocks.counters, **self._own.counters}
