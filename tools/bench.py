"""Speed and memory, as ratios measured in one run: prints a table and writes JSON.

    python tools/bench.py [--json FILE] [--rounds 3] [--quick] [--audio FILE] [--only NAME…]

Machines are noisy, so commands that are compared run in turn, A B A B …, and the ratio of each pair counts; the
median of those ratios is what is judged. `run`, its stages and the pipe work on five minutes of
`../shared/speech/long/en-long-dev.flac` (the bundled talk where that is absent), played over and over; nothing is cached, so
that what is heard again is worked on again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = str(Path(sysconfig.get_path("scripts")) / "streamlation")
LANGUAGES = ("--from", "en")
TARGET = ("--to", "pt", "--no-cache")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    must_reach: str
    reached: bool
    figures: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One finished process (or pipe of processes)."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    """Largest resident size of one process."""


def measure(command: Sequence[str] | str, *, stdin: Path | None = None, stdout: Path | None = None) -> Run:
    """Runs a command (a string goes through bash) with an empty cache; raises SystemExit with its stderr where it fails."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile() as errors:
        shell = ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else list(command)
        source = (stdin or Path(os.devnull)).open("rb")
        target = (stdout or Path(os.devnull)).open("wb")
        started = time.perf_counter()
        with source, target:
            process = subprocess.Popen(
                shell, stdin=source, stdout=target, stderr=errors, env={**os.environ, "STREAMLATION_CACHE_DIR": cache}
            )
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{command}: exit {process.returncode}\n{errors.read().decode()}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def paired(rounds: int, first: Callable[[], Run], second: Callable[[], Run]) -> tuple[list[Run], list[Run], float]:
    """Both, in turn, `rounds` times after a warm-up of each; and the median ratio of wall times, first over second."""
    first()
    second()
    pairs = [(first(), second()) for _ in range(rounds)]
    ratio = statistics.median(a.wall_s / b.wall_s for a, b in pairs)
    return [a for a, _ in pairs], [b for _, b in pairs], ratio


def looped(audio: Path, seconds: float, target: Path) -> float:
    """Writes `audio` over and over as Opus until it is `seconds` long; returns the length in seconds.

    It is encoded once; the packets are what is repeated.
    """
    import av

    with av.open(str(target), "w", format="ogg") as out:
        stream = out.add_stream("libopus", rate=48_000, layout="mono", bit_rate=32_000)
        resampler = av.AudioResampler("flt", "mono", 48_000, frame_size=960)
        with av.open(str(audio)) as source:
            frames = [frame for raw in source.decode(audio=0) for frame in resampler.resample(raw)]
        packets = []
        for number, frame in enumerate(frames):
            frame.pts = number * 960
            packets += [bytes(packet) for packet in stream.encode(frame)]
        length = round(seconds * 50)
        for number in range(length):
            packet = av.Packet(packets[number % len(packets)])
            packet.stream = stream
            packet.time_base = Fraction(1, 48_000)
            packet.pts = packet.dts = number * 960
            packet.duration = 960
            out.mux(packet)
    return length / 50


class Bench:
    """The measurements; each method is one row."""

    def __init__(self, folder: Path, audio: Path, rounds: int) -> None:
        self._folder = folder
        self._audio = audio
        self._rounds = rounds

    def _out(self, name: str) -> Path:
        return self._folder / name

    def help(self) -> Row:
        """`--help` of the program and of every verb."""
        from streamlation_cli.stages import VERBS

        times = {}
        for arguments in ([], *([verb.name] for verb in VERBS)):
            runs = [measure([PROGRAM, *arguments, "--help"]) for _ in range(self._rounds + 1)]
            times[" ".join(arguments) or "streamlation"] = statistics.median(run.wall_s for run in runs)
        slowest = max(times, key=lambda name: times[name])
        return Row(
            "--help, the slowest verb", f"{times[slowest]:.2f} s ({slowest})", "≤ 0.2 s", times[slowest] <= 0.2, times
        )

    def normalize(self) -> Row:
        """`normalize` alone, start-up included, on half an hour."""
        seconds = looped(self._audio, 1800, self._out("half-hour.opus"))
        packets = self._out("packets.ndjson")
        measure([PROGRAM, "ingest", str(self._out("half-hour.opus"))], stdout=packets)
        runs = [measure([PROGRAM, "normalize"], stdin=packets, stdout=Path(os.devnull)) for _ in range(self._rounds)]
        speed = seconds / statistics.median(run.wall_s for run in runs)
        figures = {"seconds": seconds, "runs": [asdict(run) for run in runs]}
        return Row("normalize alone", f"{speed:.0f}× real time", "≥ 300×", speed >= 300, figures)

    def run_against_slowest_stage(self) -> Row:
        """`run` with captions and a dub against the slowest of its stages fed from a file."""
        stages = [
            ("ingest", ["ingest", str(self._audio), *LANGUAGES]),
            ("normalize", ["normalize"]),
            ("transcribe", ["transcribe", *LANGUAGES]),
            ("translate", ["translate", *TARGET]),
            ("dub", ["dub", "--no-cache", "-o", str(self._out("alone.wav"))]),
            ("subtitle", ["subtitle", "-o", str(self._out("alone.srt"))]),
        ]
        walls = {}
        upstream: Path | None = None
        inputs: dict[str, Path | None] = {}
        for name, arguments in stages:
            inputs[name] = upstream
            output = self._out(f"{name}.ndjson")
            walls[name] = measure([PROGRAM, *arguments], stdin=upstream, stdout=output).wall_s
            upstream = output
        slowest = max(walls, key=lambda name: walls[name])
        alone = [PROGRAM, *dict(stages)[slowest]]
        whole, single, ratio = paired(
            self._rounds,
            lambda: measure(self._run_command("run")),
            lambda: measure(alone, stdin=inputs[slowest]),
        )
        figures = {
            "stages": walls,
            "run": [asdict(r) for r in whole],
            "slowest": [asdict(r) for r in single],
            "ratio": ratio,
        }
        return Row(f"run with captions and dub / {slowest} alone", f"{ratio:.2f}×", "≤ 1.15×", ratio <= 1.15, figures)

    def _run_command(self, stem: str) -> list[str]:
        outputs = [word for suffix in ("srt", "wav") for word in ("-o", str(self._out(f"{stem}.{suffix}")))]
        return [PROGRAM, "run", str(self._audio), *LANGUAGES, *TARGET, *outputs]

    def pipe_against_run(self) -> Row:
        """Six processes against one, and their outputs byte for byte."""
        said, to = " ".join(LANGUAGES), " ".join(TARGET)
        stages = (
            f"ingest '{self._audio}' {said}",
            "normalize",
            f"transcribe {said}",
            f"translate {to}",
            f"dub --no-cache -o '{self._out('pipe.wav')}'",
            f"subtitle -o '{self._out('pipe.srt')}'",
        )
        pipe = " | ".join(f"{PROGRAM} {stage}" for stage in stages)
        piped, whole, ratio = paired(self._rounds, lambda: measure(pipe), lambda: measure(self._run_command("run")))
        same = all(self._out(f"pipe.{s}").read_bytes() == self._out(f"run.{s}").read_bytes() for s in ("srt", "wav"))
        figures = {
            "pipe": [asdict(r) for r in piped],
            "run": [asdict(r) for r in whole],
            "ratio": ratio,
            "same_bytes": same,
        }
        measured = f"{ratio:.2f}×, {'same' if same else 'different'} bytes"
        return Row("six-process pipe / run", measured, "≤ 1.10×, same bytes", ratio <= 1.10 and same, figures)

    def memory(self) -> Row:
        """Peak memory of `run` with captions and dub: three hours against ten minutes."""
        peaks = {}
        for name, seconds in (("10 min", 600), ("3 h", 10_800)):
            audio = self._out("looped.opus")
            looped(self._audio, seconds, audio)
            command = [PROGRAM, "run", str(audio), *LANGUAGES, *TARGET]
            peaks[name] = measure([*command, "-o", str(self._out("m.srt")), "-o", str(self._out("m.wav"))]).peak_mib
        growth = peaks["3 h"] / peaks["10 min"] - 1
        measured = f"{growth:+.0%} ({peaks['10 min']:.0f} → {peaks['3 h']:.0f} MiB)"
        return Row("peak memory of run, 3 h against 10 min", measured, "≤ +10 %", growth <= 0.10, peaks)

    def glass(self) -> Row:
        """Three published streams, their translations on the page in Chromium."""
        import bench_glass

        audio = ROOT.parent / "shared" / "speech" / "long" / "en-long-dev.flac"
        audio = audio if audio.is_file() else ROOT / "testdata" / "audio" / "talk_en_60s.opus"
        measured = bench_glass.measure(audio, 3, "en", "pt")
        figures = {**measured, **bench_glass.figures(measured)}
        shown = (
            f"{figures['p95_s']:.2f} s (p50 {figures['p50_s']:.2f}, {measured['seen']} of {measured['words']} words)"
        )
        return Row("RTMP to the page, 3 streams, caption latency p95", shown, "< 5 s", figures["p95_s"] < 5, figures)

    def full_page(self) -> list[Row]:
        """A published film with its dubbed voice on the page in Chromium: captions at once, and captions with the picture."""
        import bench_glass

        audio = ROOT.parent / "shared" / "speech" / "long" / "en-long-dev.flac"
        audio = audio if audio.is_file() else ROOT / "testdata" / "audio" / "talk_en_60s.opus"
        measured = bench_glass.measure(audio, 1, "en", "pt", full=True)
        with_picture, at_once = (bench_glass.figures({"lags_s": [lags]}) for lags in measured["lags_s"])
        soon = f"{at_once['p95_s']:.2f} s (p50 {at_once['p50_s']:.2f})"
        later = f"{with_picture['p95_s']:.2f} s (p50 {with_picture['p50_s']:.2f})"
        return [
            Row("RTMP to the full page, captions at once p95", soon, "< 5 s", at_once["p95_s"] < 5, measured),
            # They are as late as the voice, for which the picture waits; nothing is promised of that.
            Row(
                "RTMP to the full page, captions with the picture", later, "(as late as the voice)", True, with_picture
            ),
        ]

    def mux(self) -> Row:
        """`mux` alone, start-up included: a film whose picture is copied, from its records to an MP4."""
        import bench_mux

        figures = bench_mux.figures(self._folder, self._audio, self._rounds)
        speed = figures["speed"]
        return Row("mux alone, copied picture", f"{speed:.0f}× real time", "≥ 50×", speed >= 50, figures)

    def packager(self) -> Row:
        """What was said is in the live playlist so much later than the chain had it, less the length of a segment."""
        import bench_packager

        figures = bench_packager.figures(self._folder, self._audio)
        chain, playlist = figures["needed"]["max_s"], figures["published"]["max_s"]
        shown = f"{figures['added_s']:+.2f} s (chain {chain:.2f}, playlist {playlist:.2f}; p95 {figures['added_p95_s']:+.2f} s)"
        return Row("live HLS adds to the chain, beyond a segment", shown, "≤ 1 s", figures["added_s"] <= 1, figures)

    def replay(self) -> list[Row]:
        """Memory of a file's and of live HLS' `mux` over three hours of packets, replayed as fast as they are taken."""
        import bench_replay

        figures = bench_replay.figures(self._folder, self._audio)
        growth = {name: figures["growth"][name] for name in ("Matroska", "packager")}
        mib = figures["mib_by_third"]
        parts = [f"{name} {growth[name]:+.0%} ({mib[name][0]:.0f} → {mib[name][-1]:.0f} MiB)" for name in growth]
        what = f"memory of mux, third hour against first, at {figures['speed']:.0f}×"
        hourly, size = figures["mp4_mib_per_hour"], mib["MP4"][-1]
        return [
            Row(what, ", ".join(parts), "≤ +10 %", max(growth.values()) <= 0.10, figures),
            Row(
                "index of an MP4 in memory",
                f"{hourly:.0f} MiB an hour ({size:.0f} in all)",
                "≤ 40 MiB an hour",
                hourly <= 40,
                {},
            ),
        ]

    def transcribe(self) -> list[Row]:
        """Throughput, errors and memory of `transcribe` against faster-whisper."""
        import bench_transcribe

        return [Row(**row) for row in bench_transcribe.rows(self._folder)]


def main() -> int:
    """Runs the benchmark; the exit status is 0 whatever was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="leave out what lasts three hours")
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        audio = arguments.audio or ROOT.parent / "shared" / "speech" / "long" / "en-long-dev.flac"
        if not audio.is_file():
            audio = ROOT / "testdata" / "audio" / "talk_en_60s.opus"
        looped(audio, 300, folder / "five-minutes.opus")
        bench = Bench(folder, folder / "five-minutes.opus", arguments.rounds)
        chosen = [
            "help",
            "normalize",
            "transcribe",
            "run_against_slowest_stage",
            "pipe_against_run",
            "mux",
            "glass",
            "full_page",
            "packager",
            "memory",
            "replay",
        ]
        rows: list[Row] = []
        for method in chosen:
            if (arguments.only and method not in arguments.only) or (
                arguments.quick and method in ("memory", "replay")
            ):
                continue
            result = getattr(bench, method)()
            new = result if isinstance(result, list) else [result]
            rows += new
            for row in new:
                print(
                    f"{'reached' if row.reached else 'MISSED ':7}  {row.what:48}  {row.measured:34}  {row.must_reach}",
                    flush=True,
                )
            if arguments.json is not None:  # each time: what comes next may fail
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                arguments.json.write_text(
                    json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False) + "\n", "utf-8"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
