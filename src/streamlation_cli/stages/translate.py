"""Translates transcripts, a whole sentence at a time.

Every `transcript` is passed on as it came. Final ones are joined into whole sentences (by punctuation, pauses, and a
length bound), and each sentence becomes one `translation` whose words lie on the times of the words it translates.
Text that is in the target language already is copied. A sentence in a language that cannot be translated is copied
too, and reported, unless it is the session's first.

With --live the sentence that is being spoken is translated too, again with every change of its transcript: `translation`
records with `final: false`, whose first `stable_words` words are committed and stay in every later one. The sentence's
end makes it final, once, under the same `id`. A stage that falls behind leaves out such drafts, never a sentence; its
status counts them (`drafts`, `drafts_skipped`).

A stage translates into one language. Another `translate` further down the pipe translates the same transcripts into another: the stages
after it work on that one and pass the first one's records on.

Engines: `firefox` reads Firefox Translations models, `ct2` reads CTranslate2 models of the OPUS-MT, NLLB and M2M-100
kinds, `stub` is for tests. `auto` takes the first of firefox and ct2 that has a model of the pair, else goes through
English with any two. `--pairs` lists what is installed.

A translation that is long for the time its sentence took has up to --alternatives shorter ones in `alternatives`, from which `dub`
takes what can be spoken in time: the engine's other answers (ct2), and translations of the sentence without its filling.

A glossary is a text file: source term, a tab, target term, and maybe a tab and the languages (`pt` or `en-pt`) it is
for; a term alone is not to be translated; `#` begins a comment. What the engine could not be brought to use is named
in `glossary_misses` of the translation.

Translations are kept in the user's cache and made once; `--no-cache` neither reads nor writes it.

Examples:

\b
  streamlation translate --from en --to pt < talk.ndjson > talk.pt.ndjson
  streamlation ingest talk.srt | streamlation translate --from en --to pt | streamlation subtitle --format srt
  streamlation translate --pairs
  streamlation transcribe --live < talk.pcm.ndjson | streamlation translate --live --to pt | streamlation subtitle --live
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..engines import StubOptions
from ..errors import UsageError
from ..options import option
from ..records import StreamRecord
from ..sessions import Records, Stage, by_session


@dataclass(frozen=True, kw_only=True)
class Options(StubOptions):
    """See the flags' help."""

    to: str = option(
        "--to", "", metavar="LANG", shared=True, help="language to translate into",
        once="one at a time; several are stages in a pipe: … | translate --to pt | dub | translate --to es | dub | mux -o talk.mkv",
    )  # fmt: skip
    from_: str = option("--from", "auto", metavar="LANG", shared=True, help="spoken language, or auto to detect it")
    engine: str = option("--engine", "auto", metavar="NAME", help="auto, firefox, ct2 or stub")
    model: str = option(
        "--model", "", metavar="NAME|PATH", help="translation model: a name in the store or a directory"
    )
    preset: str = option(
        "--preset", "balanced", choices=("latency", "balanced", "accuracy"), shared=True, help="what matters most"
    )
    live: bool = option(
        "--live", False, shared=True, help="work on speech while it is spoken: say what is known before it is final"
    )  # fmt: skip
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
    alternatives: int = option(
        "--alternatives", 2, metavar="N", minimum=0, maximum=8,
        help="shorter translations of a sentence that is long for its time, for dub",
    )  # fmt: skip
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


def listing(options: Options) -> str | None:
    """What `--pairs` prints: source, target, engine and model, tab-separated, a pair a line; None without `--pairs`."""
    if not options.pairs:
        return None
    from ..languages import primary
    from ..translating import routes

    rows = [
        row
        for row in routes.pairs(options.engine, options.model)
        if options.to in ("", row[1]) or row[1] in ("*", primary(options.to))
        if options.from_ == "auto" or row[0] in ("*", primary(options.from_))
    ]
    if not rows:
        return "no such pair is installed; see: streamlation models list\n"
    return "".join("\t".join(row) + "\n" for row in rows)


def stage(options: Options) -> Stage:
    """Transcripts to transcripts and translations. Raises UsageError, ConfigError or InputMissing for wrong options."""
    from ..translating import glossary, routes
    from ..translating.live import LiveTranslating
    from ..translating.session import Translating, Work

    if not options.to:
        raise UsageError("translate: --to LANG is needed: the language to translate into")
    if options.engine not in (*routes.ENGINES, "auto"):
        raise UsageError(f"--engine: {options.engine!r} is not one of auto, {', '.join(routes.ENGINES)}")
    terms = glossary.load(Path(options.glossary)) if options.glossary else []

    def run(records: Iterable[StreamRecord]) -> Records:
        # Here, not outside: an opened engine belongs to the thread that runs the stage.
        work = Work(options, terms)
        try:
            handler = LiveTranslating if options.live else Translating
            yield from by_session("translate", lambda header: handler(header, options, work))(records)
        finally:
            work.close()

    return run
