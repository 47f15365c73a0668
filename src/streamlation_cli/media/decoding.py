"""Packets of another process back into frames: bit for bit what decoding the file directly would give."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ..errors import DataError
from ..records import AudioStream, Packet
from .libav import route_log

if TYPE_CHECKING:
    import av
    from av.audio.codeccontext import AudioCodecContext


class PacketDecoder:
    """The decoder of one audio stream.

    `packets` and `bad_packets` count what it was given and what it could not decode.
    """

    def __init__(self, stream: AudioStream) -> None:
        import av
        from av.packet import PacketSideData, packet_sidedata_type_from_literal

        route_log()
        self._packet_class = av.Packet
        # PyAV's stubs leave out that it is made of a type and a size.
        self._side_data_class: Callable[[int, int], PacketSideData] = PacketSideData  # type: ignore[assignment]
        self._skip_type = packet_sidedata_type_from_literal("skip_samples")
        self._damage = (av.FFmpegError, ValueError)
        self.packets = 0
        self.bad_packets = 0
        self.frames = 0
        self._stream = stream
        self._context: AudioCodecContext | None = None

    def _open(self, first_packet: bytes) -> AudioCodecContext:
        from av.codec import CodecContext

        stream = self._stream
        try:
            context = cast("AudioCodecContext", CodecContext.create(stream.codec, "r"))
            if context.type != "audio":
                raise ValueError("it is not an audio codec")
            if stream.extradata:
                context.extradata = stream.extradata
            context.sample_rate = stream.sample_rate_hz
            if stream.channels > 0:
                context.layout = stream.layout or f"{stream.channels} channels"
            if stream.sample_format:
                context.format = stream.sample_format
            context.options = decoder_options(stream, len(first_packet))
            context.thread_count = 1  # the stages already share the cores; and more threads hold packets back
            context.open()
        except self._damage as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"codec {stream.codec!r} cannot be decoded: {reason}") from error
        return context

    def decode(self, record: Packet, *, warming_up: bool = False) -> list[av.AudioFrame] | None:
        """The frames of a packet, their times in its time base; None where it could not be decoded.

        While `warming_up` after a seek, packets that refer to earlier ones fail as they should and do not count as bad.
        Raises DataError at the first packet where FFmpeg has no such decoder or it does not take its configuration.
        """
        if self._context is None:
            self._context = self._open(record.data)
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
            self.bad_packets += not warming_up
            return None
        self.frames += len(frames)
        return frames

    def successor(self, stream: AudioStream | None) -> PacketDecoder:
        """A decoder for what comes after a break, of the same stream where none is given; it goes on counting."""
        decoder = PacketDecoder(stream or self._stream)
        decoder.packets, decoder.bad_packets, decoder.frames = self.packets, self.bad_packets, self.frames
        return decoder

    def flush(self) -> list[av.AudioFrame]:
        """The frames still inside."""
        if self._context is None:
            return []
        try:
            return self._context.decode(None)
        except self._damage:
            return []


_ONE_BLOCK_A_PACKET = ("wma", "cook", "atrac", "sipr", "ra_288")


def decoder_options(stream: AudioStream, packet_size: int) -> dict[str, str]:
    """What a decoder takes from the container beyond the fields of `AudioStream`, where it can be worked out.

    >>> decoder_options(AudioStream(codec="g726", sample_rate_hz=8000, channels=1, bit_rate=32000), 100)
    {'pkt_timebase': '1/1000', 'bits_per_coded_sample': '4'}
    """
    numerator, denominator = stream.time_base
    # Without its time base the decoder does not move a frame's time past the samples that it drops.
    options = {"pkt_timebase": f"{numerator}/{denominator}"}
    if stream.codec.startswith(_ONE_BLOCK_A_PACKET):
        options["block_align"] = str(packet_size)
    elif stream.codec in ("g726", "g726le", "adpcm_ima_wav") and stream.bit_rate:
        options["bits_per_coded_sample"] = str(round(stream.bit_rate / stream.sample_rate_hz / max(1, stream.channels)))
        if stream.codec == "adpcm_ima_wav" and len(stream.extradata) >= 2:
            (samples,) = struct.unpack_from("<H", stream.extradata)
            options["block_align"] = str(stream.channels * (4 + (samples - 1) // 2))
    return options
