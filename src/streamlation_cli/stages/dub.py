"""Speak translations on the source's times; write an audio track.

Adds a `speech` record to each final translation (to each transcript where nothing was translated) and passes every
record on. It speaks the language of the last `translate` before it; translations into others are another `dub`'s. With `-o`
the speech is also written as an audio track of the media's length that starts at media time 0, so that it can be muxed
beside the picture.

A sentence starts when its source does. Where the dub is longer it first takes the pause that follows, then is spoken
faster (at most 1.35 times), then one of the translation's shorter `alternatives` is spoken, then it ends late, and later pauses
take that back; utterances never overlap. `drift_ms` of a `speech` record is how late it is at worst, `text` what was spoken where
that is an alternative. The last `status` counts tempo, drift, overlaps, dead air (the source speaks, the dub does not), and what
was shortened or dropped; --report has it utterance by utterance.

With --live each sentence is spoken as soon as it is final, and an `-o FILE.wav` can be played while it grows. A sentence that
could not begin within --max-drift seconds of its source is left out: a `status` says which and why, and counts it (`dropped`).

The track is at −16 LUFS (EBU R 128), its true peaks below −1 dB. --mix duck lays the voice over the original, which is levelled,
goes down by --duck-db under the voice and is back 300 ms after it; --mix keep has the original on one side and the voice on the
other.

`--engine auto` uses Piper where an installed voice speaks the language and eSpeak elsewhere. A bare `pt` is spoken with the
Brazilian voice and a bare `en` with the American one; say `pt-PT` or `en-GB`, or name a `--voice`, for others. Where transcripts
name their speakers, each speaks with a voice of his own, or with the one that --voice-map has for him.

A lexicon is a text file: a word, a tab, how it is to be spoken, and maybe a tab and the languages it is for; `[[…]]` are phonemes
as the engine writes them (Piper: IPA, eSpeak: its own letters). A word in lower case is found in any case; `#` begins a comment.

Speech is kept in the user's cache and made once; `--no-cache` neither reads nor writes it.

Examples:

  streamlation translate --to pt < talk.ndjson | streamlation dub -o talk.pt.opus > /dev/null
  streamlation ingest talk.pt.srt --from pt | streamlation dub -o - > talk.pt.wav
  streamlation dub --voice-map A=en_US-joe-medium,B=espeak:en-us+f3 --lexicon names.tsv -o talk.wav < talk.ndjson > /dev/null
  streamlation dub --voices
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..artefacts import STDOUT, Targets
from ..dubbing.settings import MixOptions
from ..engines import StubOptions
from ..errors import UsageError
from ..options import option
from ..records import StreamRecord
from ..sessions import Records, Stage, by_session

STAGE = "dub"


@dataclass(frozen=True, kw_only=True)
class Options(MixOptions, StubOptions):
    """Options of `dub`."""

    output: tuple[str, ...] = option(
        "--output", (), short="-o", repeatable=True, metavar="FILE",
        help="audio track to write: wav, flac, m4a, mp3 or opus by extension; - is WAV on stdout",
    )  # fmt: skip
    engine: str = option("--engine", "auto", metavar="NAME", help="auto, piper, espeak or stub")
    voice: str = option("--voice", "", metavar="NAME|PATH", help="voice; found by language unless given")
    voice_map: str = option(
        "--voice-map", "", metavar="WHO=VOICE,…",
        help="voice by speaker or language, such as A=en_US-joe-medium,B=espeak:en-us+f3; NAME#SPEAKER of a voice with several",
    )  # fmt: skip
    lexicon: str = option("--lexicon", "", metavar="FILE", help="how words are to be spoken, tab-separated")
    report: str = option(
        "--report", "", metavar="FILE", help="write how well the voice fits, utterance by utterance, as JSON"
    )
    voices: bool = option("--voices", False, help="list the voices that are here")
    from_: str = option("--from", "auto", metavar="LANG", shared=True, help="spoken language, or auto to detect it")
    live: bool = option(
        "--live", False, shared=True, help="work on speech while it is spoken: say what is known before it is final"
    )  # fmt: skip
    max_drift: float = option(
        "--max-drift", 8.0, metavar="SECONDS", minimum=0.5, maximum=600,
        help="with --live: how much later than its source a sentence may begin before it is left out",
    )  # fmt: skip
    no_cache: bool = option("--no-cache", False, shared=True, help="neither read nor write what engines made before")
    device: str = option("--device", "auto", choices=("auto", "cpu", "cuda"), shared=True, help="where engines run")
    threads: int = option("--threads", 0, metavar="N", minimum=0, shared=True, help="CPU threads; 0: one a core")


def listing(options: Options) -> str | None:
    """The installed voices, a line each, where `--voices` asks for them."""
    if not options.voices:
        return None
    from ..dubbing import voices

    return voices.listing(options.engine)


def takes_stdout(options: Options) -> bool:
    """Whether standard output gets the audio."""
    return STDOUT in options.output


def stage(options: Options) -> Stage:
    """Speaks the text of each session; sessions share the loaded voices. Raises UsageError for an unknown extension."""
    from ..dubbing import growing_wav
    from ..dubbing.audiofile import format_of
    from ..dubbing.live import LiveDubbing
    from ..dubbing.session import Cast, Dubbing

    for target in options.output:
        format_of(target)
        if options.live and target != STDOUT:
            growing_wav.check(target)
    if options.mix != "replace" and not options.output:
        raise UsageError(f"--mix {options.mix} needs an -o FILE to mix into")
    targets = [Targets(name) for name in options.output]
    reports = [Targets(options.report)] if options.report else []
    Cast(options)  # shows what is wrong with a map or a lexicon before anything is read

    def run(records: Iterable[StreamRecord]) -> Records:
        cast = Cast(options)
        kind = LiveDubbing if options.live else Dubbing
        try:
            yield from by_session(STAGE, lambda header: kind(header, options, cast, targets, reports))(records)
        finally:
            cast.close()

    return run
