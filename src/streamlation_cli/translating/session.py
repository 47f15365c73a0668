"""One session's transcripts on their way to translations, and what the sessions of a stream share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ..cache import Cache, key_of
from ..errors import PairMissing, TryAgain, UsageError
from ..languages import primary
from ..records import Discontinuity, Eos, Error, Header, Status, StreamRecord, Transcript, Translation, Word
from . import routes, shorter, wording
from .glossary import Glossary, Term
from .routes import Chain, Pool
from .sentences import Bounds, Joiner, Sentence
from .wordtimes import lay_out

if TYPE_CHECKING:
    from ..stages.translate import Options

COPY = "copy"
"""`engine` of a translation that is the source's text."""
CACHE_BYTES = 256_000_000
_DRAFTS = 64
"""Drafts remembered: a word more makes the longest of the last time the second longest of the next."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a preset means here."""

    beam_size: int
    batch: int
    sentence_chars: int
    lookahead: bool


PRESETS = {
    "latency": Preset(beam_size=1, batch=1, sentence_chars=160, lookahead=False),
    "balanced": Preset(beam_size=2, batch=8, sentence_chars=280, lookahead=True),
    "accuracy": Preset(beam_size=5, batch=16, sentence_chars=360, lookahead=True),
}


class Work:
    """What the sessions of one stream share: engines, glossaries and the cache."""

    def __init__(self, options: Options, terms: list[Term]) -> None:
        preset = PRESETS[options.preset]
        open_leg = routes.opener(
            device=options.device,
            compute_type=options.compute_type,
            threads=options.threads,
            beam_size=options.beam_size or preset.beam_size,
            stub=options.stub_settings(),
        )
        self.pool = Pool(options.engine, options.model, open_leg)
        self._terms = terms
        self._glossaries: dict[tuple[str, str], Glossary] = {}
        self._cache = Cache("translations", 0 if options.no_cache else CACHE_BYTES)
        self._drafts: dict[tuple[str, str, str], str] = {}

    def translate(self, texts: list[str], source: str, target: str, chain: Chain) -> list[tuple[wording.Worded, bool]]:
        """A translation a text, and whether it came from the cache."""
        glossary = self._glossary(source, target)
        keys = [
            key_of(wording.VERSION, chain.identity, source, target, glossary.fingerprint, chain.max_chars, text)
            for text in texts
        ]
        kept = _decoded(self._cache.get_many(keys))
        made: dict[str, wording.Worded] = {}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in kept}
        if new:
            results = wording.translate(list(new.values()), chain, glossary)
            made = dict(zip(new, results, strict=True))
            self._cache.put_many({key: msgspec.json.encode(result) for key, result in made.items()})
        return [(made[key], False) if key in made else (kept[key], True) for key in keys]

    def shorter(
        self, text: str, translation: wording.Worded, source: str, target: str, chain: Chain, most: int
    ) -> tuple[str, ...]:
        """Up to `most` shorter translations of `text`, the longest first."""
        glossary = self._glossary(source, target)
        key = key_of(
            "shorter", shorter.VERSION, wording.VERSION, chain.identity, source, target, glossary.fingerprint, most, text,
            translation.text,
        )  # fmt: skip
        kept = self._cache.get_many([key]).get(key)
        if kept is not None:
            with contextlib.suppress(msgspec.DecodeError):
                return msgspec.json.decode(kept, type=tuple[str, ...])
        made = tuple(shorter.alternatives(text, translation, source, chain, glossary, most))
        self._cache.put_many({key: msgspec.json.encode(made)})
        return made

    def draft(self, texts: list[str], source: str, target: str, chain: Chain) -> list[str]:
        """Translations of texts that are not whole yet: not kept on disk, only for the next few drafts."""
        glossary = self._glossary(source, target)
        keys = [(chain.identity, target, text) for text in texts]
        made: dict[tuple[str, str, str], str] = {key: self._drafts[key] for key in keys if key in self._drafts}
        new = [key for key in dict.fromkeys(keys) if key not in made]
        if new:
            results = wording.translate([text for _, _, text in new], chain, glossary)
            made |= {key: result.text for key, result in zip(new, results, strict=True)}
            self._drafts |= made
            while len(self._drafts) > _DRAFTS:
                self._drafts.pop(next(iter(self._drafts)))
        return [made[key] for key in keys]

    def _glossary(self, source: str, target: str) -> Glossary:
        pair = (primary(source), primary(target))
        if pair not in self._glossaries:
            self._glossaries[pair] = Glossary([term for term in self._terms if term.is_for(*pair)])
        return self._glossaries[pair]

    def close(self) -> None:
        self.pool.close()
        self._cache.close()


def _decoded(values: dict[str, bytes]) -> dict[str, wording.Worded]:
    """The cached translations; one that is none is made again."""
    decoded = {}
    for key, value in values.items():
        with contextlib.suppress(msgspec.DecodeError):
            decoded[key] = msgspec.json.decode(value, type=wording.Worded)
    return decoded


class Translating:
    """One session: joins its transcripts into sentences and translates them a window at a time."""

    def __init__(self, header: Header, options: Options, work: Work) -> None:
        self._header = header
        self._work = work
        self._target = options.to
        self._language = "" if options.from_ == "auto" else options.from_
        self._batch = options.batch_size
        self._alternatives = options.alternatives
        preset = PRESETS[options.preset]
        self._preset_batch = preset.batch
        self._joiner = Joiner(
            Bounds(
                max_chars=options.sentence_chars or preset.sentence_chars,
                max_pause_ms=options.sentence_pause_ms,
                lookahead=preset.lookahead and not options.live,
            )
        )
        self._window: list[Sentence] = []
        self._ids = f"{self._target}-s" if header.targets else "s"
        """What the ids of its translations begin with: those of other languages have the same numbers."""
        self._number = 0
        self._translated = 0
        self._refused: set[str] = set()
        self._counters: dict[str, int] = {"sentences": 0, "cached": 0, "copied": 0, "glossary_misses": 0}

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        if isinstance(record, Header):
            if self._target in record.targets:
                raise UsageError(f"session {record.session} is translated into {self._target} already")
            yield msgspec.structs.replace(record, target_language=self._target, earlier_targets=record.targets)
            yield Status(record.session, stage="translate", state="running")
            known = self._language or record.language
            if known:
                self._chain(known)  # a pair or model that is not there is better known now than after an hour's work
            return
        if isinstance(record, Discontinuity):
            self._window += self._joiner.flush()
            yield from self._translate()
        yield record
        if isinstance(record, Transcript) and record.final:
            self._window += self._joiner.feed(record, self._language_of(record))
            yield from self._translate_when_full()

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        self._window += self._joiner.flush()
        yield from self._translate()
        yield Status(
            self._header.session,
            stage="translate",
            state="completed" if isinstance(end, Eos) else "failed",
            counters=dict(self._counters),
        )

    def _language_of(self, transcript: Transcript) -> str:
        language = transcript.language or self._language or self._header.language
        if not language and transcript.text.strip():
            raise UsageError(f"transcript {transcript.id} names no language; say which with --from LANG")
        return language

    def _is_copy(self, language: str) -> bool:
        return primary(language) == primary(self._target)

    def _translate_when_full(self) -> Iterator[StreamRecord]:
        if self._window and len(self._window) >= self._window_size():
            yield from self._translate()

    def _window_size(self) -> int:
        """How many sentences are worth waiting for: as many as the engine gains from, and no more than the preset's."""
        if self._batch:
            return self._batch
        chain = self._chain(self._window[0].language)
        return min(chain.batch_size, self._preset_batch) if chain else 1

    def _chain(self, language: str) -> Chain | None:
        """The translators for a language; None where its text is to be copied.

        Raises PairMissing where there are none and nothing has been translated yet.
        """
        if self._is_copy(language):
            return None
        try:
            return self._work.pool.open(self._work.pool.route(language, self._target))
        except PairMissing:
            if not self._translated:
                raise
            return None

    def _translate(self) -> Iterator[StreamRecord]:
        """Translates what is in the window, language by language, and yields it in order."""
        window, self._window = self._window, []
        results: dict[int, tuple[wording.Worded, bool, str]] = {}
        for language in dict.fromkeys(sentence.language for sentence in window):
            indices = [index for index, sentence in enumerate(window) if sentence.language == language]
            chain = self._chain(language)
            if chain is None:
                if not self._is_copy(language):
                    yield from self._refuse(language)
                results |= {index: (wording.Worded(window[index].text), False, COPY) for index in indices}
                continue
            texts = [window[index].text for index in indices]
            translated = self._work.translate(texts, language, self._target, chain)
            results |= {
                index: (worded, cached, chain.name) for index, (worded, cached) in zip(indices, translated, strict=True)
            }
            self._translated += len(indices)
        for index, sentence in enumerate(window):
            alternatives = self._shorter(sentence, *results[index])
            record = self._record(sentence, *results[index])
            yield msgspec.structs.replace(record, alternatives=alternatives) if alternatives else record

    def _shorter(self, sentence: Sentence, worded: wording.Worded, cached: bool, engine: str) -> tuple[str, ...]:
        """Shorter translations of a sentence, where its translation is long for its time."""
        if engine == COPY or not self._alternatives or not shorter.is_hurried(sentence, worded.text):
            return ()
        chain = self._chain(sentence.language)
        assert chain is not None
        with contextlib.suppress(TryAgain):  # there is a translation; that there is no shorter one is no failure
            return self._work.shorter(sentence.text, worded, sentence.language, self._target, chain, self._alternatives)
        return ()

    def _refuse(self, language: str) -> Iterator[Error]:
        if language not in self._refused:
            self._refused.add(language)
            try:
                self._work.pool.route(language, self._target)
            except PairMissing as error:
                message = f"{error.message}; sentences in it are left as they are"
                yield Error(self._header.session, stage="translate", code=error.code, message=message, fatal=False)

    def _record(self, sentence: Sentence, worded: wording.Worded, cached: bool, engine: str) -> Translation:
        self._number += 1
        self._counters["sentences"] += 1
        self._counters["cached"] += cached
        self._counters["copied"] += engine == COPY
        self._counters["glossary_misses"] += len(worded.misses)
        source_words = sentence.words
        words: tuple[Word, ...] = source_words if engine == COPY else lay_out(worded.text, source_words)
        return Translation(
            self._header.session, id=f"{self._ids}{self._number}", start_ms=sentence.start_ms, end_ms=sentence.end_ms,
            text=worded.text, final=True, source_text=sentence.text, source_language=sentence.language,
            target_language=self._target, engine=engine, cached=cached, confidence=sentence.confidence, words=words,
            source_ids=sentence.source_ids, source_words=source_words, glossary_misses=worded.misses,
            speaker=sentence.speaker, emitted_at=time.time() if self._header.live else None,
        )  # fmt: skip
