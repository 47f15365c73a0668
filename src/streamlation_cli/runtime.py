"""What every command shares around its stage: the profile, the log, the events file, and how a stage meets stdio."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

from . import filter as filter_
from . import ndjson, stdio
from .artefacts import writing
from .records import Error, Header, StreamRecord, Unknown, ends_session
from .sessions import Records, Stage
from .stages import Verb


def load_profile(name: str | None) -> Mapping[str, Any]:
    """The profile's table: of `name`, else of `$STREAMLATION_PROFILE`, else empty."""
    chosen = name or os.environ.get("STREAMLATION_PROFILE")
    if not chosen:
        return {}
    from . import profiles

    return profiles.load(chosen)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": record.created, "level": record.levelname.lower(), "logger": record.name}
        fields["message"] = record.getMessage()
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.name.replace('.', ' ', 1)}: {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure_logging(common: Mapping[str, Any]) -> None:
    """Messages of the toolkit to stderr: warnings, with -v more, with -q errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if common["log_format"] == "json" else _TextFormatter())
    level = (
        logging.ERROR if common["quiet"] else (logging.WARNING, logging.INFO, logging.DEBUG)[min(common["verbose"], 2)]
    )
    logger = logging.getLogger("streamlation")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)


class Events:
    """`--events FILE|FD`: what the stages say of themselves, written as it happens; nowhere where it was not asked for."""

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._stream: BinaryIO | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if self._target is not None:
            with writing(f"--events {self._target}"):
                number = int(self._target) if self._target.isdigit() else None
                self._stream = open(number if number is not None else self._target, "wb", buffering=0)  # noqa: PTH123
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()

    def __call__(self, stage: str, record: StreamRecord) -> None:
        if self._stream is None or isinstance(record, Unknown) or not filter_.is_status(stage, record):
            return
        with self._lock, writing(f"--events {self._target}"):
            self._stream.write(ndjson.encode(record))


@dataclass(frozen=True)
class Chain:
    """What `run` needs beside its options."""

    profile: Mapping[str, Any]
    events: Events
    output_form: str | None
    quiet: bool

    @property
    def as_text(self) -> bool:
        """Whether records on standard output are for a person."""
        return wants_text(self.output_form)


def wants_text(output_form: str | None) -> bool:
    """`--text` or `--json` where given, else whether standard output is a terminal."""
    return output_form == "text" or (output_form is None and stdio.stdout_is_terminal())


def interruptible(records: Iterator[StreamRecord], name: str) -> Records:
    """A source's records until a signal asks for the end: then a fatal error for each session that is open."""
    open_sessions: dict[str, None] = {}
    try:
        for record in records:
            if isinstance(record, Header):
                open_sessions[record.session] = None
            elif ends_session(record):
                open_sessions.pop(record.session, None)
            yield record
            if stdio.interrupt_requested():
                break
        else:
            return
    except stdio.Interrupted:
        pass
    code = stdio.interrupt_requested() or "interrupted"
    for session in open_sessions:
        yield Error(session, stage=name, code=code, message=code, fatal=True)


def run_stage(verb: Verb, options: Any, events: Events, output_form: str | None) -> str | None:
    """Runs one source or filter between stdin and stdout; returns the first error code, or None."""
    module = verb.module()
    listing = getattr(module, "listing", lambda _: None)(options)
    if listing is None:
        listing = getattr(module, "report", lambda *_: None)(options, wants_text(output_form))
    if listing is not None:
        stdio.stdout().write(f"{listing.rstrip()}\n".encode() if listing else b"")
        stdio.stdout().flush()
        return None
    takes_stdout = bool(getattr(module, "takes_stdout", lambda _: False)(options))
    upstream = None
    stage: Stage
    own = module.source(options) if verb.kind == "source" else getattr(module, "alone", lambda _: None)(options)
    if own is not None:
        source = interruptible(own, verb.name)
        stage = lambda _: source  # noqa: E731
    else:
        stage = module.stage(options)
        upstream = stdio.stdin()
    return filter_.run(
        verb.name,
        stage,
        upstream=upstream,
        records_out=not takes_stdout,
        as_text=wants_text(output_form),
        events=events,
        attentive=bool(getattr(module, "attentive", lambda _: False)(options)),
    )
