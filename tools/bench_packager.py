"""What live HLS adds to the chain's latency: a film at the speed of life through the whole chain into `mux -o talk.m3u8`.

    python tools/bench_packager.py [--audio FILE] [--minutes 7] [--from en] [--to pt]

    said ──── chain ────► its voice and its caption arrive at `mux` ──── packager ────► the segment that has them is in the playlist
     └───── needed ──────┘                                           └───────────────── waited ────────────────┘

The records are read by the packager through this program, which notes when each arrives; when a segment appears is read from the
file system. Picture, voice and captions are published together, so what was said waits for what takes longest: `added` is how
much later the playlist has what was said, at its latest, than the chain had it, at its slowest, less the length of a segment, and is
what is judged. `added_p95_s` compares the slowest twentieths: it is more wherever few sentences are much slower than the others, for
the playlist stays late for minutes after one and the chain does not. `waited` is each voice's and caption's own wait, also less a
segment, quick ones included. The first three minutes are left out: the delay begins at 8 s, before anything is known, and shrinks by
a twentieth of the time that passes, so that one slow sentence at the start is paid for in minutes. Needs an idle machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

_LOOK_EVERY_S = 0.01
_SETTLES_S = 180


@dataclass(frozen=True)
class Published:
    """A segment in the playlist; times in seconds of Unix time."""

    begins_s: float
    """When what it shows first happened."""
    duration_s: float
    at_s: float
    """When the playlist first had it."""


class Watch(threading.Thread):
    """Notes when each segment of a live playlist appears."""

    def __init__(self, playlist: Path) -> None:
        super().__init__(name="watch", daemon=True)
        self._playlist = playlist
        self._over = threading.Event()
        self._seen_ns = 0
        self.segments: dict[int, Published] = {}

    def run(self) -> None:
        """Looks until it is told to stop, and once more."""
        while not self._over.wait(_LOOK_EVERY_S):
            self._look()
        self._look()

    def stop(self) -> None:
        """Returns when it looks no more."""
        self._over.set()
        self.join()

    def _look(self) -> None:
        if not self._playlist.exists():
            return
        written_ns = self._playlist.stat().st_mtime_ns
        if written_ns != self._seen_ns:
            self._seen_ns = written_ns
            for number, begins_s, duration_s in segments_of(self._playlist.read_text("utf-8")):
                self.segments.setdefault(number, Published(begins_s, duration_s, written_ns / 1e9))


def segments_of(playlist: str) -> list[tuple[int, float, float]]:
    """Number, Unix time and length in seconds of each segment of a media playlist."""
    number, at_s, duration_s = 0, math.nan, 0.0
    found = []
    for line in playlist.splitlines():
        name, _, value = line.partition(":")
        if name == "#EXT-X-MEDIA-SEQUENCE":
            number = int(value)
        elif name == "#EXT-X-PROGRAM-DATE-TIME":
            at_s = datetime.fromisoformat(value).timestamp()
        elif name == "#EXTINF":
            duration_s = float(value.split(",")[0])
        elif line and not line.startswith("#"):
            found.append((number, at_s, duration_s))
            number, at_s = number + 1, at_s + duration_s
    return found


@dataclass(frozen=True)
class Arrived:
    """A voice or a caption; times in seconds of Unix time."""

    said_s: float
    at_s: float
    """When the packager got it."""


def passed_on(source: IO[bytes], target: IO[bytes]) -> list[Arrived]:
    """Copies records, and notes when each piece of speech and each final translation came."""
    started_at = 0.0
    found = []
    for line in source:
        now_s = time.time()
        if line.startswith(b'{"type":"header"'):
            started_at = json.loads(line)["started_at"]
        elif line.startswith((b'{"type":"speech"', b'{"type":"translation"')):
            record = json.loads(line)
            if record.get("final", True):
                found.append(Arrived(started_at + record["start_ms"] / 1000, now_s))
        target.write(line)
        target.flush()
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and the largest."""
    from bench_glass import quantile

    return {"p50_s": quantile(values, 50), "p95_s": quantile(values, 95), "max_s": max(values)}


def figures(folder: Path, audio: Path, minutes: float = 7, spoken: str = "en", target: str = "pt") -> dict[str, Any]:
    """`added_s`, and the distributions of what the chain `needed`, how late segments were `published`, and what each `waited`."""
    import bench_mux
    from bench import PROGRAM

    film, live = folder / "live.mp4", folder / "live"
    live.mkdir()
    bench_mux.film(audio, minutes * 60, film)
    chain = (
        f"{PROGRAM} ingest '{film}' --video --realtime --from {spoken} | {PROGRAM} normalize --keep-packets | "
        f"{PROGRAM} transcribe --live --from {spoken} | {PROGRAM} translate --live --to {target} --no-cache | "
        f"{PROGRAM} dub --live --no-cache"
    )
    watch = Watch(live / "talk-video.m3u8")
    watch.start()
    load = os.getloadavg()[0]
    with (
        subprocess.Popen(["bash", "-o", "pipefail", "-c", chain], stdout=subprocess.PIPE) as upstream,
        subprocess.Popen([PROGRAM, "mux", "-o", str(live / "talk.m3u8")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as mux,
    ):  # fmt: skip
        assert upstream.stdout is not None
        assert mux.stdin is not None
        arrived = passed_on(upstream.stdout, mux.stdin)
        mux.stdin.close()
        ended_s = time.time()
    watch.stop()
    if upstream.returncode or mux.returncode:
        raise SystemExit(f"the chain ended with {upstream.returncode}, mux with {mux.returncode}")
    segments = sorted(watch.segments.values(), key=lambda segment: segment.begins_s)
    begun_s = segments[0].begins_s + _SETTLES_S
    # What the end sets free at once did not wait as a live session has it.
    live_ones = [one for one in segments if one.begins_s >= begun_s and one.at_s < ended_s]
    later = [one for one in arrived if one.said_s >= begun_s]
    waited = [
        segment.at_s - one.at_s - segment.duration_s
        for one in later
        for segment in live_ones
        if segment.begins_s <= one.said_s < segment.begins_s + segment.duration_s
    ]
    needed = spread([one.at_s - one.said_s for one in later])
    published = spread([one.at_s - one.begins_s - one.duration_s for one in live_ones])
    return {
        "added_s": published["max_s"] - needed["max_s"], "added_p95_s": published["p95_s"] - needed["p95_s"], "needed": needed,
        "published": published, "waited": spread(waited), "segments": len(live_ones), "pieces": len(later), "load_before": load,
        "needed_s": [round(one.at_s - one.said_s, 2) for one in later],
        "published_s": [round(one.at_s - one.begins_s - one.duration_s, 2) for one in live_ones],
    }  # fmt: skip


def main() -> None:
    """Prints the figures as JSON."""
    from bench import ROOT

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=ROOT.parent / "shared" / "speech" / "long" / "en-long-dev.flac")
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--from", dest="spoken", default="en")
    parser.add_argument("--to", dest="target", default="pt")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = figures(Path(folder), arguments.audio, arguments.minutes, arguments.spoken, arguments.target)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
