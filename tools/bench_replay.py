"""Memory of delivery over a long session: `mux` fed hours of records as fast as it takes them, two files and live HLS at once.

    python tools/bench_replay.py [--audio FILE] [--hours 3]

A minute of a film with its words, translations and voice is replayed over and over, each time a minute later, into three
processes: one writes Matroska, one MP4, one packages live HLS with a sliding window. `growth` is the largest resident size in the
last third less that in the first, by the latter; the last seconds, in which a file gets its index, are not left out. Of an MP4
FFmpeg keeps the index in memory, about 80 bytes a packet, so that one grows: `mp4_mib_per_hour`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamlation_cli import ndjson
from streamlation_cli.measuring.resources import Sample, Sampler
from streamlation_cli.records import (
    AnyRecord,
    Eos,
    Header,
    Packet,
    Speech,
    Status,
    Transcript,
    Translation,
)

_PERIOD_MS = 60_000
_SAMPLE_EVERY_S = 0.5
_HOUR_MS = 3_600_000


def minute(folder: Path, audio: Path) -> list[AnyRecord]:
    """The records of a film of a minute, dubbed with stub engines."""
    import bench_mux
    from bench import PROGRAM

    path, log = folder / "minute.mp4", folder / "minute.ndjson"
    bench_mux.film(audio, _PERIOD_MS / 1000, path, bit_rate=500_000)
    stub = "--engine stub --no-cache"
    chain = (
        f"{PROGRAM} ingest '{path}' --video --from en | {PROGRAM} normalize --keep-packets | "
        f"{PROGRAM} transcribe --engine stub | {PROGRAM} translate --to pt {stub} | {PROGRAM} dub {stub} > '{log}'"
    )
    subprocess.run(["bash", "-euo", "pipefail", "-c", chain], check=True)
    return [ndjson.decode(line) for line in log.read_bytes().splitlines()]  # type: ignore[misc]


def replay(records: Sequence[AnyRecord], times: int) -> Iterator[bytes]:
    """A live session of the same over and over, as lines."""
    replace = msgspec.structs.replace
    for record in records:
        if isinstance(record, Header):
            yield ndjson.encode(replace(record, live=True, duration_ms=None))
        elif isinstance(record, Status) and record.state == "running":
            yield ndjson.encode(record)
    ordered = sorted(((due_ms(record), record) for record in records), key=lambda pair: pair[0] % _PERIOD_MS)
    for turn in range(times):
        for due, record in ordered:
            late_ms = (turn - int(due // _PERIOD_MS)) * _PERIOD_MS
            if late_ms < 0:  # of the minute before the first
                continue
            match record:
                case Packet(time_base=(numerator, denominator)):
                    late = late_ms * denominator // (1000 * numerator)
                    pts = None if record.pts is None else record.pts + late
                    dts = None if record.dts is None else record.dts + late
                    skip = record.skip_samples if not late_ms else None
                    yield ndjson.encode(replace(record, pts=pts, dts=dts, skip_samples=skip))
                case Transcript() | Translation():
                    words = tuple(
                        replace(w, start_ms=w.start_ms + late_ms, end_ms=w.end_ms + late_ms) for w in record.words
                    )
                    yield ndjson.encode(replace(later(record, late_ms), words=words))
                case Speech():
                    yield ndjson.encode(later(record, late_ms))
    yield ndjson.encode(Eos(records[0].session, duration_ms=times * _PERIOD_MS))


def later(record: Transcript | Translation | Speech, late_ms: int) -> Any:
    """The same, so much later."""
    return msgspec.structs.replace(
        record, id=f"{record.id}-{late_ms}", start_ms=record.start_ms + late_ms, end_ms=record.end_ms + late_ms
    )


def due_ms(record: AnyRecord) -> float:
    """When a live chain would have given it, in media time."""
    match record:
        case Packet(dts=int(dts), time_base=(numerator, denominator)):
            return max(0.0, dts * numerator * 1000 / denominator)
        case Transcript() | Translation():
            return record.end_ms + 2_000
        case Speech():
            return record.end_ms + 3_000
        case _:
            return 0.0


class Taking:
    """A `mux` that is fed, and its memory."""

    def __init__(self, target: Path) -> None:
        from bench import PROGRAM

        self.process = subprocess.Popen(
            [PROGRAM, "mux", "-o", str(target)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        self.media_ms = 0.0
        self.sampler = Sampler([self.process.pid], lambda: self.media_ms, _SAMPLE_EVERY_S)
        self.sampler.start()

    def end(self) -> list[Sample]:
        """Waits for its end; raises SystemExit where it failed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait()
        self.sampler.stop()
        if status:
            raise SystemExit(f"{self.process.args!r}: exit {status}")
        return self.sampler.samples


def by_third(samples: Sequence[Sample], length_ms: float) -> list[float]:
    """The largest resident size in each third of the media, in MiB."""
    peaks = [0.0] * 3
    for sample in samples:
        third = min(2, int(sample.media_ms * 3 // length_ms))
        peaks[third] = max(peaks[third], sample.rss_bytes / 2**20)
    return peaks


def figures(folder: Path, audio: Path, hours: float = 3) -> dict[str, Any]:
    """`growth` of each process, their memory by thirds, and the speed, times real time."""
    records = minute(folder, audio)
    (folder / "replayed").mkdir()
    targets = {"Matroska": "long.mkv", "packager": "replayed/long.m3u8", "MP4": "long.mp4"}
    takers = {name: Taking(folder / target) for name, target in targets.items()}
    turns = round(hours * _HOUR_MS / _PERIOD_MS)
    begun_s = time.perf_counter()
    for number, line in enumerate(replay(records, turns)):
        for taker in takers.values():
            assert taker.process.stdin is not None
            taker.process.stdin.write(line)
            taker.media_ms = min(turns, number / len(records)) * _PERIOD_MS
    by_thirds = {name: by_third(taker.end(), turns * _PERIOD_MS) for name, taker in takers.items()}
    wall_s = time.perf_counter() - begun_s
    mp4 = by_thirds["MP4"]
    return {
        "growth": {name: peaks[-1] / peaks[0] - 1 for name, peaks in by_thirds.items()}, "mib_by_third": by_thirds,
        "mp4_mib_per_hour": (mp4[-1] - mp4[0]) / (hours * 2 / 3), "speed": hours * 3600 / wall_s, "hours": hours,
        "file_mib": (folder / "long.mp4").stat().st_size / 2**20,
    }  # fmt: skip


def main() -> None:
    """Prints the figures as JSON."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=root / "testdata" / "audio" / "talk_en_60s.opus")
    parser.add_argument("--hours", type=float, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(figures(Path(folder), arguments.audio, arguments.hours), indent=2))


if __name__ == "__main__":
    main()
