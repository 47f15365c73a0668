"""FFmpeg's own messages: silent, or with `-vv` in the toolkit's log."""

from __future__ import annotations

import logging


def route_log() -> None:
    """Call before FFmpeg is used. PyAV keeps FFmpeg silent by default, and nothing of it ever reaches standard output.

    Its messages come from FFmpeg's threads through Python, which is slow, so they are let through only for debugging.
    """
    own = logging.getLogger("streamlation")
    if own.isEnabledFor(logging.DEBUG):
        import av.logging

        libav = logging.getLogger("libav")
        libav.handlers[:] = own.handlers
        libav.propagate = False
        av.logging.set_level(av.logging.WARNING)
