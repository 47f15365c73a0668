"""The words of a translation on the source's times.

source       ▁▁Good▁morning,▁▁        ▁▁everyone.▁▁      speech time, and a pause that stays one
translation  ▁▁Bom▁▁▁dia,▁▁▁▁▁        ▁▁▁▁todos.▁▁▁      shared out by characters
"""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Word
from .sentences import split_words

_CLOSED_GAP_MS = 250
"""Words closer together than this are one stretch of speech: that is how words follow each other, not a pause."""


def lay_out(text: str, source: Sequence[Word]) -> tuple[Word, ...]:
    """The words of `text` on the speech time of `source`: shared out by characters, pauses left as pauses.

    Times never run backwards and stay within the source's first start and last end.
    """
    words = split_words(text)
    stretches = _stretches(source)
    if not words or not stretches:
        return ()
    speech_ms = sum(end - start for start, end in stretches)
    total = sum(len(word) + 1 for word in words)
    laid: list[Word] = []
    done = 0
    for word in words:
        begin, end = (speech_ms * share / total for share in (done, done + len(word) + 1))
        start_ms, end_ms = _place(stretches, begin, end)
        laid.append(Word(text=word, start_ms=start_ms, end_ms=end_ms))
        done += len(word) + 1
    return tuple(laid)


def _stretches(source: Sequence[Word]) -> list[tuple[int, int]]:
    stretches: list[tuple[int, int]] = []
    for word in source:
        start_ms, end_ms = word.start_ms, max(word.start_ms, word.end_ms)
        if stretches and start_ms - stretches[-1][1] <= _CLOSED_GAP_MS:
            stretches[-1] = (stretches[-1][0], max(stretches[-1][1], end_ms))
        else:
            stretches.append((start_ms, end_ms))
    return stretches


def _place(stretches: Sequence[tuple[int, int]], begin: float, end: float) -> tuple[int, int]:
    """Times of the word that takes speech time `begin` to `end`: all of it in the stretch that its middle falls into."""
    middle = (begin + end) / 2
    before = 0.0
    for start_ms, end_ms in stretches[:-1]:
        length = end_ms - start_ms
        if middle < before + length:
            break
        before += length
    else:
        start_ms, end_ms = stretches[-1]
    from_ms = start_ms + max(0.0, begin - before)
    to_ms = start_ms + min(float(end_ms - start_ms), end - before)
    return round(from_ms), max(round(from_ms), round(to_ms))
