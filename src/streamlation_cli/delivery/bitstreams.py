r"""Compressed frames as MP4 has them: H.264 and HEVC with lengths before their NAL units, AAC without its ADTS headers.

MPEG-TS and RTP have start codes before NAL units, and the decoder's configuration between the frames; MP4 has it apart.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .tracks import Track

_START_CODE = re.compile(rb"\x00\x00\x01")
_CONFIGURATION = {"h264": {7, 8}, "hevc": {32, 33, 34}}
"""NAL unit types of parameter sets."""
_DELIMITER = {"h264": 9, "hevc": 35}
_AV1_DELIMITER = b"\x12\x00"
_ADTS_RATES = 13


def nal_units(data: bytes) -> list[bytes]:
    r"""The NAL units between start codes.

    >>> nal_units(b"\x00\x00\x00\x01\x67\x42\x00\x00\x01\x68\xce")
    [b'gB', b'h\xce']
    """
    marks = [match.start() for match in _START_CODE.finditer(data)]
    ends = [*marks[1:], len(data)]
    return [unit for mark, end in zip(marks, ends, strict=True) if (unit := data[mark + 3 : end].rstrip(b"\x00"))]


class Bitstream:
    """One track's frames on their way into MP4. `track` has the configuration; it may change with a keyframe."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self._raw_nal_units = track.codec in _CONFIGURATION and not track.extradata.startswith(b"\x01")
        self._adts = track.codec == "aac" and not track.extradata

    def convert(self, data: bytes, keyframe: bool) -> bytes:
        """The frame; where it brings a new configuration, `track` is another one afterwards."""
        if self._raw_nal_units:
            return self._with_lengths(data, keyframe)
        if self._adts and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
            return self._without_adts(data)
        if self.track.codec == "av1" and data.startswith(_AV1_DELIMITER):
            return data[len(_AV1_DELIMITER) :]
        return data

    @property
    def ready(self) -> bool:
        """Whether the configuration is known."""
        return not (self._raw_nal_units or self._adts) or bool(self.track.extradata)

    def _with_lengths(self, data: bytes, keyframe: bool) -> bytes:
        codec = self.track.codec
        units = nal_units(data)
        if keyframe:
            sets = [unit for unit in units if _kind(unit, codec) in _CONFIGURATION[codec]]
            extradata = b"".join(b"\x00\x00\x00\x01" + unit for unit in sets)
            if _whole(sets, codec) and set(sets) != set(nal_units(self.track.extradata)):
                self.track = replace(self.track, extradata=extradata)
        kept = [unit for unit in units if _kind(unit, codec) not in (*_CONFIGURATION[codec], _DELIMITER[codec])]
        return b"".join(len(unit).to_bytes(4, "big") + unit for unit in kept)

    def _without_adts(self, data: bytes) -> bytes:
        object_type, rate = (data[2] >> 6) + 1, data[2] >> 2 & 15
        channels = (data[2] & 1) << 2 | data[3] >> 6
        if rate < _ADTS_RATES:
            extradata = (object_type << 11 | rate << 7 | channels << 3).to_bytes(2, "big")
            if extradata != self.track.extradata:
                self.track = replace(self.track, extradata=extradata)
        return data[7 if data[1] & 1 else 9 :]


def _kind(unit: bytes, codec: str) -> int:
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _whole(sets: list[bytes], codec: str) -> bool:
    """Whether a decoder can begin with these parameter sets."""
    return {_kind(unit, codec) for unit in sets} == _CONFIGURATION[codec]
