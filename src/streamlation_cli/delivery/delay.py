"""How far behind the newest media a live presentation is decided, so that speech and captions are there when their time comes.

    media    ──────────────────────────────────────────► newest
    said         ├─ utterance ─┤
    spoken                          its speech arrives: it needed `need`
                 ├────── need ──────┤
    decided  ───►│ waits here for the speech, no longer than the limit
                 └───── delay ──────┘   grows at once to what was needed, shrinks slowly to what the last ones needed

What is published cannot be changed, so a presentation waits before the start of an utterance that is not spoken yet, as long as its
delay may be. Where it may be no longer (`wish_s`), or something was needed sooner than anybody could know, that is a breach:
it is said, and the joiner places the speech later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping

from ..lag import REPORT_EVERY_MS
from ..records import Header, Packet, Pcm, Speech, Status, StreamRecord, Transcript, Translation

logger = logging.getLogger("streamlation.mux")

START_MS = 8_000
"""The delay before anything is known: a sentence of five seconds, its recognition, translation and voice."""
LEAST_MS = 1_000
MOST_MS = 30_000
"""The longest delay where nobody wishes for a shorter one."""
_MARGIN_MS = 500
_SHRINK = 0.05
"""Share of the time that passes by which the delay gets shorter: players speed up as much without being heard."""
_REMEMBERED = 10
"""What the last so many utterances needed decides, in whichever language they needed most."""
_LONGER, _LONGER_MS = 1.5, 3_000
"""An utterance is waited for when it needs this much more than the delay, not for ever: what is not spoken never comes."""
_UNHEARD_MS = 80
"""Speech or captions so much after their place are in time: sound is not heard to be late before 125 ms (ITU-R BT.1359)."""
_MOST_WAITING = 100
_ORDER = ("transcribe", "translate", "dub")


class Delay:
    """The delay of one live session. `see` every record, then the presentation is decided up to `until_ms`."""

    def __init__(
        self, header: Header, stage: str, wish_s: float = 0.0, *, text: bool = True, clock: Callable[[], float] = time.time
    ) -> None:  # fmt: skip
        """`wish_s`: how late the presentation may be, by the clock; 0 for no wish. `text`: whether captions are in it."""
        self._header = header
        self._stage = stage
        self._wish_ms = round(wish_s * 1000)
        self._text = text
        self._clock = clock
        made = dict.fromkeys(header.targets, "translate") | dict.fromkeys(header.dubbed, "dub")
        self._makers = made or {header.language: "transcribe"}
        """Language → the last stage upstream that makes something in it of what is said."""
        self._open: dict[str, dict[str, int]] = {language: {} for language in self._makers}
        """What is not spoken or translated yet into each: by its id, when it starts."""
        self._ends: dict[str, int] = {}
        """Of the translations that may still be spoken, by their ids."""
        self._needs: dict[str, int] = {}
        """Of the last utterances, by their ids."""
        self._newest_ms: int | None = None
        self._first_ms = 0
        self._chain_lag_ms = 0
        self._delay_ms: float = min(START_MS, self._allowed_ms)
        self.until_ms = 0
        """The presentation is decided before this media time; never goes back."""
        self.counters: dict[str, int | float] = {"delay_grew": 0, "breaches": 0}
        self._late = False
        """Speech or captions were too late for their place."""
        self._behind = False
        """The presentation is later than was wished for."""
        self._said: list[str] = []
        self._reported_ms: int | None = None

    @property
    def delay_ms(self) -> int:
        """How far behind the newest media it is meant to be."""
        return round(self._delay_ms)

    @property
    def lag_ms(self) -> int | None:
        """How late what is decided now is, by the clock; None where the source has none."""
        if self._header.started_at is None or self._newest_ms is None:
            return None
        return max(0, round((self._clock() - self._header.started_at) * 1000) - self.until_ms)

    def see(self, record: StreamRecord) -> None:
        """Takes a record of the session, in the order they come."""
        match record:
            case Status(stage="dub", state="running") if not self._header.dubbed:
                self._makers[next(reversed(self._makers))] = "dub"  # headers did not always name what is dubbed
            case Packet() if record.pts is not None:
                end = (record.pts + record.duration) * record.time_base[0] * 1000 // record.time_base[1]
                self._media(end)
            case Pcm():
                self._media(record.end_ms)
            case Transcript() | Translation() | Speech():
                self._utterance(record)
        self._decide()

    def events(self) -> Iterator[Status]:
        """What there is to say: of a breach at once, of how it goes every ten seconds of media."""
        while self._said:
            yield self._status(f"target-latency: {self._said.pop(0)}")
        at_ms = self._newest_ms
        if at_ms is None:
            return
        if self._reported_ms is None or at_ms < self._reported_ms - REPORT_EVERY_MS:
            self._reported_ms = at_ms
        elif at_ms - self._reported_ms >= REPORT_EVERY_MS:
            self._reported_ms = at_ms
            yield self._status("")

    # What is needed

    @property
    def _allowed_ms(self) -> int:
        if not self._wish_ms:
            return MOST_MS
        return max(LEAST_MS, min(MOST_MS, self._wish_ms - self._chain_lag_ms))

    def _media(self, end_ms: int) -> None:
        newest_ms = self._newest_ms
        if newest_ms is None:
            self._first_ms = end_ms
        elif end_ms <= newest_ms:
            return
        else:
            passed_ms = min(end_ms - newest_ms, REPORT_EVERY_MS)
            needed_ms = max(self._needs.values(), default=self._delay_ms - _MARGIN_MS) + _MARGIN_MS
            self._delay_ms = max(self._delay_ms - passed_ms * _SHRINK, min(needed_ms, self._delay_ms), LEAST_MS)
        self._newest_ms = end_ms
        if self._header.started_at is not None:
            now_ms = round((self._clock() - self._header.started_at) * 1000)
            self._chain_lag_ms = max(0, now_ms - end_ms)
            self._watch()
        self._delay_ms = min(self._delay_ms, self._allowed_ms)

    def _watch(self) -> None:
        """Whether the chain alone uses up what is wished for."""
        least_ms = self._chain_lag_ms + LEAST_MS
        if not self._wish_ms or self._wish_ms < least_ms < self._wish_ms + LEAST_MS:  # not to and fro
            return
        exceeds = least_ms > self._wish_ms
        self.counters["breaches"] += exceeds and not self._behind
        what = f"latency {least_ms / 1000:.1f} s {'exceeds' if exceeds else 'can be within'} {self._goal}"
        self._behind = self._change(self._behind, exceeds, what)

    def _utterance(self, record: Transcript | Translation | Speech) -> None:
        makes = (
            "dub" if isinstance(record, Speech) else "translate" if isinstance(record, Translation) else "transcribe"
        )
        languages = self._languages_of(record)
        if not isinstance(record, Speech):
            for language in languages:
                if record.text.strip():
                    self._open[language][record.id] = record.start_ms
                else:
                    self._open[language].pop(record.id, None)
            if not record.final:
                return
            self._ends[record.id] = record.end_ms
            if len(self._ends) > _MOST_WAITING:
                self._ends.pop(next(iter(self._ends)))
        # They come in the order they were said: what was said before and did not come will not.
        end_ms = self._ends.get(record.id, record.start_ms)
        for language in languages:
            if _ORDER.index(makes) >= _ORDER.index(self._makers[language]):
                self._open[language] = {known: at for known, at in self._open[language].items() if at >= end_ms}
        if makes == "dub" or self._text:
            self._need(record.id, record.start_ms)

    def _languages_of(self, record: Transcript | Translation | Speech) -> list[str]:
        """What the record is a part of: a transcript of every language that is made of it."""
        if isinstance(record, Transcript):
            return list(self._makers)
        language = record.language if isinstance(record, Speech) else record.target_language
        return [language if language in self._makers else next(reversed(self._makers))]

    def _need(self, utterance: str, start_ms: int) -> None:
        """Something of it came that starts there."""
        if self._newest_ms is None:
            return
        need_ms = max(0, self._newest_ms - start_ms)
        self._needs[utterance] = max(need_ms, self._needs.pop(utterance, 0))
        if len(self._needs) > _REMEMBERED:
            self._needs.pop(next(iter(self._needs)))
        wanted_ms = need_ms + _MARGIN_MS
        if wanted_ms > self._delay_ms and self._delay_ms < self._allowed_ms:
            self._delay_ms = min(wanted_ms, self._allowed_ms)
            self.counters["delay_grew"] += 1
            logger.info("%s: the delay grows to %.1f s", self._header.session, self._delay_ms / 1000)
        late_ms = self.until_ms - start_ms
        if late_ms > _UNHEARD_MS and start_ms >= self._first_ms:
            self.counters["breaches"] += 1
            late = f"{late_ms / 1000:.1f} s" if late_ms >= 1000 else f"{late_ms} ms"
            detail = f"speech or captions came {late} too late: what they need exceeds {self._goal}"
            self._late = self._change(self._late, True, detail)
        elif wanted_ms <= self._allowed_ms:
            self._late = self._change(self._late, False, "speech and captions are in time again")

    @property
    def _goal(self) -> str:
        return (
            f"the target of {self._wish_ms / 1000:g} s"
            if self._wish_ms
            else f"the delay of {self._delay_ms / 1000:.1f} s"
        )

    def _change(self, before: bool, now: bool, detail: str) -> bool:
        """Says it, where something is not as it was before."""
        if now != before:
            self._said.append(detail)
            logger.log(logging.WARNING if now else logging.INFO, "%s: %s", self._header.session, detail)
        return now

    def _decide(self) -> None:
        if self._newest_ms is None:
            return
        limit_ms = min(self._allowed_ms, self._delay_ms * _LONGER + _LONGER_MS)
        oldest_ms = self._newest_ms - limit_ms
        for language, waiting in self._open.items():
            self._open[language] = {known: at for known, at in waiting.items() if at >= oldest_ms}
        starts = (at for waiting in self._open.values() for at in waiting.values())
        waits_ms = min(starts, default=self._newest_ms)
        self.until_ms = max(self.until_ms, round(min(self._newest_ms - self._delay_ms, waits_ms)))

    def _status(self, detail: str) -> Status:
        counters: Mapping[str, int | float] = {
            **self.counters,
            "delay_ms": self.delay_ms,
            "chain_lag_ms": self._chain_lag_ms,
        }
        return Status(
            self._header.session, stage=self._stage, state="running", lag_ms=self.lag_ms, counters=dict(counters), detail=detail,
            emitted_at=self._clock(),
        )  # fmt: skip
