"""Fragmented MP4 (ISO 14496-12, CMAF): the initialization of a track, and fragments of its samples.

FFmpeg writes the initialization, which has the codec's configuration in the container's own form. Fragments are written here,
so that they end where a segment is to end and begin at the time they say.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..errors import DataError
from . import streams
from .tracks import Track

_TRACK_ID = 1
_KEYFRAME, _OTHER = 0x0200_0000, 0x0101_0000
"""Sample flags: depends on no other; depends on others and is no sync sample."""


@dataclass(frozen=True)
class Initialization:
    """What a decoder needs before a track's first fragment."""

    data: bytes
    timescale: int
    """Units of the fragments' times in a second."""
    codecs: str
    """The codec by RFC 6381: `avc1.64001f`, `mp4a.40.2`."""


@dataclass(frozen=True)
class Sample:
    """One frame, with its times in seconds of the presentation."""

    dts_s: Fraction
    pts_s: Fraction
    duration_s: Fraction
    data: bytes
    keyframe: bool
    track: Track
    """The track as it is configured from here on."""

    @property
    def end_s(self) -> Fraction:
        """When it is no longer shown or heard."""
        return self.pts_s + self.duration_s


def initialization(track: Track) -> Initialization:
    """The initialization of a video or audio track; raises UsageError where MP4 does not take its codec."""
    import av

    written = io.BytesIO()
    options = {"movflags": "+empty_moov+default_base_moof", "fflags": "+bitexact"}
    with av.open(written, "w", format="mp4", options=options) as container:
        stream = streams.add_copied(container, track)
        if track.codec == "hevc":
            stream.codec_context.codec_tag = "hvc1"  # the only one that Apple's players know
        container.start_encoding()
    data = written.getvalue()
    data = b"".join(
        data[start - 8 : end] for kind, start, end in boxes(data, 0, len(data)) if kind in (b"ftyp", b"moov")
    )
    return Initialization(data, _timescale(data), codecs_of(data))


def fragment(number: int, start: int, samples: Sequence[tuple[Sample, int, int]]) -> bytes:
    """A media segment of one fragment.

    `number` counts a track's fragments from 1; `start` is the first sample's decoding time; each sample comes with its duration
    and with how much later than it is decoded it is shown. Times are in units of the initialization's timescale.
    """
    table = b"".join(
        struct.pack(">IIIi", duration, len(sample.data), _KEYFRAME if sample.keyframe else _OTHER, offset)
        for sample, duration, offset in samples
    )
    header_bytes = 8 + 16 + 8 + 16 + 20 + 12 + 8 + len(table)
    # Durations, sizes, flags and offsets of each sample, and where the data begins, counted from the start of `moof`.
    run = _full(b"trun", 1, 0xF01, struct.pack(">Ii", len(samples), header_bytes + 8) + table)
    track = (
        _full(b"tfhd", 0, 0x02_0000, struct.pack(">I", _TRACK_ID))
        + _full(b"tfdt", 1, 0, struct.pack(">Q", start))
        + run
    )
    moof = _box(b"moof", _full(b"mfhd", 0, 0, struct.pack(">I", number)) + _box(b"traf", track))
    assert len(moof) == header_bytes
    return (
        _box(b"styp", b"msdh\x00\x00\x00\x00msdhmsix") + moof + _box(b"mdat", b"".join(s.data for s, _, _ in samples))
    )


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes in a part of `data`: kind, and where the payload starts and ends."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            raise DataError(f"a box of an MP4 is damaged: {kind!r} of {size} bytes")
        yield kind, start + 8, start + size
        start += size


def find(data: bytes, *path: bytes, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
    """Where the payload of the first box at a path is: start and end."""
    end = len(data) if end is None else end
    for kind, first, last in boxes(data, start, end):
        if kind == path[0]:
            return (first, last) if len(path) == 1 else find(data, *path[1:], start=first, end=last)
    return None


def _timescale(data: bytes) -> int:
    place = find(data, b"moov", b"trak", b"mdia", b"mdhd")
    assert place is not None
    version = data[place[0]]
    return int(struct.unpack_from(">I", data, place[0] + (20 if version else 12))[0])


def codecs_of(data: bytes) -> str:
    """The codec of an initialization's track by RFC 6381 and the bindings of each codec to MP4."""
    place = find(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    assert place is not None
    kind, start, end = next(boxes(data, place[0] + 8, place[1]))
    entry = kind.decode("latin-1")
    # After the fields that every entry for a picture (78 bytes) or for sound (28) has.
    inner = {box: data[first:last] for box, first, last in boxes(data, start + (28 if kind in _SOUND else 78), end)}
    if b"avcC" in inner:
        return f"{entry}.{inner[b'avcC'][1:4].hex()}"
    if b"hvcC" in inner:
        return f"{entry}.{_hevc(inner[b'hvcC'])}"
    if b"av1C" in inner:
        return f"{entry}.{_av1(inner[b'av1C'])}"
    if b"vpcC" in inner:
        profile, level, depth = inner[b"vpcC"][4], inner[b"vpcC"][5], inner[b"vpcC"][6] >> 4
        return f"{entry}.{profile:02d}.{level:02d}.{depth:02d}"
    if b"esds" in inner:
        return f"{entry}.{_mpeg4_audio(inner[b'esds'])}"
    return {"Opus": "opus", "fLaC": "fLaC"}.get(entry, entry)


_SOUND = (b"mp4a", b"Opus", b"fLaC", b"ac-3", b"ec-3", b"alac")


def _hevc(record: bytes) -> str:
    """By ISO 14496-15, annex E.3: profile, compatibility, tier and level, constraints."""
    space, tier, profile = record[1] >> 6, record[1] >> 5 & 1, record[1] & 31
    compatible = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = record[6:12].rstrip(b"\x00")
    parts = [f"{' ABC'[space].strip()}{profile}", f"{compatible:X}", f"{'LH'[tier]}{record[12]}"]
    return ".".join([*parts, *(f"{byte:X}" for byte in constraints)])


def _av1(record: bytes) -> str:
    """By the AV1 codec's binding to MP4: profile, level and tier, bit depth."""
    profile, level, tier = record[1] >> 5, record[1] & 31, record[2] >> 7
    high, twelve = record[2] >> 6 & 1, record[2] >> 5 & 1
    return f"{profile}.{level:02d}{'MH'[tier]}.{12 if high and twelve else 10 if high else 8:02d}"


def _mpeg4_audio(box: bytes) -> str:
    """Object type of the decoder, and of AAC the audio object type: descriptors of ISO 14496-1, after version and flags."""
    at, kind_of_object = 4, 0
    while at < len(box):
        tag, at = box[at], at + 1
        size = 0
        while True:
            size, more = size << 7 | box[at] & 0x7F, box[at] & 0x80
            at += 1
            if not more:
                break
        if tag == 3:
            at += 3
        elif tag == 4:
            kind_of_object = box[at]
            at += 13
        elif tag == 5:
            object_type = box[at] >> 3
            if object_type == 31:
                object_type = 32 + ((box[at] & 7) << 3 | box[at + 1] >> 5)
            return f"{kind_of_object:x}.{object_type}"
        else:
            at += size
    return f"{kind_of_object:x}"


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _full(kind: bytes, version: int, flags: int, payload: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + payload)
