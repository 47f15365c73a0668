"""Measures a live system: feeds it a recording at its own speed and reports errors, latency, erasure and load.

ACTION is `live`. The recording goes in as raw PCM (16 kHz mono s16le) on standard input, chunk by chunk as a live source
would send it; what comes out is read line by line, and each line's arrival is timed here. Without --system the system is this
program's own live chain.

\b
  word error rate       against --reference; case and punctuation aside, and with --from en, pt, es, fr or de how numbers
                        are written
  commit latency        when a word was first promised to stay, less when its last sample was due; word times are those of an
                        offline pass (`transcribe` in file mode, or --words)
  first appearance      the same for when the word first stood in a hypothesis that may still change
  erasure               words taken back over the words of the final text (normalized erasure, Arivazhagan et al. 2020)
  StreamLAAL            how far the translation lags, after resegmentation to the reference's sentences (Papi et al. 2024)
  broken promises       committed words that changed or came twice, records after the final one, times out of order: must be 0

TEXT is a file with a sentence a line, or a JSON list of {"reference", "start_ms", "end_ms"}. For StreamLAAL the lines of
--translation and of --reference belong together.

A system for --system reads the samples on standard input and writes records, or lines of a simple form that is easy to
wrap another program in: {"text": "all that is committed so far", "volatile": "what may still change"}, with "heard_ms"
and "kind": "translation" where they apply.

With --soak the recording is fed over and over, as fast as the system takes it, and memory and open handles are watched.

Needs the extra `bench`. Latencies mean something on an otherwise idle machine only.

Examples:

\b
  streamlation bench live talk.wav --reference talk.txt --from en
  streamlation bench live talk.wav --reference talk.txt --from en --to pt --translation talk.pt.txt --json figures.json
  streamlation bench live talk.wav --reference talk.txt --from en --system './other_program.sh'
  streamlation bench live talk.wav --from en --soak 24
"""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ..artefacts import Artefact
from ..errors import UsageError
from ..languages import AUTO
from ..options import argument, option
from ..stdio import Interrupted

if TYPE_CHECKING:
    from ..measuring.live import Outcome, Plan
    from ..measuring.live import Report as Reporter
    from ..measuring.report import References

logger = logging.getLogger("streamlation.bench")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to feed to what, and what to hold it against."""

    action: str = argument("ACTION", "", choices=("live",), help="live")
    audio: str = argument("AUDIO", "", help="recording to feed")
    reference: str = option("--reference", "", metavar="TEXT", help="file with what is said")
    translation: str = option("--translation", "", metavar="TEXT", help="file with its translation, line for line")
    from_: str = option("--from", AUTO, metavar="LANG", shared=True, help="language that is spoken")
    to: str = option("--to", "", metavar="LANG", shared=True, help="language to translate into")
    words: str = option(
        "--words",
        "",
        metavar="FILE",
        help="times of the words: JSON, records or an earlier report; default: an offline pass",
    )
    offline_reference: bool = option(
        "--offline-reference", False, help="hold the word error rate against faster-whisper's, sequential, beam 5"
    )
    offline_translation: bool = option(
        "--offline-translation", False, help="hold the chrF against that of the final transcript translated whole"
    )
    system: str = option("--system", "", metavar="COMMAND", help="program to measure; default: this one's live chain")
    chain: str = option(
        "--chain", "pipe", choices=("pipe", "run"), help="this one's chain: a process each stage, or one with `run`"
    )
    flags: str = option("--flags", "", metavar="FLAGS", help="more flags for `transcribe`, or for `run`")
    captions: bool = option("--captions", False, help="add `subtitle` to the chain without a translation too")
    streams: int = option("--streams", 1, metavar="N", minimum=1, maximum=64, help="copies at once, a system each")
    one_process: bool = option("--one-process", False, help="all streams in one `run` process")
    model: str = option("--model", "base", metavar="NAME|PATH", help="Whisper model of the chain and of offline passes")
    preset: str = option(
        "--preset", "balanced", choices=("latency", "balanced", "accuracy"), shared=True, help="what matters most"
    )
    chunk: int = option("--chunk", 20, metavar="MS", minimum=10, maximum=1000, help="length of what is fed at a time")
    lead_in: float = option(
        "--lead-in", 3.0, metavar="SECONDS", minimum=0, help="silence fed first, while models load; not measured"
    )
    lead_out: float = option("--lead-out", 2.0, metavar="SECONDS", minimum=0, help="silence fed last")
    timeout: float = option(
        "--timeout", 120.0, metavar="SECONDS", minimum=1, help="how long the system may go on after its input has ended"
    )
    speed: float = option(
        "--speed", 0.0, metavar="X", minimum=0, help="times as fast; 0: as recorded, in a soak as fast as it is taken"
    )
    soak: float = option(
        "--soak", 0.0, metavar="HOURS", minimum=0, help="feed so much audio and watch memory and handles"
    )
    json: str = option("--json", "", metavar="FILE", help="write every figure here, word by word")


def command(options: Options, as_text: bool) -> int:
    """Measures and prints the report; raises what keeps it from being measured."""
    _check(options)
    from ..measuring import report as reports
    from ..measuring.live import measure

    signal.signal(signal.SIGTERM, _terminated)  # the systems under test must not outlive this process
    artefact = Artefact(options.json) if options.json else None  # before the long part: it may not be writable
    try:
        plan = _plan(options)
        references = _references(options, plan)
        with _progress() as progress:
            outcome = measure(plan, progress)
        whole = _offline_chrf(options, plan, outcome, references)
        report = reports.document(_about(options, plan), plan, outcome, references, whole)
        if artefact is not None:
            artefact.write((json.dumps(report, ensure_ascii=False, indent=1) + "\n").encode())
            artefact.commit()
    except BaseException:
        if artefact is not None:
            artefact.abandon()
        raise
    if as_text:
        from ..measuring.table import show

        show(report)
    else:
        click.echo(json.dumps({**report, "words": []}, ensure_ascii=False))
    return 0


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted("terminated")


def _check(options: Options) -> None:
    if options.action != "live":
        raise UsageError("bench: say what to measure: streamlation bench live AUDIO")
    if not options.audio:
        raise UsageError("bench live: AUDIO is missing: name the recording to feed")
    if options.translation and not (options.to and options.reference):
        raise UsageError("--translation: give --to and --reference as well")
    if options.offline_translation and not options.translation:
        raise UsageError("--offline-translation: give --translation as well")
    if options.offline_reference and not options.reference:
        raise UsageError("--offline-reference: give --reference as well")
    if options.one_process and options.system:
        raise UsageError("--one-process is for this program's own chain, not for --system")


def _plan(options: Options) -> Plan:
    from ..measuring import offline
    from ..measuring.live import Plan
    from ..measuring.systems import shell

    if options.system:
        systems = [[shell(options.system)]] * options.streams
    elif options.one_process:
        systems = [_run(options, options.streams)]
    else:
        systems = [_run(options, 0) if options.chain == "run" else _pipe(options)] * options.streams
    pace = options.speed or (float("inf") if options.soak else 1.0)
    return Plan(
        systems=systems,
        samples=offline.decoded(options.audio),
        language="" if options.from_ == AUTO else options.from_,
        target_language=options.to,
        chunk_ms=options.chunk,
        lead_in_ms=round(options.lead_in * 1000) // options.chunk * options.chunk,
        lead_out_ms=round(options.lead_out * 1000),
        speed=pace,
        patience_s=options.timeout,
        soak_ms=options.soak * 3_600_000,
    )


def _pipe(options: Options) -> list[list[str]]:
    """The live chain, a process a stage."""
    from ..measuring.offline import RAW
    from ..measuring.systems import own

    stages = [
        own("ingest", "-", *RAW, "--live", "--from", options.from_),
        own("normalize"),
        own("transcribe", "--live", "--from", options.from_, *_recognition(options), *shlex.split(options.flags)),
    ]
    if options.to:
        stages.append(own("translate", "--live", "--to", options.to))
    return [*stages, *_captions(options)]


def _captions(options: Options) -> list[list[str]]:
    """Captions of the records that the chain writes. They take the place of what they are made of; both are wanted."""
    from ..measuring.systems import TAP, own

    if not (options.to or options.captions):
        return []
    return [["tee", TAP], own("subtitle", "--live", "--format", "ndjson")]


def _run(options: Options, inputs: int) -> list[list[str]]:
    """The live chain in one process, of standard input or of so many inputs."""
    from ..measuring.offline import RUN_RAW
    from ..measuring.systems import INPUT, own

    named = [INPUT] * inputs or ["-"]
    target = ["--to", options.to] if options.to else []
    many = ["--jobs", str(inputs)] if inputs > 1 else []
    flags = ("--json", "--live", "--from", options.from_, *target, *many, *_recognition(options, "--transcribe-model"))
    return [own("run", *named, *RUN_RAW, *flags, *shlex.split(options.flags)), *_captions(options)]


def _recognition(options: Options, model: str = "--model") -> tuple[str, ...]:
    return (model, options.model, "--preset", options.preset)


def _references(options: Options, plan: Plan) -> References:
    """Reads the references and makes the offline passes, before anything is timed."""
    from ..measuring import offline
    from ..measuring.report import References
    from ..measuring.scoring import sentence_times
    from ..models import hardware

    lines = offline.read_reference(options.reference) if options.reference else None
    sentences = offline.read_reference(options.translation) if options.translation else None
    if lines is not None and sentences is not None and len(lines) != len(sentences):
        raise UsageError(
            f"{options.translation}: {len(sentences)} lines, and {options.reference} has {len(lines)}; they belong together"
        )
    if options.soak:
        return References(transcript=None)
    if options.words:
        words = offline.read_words(options.words)
    else:
        logger.info("the offline pass")
        words = offline.own_words(plan.samples, ("--from", options.from_, "--transcribe-model", options.model))
    heard = None
    if options.offline_reference:
        logger.info("the faster-whisper pass")
        heard = offline.faster_whisper(plan.samples, options.model, plan.language, hardware.threads())
    times: list[tuple[float, float]] = []
    if lines is not None and sentences is not None:
        given = [(line.start_ms, line.end_ms) for line in lines]
        known = [(float(a), float(b)) for a, b in given if a is not None and b is not None]
        found = [line.reference for line in lines]
        times = known if len(known) == len(lines) else sentence_times(found, words, plan.language)
    return References(
        transcript=" ".join(line.reference for line in lines) if lines is not None else None,
        words=words,
        offline_transcript=heard,
        sentences=[line.reference for line in sentences] if sentences is not None else None,
        times=times,
    )


def _offline_chrf(options: Options, plan: Plan, outcome: Outcome, references: References) -> float | None:
    """chrF of the first stream's final transcript, translated whole in file mode."""
    if not options.offline_translation or references.sentences is None:
        return None
    from ..measuring import offline
    from ..measuring.resegmentation import resegment
    from ..measuring.scoring import bleu_and_chrf

    said = [" ".join(w.text for w in words) for words in outcome.streams[0].listener.transcripts.groups()]
    words = offline.translated([text for text in said if text], plan.language, options.to)
    parts = resegment(words, references.sentences, options.to)
    texts = [" ".join(words[at] for at in part) for part in parts]
    return bleu_and_chrf(texts, references.sentences, options.to)["chrf"]


def _about(options: Options, plan: Plan) -> dict[str, Any]:
    from .. import __version__
    from ..measuring.systems import TAP, name_of

    return {
        "version": __version__,
        "audio": options.audio,
        "audio_s": round(len(plan.samples) / 32_000, 3),
        "language": plan.language,
        "target_language": plan.target_language,
        "system": " | ".join(name_of(one) for one in plan.systems[0] if TAP not in one),
        "streams": options.streams,
        "one_process": options.one_process,
        "speed": plan.speed if plan.speed != float("inf") else None,
        "chunk_ms": plan.chunk_ms,
        "lead_in_s": plan.lead_in_ms / 1000,
        "lead_out_s": plan.lead_out_ms / 1000,
    }


@contextmanager
def _progress() -> Iterator[Reporter]:
    """A bar on stderr where that is a terminal and -q was not given; nothing elsewhere."""
    if not sys.stderr.isatty() or not logger.isEnabledFor(logging.WARNING):
        yield lambda fed, total, lines: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[lines]} lines"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("feeding", lines=0)
        yield lambda fed, total, lines: bars.update(task, completed=fed, total=total, lines=lines)
