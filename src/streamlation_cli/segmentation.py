"""Where speech is and where to cut it: PCM in, utterances out, with bounded memory.

    samples ─► VoiceActivity (levelled, one probability a window) ─► Segmenter (pauses, length bound) ─► Utterance …

An utterance is cut at pauses. Speech that goes on for longer than the bound is cut at the quietest point of its recent
past; where even that point is speech the two halves overlap a little (a seam), and who reads them keeps each word once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .records import SAMPLE_RATE_HZ
from .voice_activity import WINDOW, ActivityDetector

Pcm16 = npt.NDArray[np.int16]

WINDOW_S = WINDOW / SAMPLE_RATE_HZ
SMOOTHING = 7
"""Windows averaged to find a pause to cut in: a fifth of a second."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How speech is cut into utterances; times in seconds, probabilities in [0, 1]."""

    start_probability: float = 0.35
    """Speech begins at a window at least this likely to be speech."""
    sure_probability: float = 0.5
    """An utterance has a window at least this likely to be speech."""
    stop_probability: float = 0.2
    """A window below this is part of a pause."""
    pause_s: float = 0.5
    """A pause at least this long ends the utterance."""
    padding_s: float = 0.25
    """Audio kept before the first and after the last window of speech."""
    shortest_s: float = 0.1
    """Speech shorter than this is a click, not an utterance."""
    longest_s: float = 12.0
    """Longer continuous speech is cut."""
    overlap_s: float = 0.4
    """How much audio both halves of a cut through speech share, on each side of the cut."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A stretch of speech; sample positions count from the first sample the segmenter was given."""

    start: int
    """Position of `samples[0]`."""
    samples: Pcm16 = field(repr=False)
    """Mono, 16 kHz, shape (samples,)."""
    probability: float
    """Mean speech probability of its windows."""
    seam_before: int | None = None
    """Position of the cut through speech at which it begins: words before it belong to the utterance before."""
    seam_after: int | None = None
    """Position of the cut through speech at which it ends: words after it belong to the utterance after."""

    @property
    def end(self) -> int:
        """Position behind the last sample."""
        return self.start + len(self.samples)

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / SAMPLE_RATE_HZ


class Segmenter:
    """Cuts one run of contiguous audio into utterances as it arrives."""

    def __init__(self, detector: ActivityDetector, cutting: Cutting) -> None:
        self._detector = detector
        self._cutting = cutting
        self._audio = _Tape()
        self._probabilities: list[float] = []
        """Of the windows from `_first` on."""
        self._first = 0
        self._next = 0
        """First window that was not looked at yet."""
        self._start: int | None = None
        """First window of the utterance that is open."""
        self._seam: int | None = None
        """Window at which the open utterance was cut off from the one before."""
        self._pause: int | None = None
        """First window of the pause that the open utterance is in."""
        self._padding = round(cutting.padding_s / WINDOW_S)
        self._free = 0
        """First window that no utterance has used."""

    def push(self, samples: Pcm16) -> Iterator[Utterance]:
        """Takes the next samples (mono, 16 kHz); yields the utterances that are complete."""
        self._audio.append(samples)
        self._probabilities.extend(self._detector.push(samples).tolist())
        yield from self._advance()
        self._forget()

    def flush(self) -> Iterator[Utterance]:
        """The end of the run: yields what is still open. The segmenter is used up after it."""
        self._probabilities.extend(self._detector.flush().tolist())
        yield from self._advance()
        if self._start is not None:
            end = self._first + len(self._probabilities)
            speech_end = end if self._pause is None else self._pause
            yield from self._close(speech_end, min(end, speech_end + self._padding), None)

    def _advance(self) -> Iterator[Utterance]:
        cutting = self._cutting
        while self._next < self._first + len(self._probabilities):
            window = self._next
            probability = self._probabilities[window - self._first]
            self._next += 1
            if self._start is None:
                if probability >= cutting.start_probability:
                    self._start, self._pause = window, None
                continue
            if probability < cutting.stop_probability:
                if self._pause is None:
                    self._pause = window
                if (window + 1 - self._pause) * WINDOW_S >= cutting.pause_s:
                    yield from self._close(self._pause, self._pause + self._padding, None)
                    continue
            elif probability >= cutting.start_probability:
                self._pause = None
            if (window + 1 - self._start) * WINDOW_S >= cutting.longest_s:
                yield from self._cut(window + 1)

    def _cut(self, end: int) -> Iterator[Utterance]:
        """Cuts the open utterance, which reaches to `end`, in the longest or deepest pause of its later part."""
        assert self._start is not None
        low = self._start + (end - self._start) // 3
        overlap = round(self._cutting.overlap_s / WINDOW_S)  # must have arrived, or the chunks would make a difference
        recent = np.array(self._probabilities[low - self._first : end - overlap - self._first])
        averaged = np.convolve(recent, np.full(SMOOTHING, 1 / SMOOTHING), mode="valid")
        best = len(averaged) - 1 - int(np.argmin(averaged[::-1]))
        cut = low + best + SMOOTHING // 2
        lowest = min(self._probabilities[cut - 2 - self._first : cut + 3 - self._first])
        seam = lowest >= self._cutting.stop_probability
        yield from self._close(cut, cut + overlap if seam else cut, cut if seam else None)
        self._start = cut
        if self._pause is not None and self._pause < cut:
            self._pause = None

    def _close(self, end: int, stop: int, seam: int | None) -> Iterator[Utterance]:
        """Yields the open utterance, whose speech reaches to window `end` and whose audio to window `stop`."""
        assert self._start is not None
        cutting = self._cutting
        inside = self._probabilities[self._start - self._first : end - self._first]
        before = cutting.padding_s if self._seam is None else cutting.overlap_s
        begin = self._start - round(before / WINDOW_S)
        if self._seam is None:
            begin = max(begin, self._free)
        speech = sum(probability >= cutting.start_probability for probability in inside)
        sure = self._seam is not None or max(inside) >= cutting.sure_probability
        if sure and speech * WINDOW_S >= cutting.shortest_s:
            start = max(begin * WINDOW, self._audio.start)
            yield Utterance(
                start=start,
                samples=self._audio.between(start, stop * WINDOW),
                probability=float(np.mean(inside)),
                seam_before=None if self._seam is None else self._seam * WINDOW,
                seam_after=None if seam is None else seam * WINDOW,
            )
        self._free = end if seam is not None else stop
        self._start, self._seam, self._pause = None, seam, None

    def _forget(self) -> None:
        """Drops the audio that no utterance to come can want."""
        cutting = self._cutting
        keep = self._next if self._start is None else self._start
        keep -= round(max(cutting.padding_s, cutting.overlap_s) / WINDOW_S) + 1
        if keep > self._first:
            del self._probabilities[: keep - self._first]
            self._first = keep
            self._audio.forget(keep * WINDOW)


class _Tape:
    """The recent samples of a stream, addressed by their position in it."""

    def __init__(self) -> None:
        self.start = 0
        self._chunks: list[Pcm16] = []

    def append(self, samples: Pcm16) -> None:
        self._chunks.append(samples)

    def between(self, start: int, end: int) -> Pcm16:
        """A copy of the samples from `start` up to `end`, or up to where the tape ends."""
        pieces = []
        position = self.start
        for chunk in self._chunks:
            pieces.append(chunk[max(0, start - position) : max(0, end - position)])
            position += len(chunk)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)

    def forget(self, position: int) -> None:
        """Drops whole chunks that lie before `position`."""
        while self._chunks and self.start + len(self._chunks[0]) <= position:
            self.start += len(self._chunks.pop(0))
