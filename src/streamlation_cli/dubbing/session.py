"""One session's text on its way to speech: utterances in, `speech` records and a dubbed track out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..artefacts import Targets
from ..errors import Unavailable, UsageError
from ..records import Eos, Error, Header, Packet, Pcm, Speech, Status, StreamRecord, Transcript, Translation
from . import timefit, voices
from .audiofile import SAMPLE_RATE_HZ, AudioFile
from .bed import OriginalSound
from .growing_wav import GrowingWav
from .phrases import Phrase, phrases
from .speaking import Speaker, Spoken
from .track import DubTrack

if TYPE_CHECKING:
    from ..stages.dub import Options

STAGE = "dub"

_CHANNELS = 2
"""Of every file: one channel would measure 3 LU less than it plays."""


class Cast:
    """The voices in use, each loaded once."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._speakers: dict[str, Speaker] = {}

    def speaker(self, language: str) -> Speaker:
        """The speaker of a language, loaded at the first call; raises what `voices.synthesizer` raises."""
        if language not in self._speakers:
            options = self._options
            engine = voices.synthesizer(
                options.engine, options.voice, language, threads=options.threads, device=options.device,
                stub=options.stub_settings(),
            )  # fmt: skip
            self._speakers[language] = Speaker(engine, caching=not options.no_cache)
        return self._speakers[language]

    def close(self) -> None:
        """Frees every voice."""
        for speaker in self._speakers.values():
            speaker.close()


@dataclass(frozen=True)
class Utterance:
    """What is spoken of one record."""

    id: str
    phrases: list[Phrase]
    language: str


class Dubbing:
    """One session's text on its way to speech.

    An utterance waits for the next one, whose start says how much pause may be borrowed; in a live session it does not wait.
    """

    def __init__(self, header: Header, options: Options, cast: Cast, targets: list[Targets]) -> None:
        self._header = header
        self._session = header.session
        self._options = options
        self._cast = cast
        self._waiting: Utterance | None = None
        self._free_ms = 0
        """When the voice is free for the next utterance."""
        self._counters = {"utterances": 0, "speech_ms": 0, "worst_drift_ms": 0}
        self._original: OriginalSound | None = None
        if options.mix != "replace":
            self._original = OriginalSound(header.audio, header.start_ms, header.end_ms)
        self._targets = targets
        self._files: list[AudioFile | GrowingWav] = []
        self._track = DubTrack(
            self._files, self._original, options.duck_db, mix=options.mix, keep_side=options.keep_side,
            live=header.live or options.live,
        )  # fmt: skip

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield record
        if isinstance(record, Header):
            yield Status(self._session, stage=STAGE, state="running")
            if record.target_language:
                self._cast.speaker(record.target_language)  # a voice that is missing shows before any work is done
            for target in self._targets:
                self._files.append(self._open(target.of(self._session), _CHANNELS))
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
                if self._header.live or self._options.live:
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

    def _open(self, target: str, channels: int) -> AudioFile | GrowingWav:
        return AudioFile(target, channels)

    def _require_original(self) -> None:
        if self._original is not None and not self._original.is_there:
            raise UsageError(
                f"--mix {self._options.mix} needs the original sound in the stream: run normalize with "
                "--keep-packets, or transcribe with --keep-audio"
            )

    def _speaks(self, record: StreamRecord) -> bool:
        wanted = Translation if self._header.target_language else Transcript
        return isinstance(record, wanted) and record.final

    def _utterance(self, record: Transcript | Translation) -> Utterance | None:
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
        return Utterance(record.id, found, language)

    def _release(self, next_start_ms: int | None, *, last: bool = False) -> Iterator[Speech | Status]:
        """Speaks the waiting utterance, now that it is known when the next one starts (or the media ends)."""
        utterance, self._waiting = self._waiting, None
        if utterance is None:
            return
        speaker = self._cast.speaker(utterance.language)
        spoken = speaker.speak(utterance.phrases, self._free_ms, next_start_ms, last=last)
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
            tempo=spoken.tempo, drift_ms=spoken.drift_ms, emitted_at=time.time() if self._header.live else None,
        )  # fmt: skip

    def _count(self, spoken: Spoken) -> None:
        counters = self._counters
        counters["utterances"] += 1
        counters["speech_ms"] += spoken.end_ms - spoken.start_ms
        counters["worst_drift_ms"] = max(counters["worst_drift_ms"], spoken.drift_ms)


def _is_sound(record: StreamRecord) -> bool:
    return isinstance(record, Pcm) or (isinstance(record, Packet) and record.stream == "audio")
