"""Pictures and sound for HLS: made here, opened as units as the joiner gives them, and played back by FFmpeg."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from media import voice
from streamlation_cli.delivery.encoding import SoundEncoder
from streamlation_cli.delivery.tracks import Track, Unit

RATE = 48_000


def picture(
    seconds: float, *, every_s: float = 2.0, rate: int = 25, bframes: int = 2, codec: str = "libx264", size: tuple[int, int] = (160, 90),
    format: str = "mp4", start_s: float = 0.0,
) -> tuple[Track, list[Unit]]:  # fmt: skip
    """A moving picture with a keyframe every `every_s`, as a track and its units, through a container of `format`."""
    import io

    file = io.BytesIO()
    options = {
        "g": str(round(every_s * rate)),
        "keyint_min": str(round(every_s * rate)),
        "bf": str(bframes),
        "sc_threshold": "0",
    }
    if codec == "libx265":
        options["x265-params"] = (
            f"keyint={round(every_s * rate)}:min-keyint={round(every_s * rate)}:scenecut=0:open-gop=0:log-level=none"
        )
    with av.open(file, "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=rate, options={"preset": "ultrafast"} | options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = round(every_s * rate)
        ramp = np.arange(size[0] * size[1] * 3, dtype=np.uint32).reshape(size[1], size[0], 3)
        for number in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(((ramp // 7 + number * 3) % 256).astype(np.uint8), format="rgb24")
            frame.pts = number
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, format=format) as container:
        return units_of(container.streams.video[0], container, start_s)


def units_of(stream: Any, container: Any, start_s: float = 0.0) -> tuple[Track, list[Unit]]:
    """A video stream of an opened file as a track and its units, moved by `start_s`."""
    context = stream.codec_context
    track = Track(
        name="video", kind="video", codec=context.codec.canonical_name, extradata=context.extradata or b"",
        time_base=(stream.time_base.numerator, stream.time_base.denominator), width=context.width, height=context.height,
        frame_rate=(stream.average_rate.numerator, stream.average_rate.denominator), pixel_format=context.pix_fmt, default=True,
    )  # fmt: skip
    packets = [packet for packet in container.demux(stream) if packet.size]
    # MPEG-TS does not begin at 0.
    move = round(Fraction(start_s).limit_denominator(1000) / stream.time_base) - min(packet.pts for packet in packets)
    units = []
    frame = round(1 / (stream.average_rate * stream.time_base))
    for packet in packets:
        units.append(
            Unit(
                track=track, pts=packet.pts + move, dts=packet.dts + move, duration=packet.duration or frame,
                data=bytes(packet), keyframe=packet.is_keyframe,
            )
        )  # fmt: skip
    return track, units


def sound(
    seconds: float, *, name: str = "original", language: str = "en", default: bool = True, start_s: float = 0.0
) -> tuple[Track, list[Unit]]:
    """A voice-like sound in AAC, as a track and its units."""
    encoder = SoundEncoder("aac", 2, name=name, language=language, title="", default=default)
    samples = np.resize(voice(RATE), round(seconds * RATE)).astype(np.float32)
    encoder.write(np.stack([samples, samples]))
    encoder.finish()
    move = round(start_s * RATE)
    return encoder.track, [replace(unit, pts=unit.pts + move, dts=unit.dts + move) for unit in encoder.units]


def captions(cues: Iterable[tuple[float, float, str]], language: str = "pt") -> tuple[Track, list[Unit]]:
    """Cues (start and end in seconds, text) as a track and its units."""
    track = Track(name=f"captions-{language}", kind="text", language=language, source="laid-out")
    units = [
        Unit(
            track=track, pts=round(start * 1000), dts=round(start * 1000), duration=round((end - start) * 1000),
            lines=tuple(text.split("\n")), keyframe=True,
        )
        for start, end, text in cues
    ]  # fmt: skip
    return track, units


def in_order(*tracks: tuple[Track, Sequence[Unit]]) -> Iterator[Unit]:
    """The units of all tracks by the time they are decoded."""
    return iter(sorted((unit for _, units in tracks for unit in units), key=lambda unit: unit.dts_s))


@dataclass
class Played:
    """What FFmpeg makes of a playlist."""

    video: list[tuple[float, int]]
    """Time and bytes of each picture's packet."""
    frames: int
    audio_seconds: dict[str, float]
    """How long each sound is, by its language."""
    samples: dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def played(address: str | Path) -> Played:
    """Everything that FFmpeg gets from a finished playlist."""
    video: list[tuple[float, int]] = []
    frames = 0
    sounds: dict[str, list[np.ndarray[Any, np.dtype[np.float32]]]] = {}
    with av.open(str(address), options={"allowed_extensions": "ALL"}) as container:
        streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
        for packet in container.demux(streams):
            if packet.stream.type == "video":
                if packet.size:
                    video.append((float(packet.pts * packet.time_base), packet.size))
                frames += len(packet.decode())
            else:
                language = packet.stream.metadata.get("language", "")
                sounds.setdefault(language, []).extend(frame.to_ndarray()[0] for frame in packet.decode())
    samples = {language: np.concatenate(parts) for language, parts in sounds.items()}
    seconds = {language: len(data) / RATE for language, data in samples.items()}
    return Played(video, frames, seconds, samples)
