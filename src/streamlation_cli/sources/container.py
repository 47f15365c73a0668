"""Media that FFmpeg demuxes, as packets: nothing is decoded.

Times are put on the media's timeline. A format whose clock starts anywhere (MPEG-TS, captures of streams) is set so that its
start is 0, and so is MP3, whose start is the encoder's padding; all others keep their times, so that in a file whose
audio starts at 3 s it starts at 3 s.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec

from .. import languages
from ..errors import DataError
from ..media.libav import route_log
from ..records import PROTO, AudioStream, Error, Header, Packet, StreamRecord, VideoStream
from . import Opening, Request, raw, truncation
from .clock import Progress

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream as AvAudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream as AvVideoStream

_TS_DISCONT = 0x0200
"""FFmpeg's flag of formats whose clock may start anywhere and jump."""
_FAR_START_S = 24 * 3600.0
"""A clock that starts later than this shows the time of day, not a place in the recording."""
_PREROLL_MS = 1000
"""How much before `--start` decoding begins: decoders and the resampler need a while until their output is right."""
_POSTROLL_S = 0.1
_MISSING_S = 0.25
"""A file that ends this much before the end it announces is truncated."""
_RELIABLE = {"mov", "mp4", "wav", "w64", "flac", "aiff", "caf", "avi", "au", "matroska", "webm", "mp3", "ogg"}
"""Formats whose announced length is written by the muxer, not estimated by the demuxer."""
_TURNING = {"mov", "mp4", "matroska", "webm"}
"""Formats that can say that players turn the picture."""
_WITHOUT_HOLES = {"ogg", "mp3", "aac", "ac3", "eac3", "flac", "wav", "aiff", "wv", "tta", "amr"}
"""Formats that put sound after sound: where time is missing, data is."""


class Container:
    """A demuxed input; raises DataError where it is not media or has no audio."""

    def __init__(self, request: Request, opening: Opening) -> None:
        import av

        route_log()
        raw.check_known(request)
        self._request = request
        self._opening = opening
        self._errors = av.FFmpegError
        try:
            self._container = self._open()
        except (OSError, ValueError, av.FFmpegError) as error:
            raise opening.failure(error) from error
        try:
            self._choose()
        except BaseException:
            self._container.close()
            raise

    def _open(self) -> InputContainer:
        import av

        opening = self._opening
        try:
            return av.open(
                opening.file,
                mode="r",
                format=opening.format or None,
                options=dict(opening.options),
                timeout=opening.timeout,
                metadata_errors="replace",
            )
        except self._errors:
            opening.raise_failure()
            raise

    def _choose(self) -> None:
        request = self._request
        self._audio = choose_audio(self._container, request.audio_stream, self._opening.name)
        self._video = choose_video(self._container) if request.with_video else None
        self._offset_s = _clock_start_s(self._container)
        self._last_length_s = 0.0
        self._is_pcm = self._audio.codec_context.codec.name.startswith("pcm_")
        self.end_ms: int | None = None
        duration = self._container.duration
        self.header = Header(
            request.session,
            proto=PROTO,
            source=self._opening.name,
            duration_ms=round(duration / 1000) if duration and duration > 0 else None,
            start_ms=request.start_ms,
            end_ms=request.end_ms,
            audio=describe_audio(self._audio),
            video=self._describe_video(),
            language=request.language,
        )

    def _describe_video(self) -> VideoStream | None:
        if self._video is None:
            return None
        video = describe_video(self._video)
        names = set(self._container.format.name.split(","))
        if self._opening.path and names & _TURNING:
            video = msgspec.structs.replace(video, rotation=_rotation(str(self._opening.path), self._video.index))
        return video

    def records(self) -> Iterator[StreamRecord]:
        """The packets of the kept part, then what was found damaged as one non-fatal error.

        Raises the transport's error where a remote input breaks off, DataError where there was no audio at all.
        """
        request = self._request
        streams: list[Stream] = [self._audio] + ([self._video] if self._video is not None else [])
        offsets = {s.index: round(Fraction(self._offset_s) / (s.time_base or Fraction(1, 1000))) for s in streams}
        end_s = None if request.end_ms is None else request.end_ms / 1000 + _POSTROLL_S
        progress = Progress()
        sequence = corrupt = 0
        packets = self._demux(streams)
        broken = ""
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    self._opening.raise_failure()
            except (OSError, ValueError, self._errors) as error:
                failure = self._opening.failure(error)
                if self._opening.remote:
                    raise failure from error
                broken = failure.message
                break
            if packet is None:
                break
            is_audio = packet.stream_index == self._audio.index
            record = packet_record(packet, request.session, sequence, is_audio, offsets[packet.stream_index])
            start_s = None if record.pts is None else record.pts * record.time_base[0] / record.time_base[1]
            if is_audio:
                if end_s is not None and start_s is not None and start_s >= end_s:
                    break
                progress.follow(start_s, self._length_s(record))
                if progress.end_s * 1000 <= request.start_ms - _PREROLL_MS:
                    continue
                self.end_ms = _clip(round(progress.end_s * 1000), request)
                # The last samples of a stream without end are no damage.
                corrupt += packet.is_corrupt and not self._is_pcm
            sequence += 1
            yield record
        if self.end_ms is None or self.end_ms <= request.start_ms:
            raise DataError(broken or self._nothing())
        if damage := self._damage(broken, corrupt, progress):
            message = f"{self._opening.name}: {damage}; the rest is kept"
            yield Error(request.session, stage="ingest", code="damaged", message=message, fatal=False)

    def metrics(self) -> dict[str, int | float]:
        """Nothing beyond what the records say."""
        return {}

    def close(self) -> None:
        """Closes the input."""
        self._container.close()
        self._opening.close()

    def _length_s(self, record: Packet) -> float:
        """How much sound is in a packet; the last one's padding is left out, which not every container subtracts."""
        length_s = record.duration * record.time_base[0] / record.time_base[1]
        if record.skip_samples is not None and self._last_length_s:
            padding_s = record.skip_samples[1] / self._audio.codec_context.sample_rate
            return max(0.0, min(length_s, self._last_length_s - padding_s))
        self._last_length_s = length_s
        return length_s

    def _demux(self, streams: list[Stream]) -> Iterator[av.Packet[Any]]:
        """The packets from where decoding must begin, empty ones left out."""
        first: list[av.Packet[Any]] = []
        packets = self._container.demux(streams)
        if self._seek():
            for packet in packets:
                if packet.size:
                    first.append(packet)
                    if packet.stream_index == self._audio.index:
                        break
            if first and self._starts_late(first[-1]):
                # The index was wrong, so everything before the start is read and dropped.
                first.clear()
                self._container.seek(0)
                packets = self._container.demux(streams)
        yield from first
        yield from (packet for packet in packets if packet.size)

    def _seek(self) -> bool:
        """To the last packet from which decoding is right at the start; whether that worked."""
        start_s = (self._request.start_ms - _PREROLL_MS) / 1000
        if start_s <= 0 or not self._opening.seekable:
            return False
        try:
            self._container.seek(int((start_s + self._offset_s) * 1_000_000))
        except self._errors:
            return False
        return True

    def _starts_late(self, packet: av.Packet[Any]) -> bool:
        if packet.pts is None:
            return True
        return float(packet.pts * packet.time_base) - self._offset_s > self._request.start_ms / 1000

    def _nothing(self) -> str:
        name = self._opening.name
        if self._request.start_ms:
            return f"{name}: there is no audio after {self._request.start_ms / 1000:g} s"
        return f"{name}: its audio stream is empty"

    def _damage(self, broken: str, corrupt: int, progress: Progress) -> str:
        """What of the input is missing or damaged, with counts; empty where nothing is known to be."""
        parts = [f"reading stopped early ({broken})"] if broken else []
        if self._request.end_ms is None and (missing := self._missing(progress.end_s)):
            parts.append(missing)
        if progress.holes and self._container.format.name in _WITHOUT_HOLES:
            places = f"{progress.holes} places" if progress.holes > 1 else "1 place"
            parts.append(f"{progress.missing_s:.1f} s are missing in {places}")
        if corrupt:
            parts.append(f"{corrupt} packets are marked as damaged" if corrupt > 1 else "1 packet is marked as damaged")
        return "; ".join(parts)

    def _missing(self, reached_s: float) -> str:
        announced_s = _announced_end_s(self._container, self._audio)
        if announced_s is not None:
            announced_s -= self._offset_s
            missing_s = announced_s - reached_s
            if missing_s >= _MISSING_S:
                return (
                    f"truncated: it announces {announced_s:.1f} s and ends at {reached_s:.1f} s, {missing_s:.1f} s "
                    f"({missing_s / announced_s:.0%}) are missing"
                )
        return truncation.of_file(self._opening.path, self._container.format.name) if self._opening.path else ""


def describe_audio(stream: AvAudioStream) -> AudioStream:
    """What a decoder elsewhere needs to know of an audio stream."""
    context = stream.codec_context
    codec = context.codec.name
    base = stream.time_base or Fraction(1, context.sample_rate or 1000)
    return AudioStream(
        codec=codec,
        sample_rate_hz=context.sample_rate,
        channels=context.layout.nb_channels,
        layout=_layout_name(context.layout.name),
        sample_format=context.format.name if codec.startswith("pcm_") and context.format else "",
        time_base=(base.numerator, base.denominator),
        extradata=context.extradata or b"",
        language=_language(stream),
        index=stream.index,
        bit_rate=context.bit_rate or 0,
    )


def describe_video(stream: AvVideoStream) -> VideoStream:
    """What a decoder or muxer elsewhere needs to know of a video stream."""
    context = stream.codec_context
    rate = stream.average_rate or Fraction(0)
    base = stream.time_base or Fraction(1, 1000)
    return VideoStream(
        codec=context.codec.name,
        width=context.width,
        height=context.height,
        frame_rate=(rate.numerator, rate.denominator),
        pixel_format=context.pix_fmt or "",
        time_base=(base.numerator, base.denominator),
        extradata=context.extradata or b"",
        index=stream.index,
    )


def _rotation(path: str, index: int) -> int:
    """By how much the container has the picture turned: FFmpeg tells it with the first frame only, so that is decoded."""
    import av

    try:
        with av.open(path, metadata_errors="replace") as container:
            return next((int(frame.rotation) for frame in container.decode(container.streams[index])), 0)  # type: ignore[union-attr]
    except (OSError, ValueError, av.FFmpegError):
        return 0  # what is wrong with the file is told when it is read


def _layout_name(name: str) -> str:
    """A layout that decoders everywhere take: WAV files often say only how many channels there are."""
    match = re.fullmatch(r"(\d+) channels", name)
    return {"1": "mono", "2": "stereo"}.get(match[1], name) if match else name


def _language(stream: Stream) -> str:
    return "" if stream.language in (None, "und") else str(stream.language)


def choose_audio(container: InputContainer, wanted: str, name: str) -> AvAudioStream:
    """The audio stream of that number or language, else the default one; raises DataError where there is none."""
    tracks = [s for s in container.streams.audio if s.codec_context is not None]
    if not tracks:
        others = ", ".join(f"{s.type} {s.codec_context.name}" for s in container.streams if s.codec_context is not None)
        raise DataError(f"{name}: no audio stream in it" + (f"; it has {others}" if others else ""))
    if not wanted:
        best = container.streams.best("audio")
        return best if best in tracks else tracks[0]
    if wanted.isdigit():
        if int(wanted) < len(tracks):
            return tracks[int(wanted)]
    else:
        for track in tracks:
            if track.language and languages.primary(track.language) == languages.primary(wanted):
                return track
    listed = ", ".join(
        f"{index} ({_language(track) or 'no language'}, {track.codec_context.name})"
        for index, track in enumerate(tracks)
    )
    raise DataError(f"{name}: no audio stream {wanted}; it has {listed}")


def choose_video(container: InputContainer) -> AvVideoStream | None:
    """The first video stream that is no cover picture."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def _clock_start_s(container: InputContainer) -> float:
    """What is to be subtracted from the container's times."""
    start_s = (container.start_time or 0) / 1_000_000
    arbitrary = bool(container.format.flags & _TS_DISCONT) or container.format.name == "mp3"
    return start_s if arbitrary or start_s > _FAR_START_S else 0.0


def _announced_end_s(container: InputContainer, audio: AvAudioStream) -> float | None:
    """Where the container says that the audio ends, on its own clock; None where it does not say or only estimates."""
    names = set(container.format.name.split(","))
    if not names & _RELIABLE:
        return None
    start = audio.start_time or 0
    if names == {"mp3"} and start == 0:
        return None  # no encoder's header: FFmpeg guessed from the bit rate
    if audio.duration is not None and audio.time_base is not None:
        return float((start + audio.duration) * audio.time_base)
    if match := re.fullmatch(r"(\d+):(\d+):([\d.]+)", audio.metadata.get("DURATION", "")):
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    if len(container.streams) == 1 and container.duration:
        return container.duration / 1_000_000
    return None


def packet_record(packet: av.Packet[Any], session: str, sequence: int, is_audio: bool, offset: int) -> Packet:
    """FFmpeg's packet as a record, its times `offset` ticks earlier."""
    base = packet.time_base
    skip = None
    if is_audio and packet.has_sidedata("skip_samples"):
        start, end = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
        skip = (start, end)
    return Packet(
        session,
        seq=sequence,
        stream="audio" if is_audio else "video",
        pts=None if packet.pts is None else packet.pts - offset,
        dts=None if packet.dts is None else packet.dts - offset,
        duration=packet.duration or 0,
        time_base=(base.numerator, base.denominator),
        data=bytes(packet),
        keyframe=packet.is_keyframe,
        skip_samples=skip,
    )


def _clip(end_ms: int, request: Request) -> int:
    return end_ms if request.end_ms is None else min(end_ms, request.end_ms)
