"""FFmpeg streams for packets that were made elsewhere, from what a `Track` says of them.

PyAV copies a stream's parameters, codec configuration and all, only from a stream of an opened input. So a track is described
in a Matroska file without content, a few hundred bytes in memory, and that is opened.
"""

from __future__ import annotations

import functools
import io
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .tracks import Track, Unit

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer
    from av.stream import Stream

_VIDEO_TAGS = {
    "h264": b"H264", "av1": b"AV01", "vp8": b"VP80", "vp9": b"VP90", "mpeg4": b"FMP4", "mpeg2video": b"mpg2",
    "mpeg1video": b"mpg1", "mjpeg": b"MJPG", "theora": b"theo", "ffv1": b"FFV1", "prores": b"apch",
}  # fmt: skip
"""FFmpeg's name of a codec → its code in a BITMAPINFOHEADER."""
_AUDIO_TAGS = {
    "aac": 0x00FF, "mp3": 0x0055, "mp2": 0x0050, "ac3": 0x2000, "vorbis": 0x566F, "flac": 0xF1AC, "pcm_s16le": 0x0001,
    "pcm_s24le": 0x0001, "pcm_s32le": 0x0001, "pcm_u8": 0x0001, "pcm_f32le": 0x0003, "dts": 0x2001,
}  # fmt: skip
"""FFmpeg's name of a codec → its code in a WAVEFORMATEX."""
_OWN_IDS = {
    "hevc": b"V_MPEGH/ISO/HEVC", "opus": b"A_OPUS", "eac3": b"A_EAC3", "truehd": b"A_TRUEHD", "alac": b"A_ALAC",
}  # fmt: skip
"""Codecs that those cannot name, by Matroska's own name."""
_ALAC_ATOM_BYTES = 12
"""FFmpeg keeps the head of QuickTime's atom in front of ALAC's configuration, Matroska does not."""
_BITS = {"pcm_u8": 8, "pcm_s24le": 24, "pcm_s32le": 32, "pcm_f32le": 32}


def canonical(codec: str) -> str:
    """The codec that a decoder is for, by FFmpeg's name; an unknown name as it is.

    >>> canonical("mp3float"), canonical("libdav1d"), canonical("h264"), canonical("nonsense")
    ('mp3', 'av1', 'h264', 'nonsense')
    """
    import av

    try:
        return str(av.Codec(codec, "r").canonical_name)
    except (av.codec.codec.UnknownCodecError, ValueError):
        return codec


def can_copy(codec: str) -> bool:
    """Whether packets of the codec can be written here at all, by its canonical name."""
    return codec in _VIDEO_TAGS or codec in _AUDIO_TAGS or codec in _OWN_IDS


def add_copied(container: OutputContainer, track: Track) -> Stream:
    """A stream of `container` for the packets of a video or audio track, its parameters set and its header unwritten.

    Raises UsageError where the container does not take the codec.
    """
    import av

    if not can_copy(track.codec):
        raise UsageError(f"the {track.kind} is {track.codec}, which cannot be copied")
    padding_ns = 0
    if track.kind == "audio" and track.padding_samples:
        padding_ns = round(track.padding_samples * 1_000_000_000 / track.sample_rate_hz)
    with av.open(io.BytesIO(_described(track, padding_ns)), "r", format="matroska") as described:
        template = described.streams[0]
        try:
            stream: Any = container.add_stream_from_template(template, opaque=True)
        except ValueError as error:
            raise UsageError(f"{container.format.name} takes no {track.codec} {track.kind}") from error
    stream.time_base = Fraction(*track.time_base)
    if track.kind == "video":
        if track.frame_rate[0] > 0 and track.frame_rate[1] > 0:
            stream.codec_context.framerate = Fraction(*track.frame_rate)
        if track.rotation:
            stream.set_display_rotation(track.rotation)
        if track.pixel_format:
            stream.codec_context.pix_fmt = track.pixel_format  # MP4 says of VP9 how its colours are kept
    return stream  # type: ignore[no-any-return]


_fraction = functools.lru_cache(Fraction)


def packet_of(unit: Unit, stream: Stream) -> av.Packet[Any]:
    """A video or audio unit as a packet of `stream`."""
    import av
    from av.packet import PacketSideData, packet_sidedata_type_from_literal

    packet: Any = av.Packet(unit.data)
    packet.stream = stream
    packet.time_base = _fraction(*unit.track.time_base)
    packet.pts, packet.dts, packet.duration = unit.pts, unit.dts, unit.duration
    packet.is_keyframe = unit.keyframe
    if unit.skip_samples is not None:
        side_data: Any = PacketSideData(packet_sidedata_type_from_literal("skip_samples"), 10)  # type: ignore[call-arg]
        side_data.update(struct.pack("<IIBB", *unit.skip_samples, 0, 0))
        packet.set_sidedata(side_data)
    return packet  # type: ignore[no-any-return]


def _described(track: Track, padding_ns: int) -> bytes:
    """A Matroska file (RFC 9559) with one track and an empty cluster."""
    entry = _video(track) if track.kind == "video" else _audio(track, padding_ns)
    entry = _number(0xD7, 1) + _number(0x73C5, 1) + entry
    return _element(0x1A45DFA3, _element(0x4282, b"matroska")) + _element(
        0x18538067,
        _element(0x1549A966, _number(0x2AD7B1, 1_000_000))
        + _element(0x1654AE6B, _element(0xAE, entry))
        + _element(0x1F43B675, _number(0xE7, 0)),
    )


def _video(track: Track) -> bytes:
    picture = _number(0xB0, track.width) + _number(0xBA, track.height)
    if track.codec in _OWN_IDS:
        return _codec(1, _OWN_IDS[track.codec], track.extradata) + _element(0xE0, picture)
    size = 40 + len(track.extradata)
    header = struct.pack(
        "<IiiHH4sIiiII", size, track.width, track.height, 1, 24, _VIDEO_TAGS[track.codec], 0, 0, 0, 0, 0
    )
    return _codec(1, b"V_MS/VFW/FOURCC", header + track.extradata) + _element(0xE0, picture)


def _audio(track: Track, padding_ns: int) -> bytes:
    bits = _BITS.get(track.codec, 16)
    sound = (
        _element(0xB5, struct.pack(">d", track.sample_rate_hz)) + _number(0x9F, track.channels) + _number(0x6264, bits)
    )
    rest = _number(0x56AA, padding_ns) + _element(0xE1, sound)
    if track.codec in _OWN_IDS:
        extradata = track.extradata[_ALAC_ATOM_BYTES:] if track.codec == "alac" else track.extradata
        return _codec(2, _OWN_IDS[track.codec], extradata) + rest
    frame_bytes = track.channels * bits // 8 if track.codec.startswith("pcm_") else 1
    header = struct.pack(
        "<HHIIHHH", _AUDIO_TAGS[track.codec], track.channels, track.sample_rate_hz, track.bit_rate // 8, frame_bytes, bits,
        len(track.extradata),
    )  # fmt: skip
    return _codec(2, b"A_MS/ACM", header + track.extradata) + rest


def _codec(kind: int, identity: bytes, private: bytes) -> bytes:
    return _number(0x83, kind) + _element(0x86, identity) + (_element(0x63A2, private) if private else b"")


def _element(identity: int, payload: bytes) -> bytes:
    name = identity.to_bytes((identity.bit_length() + 7) // 8, "big")
    return name + (len(payload) | 1 << 56).to_bytes(8, "big") + payload


def _number(identity: int, value: int) -> bytes:
    return _element(identity, value.to_bytes(8, "big"))
