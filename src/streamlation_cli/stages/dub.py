"""Speak translations on the source's times; write an audio track.

Adds a `speech` record to each final translation (to each transcript where nothing was translated) and passes every
record on. With `-o` the speech is also written as an audio track of the media's length that starts at media time 0,
so that it can be muxed beside the picture.

A sentence starts when its source does. Where the dub is longer it first takes the pause that follows, then is spoken
faster (at most 1.35 times), then ends late, and later pauses take that back; utterances never overlap. `drift_ms` of a
`speech` record is how late it is at worst.

`--engine auto` uses Piper where an installed voice speaks the language and eSpeak elsewhere. A bare `pt` is spoken with the
Brazilian voice and a bare `en` with the American one; say `pt-PT` or `en-GB`, or name a `--voice`, for others.

Examples:

\b
  streamlation translate --to pt < talk.ndjson | streamlation dub -o talk.pt.opus > /dev/null
  streamlation ingest talk.pt.srt --from pt | streamlation dub -o - > talk.pt.wav
  streamlation dub --voices
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .. import timefit, voices
from ..artefacts import STDOUT, Targets
from ..audiofile import SAMPLE_RATE_HZ, AudioFile, format_of
from ..bed import OriginalSound
from ..dubtrack import DubTrack
from ..errors import Unavailable, UsageError
from ..options import option
from ..phrases import Phrase, phrases
from ..records import (
    Eos,
    Error,
    Header,
    Packet,
    Pcm,
    Speech,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    ends_session,
)
from ..sessions import Stage, by_session
from ..speaking import Speaker, Spoken

STAGE = "dub"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dub`."""

    output: tuple[str, ...] = option(
        "--output", (), short="-o", repeatable=True, metavar="FILE",
        help="audio track to write: wav, flac, m4a, mp3 or opus by extension; - is WAV on stdout",
    )  # fmt: skip
    engine: str = option("--engine", "auto", metavar="NAME", help="auto, piper, espeak or stub")
    voice: str = option("--voice", "", metavar="NAME|PATH", help="voice; found by language unless given")
    voices: bool = option("--voices", False, help="list the voices that are here")
    from_: str = option("--from", "auto", metavar="LANG", shared=True, help="spoken language, or auto to detect it")
    mix: str = option(
        "--mix", "replace", choices=("replace", "duck"),
        help="replace: the voice alone; duck: over the original, turned down",
    )  # fmt: skip
    duck_db: float = option(
        "--duck-db", 12.0, metavar="DB", minimum=3, maximum=60, help="how far the original goes down under the voice"
    )
    cache_mb: int = option(
        "--cache-mb", 512, metavar="MB", minimum=0, help="disk for speech already synthesized; 0: none is kept"
    )
    device: str = option("--device", "auto", choices=("auto", "cpu", "cuda"), shared=True, help="where engines run")
    threads: int = option("--threads", 0, metavar="N", minimum=0, shared=True, help="CPU threads; 0: one a core")
    stub_delay_ms: int = option("--stub-delay-ms", 0, metavar="MS", minimum=0, shared=True, help="stub engines: delay")
    stub_error_rate: float = option(
        "--stub-error-rate", 0.0, metavar="P", minimum=0, maximum=1, shared=True,
        help="stub engines: share of failing calls",
    )  # fmt: skip
    stub_seed: int = option(
        "--stub-seed", 0, metavar="N", shared=True, help="stub engines: another answer for each seed"
    )


def listing(options: Options) -> str | None:
    """The installed voices, a line each, where `--voices` asks for them."""
    return voices.listing(options.engine) if options.voices else None


def takes_stdout(options: Options) -> bool:
    """Whether standard output gets the audio."""
    return STDOUT in options.output


def stage(options: Options) -> Stage:
    """Speaks the text of each session; sessions share the loaded voices."""
    for target in options.output:
        format_of(target)
    if options.mix == "duck" and not options.output:
        raise UsageError("--mix duck needs an -o FILE to mix into")
    targets = [Targets(name) for name in options.output]

    def run(records: Iterable[StreamRecord]) -> Iterator[StreamRecord]:
        cast = _Cast(options)
        open_tracks: dict[str, _Session] = {}

        def make(header: Header) -> _Session:
            session = _Session(header, options, cast, targets)
            open_tracks[header.session] = session
            return session

        try:
            for record in by_session(STAGE, make)(records):
                if ends_session(record) and record.session in open_tracks:
                    open_tracks.pop(record.session).abandon()  # what is not whole by now never will be
                yield record
        finally:
            for session in open_tracks.values():
                session.abandon()
            cast.close()

    return run


class _Cast:
    """The voices in use, each loaded once."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._speakers: dict[str, Speaker] = {}

    def speaker(self, language: str) -> Speaker:
        if language not in self._speakers:
            options = self._options
            engine = voices.synthesizer(
                options.engine, options.voice, language, threads=options.threads, device=options.device,
                stub={"delay_ms": options.stub_delay_ms, "error_rate": options.stub_error_rate, "seed": options.stub_seed},
            )  # fmt: skip
            self._speakers[language] = Speaker(engine, cache_mb=options.cache_mb)
        return self._speakers[language]

    def close(self) -> None:
        for speaker in self._speakers.values():
            speaker.close()


@dataclass(frozen=True)
class _Utterance:
    id: str
    phrases: list[Phrase]
    language: str
    end_ms: int


class _Session:
    """One session's text on its way to speech.

    An utterance waits for the next one, whose start says how much pause may be borrowed; in a live session it does not wait.
    """

    def __init__(self, header: Header, options: Options, cast: _Cast, targets: list[Targets]) -> None:
        self._header = header
        self._session = header.session
        self._options = options
        self._cast = cast
        self._waiting: _Utterance | None = None
        self._free_ms = 0
        """When the voice is free for the next utterance."""
        self._counters = {"utterances": 0, "speech_ms": 0, "worst_drift_ms": 0}
        self._original = OriginalSound(header.audio) if options.mix == "duck" else None
        self._targets = targets
        self._files: list[AudioFile] = []
        self._track = DubTrack(self._files, self._original, options.duck_db)

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield record
        if isinstance(record, Header):
            yield Status(self._session, stage=STAGE, state="running")
            for target in self._targets:
                self._files.append(AudioFile(target.of(self._session), 1 if self._original is None else 2))
            if record.target_language:
                self._cast.speaker(record.target_language)  # a voice that is missing shows before any work is done
        elif self._original is not None and _is_sound(record):
            assert isinstance(record, Packet | Pcm)
            self._original.feed(record)
        elif self._speaks(record):
            assert isinstance(record, Transcript | Translation)
            utterance = self._utterance(record)
            if utterance is not None:
                self._require_original()
                yield from self._release(next_start_ms=utterance.phrases[0].slot.start_ms)
                self._waiting = utterance
                if self._header.live:
                    yield from self._release(next_start_ms=None)

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        duration_ms = (end.duration_ms if isinstance(end, Eos) else None) or self._header.duration_ms
        yield from self._release(next_start_ms=duration_ms, last=True)
        if isinstance(end, Eos):
            self._require_original()
            self._track.finish(duration_ms or 0)
            while self._files:
                self._files[0].commit()
                self._files.pop(0)
        yield Status(
            self._session,
            stage=STAGE,
            state="failed" if isinstance(end, Error) else "completed",
            counters=dict(self._counters),
        )

    def abandon(self) -> None:
        """Frees what is held; files that are not whole stay as parts."""
        if self._original is not None:
            self._original.close()
        while self._files:
            self._files.pop().abandon()

    def _require_original(self) -> None:
        if self._original is not None and not self._original.is_there:
            raise UsageError(
                "--mix duck needs the original sound in the stream: run normalize with --keep-packets, or transcribe with --keep-audio"
            )

    def _speaks(self, record: StreamRecord) -> bool:
        wanted = Translation if self._header.target_language else Transcript
        return isinstance(record, wanted) and record.final

    def _utterance(self, record: Transcript | Translation) -> _Utterance | None:
        if isinstance(record, Translation):
            language = record.target_language or self._header.target_language
        else:
            language = (
                record.language
                or self._header.language
                or (self._options.from_ if self._options.from_ != "auto" else "")
            )
        found = phrases(record.text, record.start_ms, record.end_ms, record.words)
        if not found:
            return None
        if not language:
            raise Unavailable("the text does not say its language, so no voice can be chosen; say --from LANG")
        return _Utterance(record.id, found, language, max(record.end_ms, found[-1].slot.end_ms))

    def _release(self, next_start_ms: int | None, *, last: bool = False) -> Iterator[Speech]:
        """Speaks the waiting utterance, now that it is known when the next one starts (or the media ends)."""
        utterance, self._waiting = self._waiting, None
        if utterance is None:
            return
        speaker = self._cast.speaker(utterance.language)
        spoken = speaker.speak(utterance.phrases, self._free_ms, next_start_ms, self._track.ceiling, last=last)
        if spoken is None:
            return
        self._free_ms = spoken.end_ms + timefit.PAUSE_MS
        self._count(spoken)
        if self._files:
            self._track.add(spoken.start_ms, spoken.resampled(SAMPLE_RATE_HZ))
            self._track.advance(spoken.end_ms)
        yield Speech(
            self._session, id=utterance.id, start_ms=spoken.start_ms, end_ms=spoken.end_ms,
            sample_rate_hz=spoken.sample_rate_hz, voice=speaker.voice, data=spoken.samples.tobytes(),
            tempo=spoken.tempo, drift_ms=spoken.drift_ms,
        )  # fmt: skip

    def _count(self, spoken: Spoken) -> None:
        counters = self._counters
        counters["utterances"] += 1
        counters["speech_ms"] += spoken.end_ms - spoken.start_ms
        counters["worst_drift_ms"] = max(counters["worst_drift_ms"], spoken.drift_ms)


def _is_sound(record: StreamRecord) -> bool:
    return isinstance(record, Pcm) or (isinstance(record, Packet) and record.stream == "audio")
