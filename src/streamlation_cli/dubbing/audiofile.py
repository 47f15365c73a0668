"""Audio files written as a stream: samples in, WAV, FLAC, M4A, MP3 or Opus out, by the name's extension.

Memory does not grow with the length. The file is written beside its target and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artefacts import STDOUT, Artefact
from ..errors import UsageError
from ..media.libav import Pipe, muxing
from .waveform import to_s16

SAMPLE_RATE_HZ = 48_000
"""Sample rate of every file: what video has, and the only one that all five formats share with Opus."""

Block = npt.NDArray[np.float32]
"""Samples, shape (channels, samples), float32 in [-1, 1]."""


@dataclass(frozen=True)
class Format:
    """How FFmpeg is to write one kind of file."""

    muxer: str
    codec: str
    sample_format: str
    bits_per_channel: int = 0
    """Bit rate a channel; 0 where the codec is lossless."""
    options: tuple[tuple[str, str], ...] = ()


FORMATS = {
    ".wav": Format("wav", "pcm_s16le", "s16", options=(("rf64", "auto"),)),
    ".flac": Format("flac", "flac", "s16"),
    ".m4a": Format("ipod", "aac", "fltp", 80_000, (("movflags", "+faststart"), ("aac_coder", "fast"))),
    ".mp3": Format("mp3", "libmp3lame", "fltp", 80_000, (("compression_level", "7"),)),
    ".opus": Format("opus", "libopus", "flt", 48_000),
}
"""Extension → format; where an encoder can be told to hurry at little cost, it is, for speech asks little of it."""

_FREE_FRAME = 9600
"""Samples a frame for codecs that take any number."""


def format_of(target: str) -> Format:
    """The format of a target by its extension; standard output is WAV. Raises UsageError for an unknown extension."""
    if target == STDOUT:
        return FORMATS[".wav"]
    extension = PurePath(target).suffix.lower()
    if extension not in FORMATS:
        raise UsageError(f"{target}: no audio format has the extension {extension!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[extension]


class AudioFile:
    """One audio file at 48 kHz being written. `alike` says that all channels have the same, which costs no more than one.

    `write` appends; then either `commit` or `abandon`, which leaves what was written as a playable `NAME.part`. Raises
    UsageError for an unknown extension, OutputFailed where the system refuses.
    """

    def __init__(self, target: str, channels: int, *, alike: bool = False) -> None:
        self._coded_channels = 1 if alike else channels
        self._format = format_of(target)
        self._target = target
        self._layout = "mono" if channels == 1 else "stereo"
        self._artefact = Artefact(target)
        self._pts = 0
        self._waiting: Block = np.zeros((channels, 0), np.float32)
        with muxing(self._target):
            self._open(channels)

    def _open(self, channels: int) -> None:
        import av

        kind = self._format
        file: Any = Pipe(self._artefact) if self._target == STDOUT else str(self._artefact.part)
        # Without the encoder's name and version in it, the same sound gives the same bytes everywhere.
        options = {"fflags": "+bitexact", **dict(kind.options)}
        self._container = av.open(file, "w", format=kind.muxer, options=options)
        stream: Any = self._container.add_stream(kind.codec, rate=SAMPLE_RATE_HZ, layout=self._layout)
        self._stream = stream
        context = stream.codec_context
        context.format = kind.sample_format
        if kind.bits_per_channel:
            context.bit_rate = kind.bits_per_channel * self._coded_channels
        context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
        self._container.start_encoding()
        self._frame_samples = context.frame_size or _FREE_FRAME

    def write(self, block: Block) -> None:
        """Appends samples."""
        with muxing(self._target):
            waiting = np.concatenate((self._waiting, block), axis=1)
            whole = waiting.shape[1] - waiting.shape[1] % self._frame_samples
            for start in range(0, whole, self._frame_samples):
                self._encode(waiting[:, start : start + self._frame_samples])
            self._waiting = waiting[:, whole:].copy()

    def _encode(self, block: Block) -> None:
        import av

        name = self._format.sample_format
        if name.endswith("p"):
            data: npt.NDArray[Any] = np.ascontiguousarray(block)
        else:
            data = np.ascontiguousarray((to_s16(block) if name == "s16" else block).T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format=name, layout=self._layout)
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = self._pts
        self._pts += block.shape[1]
        self._container.mux(self._stream.encode(frame))

    def _close(self) -> None:
        if self._waiting.shape[1]:
            self._encode(self._waiting)
            self._waiting = self._waiting[:, :0]
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def commit(self) -> None:
        """The file is whole and gets its name."""
        with muxing(self._target):
            self._close()
        self._artefact.commit()

    def abandon(self) -> None:
        """The file will not be whole."""
        with contextlib.suppress(Exception):  # what led here is already being reported
            self._close() if self._pts else self._container.close()
        self._artefact.abandon(keep=self._pts > 0)
