"""Utterances taken apart where their speaker may change, and put together again where he did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from ..engines import Samples
from ..records import SAMPLE_RATE_HZ, Word
from .clustering import Speakers
from .voiceprint import VoicePrinter

PAUSE_MS = 250
"""A pause at least this long may be a change of speakers; so may the end of a sentence, without any."""

SHORTEST_MS = 1000
"""Words that take less time go with their neighbours: so little sound does not tell who speaks."""

_SENTENCE_MS = 1000
"""The end of a sentence sets its words apart as much as a pause of this length."""

_TERMINALS = ".!?…。！？"


@dataclass(frozen=True)
class Said:
    """An utterance that was recognised: its words (in order, maybe none) and its sound from `start_ms` on."""

    words: tuple[Word, ...]
    samples: Samples
    start_ms: int


@dataclass(frozen=True)
class Turn:
    """Words of one utterance that one speaker said."""

    words: tuple[Word, ...]
    speaker: str


def turns(utterances: Sequence[Said], printer: VoicePrinter, speakers: Speakers) -> list[list[Turn]]:
    """The turns of each utterance; one without words is one turn."""
    stretches = [stretches_of(said.words) or [()] for said in utterances]
    sounds = [_sound(said, words) for said, some in zip(utterances, stretches, strict=True) for words in some]
    seconds = [len(sound) / SAMPLE_RATE_HZ for sound in sounds]
    names = iter(speakers.name(printer.prints(sounds), seconds))
    found = []
    for some in stretches:
        named = [(words, next(names)) for words in some]
        found.append(
            [
                Turn(tuple(word for words, _ in run for word in words), speaker)
                for speaker, run in groupby(named, key=lambda pair: pair[1])
            ]
        )
    return found


def stretches_of(words: Sequence[Word]) -> list[tuple[Word, ...]]:
    """The words between pauses and ends of sentences, none of less than `SHORTEST_MS` where there are others to join."""
    stretches: list[list[Word]] = [[word] for word in words[:1]]
    for before, word in pairwise(words):
        pause_ms = word.start_ms - before.end_ms
        if pause_ms >= PAUSE_MS or before.text[-1:] in _TERMINALS:
            stretches.append([])
        stretches[-1].append(word)
    while len(stretches) > 1:
        short = min(range(len(stretches)), key=lambda at: _length_ms(stretches[at]))
        if _length_ms(stretches[short]) >= SHORTEST_MS:
            break
        into = _nearer(stretches, short)
        first, second = sorted((short, into))
        stretches[first : second + 1] = [stretches[first] + stretches[second]]
    return [tuple(some) for some in stretches]


def _length_ms(words: Sequence[Word]) -> int:
    return words[-1].end_ms - words[0].start_ms


def _nearer(stretches: Sequence[Sequence[Word]], at: int) -> int:
    """The neighbour with the shorter pause between, in the same sentence rather than in another."""
    if at in (0, len(stretches) - 1):
        return 1 if at == 0 else at - 1
    return (
        at - 1 if _apart_ms(stretches[at - 1], stretches[at]) <= _apart_ms(stretches[at], stretches[at + 1]) else at + 1
    )


def _apart_ms(before: Sequence[Word], after: Sequence[Word]) -> int:
    return after[0].start_ms - before[-1].end_ms + _SENTENCE_MS * (before[-1].text[-1:] in _TERMINALS)


def _sound(said: Said, words: Sequence[Word]) -> Samples:
    if not words:
        return said.samples
    first, last = (
        (time_ms - said.start_ms) * SAMPLE_RATE_HZ // 1000 for time_ms in (words[0].start_ms, words[-1].end_ms)
    )
    return said.samples[max(0, first) : max(0, last)]
