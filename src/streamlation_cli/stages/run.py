"""Runs the whole chain in one process: input to captions and a dubbed track.

The same stages as the pipe `ingest | normalize | transcribe | translate | dub | subtitle | mux`, a thread each with bounded
queues between them, and the same bytes out. The extension of each `-o` says what is written: srt, vtt, ass and txt
are captions, wav, flac, m4a, mp3 and opus the dubbed track, mp4, mkv, webm, mov, m4v, ts and mka the original with the dubbed track
and captions in it (see `mux`), m3u8 the same as HLS, ndjson the records. Without `--to` the captions are in the
spoken language; without `-o` the records go to standard output. With `--live` a terminal shows what is said, its translation and
how late they are, in place.

Several inputs need `{session}` in each `-o`; it stands for the input's name without folder and extension. One that
fails does not stop the others, and shows in the exit status. With `--live` they are all worked on at once and share the loaded
models.

Every flag of a stage is a flag here. Where two stages have one of the same name it carries the stage's:
`--transcribe-model`, `--translate-engine`, `--dub-engine`.

Examples:

\b
  streamlation run talk.mp4 --to pt -o talk.pt.srt -o talk.pt.wav
  streamlation run talk.mp4 --to pt -o talk.pt.mp4
  streamlation run *.mp3 --to es -o '{session}.es.vtt'
  streamlation run rtmp://localhost/live/key --live --to pt
  streamlation run rtmp://localhost/live/key --live --to pt --serve
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import pipeline, stdio
from ..artefacts import STDOUT, Artefact, Targets
from ..captions.settings import FORMATS
from ..errors import OutputFailed, UsageError
from ..filter import Outcome, encode, write
from ..options import Flag, argument, flags_of, key_of, option, settings
from ..progress import Progress
from ..records import Eos, Error, Header, StreamRecord, ends_session
from ..runtime import Chain, interruptible
from ..sessions import Records, Stage, by_session
from ..view import View
from . import BY_NAME

CHAIN = ("ingest", "normalize", "transcribe", "translate", "dub", "subtitle", "mux", "serve")
"""The stages in the order records go through them."""

AUDIO = ("wav", "flac", "m4a", "mp3", "opus")
MEDIA = ("mp4", "mkv", "webm", "mov", "m4v", "ts", "mka", "m3u8")
RECORDS = ("ndjson", "jsonl")

_OWN = {"--output", "--session", "--keep-packets", "--keep-audio", "--pairs", "--voices"}
"""Flags of stages that `run` sets itself or that make no sense here."""


@dataclass(frozen=True, kw_only=True)
class _OwnOptions:
    inputs: tuple[str, ...] = argument("INPUT...", (), repeatable=True, help="files or addresses")
    output: tuple[str, ...] = option(
        "--output",
        (),
        short="-o",
        repeatable=True,
        metavar="FILE",
        help="what to write; the extension decides; - is stdout",
    )
    serve: bool = option("--serve", False, help="serve a page with the live captions (see `serve`)")
    jobs: int = option(
        "--jobs", 1, minimum=1, maximum=64, help="inputs worked on side by side, sharing each loaded model"
    )


def _stage_flags() -> dict[str, tuple[Flag, list[tuple[str, str]]]]:
    """Field of `run` → its flag and the (stage, field) it sets."""
    uses = [
        (stage, field, flag)
        for stage in CHAIN
        for field, flag in flags_of(BY_NAME[stage].module().Options).items()
        if not flag.positional and flag.name not in _OWN
    ]
    count = Counter(flag.name for _, _, flag in uses)
    fields: dict[str, tuple[Flag, list[tuple[str, str]]]] = {}
    for stage, field, flag in uses:
        if count[flag.name] > 1 and not flag.shared:
            flag = dataclasses.replace(flag, name=f"--{stage}-{flag.name[2:]}", short="")
        _, targets = fields.setdefault(f"{key_of(flag)}_", (flag, []))
        targets.append((stage, field))
    return fields


STAGE_FLAGS = _stage_flags()

Options = dataclasses.make_dataclass(
    "Options",
    [(name, Any, dataclasses.field(default=None, metadata={"flag": flag})) for name, (flag, _) in STAGE_FLAGS.items()],
    bases=(_OwnOptions,),
    frozen=True,
    kw_only=True,
)
"""The options of `run` itself and those of every stage; None where a stage's own setting or default holds."""


def command(options: Any, chain: Chain) -> str | None:
    """Runs the chain over every input; returns the first error code, or None."""
    outputs = _Outputs(options)
    refused: dict[str, Error] = {}
    stages, live = _stages(options, chain, outputs, refused)
    names = [name for name, _ in stages]
    outcome = Outcome()
    to_person = chain.as_text and STDOUT not in outputs.captions
    watched = live and to_person and stdio.stdout_is_terminal()
    show = sys.stderr.isatty() and not chain.quiet and not watched and not (outputs.records_to_stdout and chain.as_text)
    with Progress(names, chain.events, show=show) as progress, contextlib.ExitStack() as stack:
        view = stack.enter_context(View(stdio.stdout())) if watched else None
        for record in pipeline.run((), stages, observe=progress):
            outcome.see(record)
            if isinstance(record, Error) and record.fatal and record.code in outputs.ends_it:
                refused.setdefault(record.session, record)
            if view is not None:
                view.see(record)
            elif outputs.records_to_stdout:
                write(record, as_text=chain.as_text)
    return outcome.code


class _Outputs:
    """The `-o` options, sorted by what their extension asks for."""

    def __init__(self, options: Any) -> None:
        if not options.inputs:
            raise UsageError("run: no input; name at least one file or address")
        self.captions: list[str] = []
        self.audio: list[str] = []
        self.media: list[str] = []
        self.records: list[str] = []
        for name in options.output:
            self._kind(name).append(name)
            if len(options.inputs) > 1 and "{session}" not in name:
                raise UsageError(f"-o {name}: with several inputs each output needs {{session}} in its name")
        self.records_to_stdout = not options.output
        only = len(set(options.output)) == 1 and not options.serve
        self.ends_it = (UsageError.code, OutputFailed.code) if only else (UsageError.code,)
        """Errors after which nobody takes what a session would still give; another output goes on where one fails."""

    def _kind(self, name: str) -> list[str]:
        if name == STDOUT:
            return self.captions
        extension = Path(name).suffix.lower().lstrip(".")
        kinds = ((FORMATS, self.captions), (AUDIO, self.audio), (MEDIA, self.media), (RECORDS, self.records))
        for extensions, kind in kinds:
            if extension in extensions:
                return kind
        known = ", ".join(FORMATS + AUDIO + MEDIA + RECORDS)
        raise UsageError(f"-o {name}: the extension says what to write, and it must be one of {known}")


def _stages(
    options: Any, chain: Chain, outputs: _Outputs, refused: Mapping[str, Error]
) -> tuple[list[tuple[str, Stage]], bool]:
    """The stages that the options ask for, with their names; and whether they work while people speak.

    Sessions that are, or come to be, `refused` are read no further.
    """
    given: dict[str, dict[str, Any]] = {stage: {} for stage in CHAIN}
    for name, (_, targets) in STAGE_FLAGS.items():
        value = getattr(options, name)
        if value is not None:
            for stage, field in targets:
                given[stage][field] = value
    of = {stage: settings(stage, BY_NAME[stage].module().Options, given[stage], chain.profile) for stage in CHAIN}
    of["subtitle"] = dataclasses.replace(of["subtitle"], output=tuple(outputs.captions))
    of["mux"] = dataclasses.replace(of["mux"], output=tuple(outputs.media))
    # Without a file of its own `dub` mixes nothing: `mux` does.
    of["dub"] = dataclasses.replace(
        of["dub"], output=tuple(outputs.audio), mix=of["dub"].mix if outputs.audio else "replace"
    )
    plays = options.serve and not of["serve"].captions_only
    if outputs.media or plays:
        of["ingest"] = dataclasses.replace(of["ingest"], video=True)
        of["normalize"] = dataclasses.replace(of["normalize"], keep_packets=True)
    if outputs.audio and of["dub"].mix != "replace":
        of["normalize"] = dataclasses.replace(of["normalize"], keep_packets=True)

    ingest = BY_NAME["ingest"].module()
    sources = [
        until_refused(
            interruptible(ingest.source(dataclasses.replace(of["ingest"], input=name, session=session)), "ingest"),
            refused,
        )
        for name, session in zip(options.inputs, session_names(options.inputs), strict=True)
    ]
    live = of["transcribe"].live
    chosen = ["normalize", "transcribe"]
    chosen += ["translate"] if of["translate"].to else []
    chosen += ["dub"] if outputs.audio or ((outputs.media or plays) and of["translate"].to) else []
    chosen += ["subtitle"] if outputs.captions else []
    chosen += ["mux"] if outputs.media else []
    chosen += ["serve"] if options.serve else []
    stages: list[tuple[str, Stage]] = [
        ("ingest", lambda _: merge_live(sources) if live else merge(sources, options.jobs))
    ]
    stages += [(name, BY_NAME[name].module().stage(of[name])) for name in chosen]
    stages += [("records", record_log(name)) for name in outputs.records]
    return stages, live


def session_names(inputs: Sequence[str]) -> list[str]:
    """A name for each input, from its last path segment; the second of the same name gets a number.

    >>> session_names(["a/talk.mp3", "b/talk.wav", "-"])
    ['talk', 'talk-2', 'stdin']
    """
    names: list[str] = []
    for name in inputs:
        stem = "stdin" if name == STDOUT else Path(name.split("?")[0].rstrip("/")).stem or "input"
        candidate, number = stem, 1
        while candidate in names:
            number += 1
            candidate = f"{stem}-{number}"
        names.append(candidate)
    return names


def until_refused(source: Records, refused: Mapping[str, Error]) -> Records:
    """The source's records until a stage downstream refuses its session: nothing is to be worked on of what nobody takes."""
    try:
        for record in source:
            if record.session in refused:
                yield refused[record.session]
                return
            yield record
    finally:
        source.close()


def merge(sources: Iterable[Records], jobs: int) -> Records:
    """The records of all sources, `jobs` sources at a time, a record from each in turn."""
    waiting = deque(sources)
    active: deque[Iterator[StreamRecord]] = deque()
    while waiting or active:
        while waiting and len(active) < jobs and not stdio.interrupt_requested():
            active.append(waiting.popleft())
        if not active:
            return
        source = active.popleft()
        record = next(source, None)
        if record is not None:
            yield record
            active.append(source)


def merge_live(sources: Sequence[Records]) -> Records:
    """The records of all sources as they come, a thread a source: one that is silent does not hold up the others."""
    if len(sources) == 1:
        yield from sources[0]
        return
    channel = pipeline.Channel()
    left = len(sources)
    lock = threading.Lock()

    def forward(source: Records) -> None:
        nonlocal left
        try:
            for record in source:
                channel.put(record)
        except pipeline.Cancelled:
            pass  # nobody reads any more
        finally:
            source.close()
            with lock:
                left -= 1
                if not left:
                    channel.end()

    threads = [threading.Thread(target=forward, args=(source,), name="source", daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    try:
        yield from channel
    finally:
        channel.cancel()
        for thread in threads:
            thread.join()


def record_log(target: str) -> Stage:
    """Writes every record that passes to a file, one file a session where the name says `{session}`."""
    targets = Targets(target)

    class Log:
        def __init__(self, header: Header) -> None:
            self._artefact = Artefact(targets.of(header.session))

        def feed(self, record: StreamRecord) -> Iterable[StreamRecord]:
            self._artefact.write(encode(record))
            return (record,)

        def finish(self, end: Eos | Error) -> Iterable[StreamRecord]:
            assert ends_session(end)
            self._artefact.write(encode(end))
            if isinstance(end, Eos):
                self._artefact.commit()
            else:
                self._artefact.abandon()
            return ()

    return by_session("records", Log)
