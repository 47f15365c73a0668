"""Films that receivers play: a moving picture, sounds in two languages, subtitles in two languages."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 48_000
FPS = 25

TEXTS = {"en": ("Good evening.", "This is the news."), "pt": ("Boa noite.", "Estas são as notícias.")}


def film(
    path: Path, *, seconds: float = 6.0, video: str = "libx264", audio: str = "aac", sounds: Sequence[str] = ("eng", "por"),
    texts: Sequence[str] = ("en", "pt"),
) -> Path:  # fmt: skip
    """Writes a film whose format is that of the path's extension; no picture where `video` is empty."""
    with av.open(str(path), "w") as container:
        picture: Any = None
        if video:
            picture = container.add_stream(video, rate=FPS)
            picture.width, picture.height, picture.pix_fmt, picture.gop_size = 160, 90, "yuv420p", FPS
        voices: list[Any] = []
        for language in sounds:
            stream: Any = container.add_stream(audio, rate=RATE, layout="stereo")
            if audio in ("mp3", "libmp3lame"):
                stream.codec_context.format = "fltp"
            stream.metadata["language"] = language
            voices.append(stream)
        captions: list[tuple[Any, str]] = []
        for language in texts:
            text: Any = container.add_stream("mov_text" if path.suffix in (".mp4", ".m4v") else "subrip")
            text.time_base = Fraction(1, 1000)
            text.codec_context.subtitle_header = b"[Script Info]\r\n\r\n[V4+ Styles]\r\n\r\n[Events]\r\n"
            text.metadata["language"] = {"en": "eng", "pt": "por"}[language]
            captions.append((text, language))
        container.start_encoding()
        _write_texts(container, captions, path, seconds)
        for number in range(int(seconds * FPS)) if picture else ():
            shade = np.full((90, 160, 3), (number * 3) % 256, np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        for index, stream in enumerate(voices):
            _write_tone(container, stream, 330 * (index + 1), seconds)
        if picture:
            container.mux(picture.encode(None))
    return path


def _write_tone(container: Any, stream: Any, hertz: float, seconds: float) -> None:
    size = stream.codec_context.frame_size or 1024
    format = stream.codec_context.format.name
    for start in range(0, int(seconds * RATE), size):
        wave = 0.3 * np.sin(2 * np.pi * hertz * (start + np.arange(size)) / RATE)
        data = np.stack([wave, wave]).astype(np.float32)
        if not format.startswith("flt"):
            data = np.clip(data * 32767, -32768, 32767).astype(np.int16)
        if not format.endswith("p"):
            data = np.ascontiguousarray(data.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format=format, layout="stereo")
        frame.sample_rate, frame.pts = RATE, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_texts(container: Any, captions: list[tuple[Any, str]], path: Path, seconds: float) -> None:
    for stream, language in captions:
        for number, line in enumerate(TEXTS[language]):
            data = line.encode()
            packet: Any = av.Packet(struct.pack(">H", len(data)) + data if path.suffix in (".mp4", ".m4v") else data)
            packet.stream = stream
            packet.time_base = stream.time_base
            packet.pts = packet.dts = round(number * seconds * 1000 / len(TEXTS[language]))
            packet.duration = round(seconds * 1000 / len(TEXTS[language])) - 100
            packet.is_keyframe = True
            container.mux(packet)
