"""Passes over the whole recording: what live figures are held against.

Word times come from this program's own `transcribe` in file mode, or from a file. The word error rate that live recognition
is compared with is faster-whisper's, sequential, beam 5, on the same samples: run as a process, `python -m
streamlation_cli.measuring.offline MODEL LANGUAGE THREADS < samples`, so that its memory is gone before the live run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from .. import ndjson
from ..errors import DataError, InputMissing, MalformedRecord, StreamlationError, Unavailable
from ..records import Eos, Error, Header, Pcm, StreamRecord, Transcript, Translation, Word
from .hypotheses import Shown
from .systems import own

RAW = ("--format", "s16le", "--rate", "16000", "--channels", "1")
"""How `ingest` is told of the samples it gets."""
RUN_RAW = ("--ingest-format", *RAW[1:])
"""How `run` is."""


def decoded(path: str) -> bytes:
    """A recording as `ingest | normalize` hears it: 16 kHz mono s16le. Raises what those stages report."""
    from ..stages import ingest, normalize

    data = bytearray()
    for record in normalize.stage(normalize.Options())(ingest.source(ingest.Options(input=path))):
        if isinstance(record, Pcm):
            data += record.data
        elif isinstance(record, Error) and record.fatal:
            error = InputMissing if record.code == "no-input" else DataError
            raise error(record.message)
    return bytes(data)


def own_words(samples: bytes, flags: Sequence[str]) -> list[Shown]:
    """The words of this program's own file mode with their times; `flags` are those of `transcribe`."""
    records = _records(own("run", "-", *RUN_RAW, "--json", "--quiet", *flags), samples, "the offline pass")
    return [_shown(word) for r in records if isinstance(r, Transcript) for word in r.words]


def read_words(path: str) -> list[Shown]:
    """Word times from a file: a JSON list of `{"text", "start_ms", "end_ms"}`, an earlier report, or transcript records.

    Raises InputMissing, DataError.
    """
    data = _read(path)
    words: list[Shown] = []
    try:
        found = msgspec.json.decode(data, type=list[_Word] | _Report)
        words = [Shown(w.text, w.start_ms, w.end_ms) for w in (found if isinstance(found, list) else found.words[0])]
    except msgspec.DecodeError as error:
        if data.lstrip().startswith(b"["):
            raise DataError(f"{path}: not a list of words: {error}") from None
        for number, line in enumerate(data.splitlines(), 1):
            try:
                record = ndjson.decode(line, number) if line.strip() else None
            except MalformedRecord as malformed:
                raise DataError(f"{path}: neither a JSON list of words nor records: {malformed.message}") from None
            if isinstance(record, Transcript) and record.final:
                words += [_shown(word) for word in record.words]
    if not words:
        raise DataError(f"{path}: holds no words with times")
    return words


class _Word(msgspec.Struct):
    text: str
    start_ms: int
    end_ms: int


class _Report(msgspec.Struct):
    words: list[list[_Word]]


class Line(msgspec.Struct):
    """A sentence of a reference, with its times where the file gives them."""

    reference: str
    start_ms: int | None = None
    end_ms: int | None = None


def read_reference(path: str) -> list[Line]:
    """A reference: text with a sentence a line, or a JSON list of `{"reference", "start_ms", "end_ms"}`.

    Raises InputMissing, DataError.
    """
    data = _read(path)
    if data.lstrip().startswith(b"["):
        try:
            return msgspec.json.decode(data, type=list[Line])
        except msgspec.DecodeError as error:
            raise DataError(f"{path}: not a list of sentences: {error}") from None
    try:
        return [Line(line.strip()) for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: byte {error.start}") from None


def faster_whisper(samples: bytes, model: str, language: str, threads: int) -> str:
    """The text that faster-whisper's sequential mode hears with beam 5; raises Unavailable where it fails."""
    command = [
        sys.executable, "-P", "-m", "streamlation_cli.measuring.offline", model, language or "auto", str(threads),
    ]  # fmt: skip
    return str(json.loads(_output(command, samples, "the faster-whisper pass")))


def translated(utterances: Sequence[str], language: str, target: str) -> list[str]:
    """The words that this program's `translate` makes of a whole transcript in file mode."""
    session = "bench"
    records: list[Header | Transcript | Eos] = [Header(session, proto=1, source="bench", language=language)]
    for number, text in enumerate(utterances):
        at = number * 1000
        records.append(
            Transcript(session, id=f"u{number}", start_ms=at, end_ms=at + 900, text=text, final=True, language=language)
        )
    stream = b"".join(map(ndjson.encode, [*records, Eos(session)]))
    command = own("translate", "--to", target, "--no-cache", "--json", "--quiet")
    found = _records(command, stream, "the offline translation")
    return [word for r in found if isinstance(r, Translation) for word in r.text.split()]


def _records(command: list[str], stdin: bytes, what: str) -> list[StreamRecord]:
    return [ndjson.decode(line) for line in _output(command, stdin, what).splitlines() if line.strip()]


def _output(command: list[str], stdin: bytes, what: str) -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise Unavailable(f"{what} failed with status {done.returncode}: {lines[-1]}")
    return done.stdout


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputMissing(f"{path}: {error.strerror}") from None


def _shown(word: Word) -> Shown:
    return Shown(word.text, word.start_ms, word.end_ms)


def _main(model: str, language: str, threads: str) -> None:
    from faster_whisper import WhisperModel

    from ..models import store

    samples = np.frombuffer(sys.stdin.buffer.read(), "<i2").astype(np.float32) / 32768
    whisper = WhisperModel(
        str(store.resolve("whisper", model)), device="cpu", compute_type="int8", cpu_threads=int(threads)
    )
    segments, _ = whisper.transcribe(samples, language=None if language == "auto" else language, beam_size=5)
    json.dump(" ".join(segment.text.strip() for segment in segments), sys.stdout)


if __name__ == "__main__":
    try:
        _main(*sys.argv[1:])
    except StreamlationError as error:
        sys.exit(error.message)
    except ImportError:
        sys.exit("faster-whisper is not installed: pip install 'streamlation[asr]'")
