"""The records of protocol 1: one frozen struct a type, tagged by `type`.

Times are integer milliseconds on the source's timeline unless a name says otherwise; `emitted_at` is Unix time in
seconds and is set in live sessions only, so that a file gives the same bytes every time. JSON carries `bytes` as base64.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PROTO = 1
"""The protocol's major version; another one is refused."""

SAMPLE_RATE_HZ = 16_000
"""Sample rate of every `pcm` record."""


State = Literal["pending", "running", "completed", "failed"]
"""How a stage is."""


class AudioStream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to decode the session's audio packets."""

    codec: str
    """Decoder name in FFmpeg's terms, such as `mp3float` or `aac`."""
    sample_rate_hz: int
    channels: int
    layout: str = ""
    """Channel layout, such as `stereo`."""
    sample_format: str = ""
    """FFmpeg sample format; only raw PCM decoders need it."""
    time_base: tuple[int, int] = (1, 1000)
    """Numerator and denominator of the unit of `pts`, in seconds."""
    extradata: bytes = b""
    """Codec configuration the decoder needs before the first packet."""
    language: str = ""
    """Language tag of the track as the container gives it, empty where it gives none."""
    index: int = 0
    """Index of the track among the container's streams."""
    bit_rate: int = 0


class VideoStream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to decode or copy the session's video packets."""

    codec: str
    width: int
    height: int
    frame_rate: tuple[int, int] = (0, 1)
    pixel_format: str = ""
    time_base: tuple[int, int] = (1, 1000)
    extradata: bytes = b""
    index: int = 0
    rotation: int = 0
    """Degrees, counter-clockwise, by which players turn the picture, as a telephone held upright asks for."""


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One word with its time."""

    text: str
    """The word with its punctuation, without surrounding spaces."""
    start_ms: int
    end_ms: int
    confidence: float | None = None
    """Probability in [0, 1]."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, weakref=True, tag_field="type", tag=str.lower):
    """What every record has; the one field that is not keyword-only, so that it stands first in the JSON."""

    session: str
    """The session this record belongs to; sessions may be interleaved in one stream."""


class Header(Record, frozen=True, kw_only=True):
    """First record of a session."""

    proto: int
    source: str
    """What was opened, as the user named it (credentials removed)."""
    started_at: float | None = None
    """Unix time of media time 0; live sessions only."""
    live: bool = False
    duration_ms: int | None = None
    """Length the container announces, where it announces one."""
    start_ms: int = 0
    """Media time at which the kept part starts; packets from before it may be there for decoders to warm up."""
    end_ms: int | None = None
    """Media time at which the kept part ends; None where everything is kept."""
    audio: AudioStream | None = None
    video: VideoStream | None = None
    language: str = ""
    """Spoken language as the user gave it; empty when it is to be detected."""
    target_language: str = ""
    """Language that `translate` translates into, the last one where there are several; empty upstream of it."""
    earlier_targets: tuple[str, ...] = ()
    """Languages that the `translate` stages before the last translate into, in their order."""
    dubbed: tuple[str, ...] = ()
    """Languages that the `dub` stages speak, in their order; an empty one is yet to be detected."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Every language that is translated into, in the order of the stages.

        >>> Header("a", proto=1, source="x", target_language="es", earlier_targets=("pt",)).targets
        ('pt', 'es')
        """
        return (*self.earlier_targets, self.target_language) if self.target_language else ()


class Packet(Record, frozen=True, kw_only=True):
    """Demuxed media, still compressed."""

    seq: int
    stream: Literal["audio", "video"]
    pts: int | None
    dts: int | None
    duration: int
    time_base: tuple[int, int]
    data: bytes
    keyframe: bool = False
    skip_samples: tuple[int, int] | None = None
    """Samples for the decoder to drop at the start and the end of this packet's audio."""


class Pcm(Record, frozen=True, kw_only=True):
    """16 kHz mono signed 16-bit little-endian samples."""

    seq: int
    start_ms: int
    end_ms: int
    rms_dbfs: float
    """Root mean square level, 0 is full scale; −120 for digital silence."""
    peak_dbfs: float
    data: bytes
    speech_probability: float | None = None


class Transcript(Record, frozen=True, kw_only=True):
    """Recognised text: an utterance, or a revision of one."""

    id: str
    """Unique in the session; later revisions of the same utterance carry the same id."""
    start_ms: int
    end_ms: int
    text: str
    final: bool
    """True: this text never changes again."""
    language: str = ""
    rev: int = 0
    stable_words: int = 0
    """How many leading words are committed although the text is not final."""
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    speaker: str = ""
    emitted_at: float | None = None


class Translation(Record, frozen=True, kw_only=True):
    """Translated text: one whole sentence, laid on the times of the words it translates."""

    id: str
    """Unique in the session: `s1`, `s2` and so on, and of a second language `es-s1`, `es-s2`."""
    start_ms: int
    end_ms: int
    text: str
    final: bool
    source_text: str
    source_language: str
    target_language: str
    engine: str = ""
    cached: bool = False
    rev: int = 0
    stable_words: int = 0
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    """Words of `text` with times interpolated from the source's words."""
    source_ids: tuple[str, ...] = ()
    """Ids of the transcripts the sentence comes from."""
    source_words: tuple[Word, ...] = ()
    """The words that were translated, with their times."""
    glossary_misses: tuple[str, ...] = ()
    """Glossary terms that the source has and the translation lacks."""
    alternatives: tuple[str, ...] = ()
    """Shorter translations of the sentence, the longest first, for a voice that has too little time for `text`."""
    speaker: str = ""
    emitted_at: float | None = None


class Speech(Record, frozen=True, kw_only=True):
    """Synthesized audio of one utterance: mono signed 16-bit little-endian samples."""

    id: str
    """Id of the translation (or transcript) that is spoken."""
    start_ms: int
    end_ms: int
    sample_rate_hz: int
    voice: str
    data: bytes
    tempo: float = 1.0
    """How much faster than the voice's own pace it speaks; 1.2 is 20 % faster."""
    drift_ms: int = 0
    """How much later than the source's utterance it starts or ends, whichever is more."""
    text: str = ""
    """What is spoken where it is one of the translation's shorter `alternatives`."""
    speaker: str = ""
    """Who said it in the source, where that is known."""
    language: str = ""
    """Language that is spoken; empty in records from before there could be several, which speak the header's."""
    emitted_at: float | None = None


class Cue(Record, frozen=True, kw_only=True):
    """A caption event. One caption of a session is on screen at a time: an `add` takes the place of the one before.

    A live caption grows: each `update` of its `id` has all its lines, and its last one the time it ended. Its `end_ms` until
    then says when to take it off if nothing more comes. In a file's log, `add` is all there is.
    """

    op: Literal["add", "update", "remove"]
    """`update` replaces the caption with this `id`; `remove` takes it back: it should not have been there."""
    id: str
    start_ms: int
    end_ms: int
    lines: tuple[str, ...] = ()
    words: tuple[Word, ...] = ()
    """The words of `lines` with their times, for word-level highlighting."""
    language: str = ""
    speaker: str = ""
    confidence: float | None = None
    emitted_at: float | None = None


class Discontinuity(Record, frozen=True, kw_only=True):
    """A gap, a reconnect or a clock jump in the source's timeline."""

    at_ms: int
    gap_ms: int
    """Length of the gap; negative when the clock jumped back."""
    reason: str
    audio: AudioStream | None = None
    """How to decode the audio packets from here on, where that differs from before."""


class Status(Record, frozen=True, kw_only=True):
    """What a stage says of itself."""

    stage: str
    state: State
    progress: float | None = None
    """Share of the input that is done, in [0, 1], where its length is known."""
    lag_ms: int | None = None
    counters: dict[str, int | float] = {}
    detail: str = ""
    emitted_at: float | None = None


class Error(Record, frozen=True, kw_only=True):
    """Something failed; a fatal one ends its session."""

    stage: str
    code: str
    """A code of `errors.py`, or `interrupted`, `terminated`, `internal`."""
    message: str
    fatal: bool


class Eos(Record, frozen=True, kw_only=True):
    """End of a session that is whole."""

    reason: str = "end"
    duration_ms: int | None = None
    counts: dict[str, int] = {}
    """Records of each type that this stage wrote before this one."""


class Unknown(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """A record of a type this version does not know: passed along as it came, byte for byte."""

    type: str
    session: str = ""


KNOWN: tuple[type[Record], ...] = (
    Header, Packet, Pcm, Transcript, Translation, Speech, Cue, Discontinuity, Status, Error, Eos,
)  # fmt: skip
"""Every record type of protocol 1, in the order a session usually has them."""

AnyRecord = Header | Packet | Pcm | Transcript | Translation | Speech | Cue | Discontinuity | Status | Error | Eos
"""The union that the codec decodes."""

StreamRecord = AnyRecord | Unknown
"""What a stage reads and yields."""


def type_name(record: StreamRecord) -> str:
    """The record's `type` as the wire has it.

    >>> type_name(Eos(session="a"))
    'eos'
    """
    if isinstance(record, Unknown):
        return record.type
    return str(record.__struct_config__.tag)


def ends_session(record: StreamRecord) -> bool:
    """Whether nothing of its session may follow this record.

    >>> ends_session(Eos(session="a"))
    True
    """
    return isinstance(record, Eos) or (isinstance(record, Error) and record.fatal)
