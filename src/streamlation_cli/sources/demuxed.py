"""A connection to a live source that FFmpeg demuxes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..media.libav import route_log
from ..records import AudioStream, Packet, VideoStream
from . import Request
from .container import choose_audio, choose_video, describe_audio, describe_video, packet_record
from .feeds import Break, Lost

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream as AvAudioStream
    from av.stream import Stream
    from av.video.stream import VideoStream as AvVideoStream


_COUNTED = ("mp3", "aac", "ac3", "eac3", "flac")
"""Formats whose packets carry no times."""


class Bytes(Protocol):
    """What FFmpeg reads from, where the transport is ours."""

    failure: BaseException | None
    """Why there is no more; None at the end that the source told. Raised in `read` it would be printed by PyAV."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes, what is there without waiting for more; none at the end and after a failure."""

    def close(self) -> None:
        """From any thread: `read` comes back soon with none."""


class DemuxedFeed:
    """A `Feed` over FFmpeg's demuxers; opens when it is made.

    `source` is an address for FFmpeg or `Bytes`; `failure` turns FFmpeg's error into what is to be raised; `at_end` is
    called where FFmpeg finds no more packets and raises Lost where that is not the source's end; `find_s` is how long
    FFmpeg may look for streams. Raises as `failure` does, DataError where there is no audio.
    """

    def __init__(
        self,
        request: Request,
        source: str | Bytes,
        *,
        name: str,
        failure: Callable[[Exception], Exception],
        at_end: Callable[[], None] = lambda: None,
        format: str = "",
        options: Mapping[str, str] | None = None,
        timeout: tuple[float | None, float | None] | None = None,
        find_s: float = 0.5,
    ) -> None:
        import av

        route_log()
        self._errors = (OSError, ValueError, av.FFmpegError)
        self._source = source
        self._failure = failure
        self._at_end = at_end
        self._closed = threading.Event()
        self._name = name
        try:
            self._container = av.open(
                source,
                mode="r",
                format=format or None,
                options={"analyzeduration": str(round(find_s * 1_000_000)), **(options or {})},
                timeout=timeout,
                metadata_errors="replace",
            )
        except self._errors as error:
            self.close()
            self._raise(error)
            raise
        try:
            self._audio: AvAudioStream = choose_audio(self._container, request.audio_stream, name)
            self._video: AvVideoStream | None = choose_video(self._container) if request.with_video else None
        except BaseException:
            self._container.close()
            self.close()
            raise
        self.audio: AudioStream = describe_audio(self._audio)
        self.video: VideoStream | None = describe_video(self._video) if self._video is not None else None
        self.counted = self._container.format.name in _COUNTED or self.audio.codec.startswith("pcm_")
        self.announced_s = self._container.duration / 1e6 if self._container.duration else None
        """Length of the whole, where the container knows it: then it is no live source."""

    def packets(self) -> Iterator[Packet | Break]:
        """As `Feed` says."""
        streams: list[Stream] = [self._audio] + ([self._video] if self._video is not None else [])
        try:
            demuxed = self._container.demux(streams)
            while (packet := self._next(demuxed)) is not None:
                if packet.size:
                    yield packet_record(packet, "", 0, packet.stream_index == self._audio.index, 0)
        finally:
            self._container.close()
        if not self._closed.is_set():
            self._raise_source()
            self._at_end()

    def _next(self, demuxed: Iterator[av.Packet[Any]]) -> av.Packet[Any] | None:
        if self._closed.is_set():
            return None
        try:
            return next(demuxed, None)
        except self._errors as error:
            if self._closed.is_set():
                return None
            self._raise(error)
            raise

    def close(self) -> None:
        """As `Feed` says where the transport is ours; a call into FFmpeg's own transports ends by its timeout."""
        self._closed.set()
        if not isinstance(self._source, str):
            self._source.close()

    def _raise_source(self) -> None:
        if not isinstance(self._source, str) and self._source.failure is not None:
            raise self._source.failure

    def _raise(self, error: Exception) -> None:
        self._raise_source()
        raise self._failure(error) from error


def broken(error: Exception) -> Lost:
    """What FFmpeg's error of a network transport says, as Lost.

    >>> broken(ConnectionRefusedError(111, "Connection refused")).reason
    'connection refused'
    """
    if type(error).__name__ == "ExitError" or isinstance(error, TimeoutError):
        return Lost("nothing came in time")
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Lost("it broke off" if getattr(error, "errno", None) == 5 else str(said).lower())
