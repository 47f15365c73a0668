"""One live session's text on its way to speech: each sentence as soon as it is final, within a budget of lateness.

    said      ├── s1 ──┤├── s2 ───────┤├ s3 ┤├── s4 ──┤
    spoken    ├── s1 ────┤├── s2 ────────────┤├ s3 ┤        s4 would begin later than the budget: not spoken, and said so
                                                  └ drift

In order: the voice may end a little after its source, then it speaks faster (at most `MAX_TEMPO`), then a shorter translation
is spoken where there is one, then it gets later, and what would begin more than `--max-drift` after its source is left out, so
that the voice catches up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..artefacts import STDOUT, Targets
from ..lag import Lag, media_now_ms
from ..records import Eos, Error, Header, Speech, Status, StreamRecord, Transcript, Translation
from .audiofile import AudioFile
from .growing_wav import GrowingWav
from .session import CHANNELS, STAGE, Cast, Dubbing, Utterance
from .timefit import BORROW_MS, PAUSE_MS

if TYPE_CHECKING:
    from ..stages.dub import Options


class LiveDubbing(Dubbing):
    """One session: speech per final sentence, in order, never further behind than `--max-drift`."""

    def __init__(
        self, header: Header, options: Options, cast: Cast, targets: list[Targets], reports: Sequence[Targets] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        super().__init__(header, options, cast, targets, reports)
        self._clock = clock
        self._lag = Lag(header, STAGE, clock)
        self._max_drift_ms = round(options.max_drift * 1000)
        self._quickest_s: float | None = None
        self._waited_ms = 0
        """How much longer the utterance at hand has waited for the voice than the quickest did."""

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield from super().feed(record)
        report = self._lag.report(media_now_ms(record, self._header), self._report.counters())
        if report is not None:
            yield report

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        for record in super().finish(end):
            if isinstance(record, Status):
                record = msgspec.structs.replace(record, counters={**record.counters, **self._lag.percentiles()})
            yield record

    def _open(self, target: str) -> AudioFile | GrowingWav:
        return super()._open(target) if target == STDOUT else GrowingWav(target, CHANNELS)

    def _utterance(self, record: Transcript | Translation) -> Utterance | None:
        if record.emitted_at is not None:
            delay_s = self._clock() - record.emitted_at
            self._quickest_s = delay_s if self._quickest_s is None else min(delay_s, self._quickest_s)
            self._waited_ms = round((delay_s - self._quickest_s) * 1000)
        return super()._utterance(record)

    def _release(self, next_start_ms: int | None, *, last: bool = False) -> Iterator[Speech | Status]:
        """Speaks the waiting utterance, or says why it does not."""
        utterance = self._waiting
        if utterance is None:
            return
        late_ms = self._free_ms - utterance.start_ms
        for behind_ms, why in (
            (late_ms, "the voice is still speaking"),
            (self._waited_ms, "the voice is too slow here"),
        ):
            if behind_ms > self._max_drift_ms:
                self._waiting = None
                self._report.dropped(utterance.id, utterance.start_ms, utterance.end_ms, why)
                yield Status(
                    self._session, stage=STAGE, state="running", counters=self._report.counters(),
                    detail=f"{utterance.id} was not spoken: {why}, {behind_ms / 1000:.1f} s behind, "
                    f"and --max-drift is {self._max_drift_ms / 1000:g}", emitted_at=self._clock(),
                )  # fmt: skip
                return
        # Nobody knows yet when the next one begins: as far as a pause may be borrowed, one is taken for granted.
        for record in super()._release(utterance.end_ms + BORROW_MS + PAUSE_MS):
            if isinstance(record, Speech):
                self._lag.emitted(utterance.end_ms)
            yield record
