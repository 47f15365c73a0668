"""The verbs: one module each, and the one table that help, man pages, completion and the tests are derived from.

A stage module has a docstring (the text of its man page), a frozen dataclass `Options`, and one of

    stage(options) -> Stage              a filter: records in, records out
    source(options) -> Iterator[Record]  a source: no upstream
    command(options, as_text) -> int     a tool that handles no records; prints for a person where `as_text`, else JSON,
                                         and returns the exit status
    command(options, chain) -> code      the chain itself; returns the first error code, or None

A source or filter with `listing(options) -> str | None` has that text printed instead of running, where it is not None;
`report(options, as_text) -> str | None` is the same for one that differs for a person (`as_text`) and a program.
A filter with `alone(options) -> Iterator[Record] | None` reads no records where it is not None: those are its own.
A filter that can write an artefact to standard output has `takes_stdout(options) -> bool`: then no records go there.
A filter whose handlers want to be woken (`sessions.Attentive`) has `attentive(options) -> bool`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Literal


@dataclass(frozen=True)
class Verb:
    """One row of the table."""

    name: str
    kind: Literal["source", "filter", "tool", "chain"]
    summary: str

    def module(self) -> ModuleType:
        """The verb's module; importing it imports no engine."""
        return importlib.import_module(f".{self.name}", __name__)


VERBS: tuple[Verb, ...] = (
    Verb("ingest", "source", "open a file, address or stdin and emit its compressed packets"),
    Verb("normalize", "filter", "decode packets to 16 kHz mono PCM on the source's timeline"),
    Verb("transcribe", "filter", "recognise speech: PCM to transcripts with word times"),
    Verb("translate", "filter", "translate transcripts, a whole sentence at a time"),
    Verb("dub", "filter", "speak translations on the source's times; write an audio track"),
    Verb("subtitle", "filter", "lay text out as readable captions: SRT, VTT, ASS, text or cues"),
    Verb("serve", "filter", "serve a page with live captions to browsers"),
    Verb("mux", "filter", "join picture, sound, speech and captions into mp4, mkv, webm and others"),
    Verb("cast", "filter", "cast a file or the records to Chromecast, AirPlay, DLNA, a browser or mpv"),
    Verb("run", "chain", "the whole chain in one process: input to captions and a dubbed track"),
    Verb("models", "tool", "list, pull, verify, locate and bundle model weights"),
    Verb("bench", "tool", "measure a live system: errors, latency, erasure and load"),
    Verb("doctor", "tool", "report what this machine has and which preset fits it"),
)

BY_NAME = {verb.name: verb for verb in VERBS}
