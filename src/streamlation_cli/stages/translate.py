"""Translates transcripts, a whole sentence at a time.

Every `transcript` is passed on as it came. Final ones are joined into whole sentences (by punctuation, pauses, and a
length bound), and each sentence becomes one `translation` whose words lie on the times of the words it translates.
Text that is in the target language already is copied. A sentence in a language that cannot be translated is copied
too, and reported, unless it is the session's first.

Engines: `firefox` reads Firefox Translations models, `ct2` reads CTranslate2 models of the OPUS-MT, NLLB and M2M-100
kinds, `stub` is for tests. `auto` takes the first of firefox and ct2 that has a model of the pair, else goes through
English with any two. `--pairs` lists what is installed.

A glossary is a text file: source term, a tab, target term, and maybe a tab and the languages (`pt` or `en-pt`) it is
for; a term alone is not to be translated; `#` begins a comment. What the engine could not be brought to use is named
in `glossary_misses` of the translation.

Translations are kept in the user's cache and made once; `--no-cache` neither reads nor writes it.

Examples:

\b
  streamlation translate --from en --to pt < talk.ndjson > talk.pt.ndjson
  streamlation ingest talk.srt | streamlation translate --from en --to pt | streamlation subtitle --format srt
  streamlation translate --pairs
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..cache import Cache, key_of
from ..engines import StubOptions
from ..errors import PairMissing, UsageError
from ..languages import primary
from ..options import option
from ..records import Discontinuity, Eos, Error, Header, Status, StreamRecord, Transcript, Translation, Word
from ..sessions import Stage, by_session
from ..translating import glossary as glossaries
from ..translating import routes as translators
from ..translating import wording
from ..translating.glossary import Glossary, Term
from ..translating.routes import Chain, Pool
from ..translating.sentences import Bounds, Joiner, Sentence
from ..translating.wordtimes import lay_out

COPY = "copy"
"""`engine` of a translation that is the source's text."""
CACHE_BYTES = 256_000_000


@dataclass(frozen=True, kw_only=True)
class Options(StubOptions):
    """See the flags' help."""

    to: str = option("--to", "", metavar="LANG", shared=True, help="language to translate into")
    from_: str = option("--from", "auto", metavar="LANG", shared=True, help="spoken language, or auto to detect it")
    engine: str = option("--engine", "auto", metavar="NAME", help="auto, firefox, ct2 or stub")
    model: str = option(
        "--model", "", metavar="NAME|PATH", help="translation model: a name in the store or a directory"
    )
    preset: str = option(
        "--preset", "balanced", choices=("latency", "balanced", "accuracy"), shared=True, help="what matters most"
    )
    glossary: str = option("--glossary", "", metavar="FILE", help="terms and their translations, tab-separated")
    no_cache: bool = option("--no-cache", False, shared=True, help="neither read nor write what engines made before")
    pairs: bool = option("--pairs", False, help="list the language pairs that are installed and exit")
    batch_size: int = option(
        "--batch-size", 0, metavar="N", minimum=0, maximum=256, help="sentences translated together; 0: by the preset"
    )
    beam_size: int = option("--beam-size", 0, metavar="N", minimum=0, maximum=100, help="ct2 engine; 0: by the preset")
    sentence_chars: int = option(
        "--sentence-chars", 0, metavar="N", minimum=0, maximum=2000, help="longest sentence; 0: by the preset"
    )
    sentence_pause_ms: int = option(
        "--sentence-pause-ms", 2000, metavar="MS", minimum=1, help="a longer pause ends a sentence"
    )
    device: str = option("--device", "auto", choices=("auto", "cpu", "cuda"), shared=True, help="where engines run")
    compute_type: str = option(
        "--compute-type",
        "",
        metavar="TYPE",
        shared=True,
        help="such as int8, int8_float16 or float32; fastest by default",
    )
    threads: int = option("--threads", 0, metavar="N", minimum=0, shared=True, help="CPU threads; 0: one a core")


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


def listing(options: Options) -> str | None:
    """What `--pairs` prints: source, target, engine and model, tab-separated, a pair a line; None without `--pairs`."""
    if not options.pairs:
        return None
    rows = [
        row
        for row in translators.pairs(options.engine, options.model)
        if options.to in ("", row[1]) or row[1] in ("*", primary(options.to))
        if options.from_ == "auto" or row[0] in ("*", primary(options.from_))
    ]
    if not rows:
        return "no such pair is installed; see: streamlation models list\n"
    return "".join("\t".join(row) + "\n" for row in rows)


def stage(options: Options) -> Stage:
    """Transcripts to transcripts and translations. Raises UsageError, ConfigError or InputMissing for wrong options."""
    if not options.to:
        raise UsageError("translate: --to LANG is needed: the language to translate into")
    if options.engine not in (*translators.ENGINES, "auto"):
        raise UsageError(f"--engine: {options.engine!r} is not one of auto, {', '.join(translators.ENGINES)}")
    terms = glossaries.load(Path(options.glossary)) if options.glossary else []

    def run(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
        # Here, not outside: an opened engine belongs to the thread that runs the stage.
        work = _Work(options, terms)
        try:
            yield from by_session("translate", lambda header: _Session(header, options, work))(records)
        finally:
            work.close()

    return run


class _Work:
    """What the sessions of one stream share: engines, glossaries and the cache."""

    def __init__(self, options: Options, terms: list[Term]) -> None:
        preset = PRESETS[options.preset]
        open_leg = translators.opener(
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


class _Session:
    """One session: joins its transcripts into sentences and translates them a window at a time."""

    def __init__(self, header: Header, options: Options, work: _Work) -> None:
        self._header = header
        self._work = work
        self._target = options.to
        self._language = "" if options.from_ == "auto" else options.from_
        self._batch = options.batch_size
        preset = PRESETS[options.preset]
        self._preset_batch = preset.batch
        self._joiner = Joiner(
            Bounds(
                max_chars=options.sentence_chars or preset.sentence_chars,
                max_pause_ms=options.sentence_pause_ms,
                lookahead=preset.lookahead,
            )
        )
        self._window: list[Sentence] = []
        self._number = 0
        self._translated = 0
        self._refused: set[str] = set()
        self._counters: dict[str, int] = {"sentences": 0, "cached": 0, "copied": 0, "glossary_misses": 0}

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        if isinstance(record, Header):
            yield msgspec.structs.replace(record, target_language=self._target)
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
            yield self._record(sentence, *results[index])

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
            self._header.session, id=f"s{self._number}", start_ms=sentence.start_ms, end_ms=sentence.end_ms,
            text=worded.text, final=True, source_text=sentence.text, source_language=sentence.language,
            target_language=self._target, engine=engine, cached=cached, confidence=sentence.confidence, words=words,
            source_ids=sentence.source_ids, source_words=source_words, glossary_misses=worded.misses,
            speaker=sentence.speaker, emitted_at=time.time() if self._header.live else None,
        )  # fmt: skip
