"""How the picture is delivered. Light, for `--help` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import option

VIDEO_CODECS = ("copy", "h264", "h264_nvenc", "h264_qsv", "h264_videotoolbox")
"""The picture's packets as they are, or H.264: of x264, or of FFmpeg's encoder of that name in hardware."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """What becomes of the picture; options of every stage that delivers one."""

    video_codec: str = option(
        "--video-codec", "copy", choices=VIDEO_CODECS, shared=True,
        help="the picture: copied as it is, or encoded as H.264, by x264 or by an encoder in hardware",
    )  # fmt: skip
