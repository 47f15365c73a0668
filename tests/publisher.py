"""Publishes a recording in real time, as an encoder does: `python publisher.py FILE ADDRESS FORMAT [--start S] …`.

Run as a process of its own, so that it can be killed as one.
"""

from __future__ import annotations

import argparse
import sys
import time
from fractions import Fraction

import av
import numpy as np


def publish(
    path: str,
    address: str,
    format: str,
    *,
    start_s: float = 0.0,
    zero_s: float | None = None,
    codec: str = "aac",
    rate: int = 48000,
    stop_s: float = 1e9,
    pts_s: float = 0.0,
    video: bool = False,
    options: dict[str, str] | None = None,
    tell: bool = False,
) -> None:
    """Sends the audio from `start_s` on until the file's end or `stop_s`, its times beginning at `pts_s`.

    Where the monotonic clock's `zero_s` is given, it starts with what is spoken now if the recording began then. With `tell` it
    prints the monotonic time at which it goes on the air, just before it calls.
    """
    with (
        av.open(path) as source,
        av.open(address, "w", format=format, options=options or {}, timeout=(5.0, 5.0)) as out,
    ):
        stream = out.add_stream(codec, rate=rate, layout="mono")
        context = stream.codec_context
        context.bit_rate = 96_000
        context.open(strict=False)
        picture = out.add_stream("libx264", rate=10) if video else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
            picture.codec_context.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "10"}
        resampler = av.AudioResampler(context.format, "mono", rate, context.frame_size or 960)
        begun = time.monotonic()
        start_s = begun - zero_s if zero_s is not None else start_s
        pictures = samples = 0
        for frame in source.decode(audio=0):
            at_s = float(frame.pts * frame.time_base)
            if at_s < start_s:
                continue
            if at_s >= stop_s:
                break
            frame.pts = None
            for ready in resampler.resample(frame):
                ready.pts, ready.time_base = samples + round(pts_s * rate), Fraction(1, rate)
                samples += ready.samples
                for packet in stream.encode(ready):
                    if tell:
                        print(time.monotonic(), flush=True)
                        tell = False
                    out.mux(packet)
            while picture is not None and pictures / 10 < at_s - start_s:
                image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), pictures % 256, np.uint8), format="rgb24")
                image.pts, image.time_base = pictures + round(pts_s * 10), Fraction(1, 10)
                out.mux(picture.encode(image))
                pictures += 1
            time.sleep(max(0.0, begun + at_s - start_s - time.monotonic()))
        out.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("address")
    parser.add_argument("format")
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--zero", type=float)
    parser.add_argument("--stop", type=float, default=1e9)
    parser.add_argument("--pts", type=float, default=0.0)
    parser.add_argument("--codec", default="aac")
    parser.add_argument("--rate", type=int, default=48000)
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("--option", action="append", default=[])
    given = parser.parse_args()
    try:
        publish(
            given.path, given.address, given.format, start_s=given.start, zero_s=given.zero, stop_s=given.stop, codec=given.codec,
            rate=given.rate, pts_s=given.pts, video=given.video, tell=given.tell, options=dict(o.split("=", 1) for o in given.option),
        )  # fmt: skip
    except (OSError, av.FFmpegError) as error:
        sys.exit(f"publisher: {error}")


if __name__ == "__main__":
    main()
