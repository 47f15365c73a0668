"""What is delivered. Light, for `--help` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from ..dubbing.settings import MixOptions
from ..options import option

VIDEO_CODECS = ("copy", "h264", "h264_nvenc", "h264_qsv", "h264_videotoolbox")
"""The picture's packets as they are, or H.264: of x264, or of FFmpeg's encoder of that name in hardware."""


@dataclass(frozen=True, kw_only=True)
class PresentationOptions(MixOptions):
    """What picture and sound are made of; options of every stage that delivers them. `joining.Settings.of` takes them."""

    video_codec: str = option(
        "--video-codec", "copy", choices=VIDEO_CODECS, shared=True,
        help="the picture: copied as it is, or encoded as H.264, by x264 or by an encoder in hardware",
    )  # fmt: skip
