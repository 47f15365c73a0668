"""`transcribe` against faster-whisper, in one run: throughput, word errors per language, peak memory.

    python tools/bench_transcribe.py [--json FILE] [--rounds 3]

The short recordings are heard three times, also a little slower and faster: one of each language has too few words for a rate.

Three programs hear the same samples with the same weights (Whisper base, int8) and as many threads: the `transcribe` stage, fed with
`pcm` records; faster-whisper's batched pipeline (batch 8, beam 1); faster-whisper's sequential mode (beam 5). Each runs in
a process of its own, the first two in turn; loading the model is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT.parent / "shared" / "speech"
LANGUAGES = ("en", "pt", "es", "de", "fr")
THREADS = 2
SPEEDS = (0.97, 1.03)
"""The short recordings are heard at these speeds too."""
MOST_MIB = 600e6 / 2**20
CHUNK = 16_000
"""Samples a `pcm` record."""

Samples16 = npt.NDArray[np.int16]
Transcriber = Callable[[Samples16, str], str]


@dataclass(frozen=True)
class Recording:
    """One file to recognise."""

    name: str
    path: Path
    language: str
    reference: str
    long: bool
    """Long enough to count for throughput."""
    speed: float = 1.0
    """How many times as fast it is played."""


def recordings() -> list[Recording]:
    """Those of `../shared/speech`; the bundled talk where they are absent."""
    manifest = SPEECH / "manifest.json"
    if not manifest.is_file():
        audio = ROOT / "testdata" / "audio"
        text = (audio / "talk_en_60s.txt").read_text("utf-8")
        return [Recording("talk_en_60s", audio / "talk_en_60s.opus", "en", text, True)]
    chosen = []
    for entry in json.loads(manifest.read_text("utf-8")):
        folder = entry["path"].split("/")[0]
        if entry["reference"] and folder in ("long", *LANGUAGES):
            path = SPEECH / entry["path"]
            recording = Recording(entry["path"], path, entry["language"], entry["reference"], folder == "long")
            speeds = () if recording.long else SPEEDS
            chosen += [recording, *(replace(recording, name=f"{recording.name} ×{s}", speed=s) for s in speeds)]
    return chosen


def played(samples: Samples16, speed: float) -> Samples16:
    """The samples at another speed (and pitch), still 16 kHz.

    >>> len(played(np.zeros(16_000, np.int16), 1.25))
    12800
    """
    import av

    resampler = av.AudioResampler("s16", "mono", 16_000)
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = round(16_000 * speed)
    return np.concatenate([part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))])


def decoded(path: Path) -> Samples16:
    """A file as `ingest | normalize` hears it."""
    from streamlation_cli.records import Pcm
    from streamlation_cli.stages import ingest, normalize

    records = normalize.stage(normalize.Options())(ingest.source(ingest.Options(input=str(path))))
    data = b"".join(record.data for record in records if isinstance(record, Pcm))
    return np.frombuffer(data, "<i2").astype(np.int16)


def normalized(text: str) -> str:
    """Lower case, no punctuation, single spaces: what words are compared by.

    >>> normalized("Não, I'm “fine”.")
    "não i'm fine"
    """
    folded = unicodedata.normalize("NFKC", text.lower()).replace("’", "'")
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in folded).split())


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """Errors, and words of the reference."""
    import jiwer

    wanted = normalized(reference)
    result = jiwer.process_words(wanted, normalized(heard))
    return result.substitutions + result.deletions + result.insertions, len(wanted.split())


# ---- the three programs ----------------------------------------------------------------------------------------------


def ours(model: str) -> Transcriber:
    """The `transcribe` stage."""
    from streamlation_cli import transcribing
    from streamlation_cli.records import Eos, Header, Pcm, StreamRecord, Transcript
    from streamlation_cli.stages import transcribe

    options = transcribe.Options(model=model, device="cpu", threads=THREADS)
    transcribing.open_engine(options)

    def records(samples: Samples16, language: str) -> Iterator[StreamRecord]:
        yield Header("bench", proto=1, source="bench", language=language)
        for seq, at in enumerate(range(0, len(samples), CHUNK)):
            data = samples[at : at + CHUNK]
            yield Pcm(
                "bench", seq=seq, start_ms=at // 16, end_ms=(at + len(data)) // 16,
                rms_dbfs=-20.0, peak_dbfs=-3.0, data=data.astype("<i2").tobytes(),
            )  # fmt: skip
        yield Eos("bench")

    def transcriber(samples: Samples16, language: str) -> str:
        stage = transcribe.stage(options)
        return " ".join(r.text for r in stage(records(samples, language)) if isinstance(r, Transcript))

    return transcriber


def _faster_whisper(model: str) -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=THREADS)


def batched(model: str) -> Transcriber:
    """faster-whisper's batched pipeline."""
    from faster_whisper import BatchedInferencePipeline

    pipeline = BatchedInferencePipeline(_faster_whisper(model))

    def transcriber(samples: Samples16, language: str) -> str:
        audio = samples.astype(np.float32) / 32768
        return " ".join(s.text for s in pipeline.transcribe(audio, language=language, batch_size=8, beam_size=1)[0])

    return transcriber


def sequential(model: str) -> Transcriber:
    """faster-whisper as it is by default."""
    whisper = _faster_whisper(model)

    def transcriber(samples: Samples16, language: str) -> str:
        audio = samples.astype(np.float32) / 32768
        return " ".join(s.text for s in whisper.transcribe(audio, language=language, beam_size=5)[0])

    return transcriber


PROGRAMS: dict[str, Callable[[str], Transcriber]] = {"ours": ours, "batched": batched, "sequential": sequential}


def worker(program: str, model: str, folder: Path) -> None:
    """Recognises everything in `folder` after a warm-up; prints texts, seconds and peak memory as JSON."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    transcriber = PROGRAMS[program](model)
    transcriber(np.load(folder / plan[0]["file"])[: 10 * 16_000], plan[0]["language"])
    results = []
    for entry in plan:
        samples = np.load(folder / entry["file"])
        wall, cpu = time.perf_counter(), time.process_time()
        text = transcriber(samples, entry["language"])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        results.append({"name": entry["name"], "text": text, "wall_s": wall, "cpu_s": cpu})
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"results": results, "peak_mib": peak_mib}, sys.stdout)


# ---- the comparison --------------------------------------------------------------------------------------------------


def prepare(chosen: Sequence[Recording], folder: Path) -> float:
    """Decodes the recordings into `folder`; returns the seconds of the long ones."""
    plan = []
    seconds = 0.0
    for index, recording in enumerate(chosen):
        samples = decoded(recording.path)
        if recording.speed != 1:
            samples = played(samples, recording.speed)
        np.save(folder / f"{index}.npy", samples)
        plan.append({"name": recording.name, "file": f"{index}.npy", "language": recording.language})
        seconds += len(samples) / 16_000 if recording.long else 0.0
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
    return seconds


def run_worker(program: str, model: str, folder: Path) -> dict[str, Any]:
    """What `worker` prints, from a process of its own."""
    command = [sys.executable, __file__, "--worker", program, "--model", model, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(folder: Path, rounds: int = 3, model: str = "base") -> dict[str, Any]:
    """All figures: per program the word errors, the seconds for the long recordings and the peak memory."""
    from streamlation_cli.models import store

    weights = str(store.resolve("whisper", model))
    chosen = recordings()
    seconds = prepare(chosen, folder)
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "batched": []}
    for _ in range(rounds):
        for program in runs:
            runs[program].append(run_worker(program, weights, folder))
    runs["sequential"] = [run_worker("sequential", weights, folder)]
    long = {recording.name for recording in chosen if recording.long}
    words: Counter[str] = Counter()
    for recording in chosen:
        words[recording.language] += len(normalized(recording.reference).split())
    # A plain dict: `asdict` cannot copy a Counter.
    figures: dict[str, Any] = {"long_seconds": seconds, "words": dict(words), "programs": {}}
    for program, done in runs.items():
        figures["programs"][program] = {
            "wall_s": [sum(r["wall_s"] for r in run["results"] if r["name"] in long) for run in done],
            "cpu_s": [sum(r["cpu_s"] for r in run["results"] if r["name"] in long) for run in done],
            "peak_mib": max(run["peak_mib"] for run in done),
            "wer": _error_rates(chosen, done[0]["results"]),
            "texts": {r["name"]: r["text"] for r in done[0]["results"]},
        }
    walls = [figures["programs"][program]["wall_s"] for program in ("batched", "ours")]
    figures["throughput_ratio"] = statistics.median(theirs / mine for theirs, mine in zip(*walls, strict=True))
    return figures


def _error_rates(chosen: Sequence[Recording], results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Language → word error rate in percent, all its recordings together."""
    counted: dict[str, list[tuple[int, int]]] = {}
    for recording, result in zip(chosen, results, strict=True):
        counted.setdefault(recording.language, []).append(word_errors(recording.reference, result["text"]))
    return {
        language: 100 * sum(errors for errors, _ in pairs) / sum(words for _, words in pairs)
        for language, pairs in counted.items()
    }


def rows(folder: Path, rounds: int = 3) -> list[dict[str, Any]]:
    """The lines for the table of `bench.py`: what, measured, must_reach, reached, figures."""
    figures = compare(folder, rounds)
    programs = figures["programs"]
    ratio = figures["throughput_ratio"]
    speed = figures["long_seconds"] / statistics.median(programs["ours"]["wall_s"])
    table = [
        {
            "what": "transcribe against faster-whisper batched",
            "measured": f"{ratio:.2f}× its throughput ({speed:.0f}× real time)",
            "must_reach": "≥ 1.5×",
            "reached": ratio >= 1.5,
            "figures": figures,
        }
    ]
    for language, rate in programs["ours"]["wer"].items():
        others = {name: programs[name]["wer"][language] for name in ("sequential", "batched")}
        table.append(
            {
                "what": f"word error rate, {language}, {figures['words'][language]} words",
                "measured": f"{rate:.1f} % (batched {others['batched']:.1f} %)",
                "must_reach": f"≤ sequential {others['sequential']:.1f} % + 0.5",
                "reached": rate <= others["sequential"] + 0.5,
                "figures": {"ours": rate, **others},
            }
        )
    peaks = {name: programs[name]["peak_mib"] for name in programs}
    table.append(
        {
            "what": "peak memory of transcribe",
            "measured": f"{peaks['ours']:.0f} MiB (batched {peaks['batched']:.0f} MiB)",
            "must_reach": f"≤ {MOST_MIB:.0f} MiB (600 MB)",
            "reached": peaks["ours"] <= MOST_MIB,
            "figures": peaks,
        }
    )
    return table


def main() -> int:
    """Prints the table; the exit status is 0 whatever was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", choices=sorted(PROGRAMS), help=argparse.SUPPRESS)
    parser.add_argument("--model", default="base", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.model, arguments.folder)
        return 0
    with tempfile.TemporaryDirectory() as name:
        table = rows(Path(name), arguments.rounds)
    for row in table:
        mark = "reached" if row["reached"] else "MISSED"
        print(f"{mark:7}  {row['what']:45}  {row['measured']:36}  {row['must_reach']}")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
