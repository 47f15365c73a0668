"""A broadcast of the beacon as MPEG-TS in real time, to whoever takes its bytes at the moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

from beacon import beacon

RATE = 48_000
_STEP_S = 0.04


class Station:
    """Broadcasts until the end of the block it is used in; `sink` is where the bytes go, None while nobody takes them."""

    def __init__(self) -> None:
        self.sink: Callable[[bytes], Any] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Station:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def write(self, data: bytes) -> int:
        """What the muxer has written."""
        sink = self.sink
        if sink is not None:
            try:
                sink(bytes(data))
            except OSError:  # it is gone; what is broadcast meanwhile is lost
                self.sink = None
        return len(data)

    def _run(self) -> None:
        container = av.open(self, "w", format="mpegts", options={"flush_packets": "1", "pat_period": "0.1"})
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(context.format, "mono", RATE, context.frame_size)
        began, step = time.monotonic(), 0
        while not self._stop.wait(max(0.0, began + (step + 1) * _STEP_S - time.monotonic())):
            frame = av.AudioFrame.from_ndarray(beacon(step * _STEP_S, _STEP_S, RATE)[None], format="flt", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), round(step * _STEP_S * RATE)
            step += 1
            for piece in resampler.resample(frame):
                container.mux(stream.encode(piece))
        container.close()
