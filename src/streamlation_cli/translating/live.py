"""One live session's transcripts on their way to translations, while they are still being spoken.

transcript, rev 7:  [We went to the house. It was │ late an]     committed words │ words that may change
                     └── whole: translated once ─┘└── draft: translated again with every change ──┘
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..errors import TryAgain
from ..lag import Lag, media_now_ms
from ..languages import primary
from ..records import Discontinuity, Eos, Error, Header, StreamRecord, Transcript, Translation, Word
from ..seams import UNSPACED
from . import wording
from .growing import Growing, Policy
from .sentences import CLAUSE_MARKS, TERMINALS, Sentence, Token, committed_length, tokens_of
from .session import COPY, Translating, Work
from .wordtimes import lay_out

if TYPE_CHECKING:
    from ..stages.translate import Options

POLICIES = {
    "latency": Policy(held_back=1, late_ms=3500),
    "balanced": Policy(),
    "accuracy": Policy(dropped=(1, 3), held_back=3, no_leaning_end=True, late_ms=5000),
}
"""Preset → when a word of a draft is safe; see `growing` for what each was measured to cost."""

BEHIND_S = 0.75
"""A transcript that took this much longer to get here than the quickest has waited in a queue: no time for drafts."""
SLACK_MS = 1500
"""How much later than its sound a transcript may come: silence is believed only when it is this much longer."""
_MOST_OPEN = 64
"""Utterances that never became final are forgotten beyond this many."""


class LiveTranslating(Translating):
    """One session: sentences are translated once and are final; the one being spoken is translated as it grows."""

    def __init__(
        self, header: Header, options: Options, work: Work, clock: Callable[[], float] = time.time
    ) -> None:  # fmt: skip
        super().__init__(header, options, work)
        self._clock = clock
        self._lag = Lag(header, "translate", clock)
        self._max_pause_ms = options.sentence_pause_ms
        self._policy = POLICIES[options.preset]
        self._growing = Growing(self._policy, self._target)
        self._words: tuple[Word, ...] = ()
        """The draft's committed words; their times do not change either."""
        self._floor_ms = 0
        """Where the words end that an earlier sentence has said of this one."""
        self._rev = 0
        self._drafted: tuple[Token, ...] = ()
        self._farthest = 0
        """How many words the longest draft of the sentence translated; one that grows too long is cut before it ends."""
        self._draft_of: tuple[Sentence, str] | None = None
        """The sentence of the last draft and its engine."""
        self._shown = ("", 0)
        """Text and committed words of the last draft that was yielded."""
        self._current: str | None = None
        """Id of the utterance that is being spoken."""
        self._taken = 0
        """How many characters of its text have gone to the joiner."""
        self._late: dict[str, int] = {}
        """Utterances that others overtook, and how many of their characters are taken."""
        self._quickest_s: float | None = None
        self._counters |= {"drafts": 0, "drafts_skipped": 0, "finals_fitted": 0}

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        if isinstance(record, Header):
            yield from super().feed(record)
            return
        if isinstance(record, Discontinuity):
            yield from self._whole(self._joiner.flush())
        yield record
        if isinstance(record, Transcript):
            yield from self._heard(record)
        else:
            yield from self._silent(record)
        report = self._lag.report(media_now_ms(record, self._header), self._counters)
        if report is not None:
            yield report

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        for record in super().finish(end):
            if not isinstance(record, Translation | Error):
                record = msgspec.structs.replace(record, counters={**self._counters, **self._lag.percentiles()})
            yield record

    def _heard(self, transcript: Transcript) -> Iterator[StreamRecord]:
        if not transcript.final and not (transcript.language or self._language or self._header.language):
            return  # it is not known yet; the final transcript will say
        language = self._language_of(transcript)
        if transcript.id in self._late:
            yield from self._overtaken(transcript, language)
            return
        if self._current is not None and transcript.id != self._current:
            self._late[self._current] = self._taken
            while len(self._late) > _MOST_OPEN:
                self._late.pop(next(iter(self._late)))
            self._current = None
            yield from self._whole(self._joiner.flush())
        if self._current is None:
            self._current, self._taken = transcript.id, 0
        committed = max(self._taken, committed_length(transcript))
        new = tokens_of(transcript, self._taken, committed)
        self._taken = committed
        sentences = list(self._joiner.extend(new, language, transcript.speaker))
        if transcript.final:
            sentences += self._joiner.utterance_over()
            self._current = None
        yield from self._whole(sentences)
        yield from self._draft(transcript, language)

    def _overtaken(self, transcript: Transcript, language: str) -> Iterator[StreamRecord]:
        """What is left of an utterance that ended after a later one began: a sentence by itself, nobody waits for it."""
        if not transcript.final:
            return
        tokens = tokens_of(transcript, self._late.pop(transcript.id))
        if tokens:
            growing, self._growing = self._growing, Growing(self._policy, self._target)
            words, self._words = self._words, ()
            rev, self._rev = self._rev, 0
            yield from self._whole([Sentence(tokens=tuple(tokens), language=language, speaker=transcript.speaker)])
            # The sentence that is being spoken goes on under another number.
            self._growing, self._words, self._rev = growing, words, rev

    def _silent(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """Ends the sentence where the speaker has paused for long: nothing else would, until the next one speaks."""
        held = self._joiner.held
        now_ms = media_now_ms(record, self._header)
        if now_ms is None:
            return
        between = bool(held.tokens) and self._current is None
        if between and now_ms - held.end_ms > self._max_pause_ms + SLACK_MS:
            yield from self._whole(self._joiner.flush())
        else:
            yield from self._say(now_ms)

    def _whole(self, sentences: Iterable[Sentence]) -> Iterator[StreamRecord]:
        for sentence in sentences:
            self._window = [sentence]
            yield from self._translate()

    def _record(self, sentence: Sentence, worded: wording.Worded, cached: bool, engine: str) -> Translation:
        """The final translation of a sentence: begins with the words that its drafts committed."""
        cut = self._farthest > len(sentence.tokens) and sentence.text[-1] not in TERMINALS
        text, surplus = self._growing.finish(worded.text, cut=cut)
        self._counters["finals_fitted"] += text != worded.text
        record = super()._record(sentence, wording.Worded(text, worded.misses), cached, engine)
        self._lag.emitted(sentence.end_ms)
        record = msgspec.structs.replace(record, rev=self._rev, words=self._timed(text, sentence, engine))
        self._growing = Growing(self._policy, self._target, surplus)
        self._floor_ms = record.words[-1].end_ms if surplus and record.words else 0
        self._words, self._rev, self._shown, self._draft_of = (), 0, ("", 0), None
        self._drafted, self._farthest = (), 0
        return record

    def _timed(self, text: str, sentence: Sentence, engine: str) -> tuple[Word, ...]:
        """The words of `text` on the source's times; those committed keep theirs."""
        kept = self._words
        laid = sentence.words if engine == COPY and text == sentence.text else lay_out(text, sentence.words)
        words, floor_ms = list(kept), kept[-1].end_ms if kept else self._floor_ms
        for word in laid[len(kept) :]:
            start_ms = max(word.start_ms, floor_ms)
            floor_ms = max(word.end_ms, start_ms)
            words.append(Word(text=word.text, start_ms=start_ms, end_ms=floor_ms, confidence=word.confidence))
        return tuple(words)

    def _draft(self, transcript: Transcript, language: str) -> Iterator[StreamRecord]:
        """Translates what is known of the sentence that is being spoken, where there is time for it."""
        fork = self._joiner.fork()
        whole = list(fork.extend(tokens_of(transcript, self._taken), language, transcript.speaker))
        sentence = whole[0] if whole else fork.held
        if not sentence.tokens:
            yield from self._unsaid()
            return
        if sentence.tokens == self._drafted:
            yield from self._say(media_now_ms(transcript, self._header))
            return
        if self._is_behind(transcript):
            self._counters["drafts_skipped"] += 1
            return
        chain = self._chain(sentence.language)
        if chain is None and not self._is_copy(sentence.language):
            return
        self._drafted = sentence.tokens
        self._farthest = max(self._farthest, len(sentence.tokens))
        if chain is None:
            committed = sum(a == b for a, b in zip(self._joiner.held.tokens, sentence.tokens, strict=False))
            self._growing.agree(sentence.text, committed)
        else:
            shorter = [len(sentence.tokens) - dropped for dropped in self._policy.dropped]
            if not self._joiner.held.tokens:
                shorter = []  # all of it may yet turn out to be a noise: nothing is committed
            parts = [sentence.tokens, *(sentence.tokens[:count] for count in shorter if count > 0)]
            texts = [_closed(part, sentence.language) for part in parts]
            try:
                made = self._work.draft(texts, sentence.language, self._target, chain)
            except TryAgain:
                self._counters["drafts_skipped"] += 1
                return
            self._growing.hear([_open_ended(part, text) for part, text in zip(parts, made, strict=True)])
        self._counters["drafts"] += 1
        self._draft_of = sentence, COPY if chain is None else chain.name
        yield from self._say(media_now_ms(transcript, self._header))

    def _say(self, now_ms: int | None) -> Iterator[Translation]:
        """Yields the draft where it is not what was yielded last."""
        if self._draft_of is None:
            return
        sentence, engine = self._draft_of
        text = self._growing.text
        if now_ms is not None:
            late = [
                word for word in self._timed(text, sentence, engine) if now_ms - word.end_ms >= self._policy.late_ms
            ]
            self._growing.settle(len(late))
        stable = self._growing.stable_words
        if text and (text, stable) != self._shown:
            self._shown = (text, stable)
            yield self._draft_record(sentence, text, stable, engine)

    def _unsaid(self) -> Iterator[Translation]:
        """Takes back a draft whose words were none after all."""
        if self._draft_of is not None and self._shown[0] and not self._shown[1]:
            (sentence, engine), self._draft_of = self._draft_of, None
            self._growing = Growing(self._policy, self._target)
            self._drafted, self._farthest, self._shown = (), 0, ("", 0)
            yield self._draft_record(sentence, "", 0, engine)

    def _draft_record(self, sentence: Sentence, text: str, stable: int, engine: str) -> Translation:
        words = self._timed(text, sentence, engine)
        emitted_at = self._lag.emitted(*(word.end_ms for word in words[len(self._words) : stable]))
        self._words = words[:stable]
        self._rev += 1
        return Translation(
            self._header.session, id=f"{self._ids}{self._number + 1}", start_ms=sentence.start_ms, end_ms=sentence.end_ms,
            text=text, final=False, rev=self._rev - 1, stable_words=stable, source_text=sentence.text,
            source_language=sentence.language, target_language=self._target, engine=engine, words=words,
            confidence=sentence.confidence, source_ids=sentence.source_ids, source_words=sentence.words,
            speaker=sentence.speaker, emitted_at=emitted_at,
        )  # fmt: skip

    def _is_behind(self, transcript: Transcript) -> bool:
        if transcript.emitted_at is None:
            return False
        delay_s = self._clock() - transcript.emitted_at
        if self._quickest_s is None or delay_s < self._quickest_s:
            self._quickest_s = delay_s
        return delay_s - self._quickest_s > BEHIND_S


def _closed(tokens: Sequence[Token], language: str) -> str:
    """Words as a sentence that ends with them, for what engines make of one without an end is less like what it becomes."""
    text = Sentence(tokens=tuple(tokens), language=language, speaker="").text
    if text[-1] in TERMINALS:
        return text
    return text.rstrip("".join((" ", *CLAUSE_MARKS))) + ("。" if primary(language) in UNSPACED else ".")


def _open_ended(tokens: Sequence[Token], translation: str) -> str:
    """A translation of `_closed` words without the full stop that they do not have."""
    return translation if tokens[-1].text[-1] in TERMINALS else translation.rstrip(TERMINALS)
