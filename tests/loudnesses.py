"""Loudness and true peak as FFmpeg's own meter has them, for tests of what the package measures itself."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def ebur128(sound: Path | np.ndarray) -> tuple[float, float]:
    """Integrated loudness (LUFS) and true peak (dBTP, oversampled) of a file or of samples, shape (2, n), at 48 kHz."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=48_000, format="flt", layout="stereo", time_base=None)
    meter = graph.add("ebur128", "metadata=1:peak=true")
    sink = graph.add("abuffersink")
    graph.link_nodes(source, meter, sink).configure()
    found: dict[str, str] = {}

    def drain() -> None:
        while True:
            try:
                found.update(sink.pull().metadata)
            except (av.error.EOFError, av.error.BlockingIOError):
                return

    for block in _blocks(sound):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block.T).reshape(1, -1).astype(np.float32), format="flt", layout="stereo"
        )
        frame.sample_rate = 48_000
        frame.pts = None
        source.push(frame)
        drain()
    source.push(None)
    drain()
    return float(found["lavfi.r128.I"]), 20 * float(np.log10(max(1e-9, float(found["lavfi.r128.true_peak"]))))


def _blocks(sound: Path | np.ndarray) -> list[np.ndarray]:
    if isinstance(sound, np.ndarray):
        return [sound[:, at : at + 48_000] for at in range(0, sound.shape[1], 48_000)]
    resampler = av.AudioResampler("fltp", "stereo", 48_000)
    with av.open(str(sound)) as container:
        frames = [*container.decode(audio=0), None]
        return [made.to_ndarray() for frame in frames for made in resampler.resample(frame)]
