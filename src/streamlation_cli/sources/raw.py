"""Raw PCM: samples without a container, of a rate and channel count that the user has to tell."""

from __future__ import annotations

from ..errors import UsageError
from . import SUBTITLE_FORMATS, Request

FORMATS = (
    "s16le", "s16be", "s8", "u8", "u16le", "u16be", "s24le", "s24be", "s32le", "s32be",
    "f32le", "f32be", "f64le", "f64be", "alaw", "mulaw",
)  # fmt: skip
"""Raw formats, named as FFmpeg names them."""


def check(request: Request) -> None:
    """Raises UsageError where the raw format's options do not fit together or the format is not known."""
    named = request.sample_rate_hz is not None or request.channels is not None
    if request.format in FORMATS:
        if request.sample_rate_hz is None or request.channels is None:
            raise UsageError(f"--format {request.format} is raw audio: give its --rate and --channels as well")
    elif named:
        raise UsageError(f"--rate and --channels describe raw audio: give its --format as well, such as {FORMATS[0]}")


def check_known(request: Request) -> None:
    """Raises UsageError where `--format` names nothing FFmpeg reads; imports FFmpeg."""
    if request.format and request.format not in (*FORMATS, *SUBTITLE_FORMATS):
        import av

        try:
            av.ContainerFormat(request.format, "r")
        except ValueError:
            raise UsageError(
                f"--format: {request.format!r} is no format that can be read; raw audio is one of {', '.join(FORMATS)}"
            ) from None


def options(request: Request) -> dict[str, str]:
    """The demuxer's options."""
    if request.format not in FORMATS:
        return {}
    layout = {1: "mono", 2: "stereo"}.get(request.channels or 0, f"{request.channels}C")
    return {"sample_rate": str(request.sample_rate_hz), "ch_layout": layout}
