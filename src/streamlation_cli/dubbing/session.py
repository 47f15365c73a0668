"""One session's text on its way to speech: utterances in, `speech` records and a dubbed track out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..artefacts import Targets
from ..errors import Unavailable, UsageError
from ..languages import primary
from ..records import Eos, Error, Header, Packet, Pcm, Speech, Status, StreamRecord, Transcript, Translation
from . import lexicon, timefit, voices
from .audiofile import SAMPLE_RATE_HZ, AudioFile
from .bed import OriginalSound
from .growing_wav import GrowingWav
from .lexicon import Lexicon
from .phrases import Phrase, phrases
from .report import Report
from .speaking import Speaker
from .track import DubTrack
from .voices import Voice

if TYPE_CHECKING:
    from ..stages.dub import Options

STAGE = "dub"

CHANNELS = 2
"""Of every file: one channel would measure 3 LU less than it plays."""


class Cast:
    """The voices in use, each loaded once, and who speaks with which.

    In this order: the voice that `--voice-map` has for the speaker, for the language; `--voice`; and where nobody chose, each
    speaker of a session gets one of his own, in the order they begin to speak, as far as there are voices.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._map = voices.voice_map(options.voice_map, options.engine)
        self._words = lexicon.load(Path(options.lexicon)) if options.lexicon else []
        self._speakers: dict[tuple[Voice, str], Speaker] = {}
        self._given: dict[tuple[str, str], dict[str, Voice]] = {}
        """Session and language → speaker → the voice that was given to him."""

    def speaker(self, language: str, who: str = "", session: str = "") -> Speaker:
        """The voice of a speaker in a language, loaded at the first call; raises what `voices.synthesizer` raises."""
        voice = self._voice(language, who, session)
        if (voice, language) not in self._speakers:
            options = self._options
            engine = voices.synthesizer(
                voice, language, threads=options.threads, device=options.device, stub=options.stub_settings()
            )
            words = Lexicon(self._words, language)
            self._speakers[voice, language] = Speaker(engine, words, caching=not options.no_cache)
        return self._speakers[voice, language]

    def _voice(self, language: str, who: str, session: str) -> Voice:
        for key in (who, language, primary(language)):
            if key in self._map:
                return self._map[key]
        chosen = voices.voice_of(self._options.voice, self._options.engine)
        if not who or chosen.name:
            return chosen
        given = self._given.setdefault((session, language), {})
        if who not in given:
            taken = {*given.values(), *self._map.values()}
            known = list(voices.voices_for(self._options.engine, language))
            free = [voice for voice in known if voice not in taken]
            given[who] = free[0] if free else known[len(given) % len(known)] if known else chosen
        return given[who]

    def close(self) -> None:
        """Frees every voice."""
        for speaker in self._speakers.values():
            speaker.close()


@dataclass(frozen=True)
class Utterance:
    """What is spoken of one record."""

    id: str
    wordings: list[list[Phrase]]
    """What may be spoken, each with the time its words had; the shorter ones later."""
    texts: tuple[str, ...]
    """The same as text."""
    language: str
    speaker: str = ""

    @property
    def start_ms(self) -> int:
        """When the source begins to say it."""
        return self.wordings[0][0].slot.start_ms

    @property
    def end_ms(self) -> int:
        """When the source has said it."""
        return self.wordings[0][-1].slot.end_ms


class Dubbing:
    """One session's text on its way to speech.

    An utterance waits for the next one, whose start says how much pause may be borrowed; in a live session it does not wait.
    """

    def __init__(
        self, header: Header, options: Options, cast: Cast, targets: list[Targets], reports: Sequence[Targets] = ()
    ) -> None:  # fmt: skip
        self._header = header
        self._session = header.session
        self._options = options
        self._language = header.target_language or header.language or ("" if options.from_ == "auto" else options.from_)
        """What is spoken, where the record does not say it."""
        self._cast = cast
        self._waiting: Utterance | None = None
        self._free_ms = 0
        """When the voice is free for the next utterance."""
        self._reports = reports
        self._report = Report(header, detailed=bool(reports))
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
        if isinstance(record, Header):
            yield msgspec.structs.replace(record, dubbed=(*record.dubbed, self._language))
            yield Status(self._session, stage=STAGE, state="running")
            if record.target_language:
                self._cast.speaker(record.target_language)  # a voice that is missing shows before any work is done
            for target in self._targets:
                self._files.append(self._open(target.of(self._session)))
            return
        yield record
        if self._original is not None and _is_sound(record):
            assert isinstance(record, Packet | Pcm)
            self._original.feed(record)
        elif self._speaks(record):
            assert isinstance(record, Transcript | Translation)
            utterance = self._utterance(record)
            if utterance is not None:
                self._require_original()
                yield from self._release(next_start_ms=utterance.start_ms)
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
        for target in self._reports:
            self._report.write(target.of(self._session))
        yield Status(
            self._session,
            stage=STAGE,
            state="failed" if isinstance(end, Error) else "completed",
            counters=self._report.counters(),
        )

    def abandon(self) -> None:
        """Frees what is held; files that are not whole stay as parts."""
        if self._original is not None:
            self._original.close()
        while self._files:
            self._files.pop().abandon()

    def _open(self, target: str) -> AudioFile | GrowingWav:
        return AudioFile(target, CHANNELS, alike=self._original is None)

    def _require_original(self) -> None:
        if self._original is not None and not self._original.is_there:
            raise UsageError(
                f"--mix {self._options.mix} needs the original sound in the stream: run normalize with "
                "--keep-packets, or transcribe with --keep-audio"
            )

    def _speaks(self, record: StreamRecord) -> bool:
        target = self._header.target_language
        if isinstance(record, Translation):  # those of other languages are another stage's
            return record.final and record.target_language == target
        return isinstance(record, Transcript) and record.final and not target

    def _utterance(self, record: Transcript | Translation) -> Utterance | None:
        language = (record.language if isinstance(record, Transcript) else "") or self._language
        found = phrases(record.text, record.start_ms, record.end_ms, record.words)
        if not found:
            return None
        if not language:
            raise Unavailable("the text does not say its language, so no voice can be chosen; say --from LANG")
        texts = (record.text, *(record.alternatives if isinstance(record, Translation) else ()))
        shorter = [phrases(text, record.start_ms, record.end_ms) for text in texts[1:]]
        return Utterance(record.id, [found, *shorter], texts, language, record.speaker)

    def _release(self, next_start_ms: int | None, *, last: bool = False) -> Iterator[Speech | Status]:
        """Speaks the waiting utterance, now that it is known when the next one starts (or the media ends)."""
        utterance, self._waiting = self._waiting, None
        if utterance is None:
            return
        speaker = self._cast.speaker(utterance.language, utterance.speaker, self._session)
        spoken = speaker.speak(utterance.wordings, self._free_ms, next_start_ms, last=last)
        if spoken is None:
            return
        self._free_ms = spoken.end_ms + timefit.PAUSE_MS
        if self._files:
            self._track.add(spoken.start_ms, spoken.resampled(SAMPLE_RATE_HZ))
            self._track.advance(spoken.end_ms)
        speech = Speech(
            self._session, id=utterance.id, start_ms=spoken.start_ms, end_ms=spoken.end_ms,
            sample_rate_hz=spoken.sample_rate_hz, voice=speaker.voice, data=spoken.samples.tobytes(),
            tempo=spoken.tempo, drift_ms=spoken.drift_ms, text=utterance.texts[spoken.wording] if spoken.wording else "",
            speaker=utterance.speaker, language=utterance.language, emitted_at=time.time() if self._header.live else None,
        )  # fmt: skip
        self._report.spoken(speech, utterance.start_ms, utterance.end_ms)
        yield speech


def _is_sound(record: StreamRecord) -> bool:
    return isinstance(record, Pcm) or (isinstance(record, Packet) and record.stream == "audio")
