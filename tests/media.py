"""Real media made on the fly, and the ingest and normalize stages joined as a pipe joins them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamlation_cli import ndjson
from streamlation_cli.records import Discontinuity, Eos, Error, Header, Packet, Pcm, Status, StreamRecord
from streamlation_cli.stages import ingest, normalize

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT.parent / "shared" / "speech"


def wire(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
    """The records as the next process gets them."""
    for record in records:
        yield ndjson.decode(ndjson.encode(record))  # type: ignore[arg-type]


def ingested(path: str | Path, **options: Any) -> list[StreamRecord]:
    """The session of an input."""
    return list(ingest.source(ingest.Options(input=str(path), **options)))


def normalized(records: Iterable[StreamRecord], **options: Any) -> list[StreamRecord]:
    """The records after normalize, through the wire format."""
    return list(normalize.stage(normalize.Options(**options))(wire(records)))


def of(kind: type[Any], records: Iterable[StreamRecord]) -> list[Any]:
    """The records of one type."""
    return [record for record in records if isinstance(record, kind)]


def errors(records: Iterable[StreamRecord]) -> list[tuple[str, str, bool]]:
    """Stage, code and fatality of each error."""
    return [(e.stage, e.code, e.fatal) for e in of(Error, records)]


def samples(records: Iterable[StreamRecord]) -> np.ndarray[Any, np.dtype[np.int16]]:
    """All samples of the pcm records, joined."""
    return np.frombuffer(b"".join(record.data for record in of(Pcm, records)), dtype="<i2")


def counters(records: Iterable[StreamRecord], stage: str = "normalize") -> dict[str, float]:
    """The counters of a stage's last status."""
    return [status for status in of(Status, records) if status.stage == stage][-1].counters  # type: ignore[no-any-return]


def direct(path: str | Path, audio: int = 0) -> np.ndarray[Any, np.dtype[np.int16]]:
    """What decoding a file without the wire gives, at 16 kHz mono: the frames one after another, whatever their times."""
    resampler = av.AudioResampler("s16", "mono", 16000)
    with av.open(str(path), metadata_errors="replace") as container:
        arrays = []
        for frame in [*container.decode(audio=audio), None]:
            if frame is not None:
                frame.pts = None
            arrays += [resampled.to_ndarray()[0] for resampled in resampler.resample(frame)]
    return np.concatenate(arrays)


@lru_cache
def voice(rate: int = 48000, seconds: float = 4.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A sound with speech's slow changes and no two alike moments: a swept tone in bursts, with a little noise."""
    t = np.arange(int(rate * seconds)) / rate
    sweep = np.sin(2 * math.pi * (200 * t + 150 * t**2))
    bursts = 0.5 + 0.5 * np.sin(2 * math.pi * 3 * t) * np.sin(2 * math.pi * 0.7 * t)
    noise = np.random.default_rng(7).normal(0, 0.01, len(t))
    return (0.4 * sweep * bursts + noise).astype(np.float32)


def encode(
    path: Path, codec: str, format: str, *, rate: int = 48000, layout: str = "stereo", seconds: float = 4.0, bit_rate: int = 0,
    options: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """`voice` as a media file."""
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options={"strict": "-2"})
        context = stream.codec_context
        if bit_rate:
            context.bit_rate = bit_rate
        context.open(strict=False)
        resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(voice(rate, seconds)[None, :], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def wav(path: Path, channels: np.ndarray[Any, Any], rate: int = 16000) -> Path:
    """A 16-bit WAV file of an array of shape (channels, samples), float in [-1, 1]."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.rint(channels.T * 32768), -32768, 32767).astype("<i2").tobytes())
    return path


def moved(records: Iterable[StreamRecord], shifts: dict[int, float | None]) -> Iterator[StreamRecord]:
    """Packets with the times of those from `seq` on moved by that many seconds; None leaves the packet out."""
    import msgspec

    shift = 0.0
    for record in records:
        if isinstance(record, Packet):
            at = shifts.get(record.seq, shift)
            if at is None:
                continue
            shift = at
            assert record.pts is not None
            ticks = round(shift * record.time_base[1] / record.time_base[0])
            record = msgspec.structs.replace(record, pts=record.pts + ticks, dts=record.pts + ticks)
        yield record


__all__ = [
    "SPEECH", "Discontinuity", "Eos", "Error", "Header", "Packet", "Pcm", "Status", "counters", "direct", "encode", "errors",
    "ingested", "moved", "normalized", "of", "samples", "voice", "wav", "wire",
]  # fmt: skip
