"""The sound of media as pyatv sends it to AirPlay devices: a WAV without an end, decoded as it is read, paused and sought in here."""

from __future__ import annotations

import io
import struct
import threading
import time
from typing import Any

from . import Media

RATE = 44_100
_FRAME_BYTES = 4
LATENCY_MS = 2250
"""Between sending and hearing: the two seconds that RAOP devices buffer (88 200 frames) and pyatv's own."""
_OPEN_S = (10.0, 10.0)
"""To open an address, and to wait for more of it."""


class Sound(io.BufferedIOBase):
    """The sound of media as a WAV file that ends when they end, decoded on a thread of its own as it is read.

    Read by pyatv's threads. Silence while paused, and while a live source has nothing; `read` never raises, for pyatv would
    ask again for ever: it ends, and `failure` says why.
    """

    def __init__(self, media: Media) -> None:
        self.paused = False
        self.starved = False
        self.underruns = 0
        self.ended = False
        self.failure: Exception | None = None
        self.taken = threading.Event()
        """Sound has been taken, and not the header alone."""
        self.begin_ms = media.start_ms
        self._media = media
        self._head = _wav_header()
        self._at = 0
        """Bytes read so far, header included."""
        self._from_ms = float(media.start_ms)
        """Media time of the first byte in `_waiting`."""
        self._waiting = bytearray()
        self._seek_to: int | None = media.start_ms or None
        self._read_s = 0.0
        """When something was last read."""
        self._closed = False
        self._condition = threading.Condition()
        self._decoder = threading.Thread(target=self._decode, name="airplay sound", daemon=True)
        self._decoder.start()

    @property
    def position_ms(self) -> int:
        """Media time of what is sent next."""
        return round(self._from_ms)

    @property
    def heard_ms(self) -> int:
        """Media time of what is heard now."""
        behind_ms = LATENCY_MS - (time.monotonic() - self._read_s) * 1000 if self._over else LATENCY_MS
        return round(self._from_ms - max(0.0, behind_ms))

    def readable(self) -> bool:
        """See `io`."""
        return True

    def seekable(self) -> bool:
        """Within the header, which is all that is sought in."""
        return True

    def tell(self) -> int:
        """See `io`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place in the header; -1 tells pyatv, which looks for tags, that there is nothing to be found."""
        target = self._at + offset if whence == io.SEEK_CUR else offset
        if whence != io.SEEK_END and 0 <= target <= len(self._head) and self._at <= len(self._head):
            self._at = target
        return -1

    def seek_media(self, position_ms: int) -> None:
        """Goes on from there."""
        with self._condition:
            self._seek_to = position_ms
            self._waiting.clear()
            self._condition.notify_all()

    def read(self, size: int | None = -1) -> bytes:
        """See `io`."""
        wanted = 4096 if size is None or size < 0 else size
        if self._at < len(self._head):
            data = self._head[self._at : self._at + wanted]
            self._at += len(data)
            return data
        with self._condition:
            if not self._waiting and not self._over and not self.paused:
                self.starved = self.taken.is_set()
                self.underruns += self.starved
                # A file is decoded much faster than it is heard, once there is a start; a live stream may have nothing: then
                # silence is sent.
                enough = 1 if self.starved else RATE * _FRAME_BYTES // 2
                self._condition.wait_for(
                    lambda: len(self._waiting) >= enough or self.ended or self._over,
                    timeout=0.5 if self.starved else None,
                )
            if self._waiting and not self.paused:
                self.starved = False
                data = bytes(self._waiting[:wanted])
                del self._waiting[: len(data)]
                self._from_ms += len(data) * 1000 / (RATE * _FRAME_BYTES)
                self._read_s = time.monotonic()
                self._condition.notify_all()
            elif self._over and not self.paused:
                return b""
            else:
                data = bytes(wanted)
        self._at += len(data)
        self.taken.set()
        return data

    @property
    def _over(self) -> bool:
        return self._closed or ((self.ended or self.failure is not None) and not self._waiting)

    def close(self) -> None:
        """See `io`: nothing more is to be sent."""
        with self._condition:
            self._closed = True
            self.paused = False
            self._waiting.clear()
            self._condition.notify_all()

    def _decode(self) -> None:
        import av

        try:
            # A live stream says itself, where it was told to, how far before its end it is to be begun.
            options = {"prefer_x_start": "1"} if self._media.is_hls else {}
            with av.open(self._media.address, timeout=_OPEN_S, options=options) as container:
                self._decode_from(container)
        except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
            with self._condition:
                self.failure = error
                self._condition.notify_all()

    def _decode_from(self, container: Any) -> None:
        import av

        from .. import languages

        streams = container.streams.audio
        stream = streams[0]
        for candidate in streams:
            if languages.same(candidate.metadata.get("language", ""), self._media.audio_language):
                stream = candidate
                break
        while not self._closed:
            resampler = av.AudioResampler("s16", "stereo", RATE)
            with self._condition:
                wanted_ms, self._seek_to = self._seek_to, None
                if wanted_ms is not None:
                    self._from_ms, self.ended = float(wanted_ms), False
            if wanted_ms is not None:
                container.seek(wanted_ms * 1000)
            for frame in container.decode(stream):
                if (
                    wanted_ms is not None
                    and frame.time is not None
                    and (frame.time + frame.samples / frame.sample_rate) * 1000 < wanted_ms
                ):
                    continue
                if self._media.live and not self.taken.is_set() and not self._waiting and frame.time is not None:
                    self._from_ms = frame.time * 1000  # it began before we came
                frame.pts = None
                if not self._put(
                    b"".join(
                        bytes(piece.planes[0])[: piece.samples * _FRAME_BYTES] for piece in resampler.resample(frame)
                    )
                ):
                    break
            else:
                self._put(
                    b"".join(
                        bytes(piece.planes[0])[: piece.samples * _FRAME_BYTES] for piece in resampler.resample(None)
                    )
                )
                with self._condition:
                    self.ended = self._seek_to is None
                    self._condition.notify_all()
                    # It may be sought in until the last of it is sent.
                    self._condition.wait_for(lambda: self._closed or self._seek_to is not None or not self._waiting)
                    if self._seek_to is None:
                        return

    def _put(self, data: bytes) -> bool:
        """Appends; waits while there is a second of it. False where it is wanted no more."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._closed or self._seek_to is not None or len(self._waiting) < RATE * _FRAME_BYTES
            )
            if self._closed or self._seek_to is not None:
                return False
            self._waiting += data
            self._condition.notify_all()
            return True


def _wav_header() -> bytes:
    """Of 44.1 kHz stereo s16 without a known end."""
    most = 0x7FFFFF00
    return (
        struct.pack("<4sI4s", b"RIFF", most + 36, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE, RATE * _FRAME_BYTES, _FRAME_BYTES, 16)
        + struct.pack("<4sI", b"data", most)
    )
