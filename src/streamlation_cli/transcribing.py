"""One session's sound on its way to text: heard, cut into utterances, recognised in batches, laid on the source's times."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from . import seams
from .engines import Decoding, LiveRecognizer, Recognition, Recognizer, engine_class
from .errors import ModelMissing
from .guard import Guard
from .languages import AUTO, primary
from .live import session as live_session
from .live.session import LiveSession
from .media.pcm import samples_of
from .models import store
from .recognition import BatchRecognizer
from .records import (
    SAMPLE_RATE_HZ,
    Discontinuity,
    Eos,
    Error,
    Header,
    Pcm,
    Status,
    StreamRecord,
    Transcript,
    Word,
)
from .segmentation import Cutting, Segmenter, Utterance
from .speakers import voiceprint
from .speakers.clustering import Speakers
from .speakers.turns import Said, Turn
from .speakers.turns import turns as turns_of
from .voice_activity import SileroDetector, open_silero

if TYPE_CHECKING:
    from .stages.transcribe import Options

STAGE = "transcribe"

LARGEST_JUMP_MS = 40
"""PCM that starts farther than this from where the last ended is a new stretch of audio."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a preset means here."""

    longest_s: float
    """Longer continuous speech is cut."""
    pause_s: float
    """A pause at least this long ends an utterance; context across shorter ones makes for fewer errors."""
    batch_size: int
    window_utterances: int
    """Utterances that are gathered, sorted by length and batched."""
    window_s: float
    """Or so much speech, if that comes first."""
    beam_size: int


PRESETS = {
    "latency": Preset(longest_s=8.0, pause_s=0.4, batch_size=4, window_utterances=4, window_s=20.0, beam_size=1),
    "balanced": Preset(longest_s=12.0, pause_s=0.6, batch_size=8, window_utterances=16, window_s=120.0, beam_size=3),
    "accuracy": Preset(longest_s=24.0, pause_s=1.0, batch_size=8, window_utterances=32, window_s=320.0, beam_size=8),
}


def live(header: Header, options: Options) -> LiveSession:
    engine = _open_live(options)
    tuning = live_session.PRESETS[options.preset]
    tuning = replace(tuning, beam_size=options.beam_size or tuning.beam_size)
    return LiveSession(
        header,
        tuning,
        live_session.decoding_of(
            header, options.from_, options.task, options.initial_prompt, options.hotwords, tuning.beam_size
        ),
        live_session.Engines(usual=engine, smaller=_smaller(options), pool=_pool_of(engine), silero=_silero()),
        target_latency_s=options.target_latency,
        keep_audio=options.keep_audio,
    )


SMALLER = {"base": "tiny", "small": "base", "medium": "small", "large-v3": "small", "large-v3-turbo": "small"}
"""Whisper model → the one that takes over where it cannot keep up with live speech, if it is installed."""


def _smaller(options: Options) -> Callable[[], LiveRecognizer] | None:
    """Opens the smaller model; None where none is installed."""
    name = SMALLER.get(options.model) if options.engine == "whisper" else None
    if name is None:
        return None
    try:
        store.resolve("whisper", name)
    except ModelMissing:
        return None
    return lambda: _open_live(replace(options, model=name))


class Transcribing:
    """One session's audio on its way to text.

    `most_speakers`: how many speakers to tell apart, 0 for as many as there are, None for no matter who speaks.
    """

    def __init__(self, header: Header, options: Options, most_speakers: int | None) -> None:
        self._session = header.session
        self._options = options
        preset = PRESETS[options.preset]
        self._preset = replace(
            preset,
            longest_s=options.longest_s or preset.longest_s,
            batch_size=options.batch_size or preset.batch_size,
            beam_size=options.beam_size or preset.beam_size,
        )
        given = options.from_ if options.from_ != AUTO else header.language
        self._decoding = Decoding(
            language=primary(given) if given not in ("", AUTO) else None,
            task="translate" if options.task == "translate" else "transcribe",
            beam_size=self._preset.beam_size,
            initial_prompt=options.initial_prompt,
            hotwords=options.hotwords,
        )
        self._cutting = Cutting(longest_s=self._preset.longest_s, pause_s=self._preset.pause_s)
        # While one window is recognised the next is already heard. It lands when the one after it is full, so the order of
        # records never depends on time. A language that must be agreed on takes the windows one after the other.
        at_once = 0 if header.live or options.preset == "latency" else 2 if self._decoding.language else 1
        self._most_in_flight = at_once
        self._in_flight: deque[tuple[list[_Timed], Future[list[Recognition | None]]]] = deque()
        self._windows = ThreadPoolExecutor(max(1, at_once), thread_name_prefix="window")
        self._window: list[_Timed] = []
        self._window_s = 0.0
        self._segmenter: Segmenter | None = None
        self._origin_ms = 0
        """Time of the segmenter's first sample."""
        self._end_ms = 0
        """Where the audio so far ends."""
        self._audio_ms = 0
        self._written = 0
        self._written_to_ms = 0
        """Where the last transcript ends."""
        self._before: tuple[Word, ...] = ()
        """All words of the last utterance, for the seam with the next."""
        self._speakers = None if most_speakers is None else Speakers(most_speakers)

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        if isinstance(record, Pcm):
            if self._options.keep_audio:
                yield record
            yield from self._listen(record)
        elif isinstance(record, Discontinuity):
            yield from self._break()
            yield record
        else:
            yield record
            if isinstance(record, Header):
                if self._speakers is not None:
                    self._printer = voiceprint.opened(store.resolve("speaker", "ge2e"))
                engine = open_engine(self._options)
                self._recognizer = BatchRecognizer(
                    engine, batch_size=self._preset.batch_size, guard=Guard(), pool=_pool_of(engine)
                )
                yield Status(self._session, stage=STAGE, state="running")

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield from self._break()
        tally = self._recognizer.tally
        yield Status(
            self._session,
            stage=STAGE,
            state="failed" if isinstance(end, Error) else "completed",
            counters={
                "audio_ms": self._audio_ms, "utterances": tally.utterances, "transcripts": self._written,
                "retried": tally.retried, "dropped": tally.dropped,
            },
        )  # fmt: skip

    def abandon(self) -> None:
        """Ends the session's threads; what waits to be recognised never will be."""
        self._windows.shutdown(wait=False, cancel_futures=True)

    def _listen(self, pcm: Pcm) -> Iterator[Transcript]:
        if self._segmenter is None or abs(pcm.start_ms - self._end_ms) > LARGEST_JUMP_MS:
            yield from self._break()
            self._segmenter = Segmenter(SileroDetector(_silero()), self._cutting)
            self._origin_ms = pcm.start_ms
            self._written_to_ms = pcm.start_ms
        samples = samples_of(pcm.data)
        self._end_ms = pcm.end_ms
        self._audio_ms += len(samples) * 1000 // SAMPLE_RATE_HZ
        yield from self._gather(self._segmenter.push(samples))

    def _break(self) -> Iterator[Transcript]:
        """The end of a stretch of audio: everything heard so far becomes text."""
        if self._segmenter is not None:
            segmenter, self._segmenter = self._segmenter, None
            yield from self._gather(segmenter.flush())
        yield from self._recognize()
        while self._in_flight:
            yield from self._land()

    def _gather(self, utterances: Iterable[Utterance]) -> Iterator[Transcript]:
        for utterance in utterances:
            self._window.append(_Timed(utterance, self._origin_ms))
            self._window_s += utterance.seconds
            if len(self._window) >= self._preset.window_utterances or self._window_s >= self._preset.window_s:
                yield from self._recognize()

    def _recognize(self) -> Iterator[Transcript]:
        """Has the window recognised; yields the text of windows before it."""
        window, self._window, self._window_s = self._window, [], 0.0
        if not window:
            return
        utterances = [timed.utterance for timed in window]
        self._in_flight.append((window, self._windows.submit(self._recognizer.recognize, utterances, self._decoding)))
        while len(self._in_flight) > self._most_in_flight:
            yield from self._land()

    def _land(self) -> Iterator[Transcript]:
        """The text of the oldest window that is being recognised, in the order of time."""
        window, recognizing = self._in_flight.popleft()
        heard = recognizing.result()
        found: list[tuple[_Timed, Recognition, tuple[Word, ...]]] = []
        for timed, recognition in zip(window, heard, strict=True):
            before, self._before = self._before, ()
            if recognition is None:
                continue
            words = timed.words(recognition)
            self._before = words
            found.append((timed, recognition, timed.own(words, before)))
        for (timed, recognition, _), turns in zip(found, self._turns(found), strict=True):
            for turn in turns:
                transcript = self._transcript(timed, recognition, turn)
                if transcript is not None:
                    self._written += 1
                    self._written_to_ms = transcript.end_ms
                    yield transcript

    def _turns(self, found: Sequence[tuple[_Timed, Recognition, tuple[Word, ...]]]) -> list[list[Turn]]:
        """Who said what of each utterance; all of it nobody in particular where speakers are not told apart."""
        if self._speakers is None:
            return [[Turn(words, "")] for _, _, words in found]
        said = [
            Said(words, timed.utterance.samples.astype(np.float32) / np.float32(32768), timed.start_ms)
            for timed, _, words in found
        ]
        return turns_of(said, self._printer, self._speakers)

    def _transcript(self, timed: _Timed, heard: Recognition, turn: Turn) -> Transcript | None:
        """The record of one speaker's own words of an utterance; None where there are none."""
        words = turn.words
        language = "en" if self._decoding.task == "translate" else heard.language
        whole = len(words) == len(heard.words)
        text = heard.text if whole else seams.joined(words, language)
        if not text:
            return None
        words = tuple(_not_before(word, self._written_to_ms) for word in words)
        return Transcript(
            self._session,
            id=f"u{self._written + 1}",
            start_ms=words[0].start_ms if words else timed.start_ms,
            end_ms=words[-1].end_ms if words else timed.end_ms,
            text=text,
            final=True,
            language=language,
            confidence=_confidence(heard, words),
            words=words,
            speaker=turn.speaker,
        )


@dataclass(frozen=True)
class _Timed:
    """An utterance on the source's timeline."""

    utterance: Utterance
    origin_ms: int

    def _at(self, sample: int) -> int:
        return self.origin_ms + round(sample * 1000 / SAMPLE_RATE_HZ)

    @property
    def start_ms(self) -> int:
        return self._at(self.utterance.start)

    @property
    def end_ms(self) -> int:
        return self._at(self.utterance.end)

    def words(self, heard: Recognition) -> tuple[Word, ...]:
        """All that was heard, its times on the source's timeline."""
        return tuple(
            Word(
                text=word.text,
                start_ms=self.start_ms + round(word.start_s * 1000),
                end_ms=self.start_ms + round(word.end_s * 1000),
                confidence=round(word.confidence, 3),
            )
            for word in heard.words
        )

    def own(self, words: tuple[Word, ...], before: tuple[Word, ...]) -> tuple[Word, ...]:
        """Those that the utterance before (which heard `before`) and the one after do not have."""
        utterance = self.utterance
        if utterance.seam_before is not None:
            words = seams.after(words, self._at(utterance.seam_before), before)
        if utterance.seam_after is not None:
            words = seams.within(words, None, self._at(utterance.seam_after))
        return words


def _not_before(word: Word, earliest_ms: int) -> Word:
    if word.start_ms >= earliest_ms:
        return word
    return msgspec.structs.replace(word, start_ms=earliest_ms, end_ms=max(earliest_ms, word.end_ms))


def _confidence(heard: Recognition, words: tuple[Word, ...]) -> float:
    """Mean probability of the words; that of the tokens where the engine gives no words."""
    if words:
        return round(sum(word.confidence or 0.0 for word in words) / len(words), 3)
    return round(float(np.exp(heard.average_log_probability)), 3)


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool_of(engine: Recognizer | LiveRecognizer) -> ThreadPoolExecutor:
    """The threads that may call the engine, for all sessions of the process together."""
    with _opening:
        if id(engine) not in _pools:
            _pools[id(engine)] = ThreadPoolExecutor(engine.workers, thread_name_prefix="recognize")
        return _pools[id(engine)]


_opened: dict[tuple[object, ...], Any] = {}
_opening = threading.Lock()


def open_engine(options: Options) -> Recognizer:
    """The engine for files with its model loaded; loaded once in a process for the same options, and kept."""
    engine: Recognizer = _open("recognizer", options)
    return engine


def _open_live(options: Options) -> LiveRecognizer:
    """The engine for live speech, likewise."""
    engine: LiveRecognizer = _open("live recognizer", options)
    return engine


def _open(kind: str, options: Options) -> Any:
    key = (kind, options.engine, options.model, options.device, options.compute_type, options.threads,
           options.stub_delay_ms, options.stub_error_rate, options.stub_seed)  # fmt: skip
    with _opening:
        if key not in _opened:
            settings = options.stub_settings() if options.engine == "stub" else {
                "model": store.resolve("whisper", options.model), "device": options.device,
                "compute_type": options.compute_type, "threads": options.threads,
            }  # fmt: skip
            _opened[key] = engine_class(kind, options.engine)(**settings)
        return _opened[key]


def _silero() -> Any:
    """The voice activity network, loaded once in a process."""
    with _opening:
        if ("silero",) not in _opened:
            _opened[("silero",)] = open_silero()
        return _opened[("silero",)]
