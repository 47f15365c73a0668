"""How fast `mux` joins a film whose picture is copied: a log of its records in, an MP4 out.

python tools/bench_mux.py [--audio FILE] [--minutes 10] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

_PICTURE_S = 10
_SIZE = (1280, 720)
_BIT_RATE = 2_500_000


def film(audio: Path, seconds: float, target: Path, bit_rate: int = _BIT_RATE) -> float:
    """A film of `audio`, over and over: 720p at 25 pictures a second, AAC; returns its length in seconds.

    Ten seconds of picture are encoded; their packets are what is repeated.
    """
    import av
    import numpy as np

    with av.open(str(target), "w") as out, av.open(str(audio)) as source:
        picture: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "2"})
        picture.width, picture.height = _SIZE
        picture.pix_fmt = "yuv420p"
        picture.codec_context.gop_size = 50
        picture.codec_context.bit_rate = bit_rate
        sound: Any = out.add_stream("aac", rate=48_000, layout="stereo")
        out.start_encoding()
        noise = np.random.default_rng(1).integers(0, 255, (_SIZE[1] * 2, _SIZE[0], 3), np.uint8)
        pictures = []
        for number in range(_PICTURE_S * 25):
            frame = av.VideoFrame.from_ndarray(noise[number * 2 : number * 2 + _SIZE[1]] // 2, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            pictures += picture.encode(frame)
        pictures += picture.encode(None)
        resampler = av.AudioResampler("fltp", "stereo", 48_000, 1024)
        sounds = []
        for raw in source.decode(audio=0):
            raw.pts = None
            for made in resampler.resample(raw):
                made.pts = None
                sounds += [bytes(packet) for packet in sound.encode(made)]
        tick = Fraction(1, 25)
        images = [
            (bytes(p), round(p.pts * p.time_base / tick), round(p.dts * p.time_base / tick), p.is_keyframe)
            for p in pictures
        ]
        heard = 0
        for number in range(round(seconds * 25)):
            data, pts, dts, keyframe = images[number % len(images)]
            shift = number // len(images) * len(images)
            _mux(out, picture, data, pts + shift, dts + shift, 1, tick, keyframe=keyframe)
            while heard * 1024 * 25 < number * 48_000:
                _mux(
                    out,
                    sound,
                    sounds[heard % len(sounds)],
                    heard * 1024,
                    heard * 1024,
                    1024,
                    Fraction(1, 48_000),
                    keyframe=True,
                )
                heard += 1
    return round(seconds * 25) / 25


def _mux(
    out: Any, stream: Any, data: bytes, pts: int, dts: int, duration: int, base: Fraction, *, keyframe: bool
) -> None:
    import av

    packet: Any = av.Packet(data)
    packet.stream, packet.time_base = stream, base
    packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, dts, duration, keyframe
    out.mux_one(packet)


def figures(folder: Path, audio: Path, rounds: int, minutes: float = 10) -> dict[str, Any]:
    """`speed`, times real time, start-up included, with all that it was measured from."""
    from bench import PROGRAM, measure

    path, log, target = folder / "film.mp4", folder / "film.ndjson", folder / "film.pt.mp4"
    seconds = film(audio, minutes * 60, path)
    stub = "--engine stub --no-cache"
    measure(
        f"{PROGRAM} ingest '{path}' --video --from en | {PROGRAM} normalize --keep-packets | {PROGRAM} transcribe --engine stub | "
        f"{PROGRAM} translate --to pt {stub} | {PROGRAM} dub {stub}",
        stdout=log,
    )
    runs = [measure([PROGRAM, "mux", "-o", str(target)], stdin=log, stdout=Path(os.devnull)) for _ in range(rounds)]
    return {
        "speed": seconds / statistics.median(run.wall_s for run in runs), "seconds": seconds,
        "log_mib": log.stat().st_size / 2**20, "file_mib": target.stat().st_size / 2**20,
        "wall_s": [run.wall_s for run in runs], "cpu_s": [run.cpu_s for run in runs], "peak_mib": [run.peak_mib for run in runs],
    }  # fmt: skip


def main() -> None:
    """Prints the figures."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=root / "testdata" / "audio" / "talk_en_60s.opus")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, value in figures(Path(folder), arguments.audio, arguments.rounds, arguments.minutes).items():
            print(f"{name:10} {value}")


if __name__ == "__main__":
    main()
