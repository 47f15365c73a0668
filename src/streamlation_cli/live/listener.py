"""One stretch of audio on its way to committed words.

      hear(samples)            task()                        engine                 settle(task, hearing)
   buffer, speech so far ─► is it time to decode? ─► what follows the committed words ─► commit, show, trim, end

The listener knows no threads and no clock but the audio's: whoever drives it decides where the engine runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engines import Decoding, Hearing, LiveRecognizer, Samples, SpokenWord
from ..guard import compression_ratio
from ..records import SAMPLE_RATE_HZ
from ..voice_activity import WINDOW
from .activity import LiveActivity
from .policy import Policy, plain

Pcm16 = npt.NDArray[np.int16]
WINDOW_S = WINDOW / SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a listener works; times in seconds."""

    step_s: float = 0.45
    """New audio that is worth a decoding."""
    swing_s: float = 0.2
    """By so much a step may be shorter or longer, for a decoding just when an unsure word falls due."""
    beam_size: int = 5
    start_probability: float = 0.5
    stop_probability: float = 0.25
    padding_s: float = 0.4
    """Audio kept before speech."""
    pause_s: float = 1.0
    """A pause at least this long ends the utterance."""
    tail_s: float = 0.2
    """Words that start later than this after the speech has ended are none."""
    context_s: float = 16.0
    """A longer buffer is trimmed."""
    keep_s: float = 8.0
    """Committed audio that stays in the buffer, with its words."""
    memory_s: float = 5.0
    """The context of what was said is forgotten after a pause of this length."""
    shown_confidence: float = 0.5
    """A word that may change yet is shown from this probability on, and none behind one that is not."""
    shown_s: float = 0.1
    """And when it ended at least so long ago: together they keep words from flickering."""
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One decoding."""

    samples: Samples
    start_s: float
    """Where the audio begins."""
    edge_s: float
    """And ends."""
    said: tuple[SpokenWord, ...]
    """The committed words in it, on the stretch's clock."""
    expected: tuple[SpokenWord, ...]
    """What was heard behind them last time."""
    last: bool
    """The utterance is over."""
    speech_end_s: float
    goes_on: bool
    """Somebody has spoken since the last committed word."""
    heard: Any
    """What the engine has kept of the audio; None where it begins elsewhere than last time."""

    def told(self) -> tuple[SpokenWord, ...]:
        """The committed words on the audio's own clock."""
        return tuple(shifted(word, -self.start_s) for word in self.said)


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is new: words that are committed now, and what is heard behind them so far."""

    committed: tuple[SpokenWord, ...]
    volatile: tuple[SpokenWord, ...]
    mark: str
    """Punctuation found behind the word that was committed last before these."""
    last: bool
    """The utterance is over."""
    language: str

    @property
    def confidence(self) -> float | None:
        """Mean probability of the words, in [0, 1]; None where there are none."""
        words = (*self.committed, *self.volatile)
        return sum(word.confidence for word in words) / len(words) if words else None


def shifted(word: SpokenWord, by_s: float) -> SpokenWord:
    """The word at another time."""
    return replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s)


class Listener:
    """Hears one stretch of contiguous audio."""

    def __init__(self, activity: LiveActivity, tuning: Tuning) -> None:
        self._activity = activity
        self.tuning = tuning
        self._buffer = np.zeros(0, np.int16)
        self._start = 0
        """Position of the buffer's first sample."""
        self._end = 0
        self._judged = 0
        """Position up to which speech has been looked for."""
        self._speaking = False
        self._speech_start: int | None = None
        """Where the utterance's speech began; None between utterances."""
        self._speech_end = 0
        self._decoded_to = 0
        self._said: list[SpokenWord] = []
        """Committed words whose audio is in the buffer."""
        self._before: tuple[SpokenWord, ...] = ()
        """The uncommitted part of the last hypothesis."""
        self._heard: Any = None
        """What the engine keeps of the buffer."""

    @property
    def edge_s(self) -> float:
        """Where the audio so far ends."""
        return self._end / SAMPLE_RATE_HZ

    def hear(self, samples: Pcm16) -> None:
        """Takes the next samples."""
        self._buffer = np.concatenate([self._buffer, samples])
        self._end += len(samples)
        self._judge(samples, idle=self._speech_start is None)
        tuning = self.tuning
        if self._speech_start is None and (
            not self._said or self._judged - self._speech_end > tuning.memory_s * SAMPLE_RATE_HZ
        ):
            self._said.clear()
            self._cut(max(self._start, self._judged - round(tuning.padding_s * SAMPLE_RATE_HZ)))

    def _judge(self, samples: Pcm16, *, idle: bool) -> None:
        """Notes where speech is."""
        for probability in self._activity.push(samples, idle=idle).tolist():
            threshold = self.tuning.stop_probability if self._speaking else self.tuning.start_probability
            self._speaking = probability >= threshold
            window, self._judged = self._judged, self._judged + WINDOW
            if self._speaking:
                if self._speech_start is None:
                    self._speech_start = window
                    self._decoded_to = max(self._decoded_to, window)
                self._speech_end = self._judged

    def task(self, *, ended: bool = False) -> Task | None:
        """The decoding that is due; None where there is none. `ended`: no audio will follow."""
        if ended:
            self._judge(self._buffer[:0], idle=False)
        if self._speech_start is None:
            return None
        pause = (self._judged - self._speech_end) / SAMPLE_RATE_HZ
        last = ended or pause >= self.tuning.pause_s
        if not last and not self._is_time():
            return None
        if not last and pause > 0.35 and not self._before and self._decoded_to >= self._speech_end + SETTLED:
            return None
        return Task(
            samples=_levelled(self._buffer),
            start_s=self._start / SAMPLE_RATE_HZ,
            edge_s=self.edge_s,
            said=tuple(self._said),
            expected=self._before,
            last=last,
            speech_end_s=self._speech_end / SAMPLE_RATE_HZ,
            goes_on=bool(self._said) and self._spoken_s(self._speech_end / SAMPLE_RATE_HZ) > SPOKEN_S,
            heard=self._heard,
        )

    def _is_time(self) -> bool:
        """Whether the audio since the last decoding is worth one."""
        tuning = self.tuning
        new_s = (self._end - self._decoded_to) / SAMPLE_RATE_HZ
        step_s = tuning.step_s
        if self._before and self._before[0].confidence < tuning.policy.sure:
            # It holds up all that follows it, so the step ends when it is due, where that is near.
            due_s = self._before[0].end_s + tuning.policy.unsure_s - self._decoded_to / SAMPLE_RATE_HZ
            if 0 < due_s <= step_s + tuning.swing_s:
                step_s = max(due_s, step_s - tuning.swing_s)
        return new_s >= step_s

    def settle(self, task: Task, hearing: Hearing) -> Update:
        """What the hearing of a task means; tasks are settled one by one."""
        tail = tuple(shifted(word, task.start_s) for word in hearing.words)
        speech_end = round(task.speech_end_s * SAMPLE_RATE_HZ)
        nothing_left = self._said and not self._before and self._decoded_to >= speech_end + SETTLED
        self._decoded_to = round(task.edge_s * SAMPLE_RATE_HZ)
        self._heard = hearing.heard
        whole = tail
        fresh = behind(self._said, tail)
        tail = without_repeats(self._said, fresh)
        astray = len(tail) < FEW and says_again(self._said, fresh[len(tail) :])
        tail = before_the_edge(tail)
        since_s = task.edge_s - (self._speech_start or 0) / SAMPLE_RATE_HZ
        last = task.last and not (astray and self._spoken_s(task.speech_end_s) > SPOKEN_S)
        if last:
            count = sum(word.start_s < task.speech_end_s + self.tuning.tail_s for word in tail)
            left_s = task.speech_end_s - (self._said[-1].end_s if self._said else task.start_s)
            if nothing_left or (left_s < FASTEST_S * count and count > len(self._before)):
                count = 0  # a decoder that is given silence makes something up, such as thanks for watching
            tail = self.tuning.policy.believable(tail[:count], self._before)
            count = len(tail)
        elif astray or since_s < self.tuning.policy.settle_s:
            count = 0
        else:
            count = self.tuning.policy.commits(tail, self._before, task.edge_s)
            if len(tail) < len(whole) and count == len(tail) and count:
                count -= 1  # what went astray may have begun in the word before
        committed = tail[:count]
        self._said += committed
        self._before = tail[count:]
        update = Update(
            committed=committed, volatile=self._shown(task.edge_s), mark=hearing.mark if self._said else "", last=last,
            language=hearing.language,
        )  # fmt: skip
        if last:
            self._end_utterance(task)
        elif task.last or (self._said and (astray or not tail) and self._spoken_s(task.speech_end_s) > DEAF_S):
            self._forget()
        else:
            self._trim(task)
        return update

    def _shown(self, edge_s: float) -> tuple[SpokenWord, ...]:
        """The uncommitted words that are likely to stay."""
        tuning = self.tuning
        for count, word in enumerate(self._before):
            if word.confidence < tuning.shown_confidence or edge_s - word.end_s < tuning.shown_s:
                return self._before[:count]
        return self._before

    def postpone(self, task: Task) -> None:
        """The task came too early to mean anything: it is asked for again when more has been heard."""
        self._decoded_to = round(task.edge_s * SAMPLE_RATE_HZ)

    def _end_utterance(self, task: Task) -> None:
        """What is heard from here on is the next utterance's; the last words stay as its context."""
        self._before = ()
        spoken_on = self._speech_end - round(task.speech_end_s * SAMPLE_RATE_HZ)
        self._speech_start = round(task.edge_s * SAMPLE_RATE_HZ) if spoken_on > 0 else None
        self._trim(task)

    def _spoken_s(self, end_s: float) -> float:
        """Speech behind the last committed word."""
        since_s = (self._speech_start or 0) / SAMPLE_RATE_HZ
        return end_s - max(since_s, self._said[-1].end_s if self._said else 0.0)

    def _forget(self) -> None:
        """Lets go of what was said, and of its sound; the rest is to be heard at once."""
        end_s = self._said[-1].end_s
        self._said.clear()
        self._before = ()
        self._cut(round(end_s * SAMPLE_RATE_HZ))
        self._decoded_to = min(self._decoded_to, self._end - round(self.tuning.step_s * SAMPLE_RATE_HZ))

    def _trim(self, task: Task) -> None:
        """Keeps the buffer short: cut behind a sentence, else between two committed words."""
        if task.edge_s - task.start_s <= self.tuning.context_s:
            return
        latest_s = self._said[-1].end_s - self.tuning.keep_s if self._said else -1.0
        most_s = (self.tuning.context_s + self.tuning.keep_s) / 2  # or it would be too long again soon
        best: tuple[bool, float] | None = None
        for index in range(len(self._said) - 1):
            one, other = self._said[index], self._said[index + 1]
            cut_s = (one.end_s + other.start_s) / 2
            if cut_s > latest_s:
                break
            sentence = ends_sentence(one.text) and task.edge_s - cut_s <= most_s
            best = max(best or (False, -1.0), (sentence, cut_s))
        if best is None:
            if task.edge_s - task.start_s > 24.0:
                self._cut(round((task.edge_s - 12.0) * SAMPLE_RATE_HZ))
            return
        cut_s = best[1]
        self._said = [word for word in self._said if word.start_s >= cut_s or word.end_s > cut_s + 0.05]
        self._cut(round(cut_s * SAMPLE_RATE_HZ))

    def _cut(self, position: int) -> None:
        """Drops what lies before `position`."""
        if position > self._start:
            self._buffer = self._buffer[position - self._start :]
            self._start = position
            self._heard = None


def _levelled(pcm: Pcm16) -> Samples:
    """The samples in [-1, 1], raised to near full scale where they are quiet: Whisper's input depends on the level."""
    samples = pcm.astype(np.float32) / np.float32(32768)
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(0.5 / peak) if 0 < peak < 0.1 else samples


def heard(engine: LiveRecognizer, task: Task, decoding: Decoding) -> Hearing:
    """What the engine hears; a loop is asked for again with all the context there is, and is nothing if it stays one."""
    hearing = engine.listen(task.samples, task.told(), task.expected, decoding, task.heard, task.goes_on)
    if is_loop(hearing):
        hearing = engine.listen(task.samples, task.told(), (), replace(decoding, context="full"))
        if is_loop(hearing):
            return replace(hearing, words=(), text="")
    return hearing


def is_loop(hearing: Hearing) -> bool:
    """Whether the decoder has lost its way: text that zlib shrinks far too well, or a short phrase four times running."""
    if compression_ratio(hearing.text) > MOST_COMPRESSION:
        return True
    said = [plain(word.text) for word in hearing.words]
    return any(
        said[start : start + 4 * length] == said[start : start + length] * 4
        for length in range(1, 5)
        for start in range(len(said) - 4 * length + 1)
    )


def ends_sentence(text: str) -> bool:
    """Whether a word ends its sentence.

    >>> ends_sentence("house."), ends_sentence("house,")
    (True, False)
    """
    return text.rstrip("\"'”’»)").endswith((".", "!", "?", "…", "。", "！", "？"))


SPOKEN_S = 0.6
"""Speech of this length is a word at least."""
DEAF_S = 1.2
"""And of this length it is heard, unless the decoder takes the text that it is told for all there is, or says it again."""
FEW = 3
"""A decoder that says again what it is told, with fewer words than this before, hears nothing. It may do so for many seconds where
another voice speaks on. Even the end of an utterance is then heard once more, by itself."""
SETTLED = 4000
"""Samples behind the speech from which on a decoding has heard the last word's end."""
MOST_COMPRESSION = 2.4
EXPECTED = 3
"""So many words in a row that take no time, or that were told, were not heard."""
BACK_S = 0.3
"""More than the times of a word differ from one decoding to the next."""
FASTEST_S = 0.12
"""Nobody says words faster than this, one after the other."""


def behind(said: Sequence[SpokenWord], tail: tuple[SpokenWord, ...]) -> tuple[SpokenWord, ...]:
    """The tail, or nothing where it lies in sound that committed words have: the decoder says these again, in other words even."""
    return () if said and tail and tail[0].end_s < said[-1].end_s - BACK_S else tail


def before_the_edge(tail: tuple[SpokenWord, ...]) -> tuple[SpokenWord, ...]:
    """The tail up to where words take no time: there the sound is over, and the decoder goes on with what it expects."""
    for start in range(len(tail) - EXPECTED + 1):
        if tail[start + EXPECTED - 1].end_s - tail[start].start_s < EXPECTED * FASTEST_S / 2:
            return tail[:start]
    return tail


def says_again(said: Sequence[SpokenWord], dropped: Sequence[SpokenWord]) -> bool:
    """Whether some of the words, EXPECTED in a row, are those that were told."""
    told, again = ([plain(word.text) for word in words] for words in (said, dropped))
    rows = [told[start : start + EXPECTED] for start in range(len(told) - EXPECTED + 1)]
    return any(again[start : start + EXPECTED] in rows for start in range(len(again) - EXPECTED + 1))


def without_repeats(said: Sequence[SpokenWord], tail: tuple[SpokenWord, ...]) -> tuple[SpokenWord, ...]:
    """The tail up to where it says again what was just said, in no time: how a decoder goes on when the sound is over."""
    words = [*said, *tail]
    first = len(words) - len(tail)
    texts = [plain(word.text) for word in words]
    for position in range(max(first, 1), len(words)):
        for start in range(position):
            length = 0
            while (
                position + length < len(words)
                and start + length < position
                and texts[start + length] == texts[position + length]
            ):
                length += 1
            if not length:
                continue
            spent_s = words[position + length - 1].end_s - words[position].start_s
            adjacent = start + length == position
            if (adjacent and (length >= 4 or spent_s < FASTEST_S * length)) or (
                length >= 3 and spent_s < FASTEST_S * length
            ):
                # What leads up to it is made up as well, where it took no time either.
                while position > first and words[position - 1].end_s - words[position - 1].start_s < FASTEST_S / 2:
                    position -= 1
                return tail[: position - first]
    return tail
