"""Packets of another process back into frames: bit for bit what decoding the file directly would give."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from .errors import DataError
from .records import AudioStream, Packet

if TYPE_CHECKING:
    import av
    from av.audio.codeccontext import AudioCodecContext


class PacketDecoder:
    """The decoder of one audio stream; raises DataError where FFmpeg has none or it does not take its configuration.

    `packets` and `bad_packets` count what it was given and what it could not decode.
    """

    def __init__(self, stream: AudioStream) -> None:
        import av
        from av.packet import PacketSideData, packet_sidedata_type_from_literal

        self._packet_class = av.Packet
        self._side_data_class = PacketSideData
        self._skip_type = packet_sidedata_type_from_literal("skip_samples")
        self._damage = (av.FFmpegError, ValueError)
        self.packets = 0
        self.bad_packets = 0
        self.frames = 0
        try:
            self._context = self._open(stream)
        except (av.FFmpegError, ValueError) as error:
            raise DataError(f"codec {stream.codec!r} cannot be decoded: {error}") from error

    def _open(self, stream: AudioStream) -> AudioCodecContext:
        from av.codec import CodecContext

        context = CodecContext.create(stream.codec, "r")
        if context.type != "audio":
            raise ValueError("it is not an audio codec")
        context = cast("AudioCodecContext", context)
        if stream.extradata:
            context.extradata = stream.extradata
        context.sample_rate = stream.sample_rate_hz
        if stream.channels > 0:
            context.layout = stream.layout or f"{stream.channels} channels"
        if stream.sample_format:
            context.format = stream.sample_format
        numerator, denominator = stream.time_base
        # Without it the decoder does not move a frame's time past the samples that it drops.
        context.options = {"pkt_timebase": f"{numerator}/{denominator}"}
        context.thread_count = 1  # the stages already share the cores; and more threads hold packets back
        context.open()
        return context

    def decode(self, record: Packet) -> list[av.AudioFrame] | None:
        """The frames of a packet, their times in its time base; None where it could not be decoded."""
        packet = self._packet_class(record.data)
        packet.pts = record.pts
        packet.dts = record.dts
        packet.duration = record.duration
        if record.skip_samples is not None:
            side_data = self._side_data_class(self._skip_type, 10)
            side_data.update(struct.pack("<IIBB", *record.skip_samples, 0, 0))
            packet.set_sidedata(side_data)
        self.packets += 1
        try:
            frames = self._context.decode(packet)
        except self._damage:
            self.bad_packets += 1
            return None
        self.frames += len(frames)
        return frames

    def flush(self) -> list[av.AudioFrame]:
        """The frames still inside."""
        try:
            return self._context.decode(None)
        except self._damage:
            return []
