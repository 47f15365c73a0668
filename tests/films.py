"""Films made on the fly: a moving picture with B-frames and a bundled recording; and what is in a file, read back."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from media import ROOT

AUDIO = ROOT / "testdata" / "audio"
RATE_HZ = 48_000
_SIZE = (160, 90)


def film(
    path: Path, *, sound: str | Path = "turns_en.opus", video: str = "libx264", audio: str = "aac", layout: str = "stereo",
    seconds: float | None = None, at: Callable[[int], Fraction] = lambda number: Fraction(number, 25), bframes: int = 2,
    language: str = "", degrees: int = 0,
) -> Path:  # fmt: skip
    """A film of a bundled recording, or of a file: 25 pictures a second, or picture `number` at the time `at` says."""
    with av.open(str(path), "w") as container, av.open(str(AUDIO / sound)) as source:
        options = {"preset": "ultrafast", "bf": str(bframes), "x265-params": "log-level=none"} if "x26" in video else {}
        picture: Any = container.add_stream(video, rate=25, options=options)
        picture.width, picture.height = _SIZE
        picture.pix_fmt = "yuv420p"
        picture.codec_context.max_b_frames = bframes if "x26" in video else 0
        picture.codec_context.gop_size = 25
        picture.codec_context.time_base = Fraction(1, 1000)
        if degrees:
            picture.set_display_rotation(degrees)
        voice: Any = container.add_stream(audio, rate=RATE_HZ, layout=layout)
        if language:
            voice.metadata["language"] = language
        resampler = av.AudioResampler(
            voice.codec_context.format, layout, RATE_HZ, voice.codec_context.frame_size or 1024
        )
        written = number = 0
        frames: list[Any] = []
        for decoded in source.decode(audio=0):
            decoded.pts = None
            frames += resampler.resample(decoded)
        for frame in [*frames, *resampler.resample(None)]:
            if seconds is not None and written >= seconds * RATE_HZ:
                break
            frame.pts = written
            written += frame.samples
            container.mux(voice.encode(frame))
            while at(number) * RATE_HZ < written:
                container.mux(picture.encode(_picture(number, at(number))))
                number += 1
        container.mux(voice.encode(None))
        container.mux(picture.encode(None))
    return path


def _picture(number: int, at_s: Fraction) -> av.VideoFrame:
    width, height = _SIZE
    image = np.zeros((height, width, 3), np.uint8)
    image[:, (number * 3) % width :][:, :20] = (255, number % 255, 80)
    image[height // 2 :, :, 1] = number % 200
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts = round(at_s * 1000)
    frame.time_base = Fraction(1, 1000)
    return frame


@dataclass(frozen=True)
class Stored:
    """A packet as the demuxer gives it."""

    data: bytes
    pts_s: float
    dts_s: float
    """Not a number where the container does not say."""
    keyframe: bool
    skip_samples: tuple[int, int]


def packets(path: Path, kind: str, index: int = 0) -> list[Stored]:
    """The packets of the stream of its kind with that index."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[index]
        stored = []
        for packet in container.demux(stream):
            if packet.size:
                skip = (0, 0)
                if packet.has_sidedata("skip_samples"):
                    skip = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
                base = packet.time_base
                dts_s = math.nan if packet.dts is None else float(packet.dts * base)
                stored.append(Stored(bytes(packet), float(packet.pts * base), dts_s, packet.is_keyframe, skip))
        return stored


def frames(path: Path, kind: str, index: int = 0) -> list[tuple[str, float]]:
    """A hash of each decoded frame, and its time in seconds."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[index]
        return [
            (hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest(), float(frame.pts * frame.time_base))
            for frame in container.decode(stream)
        ]


def sound(path: Path, index: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """An audio track from media time 0 on: mono at 48 kHz."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[index]
        resampler = av.AudioResampler("flt", "mono", RATE_HZ)
        start_s: float | None = None
        parts: list[Any] = []
        for frame in container.decode(stream):
            if start_s is None:
                assert frame.pts is not None
                start_s = float(frame.pts * frame.time_base)
            frame.pts = None
            parts += [made.to_ndarray()[0] for made in resampler.resample(frame)]
        parts += [made.to_ndarray()[0] for made in resampler.resample(None)]
    assert start_s is not None
    lead = round(start_s * RATE_HZ)
    joined = np.concatenate([np.zeros(max(0, lead), np.float32), *parts])
    return joined[max(0, -lead) :]


def captions(path: Path, index: int = 0) -> list[tuple[int, int, str]]:
    """Start, end and text of the captions of a text track, as they are stored; empty ones of MP4 are left out."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[index]
        codec = stream.codec_context.codec.canonical_name
        for packet in container.demux(stream):
            data = bytes(packet)
            if codec == "mov_text":
                data = data[2 : 2 + int.from_bytes(data[:2], "big")] if data else b""
            if data:
                start_ms = round(packet.pts * packet.time_base * 1000)
                found.append((start_ms, start_ms + round(packet.duration * packet.time_base * 1000), data.decode()))
    return found


def offset_ms(track: Any, spoken: Any, start_ms: float, around_ms: int = 200) -> tuple[float, float]:
    """How much later than `start_ms` a sound begins in a track, found by cross-correlation, and how sure that is (0 to 1)."""
    at, around = round(start_ms * RATE_HZ / 1000), around_ms * RATE_HZ // 1000
    low = max(0, at - around)
    window = track[low : at + len(spoken) + around]
    size = 1 << (len(window) + len(spoken)).bit_length()
    product = np.fft.rfft(window, size) * np.conj(np.fft.rfft(spoken, size))
    correlation = np.fft.irfft(product, size)[: max(1, len(window) - len(spoken) + 1)]
    found = int(np.argmax(correlation))
    part = window[found : found + len(spoken)]
    energy = float(np.sqrt((spoken[: len(part)] ** 2).sum() * (part**2).sum()))
    return (low + found - at) * 1000 / RATE_HZ, float(correlation[found]) / max(energy, 1e-9)


def flags(path: Path) -> list[tuple[str, str, str, bool]]:
    """Kind, codec, language of each stream, and whether players choose it."""
    from av.stream import Disposition

    with av.open(str(path)) as container:
        return [
            (
                stream.type, stream.codec_context.codec.canonical_name, stream.language or "",
                bool(stream.disposition & Disposition.default),
            )
            for stream in container.streams
        ]  # fmt: skip
