"""The picture encoded anew as H.264, for what takes no other: packets in, packets out, each picture at the time it had.

    packets ─► decoder ─► (fields woven apart where it is interlaced) ─► 4:2:0, 8 bits ─► encoder ─► packets

Nothing is dropped or shown twice, whatever the rate, but pictures that have the time of the one before. Colours and the shape
of pixels are what the decoder says. A live picture is encoded without B-frames and without looking ahead, so that it waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import DataError, Unavailable
from ..media.libav import route_log
from ..records import Packet, VideoStream
from .tracks import Track

if TYPE_CHECKING:
    import av

CODEC = "h264"
"""What it becomes, whoever encodes it."""
COPY = "copy"
_CLOCK_RESET_S = 10
"""A jump back that is longer is a clock that was set anew; the encoder begins again. As `copying` has it."""
_RATE = Fraction(25)
"""Pictures a second where nobody says; rate control alone needs it."""
_GLOBAL_HEADER, _BITEXACT = 1 << 22, 1 << 23
_UNSPECIFIED = 2
"""Of colours, in FFmpeg's enumerations; RGB has 0 as its matrix, which no 4:2:0 picture can have."""
_BITS_PER_PIXEL = 0.1
"""For encoders in hardware, which have no common measure of quality: 5 Mbit/s at 1080p25. Live, nothing has more than twice that."""


@dataclass(frozen=True)
class _Encoder:
    """FFmpeg's name of an encoder and its options: always, in files, live."""

    name: str
    always: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    live: tuple[tuple[str, str], ...] = ()
    pixel_format: str = "yuv420p"
    has_quality: bool = False


_ENCODERS = {
    # Two cores recognise speech beside it: these presets encode 1080p faster than it is shown and leave most of them free.
    "h264": _Encoder(
        "libx264", files=(("preset", "veryfast"), ("crf", "20")), has_quality=True,
        live=(("preset", "superfast"), ("tune", "zerolatency"), ("crf", "23")),
    ),
    "h264_nvenc": _Encoder("h264_nvenc", always=(("forced-idr", "1"),), live=(("tune", "ull"), ("zerolatency", "1"))),
    "h264_qsv": _Encoder("h264_qsv", always=(("forced_idr", "1"),), live=(("async_depth", "1"),), pixel_format="nv12"),
    "h264_videotoolbox": _Encoder("h264_videotoolbox", live=(("realtime", "1"),), pixel_format="nv12"),
}  # fmt: skip


def check(codec: str) -> None:
    """Raises Unavailable where nothing here encodes so: the wheel has no such encoder, or the machine no such device."""
    if codec in (COPY, CODEC):
        return
    encoder = _ENCODERS[codec]
    context = _created(encoder)
    context.width, context.height, context.pix_fmt = 640, 360, encoder.pixel_format
    context.time_base = 1 / _RATE
    _opened(context, encoder)


class EncodedPicture:
    """The picture of one session. `feed` its packets, then `finish`; what they return are packets of a track as `described`.

    `keyframes_s`: there is a keyframe at each multiple of it after the first; 0: where the encoder likes one. Pictures outside of
    [`start_ms`, `end_ms`) are left out: the part that is kept begins and ends at the picture. Raises DataError where it cannot
    be decoded.
    """

    def __init__(
        self, video: VideoStream, codec: str, *, live: bool, keyframes_s: float = 0.0, start_ms: int = 0, end_ms: int | None = None
    ) -> None:  # fmt: skip
        self._video = video
        self._encoder = _ENCODERS[codec]
        self._live = live
        self._base = Fraction(*video.time_base)
        self._rate = Fraction(*video.frame_rate) if video.frame_rate[0] > 0 and video.frame_rate[1] > 0 else _RATE
        self._keyframes = round(Fraction(keyframes_s) / self._base)
        self._start = round(Fraction(start_ms, 1000) / self._base)
        self._end = None if end_ms is None else round(Fraction(end_ms, 1000) / self._base)
        self._decoder = self._made_decoder()
        self._began = False
        """Whether a keyframe has come, before which nothing can be decoded."""
        self._weaver: Any = None
        """What makes whole pictures of fields, where there are any; of pictures as in `_woven_as`."""
        self._woven_as: tuple[int, int, str] | None = None
        self._context: Any = None
        self._last: int | None = None
        """When the last picture that was encoded is shown."""
        self._first: int | None = None
        """When the first picture of this encoder is shown, from which keyframes are counted."""
        self._next_keyframe = 0
        self._durations: dict[int, int] = {}
        """Of the pictures in the encoder, by their times."""
        self._session = ""
        self._seq = 0
        self.counters = {"encoded_pictures": 0, "undecodable_packets": 0}

    def described(self, track: Track) -> Track:
        """The track of what comes out; it opens the encoder where no picture has come yet. Raises DataError where it has no size."""
        if self._context is None:
            if not (self._video.width and self._video.height):
                raise DataError("nothing says how large the picture is, and none could be decoded yet")
            self._open(self._video.width, self._video.height, None)
        context = self._context
        return replace(
            track, codec=CODEC, extradata=bytes(context.extradata or b""), width=context.width, height=context.height,
            pixel_format="yuv420p", source="encoded",
        )  # fmt: skip

    def feed(self, packet: Packet) -> Iterator[Packet]:
        """What a packet of the source becomes; nothing where it cannot be decoded, which is counted."""
        import av

        self._session = packet.session
        self._began = self._began or packet.keyframe
        if not self._began:
            return
        raw: Any = av.Packet(packet.data)
        raw.pts, raw.dts, raw.duration, raw.time_base = packet.pts, packet.dts, packet.duration, self._base
        try:
            frames = self._decoder.decode(raw)
        except (av.FFmpegError, ValueError):
            self.counters["undecodable_packets"] += 1
            return
        for frame in frames:
            yield from self._encode(frame)

    def finish(self) -> Iterator[Packet]:
        """What is still inside."""
        import av

        try:
            frames = self._decoder.decode(None) if self._began else []
        except (av.FFmpegError, ValueError):
            self.counters["undecodable_packets"] += 1
            frames = []
        for frame in frames:
            yield from self._encode(frame)
        yield from self._unwoven()
        yield from self._flushed()

    def _made_decoder(self) -> Any:
        import av

        route_log()
        video = self._video
        try:
            decoder: Any = av.CodecContext.create(video.codec, "r")
            if video.extradata:
                decoder.extradata = video.extradata
            if video.width and video.height:
                decoder.width, decoder.height = video.width, video.height
            # Threads for a picture each hold as many back.
            decoder.thread_type = "SLICE" if self._live else "AUTO"
            decoder.open()
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"the picture, {video.codec}, cannot be decoded: {reason}") from error
        return decoder

    def _encode(self, frame: av.VideoFrame) -> Iterator[Packet]:
        """Of a decoded picture, or of its fields."""
        if frame.pts is None:
            frame.pts = frame.dts
        frame.time_base = self._base
        form = (frame.width, frame.height, frame.format.name)
        if self._weaver is not None and form != self._woven_as:
            yield from self._unwoven()
        if frame.interlaced_frame and self._weaver is None:
            self._weaver, self._woven_as = _weaver(frame, self._base), form
        if self._weaver is None:
            yield from self._encode_whole(frame)
            return
        self._weaver.push(frame)
        for whole in self._woven():
            yield from self._encode_whole(whole)

    def _unwoven(self) -> Iterator[Packet]:
        """What the weaver still holds; there is none then."""
        if self._weaver is not None:
            self._weaver.push(None)
            for whole in self._woven():
                yield from self._encode_whole(whole)
            self._weaver = None

    def _woven(self) -> Iterator[av.VideoFrame]:
        import av

        assert self._weaver is not None
        while True:
            try:
                frame: Any = self._weaver.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            ticks = frame.time_base / self._base  # the weaver's clock is twice as fine
            frame.pts, frame.duration = round(frame.pts * ticks), round(frame.duration * ticks)
            frame.time_base = self._base
            yield frame

    def _encode_whole(self, frame: av.VideoFrame) -> Iterator[Packet]:
        duration = frame.duration or round(1 / self._rate / self._base)
        at = frame.pts if frame.pts is not None else (self._last or 0) + duration
        if at < self._start or (self._end is not None and at >= self._end):
            return
        if self._last is not None and at <= self._last:
            if (self._last - at) * self._base <= _CLOCK_RESET_S:
                return
            yield from self._flushed()
            self._context = None
        if self._context is None:
            self._open(frame.width, frame.height, frame)
        ready = self._fitted(frame)
        ready.pts, ready.time_base = at, self._base
        ready.pict_type = self._kind(at)
        self._last = at
        self._durations[at] = duration
        yield from self._packets(self._context.encode(ready))

    def _kind(self, at: int) -> Any:
        """What the encoder is to make of the picture at that time; what it was before says nothing."""
        from av.video.frame import PictureType

        if not self._keyframes:
            return PictureType.NONE
        if self._first is None:
            self._first = self._next_keyframe = at
        if at < self._next_keyframe:
            return PictureType.NONE
        self._next_keyframe = at + self._keyframes - (at - self._first) % self._keyframes
        return PictureType.I

    def _fitted(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The picture in the size and the format that the encoder has."""
        context = self._context
        size = (context.width, context.height)
        if (frame.width, frame.height) == size and frame.format.name == context.pix_fmt:
            return frame
        return frame.reformat(*size, format=context.pix_fmt)

    def _open(self, width: int, height: int, frame: av.VideoFrame | None) -> None:
        context = _created(self._encoder)
        context.width, context.height = width & ~1, height & ~1  # colours are there for two pixels each way
        full_range = frame is not None and frame.format.name.startswith("yuvj")
        context.pix_fmt = "yuvj420p" if full_range and self._encoder.has_quality else self._encoder.pixel_format
        context.time_base, context.framerate = self._base, self._rate
        if frame is not None:
            context.color_range, context.color_primaries, context.color_trc = (
                frame.color_range, frame.color_primaries, frame.color_trc,
            )  # fmt: skip
            context.colorspace = frame.colorspace if not frame.format.is_rgb else _UNSPECIFIED
            if self._decoder.sample_aspect_ratio:
                context.sample_aspect_ratio = self._decoder.sample_aspect_ratio
        if self._keyframes:
            context.gop_size = max(1, round(self._keyframes * self._base * self._rate)) * 2
        if self._live:
            context.max_b_frames = 0
        bit_rate = round(width * height * self._rate * _BITS_PER_PIXEL)
        options = dict((*self._encoder.always, *(self._encoder.live if self._live else self._encoder.files)))
        if not self._encoder.has_quality:
            context.bit_rate = bit_rate
        elif self._live:  # a burst that a network cannot carry is a stall
            options |= {"maxrate": str(2 * bit_rate), "bufsize": str(2 * bit_rate)}
        if self._keyframes and self._encoder.name == "libx264":
            options["sc_threshold"] = "0"  # none but those that are wanted
        context.options = options
        _opened(context, self._encoder)
        self._context = context
        self._last = self._first = None

    def _flushed(self) -> Iterator[Packet]:
        if self._context is not None:
            yield from self._packets(self._context.encode(None))

    def _packets(self, packets: list[av.Packet[Any]]) -> Iterator[Packet]:
        for packet in packets:
            assert packet.pts is not None
            self.counters["encoded_pictures"] += 1
            self._seq += 1
            yield Packet(
                self._session, seq=self._seq, stream="video", pts=packet.pts, dts=packet.dts, time_base=self._video.time_base,
                duration=self._durations.pop(packet.pts, 0), data=bytes(packet), keyframe=packet.is_keyframe,
            )  # fmt: skip


def _created(encoder: _Encoder) -> Any:
    import av

    route_log()
    try:
        context: Any = av.CodecContext.create(encoder.name, "w")
    except av.codec.codec.UnknownCodecError as error:
        raise Unavailable(f"--video-codec: {_missing(encoder, 'this FFmpeg has none')}") from error
    context.flags |= _GLOBAL_HEADER | _BITEXACT
    return context


def _opened(context: Any, encoder: _Encoder) -> None:
    import av

    try:
        context.open()
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"--video-codec: {_missing(encoder, reason)}") from error


def _missing(encoder: _Encoder, reason: str) -> str:
    return f"{encoder.name} cannot be used here ({reason}); h264 is encoded by the processor"


def _weaver(frame: av.VideoFrame, base: Fraction) -> av.filter.Graph:
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    whole = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(whole)
    whole.link_to(sink)
    graph.configure()
    return graph
