"""`transcribe --live`: one session's audio to transcripts while it is spoken.

        this thread                             one of the engine's threads
   pcm ─► Listener ─► a decoding is due? ──────► engine
             ▲                                    │
             └── settled ◄────────────────────────┘ ─► transcripts

At most one decoding of a session is at work, and it takes all the audio there is, so a slow machine makes fewer and longer
steps. Sessions take turns at the engine. What a decoding brings is settled at once, where something can wake this thread, and else with
the next record. A session that is not live (a file, fed as fast as it is read) waits for each decoding instead, so that it gives the same
records every time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ..engines import Decoding, Hearing, LiveRecognizer
from ..errors import TryAgain
from ..lag import Lag
from ..languages import AUTO, primary
from ..media.pcm import samples_of
from ..records import SAMPLE_RATE_HZ, Discontinuity, Eos, Error, Header, Pcm, State, Status, StreamRecord
from .activity import LiveActivity
from .listener import Listener, Task, Tuning, heard
from .load import LEVELS, LONGER, Load
from .policy import Policy
from .transcripts import Transcripts

_log = logging.getLogger("streamlation.transcribe")

STAGE = "transcribe"
LARGEST_JUMP_MS = 40
"""PCM that starts farther than this from where the last ended is a new stretch of audio."""
HEARTBEAT_MS = 1000
"""Media after which a live session that has nothing to say says so: what is downstream may have something to finish."""
MOST_WAITING_S = 8.0
"""Audio that may wait for a decoding to come back before the session makes its source wait."""
ATTEMPTS = 3
"""How often a decoding is tried while the engine says to try again."""
LANGUAGE_S = 2.0
"""Audio that is heard before a language is settled."""
SURE_OF_LANGUAGE = 0.85
"""And how probable it must be."""
LONGEST_LANGUAGE_S = 8.0
"""Audio after which the likeliest language has to do."""
LOST_CONFIDENCE = 0.4
"""Mean confidence of an utterance's words below which the language is looked for again."""

PRESETS = {
    "latency": Tuning(step_s=0.4, beam_size=1, policy=Policy(unsure_s=0.9, last_s=0.3, settle_s=1.0)),
    "balanced": Tuning(),
    "accuracy": Tuning(policy=Policy(unsure_s=2.0)),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Engines:
    """What a session decodes with."""

    usual: LiveRecognizer
    smaller: Callable[[], LiveRecognizer] | None
    """Opens the one for when the usual one cannot keep up."""
    pool: Executor
    """The threads that may call them, shared by all sessions of the process."""
    silero: Any


class LiveSession:
    """One session; a `Handler`."""

    def __init__(
        self, header: Header, tuning: Tuning, decoding: Decoding, engines: Engines, *,
        target_latency_s: float = 0.0, keep_audio: bool = False,
    ) -> None:  # fmt: skip
        """`decoding.language` is None where it is to be detected; `target_latency_s`: 0 for none."""
        self._session = header.session
        self._live = header.live
        self._tuning = tuning
        self._decoding = decoding
        self._detect = decoding.language is None
        self._guess = ""
        """Language of the last decoding, while none is settled."""
        self._engines = engines
        self._target_ms = round(target_latency_s * 1000)
        self._breached = False
        self._keep_audio = keep_audio
        self._lag = Lag(header, STAGE)
        self._transcripts = Transcripts(header.session, self._lag)
        self._load = Load(highest=len(LEVELS) - (1 if engines.smaller else 2))
        self._listener: Listener | None = None
        self._origin_ms = 0
        self._end_ms = 0
        self._yielded_ms = 0
        """Media time at which something was yielded last."""
        self._audio_ms = 0
        self._decodings = 0
        self._working: tuple[Task, Future[Hearing], float] | None = None
        self._wake: Callable[[], None] | None = None

    def attend(self, wake: Callable[[], None]) -> None:
        """See `Attentive`."""
        self._wake = wake

    def woken(self) -> Iterator[StreamRecord]:
        """See `Attentive`: a decoding has come back."""
        for result in self._settle():
            self._yielded_ms = self._end_ms
            yield result
        self._start()

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        for result in self._fed(record):
            self._yielded_ms = self._end_ms
            yield result

    def _fed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        if isinstance(record, Pcm):
            if self._keep_audio:
                yield record
            yield from self._hear(record)
        elif isinstance(record, Discontinuity):
            yield from self._break()
            yield record
        else:
            yield record
            if isinstance(record, Header):
                yield Status(self._session, stage=STAGE, state="running")
            yield from self._settle()

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield from self._break()
        state: State = "failed" if isinstance(end, Error) else "completed"
        yield Status(self._session, stage=STAGE, state=state, counters=self._counters())

    def _counters(self) -> dict[str, int | float]:
        return {
            "audio_ms": self._audio_ms, "decodings": self._decodings, "words": self._transcripts.words,
            "level": self._load.level, **self._lag.percentiles(),
        }  # fmt: skip

    def _hear(self, pcm: Pcm) -> Iterator[StreamRecord]:
        if self._listener is None or abs(pcm.start_ms - self._end_ms) > LARGEST_JUMP_MS:
            yield from self._break()
            self._listener = Listener(LiveActivity(self._engines.silero), self._tuning)
            self._origin_ms = pcm.start_ms
        samples = samples_of(pcm.data)
        self._end_ms = pcm.end_ms
        self._audio_ms += pcm.end_ms - pcm.start_ms
        self._listener.hear(samples)
        waiting_s = self._listener.edge_s - self._working[0].edge_s if self._working else 0.0
        yield from self._settle(wait=waiting_s > MOST_WAITING_S)
        self._start()
        if not self._live:
            yield from self._settle(wait=True)
        yield from self._report()
        if self._live and self._end_ms - self._yielded_ms >= HEARTBEAT_MS:
            yield Status(self._session, stage=STAGE, state="running", emitted_at=time.time())

    def _start(self, *, ended: bool = False) -> None:
        """Has the engine decode, if that is due and nothing is at work."""
        if self._listener is None or self._working is not None:
            return
        level = self._load.level
        self._listener.tuning = self._tuning
        if level:
            self._listener.tuning = replace(self._tuning, step_s=self._tuning.step_s * LONGER)
        task = self._listener.task(ended=ended)
        if task is None:
            return
        decoding = replace(self._decoding, beam_size=1) if level >= 3 else self._decoding
        smaller = self._engines.smaller if level >= 4 else None
        engine = smaller() if smaller else self._engines.usual
        future = self._engines.pool.submit(_decode, engine, task, decoding)
        self._working = (task, future, time.monotonic())
        if (wake := self._wake) is not None and self._live:
            future.add_done_callback(lambda _: wake())
        self._decodings += 1

    def _settle(self, *, wait: bool = False) -> Iterator[StreamRecord]:
        """What the decoding at work has brought, if it has come back or is to be waited for."""
        if self._working is None or self._listener is None:
            return
        task, future, started = self._working
        if not (wait or future.done()):
            return
        hearing = future.result()
        self._working = None
        if self._live and self._load.took(time.monotonic() - started, self._tuning.step_s):
            yield self._level_changed()
        if self._detect and not self._settle_language(task, hearing):
            if not task.last:
                self._listener.postpone(task)
                return
            if hearing.language_probability < 0.5:
                hearing = replace(hearing, words=(), text="")  # a noise, or too little to make anything of
        update = self._listener.settle(task, hearing)
        if update.last and self._detect and self._is_lost(update.confidence):
            self._decoding = replace(self._decoding, language=None)
        yield from self._transcripts.write(update, self._origin_ms)

    def _settle_language(self, task: Task, hearing: Hearing) -> bool:
        """Whether it is known which language is spoken: nothing is committed before. What is guessed of a second of speech
        is often wrong, and now and then surely wrong, so two decodings in a row must agree, or much must have been heard."""
        if self._decoding.language is not None:
            return True
        seconds = len(task.samples) / SAMPLE_RATE_HZ
        again = hearing.language == self._guess
        self._guess = hearing.language
        sure = seconds >= LANGUAGE_S and hearing.language_probability >= SURE_OF_LANGUAGE and again
        if sure or seconds >= LONGEST_LANGUAGE_S:
            self._decoding = replace(self._decoding, language=hearing.language)
            return True
        return False

    @staticmethod
    def _is_lost(confidence: float | None) -> bool:
        return confidence is not None and confidence < LOST_CONFIDENCE

    def _break(self) -> Iterator[StreamRecord]:
        """The end of a stretch of audio: everything heard so far becomes final."""
        yield from self._settle(wait=True)
        self._start(ended=True)
        while self._working is not None:
            yield from self._settle(wait=True)
            self._start(ended=True)
        self._listener = None

    def _level_changed(self) -> Status:
        level = self._load.level
        self._transcripts.volatile = level < 2
        what = LEVELS[level]
        _log.log(logging.WARNING if level else logging.INFO, "%s: recognition %s: %s", self._session,
                 "cannot keep up" if level else "keeps up again", what)  # fmt: skip
        return Status(self._session, stage=STAGE, state="running", counters=self._counters(), detail=f"load: {what}")

    def _report(self) -> Iterator[StreamRecord]:
        """Every ten seconds of media: latency, and whether it is what was asked for."""
        status = self._lag.report(self._end_ms, self._counters())
        if status is None:
            return
        yield status
        late_ms = int(status.counters.get("lag_p95_ms", 0))
        if self._target_ms and (late_ms > self._target_ms) != self._breached:
            self._breached = not self._breached
            what = "exceeds" if self._breached else "is within"
            detail = f"latency {late_ms / 1000:.1f} s (95 % of words) {what} the target of {self._target_ms / 1000:g} s"
            _log.log(logging.WARNING if self._breached else logging.INFO, "%s: %s", self._session, detail)
            yield msgspec.structs.replace(status, detail=f"target-latency: {detail}")


def decoding_of(header: Header, from_: str, task: str, prompt: str, hotwords: str, beam_size: int) -> Decoding:
    """How a session is decoded."""
    given = from_ if from_ != AUTO else header.language
    return Decoding(
        language=primary(given) if given not in ("", AUTO) else None,
        task="translate" if task == "translate" else "transcribe",
        beam_size=beam_size, initial_prompt=prompt, hotwords=hotwords,
    )  # fmt: skip


def _decode(engine: LiveRecognizer, task: Task, decoding: Decoding) -> Hearing:
    for _ in range(ATTEMPTS - 1):
        try:
            return heard(engine, task, decoding)
        except TryAgain:
            continue
    return heard(engine, task, decoding)
