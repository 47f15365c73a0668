"""One measurement: systems started, fed at the recording's speed, read, sampled and waited for.

feeder ──samples──► system ──lines──► reader ──queue──► Listener      for each stream
   on schedule           sampler looks on     notes the time     keeps the score
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from .. import ndjson
from ..errors import StreamlationError, Unavailable
from .feed import BYTES_PER_MS, Feeder, Schedule, chunked, repeated
from .listening import Listener
from .resources import Sample, Sampler
from .systems import Ended, System, read, signals_held

SAMPLE_EVERY_S = 0.25
"""How often memory is looked at; peaks of single processes come from the kernel and miss nothing."""
SOAK_SAMPLE_EVERY_S = 0.5
_LOOK_EVERY_S = 0.2

Report = Callable[[float, float, int], None]
"""Called now and then with media time fed and to be fed, in ms, and lines read."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run and how to feed it."""

    systems: Sequence[Sequence[Sequence[str]]]
    """The commands of each system: a pipe of processes, as argument lists."""
    samples: bytes
    """The recording, 16 kHz mono s16le."""
    language: str
    target_language: str = ""
    chunk_ms: int = 20
    lead_in_ms: int = 0
    """Silence before the recording, in which models load."""
    lead_out_ms: int = 0
    """Silence after it, in which an utterance can end as in a stream that goes on."""
    speed: float = 1.0
    patience_s: float = 120.0
    """How long a system may go on after its input has ended."""
    soak_ms: float = 0.0
    """Where given, the recording is fed over and over until so much has been fed, as fast as `speed` allows."""

    @property
    def media_ms(self) -> float:
        """All that is fed after the lead-in."""
        return self.soak_ms or len(self.samples) / BYTES_PER_MS + self.lead_out_ms


@dataclass
class Stream:
    """One stream of audio through one system."""

    feeder: Feeder
    listener: Listener


@dataclass
class Outcome:
    """What a measurement saw."""

    schedule: Schedule
    streams: list[Stream] = field(default_factory=list)
    ended: list[list[Ended]] = field(default_factory=list)
    """The processes of each system."""
    samples: list[Sample] = field(default_factory=list)
    startup_cpu_s: float = 0.0
    """Processor time up to the first sample of the recording."""
    wall_s: float = 0.0
    """From the first sample of the recording to the end of the last output."""

    @property
    def fed_ms(self) -> float:
        """Media time that every stream has been fed."""
        return min(stream.feeder.fed_ms for stream in self.streams)


def measure(plan: Plan, report: Report = lambda fed, total, lines: None) -> Outcome:
    """Runs every system of the plan at once.

    Raises Unavailable for a system that cannot be started, crashes, stops reading before its input ends, or goes on for too
    long after it.
    """
    with ExitStack() as stack:
        with signals_held():
            systems = [stack.enter_context(System(commands)) for commands in plan.systems]
        # The clock starts when all have started; what loads longer has the lead-in.
        schedule = Schedule(time.monotonic() + plan.lead_in_ms / 1000 / plan.speed, plan.chunk_ms, plan.speed)
        outcome = Outcome(schedule)
        outputs: list[_Output] = []
        for system in systems:
            own = [_stream(plan, schedule, descriptor) for descriptor in system.inputs]
            outcome.streams += own
            outputs.append(_Output(system, [stream.listener for stream in own]))
        feeders = [stream.feeder for stream in outcome.streams]
        pids = [pid for system in systems for pid in system.pids]
        sampler = Sampler(pids, lambda: outcome.fed_ms, SAMPLE_EVERY_S if not plan.soak_ms else SOAK_SAMPLE_EVERY_S)
        for thread in (*(reader for output in outputs for reader in output.readers), *feeders, sampler):
            thread.start()
        stack.callback(sampler.stop)
        for feeder in feeders:
            stack.callback(feeder.stop)
        _follow(plan, outcome, outputs, report)
        outcome.wall_s = time.monotonic() - schedule.zero_s
        sampler.stop()
        outcome.samples = sampler.samples
        before = [sample for sample in sampler.samples if sample.at_s <= schedule.zero_s]
        outcome.startup_cpu_s = before[-1].cpu_s if before else 0.0
        outcome.ended = [system.wait() for system in systems]
        for stream in outcome.streams:
            stream.feeder.join(_LOOK_EVERY_S)
            if stream.feeder.refused or stream.feeder.is_alive():
                name = outcome.ended[0][0].name
                raise Unavailable(f"{name}: stopped reading after {stream.feeder.fed_ms / 1000:.1f} s of audio")
            stream.listener.end()
    return outcome


def _stream(plan: Plan, schedule: Schedule, descriptor: int) -> Stream:
    listener = Listener(schedule.due, plan.language, plan.target_language, shift_ms=plan.lead_in_ms)
    return Stream(Feeder(descriptor, _chunks(plan), schedule, plan.lead_in_ms), listener)


def _chunks(plan: Plan) -> Iterator[bytes]:
    if not plan.soak_ms:
        return chunked(plan.samples, plan.chunk_ms, plan.lead_in_ms, plan.lead_out_ms)
    silence = bytes(plan.chunk_ms * BYTES_PER_MS)
    return itertools.chain(
        itertools.repeat(silence, plan.lead_in_ms // plan.chunk_ms),
        repeated(plan.samples, plan.chunk_ms, plan.soak_ms),
    )


class _Output:
    """The output of one system. Its readers do nothing but note when each line came, so that none waits for another."""

    def __init__(self, system: System, listeners: Sequence[Listener]) -> None:
        self.system = system
        self._queue: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        self.readers = [
            threading.Thread(target=read, args=(output, self._put), name="read", daemon=True)
            for output in system.outputs
        ]
        self._listeners = listeners
        self._of: dict[str, Listener] = {}

    @property
    def ended(self) -> bool:
        """Whether the system has closed all that it writes to."""
        return not any(reader.is_alive() for reader in self.readers)

    def _put(self, at_s: float, line: bytes) -> None:
        self._queue.put((at_s, line))

    def score(self) -> None:
        """Hands what came so far to the listeners: to the only one, or each session to one of its own."""
        while True:
            try:
                at_s, line = self._queue.get_nowait()
            except Empty:
                return
            self._listener(line).feed(at_s, line)

    def _listener(self, line: bytes) -> Listener:
        if len(self._listeners) == 1:
            return self._listeners[0]
        try:
            session = ndjson.decode(line).session
        except StreamlationError:
            return self._listeners[0]
        if session not in self._of and len(self._of) < len(self._listeners):
            self._of[session] = self._listeners[len(self._of)]
        return self._of.get(session, self._listeners[0])


def _follow(plan: Plan, outcome: Outcome, outputs: Sequence[_Output], report: Report) -> None:
    """Keeps the score until every output has ended; raises Unavailable when that takes too long."""
    moved: tuple[float, int] | None = None
    moved_s = time.monotonic()
    going = list(outputs)
    while going:
        going[0].readers[-1].join(_LOOK_EVERY_S)
        for output in outputs:
            output.score()
        for output in [output for output in going if output.ended]:
            output.system.wait()  # one that failed ends the measurement, however long the others would go on
            output.score()
            going.remove(output)
        lines = sum(stream.listener.lines for stream in outcome.streams)
        report(max(0.0, outcome.fed_ms), plan.media_ms, lines)
        now = time.monotonic()
        if moved != (outcome.fed_ms, lines):
            moved, moved_s = (outcome.fed_ms, lines), now
        # A system that is fed at its own pace is stuck when neither its input nor its output moves.
        since = moved_s if plan.soak_ms else outcome.schedule.due(plan.media_ms)
        if going and now > since + plan.patience_s:
            what = "last sign of life" if plan.soak_ms else "end of its input"
            raise Unavailable(f"the system did not end within {plan.patience_s:g} seconds of the {what}")
