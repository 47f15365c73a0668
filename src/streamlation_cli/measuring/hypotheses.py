"""What a live system showed, word by word: when each word first stood in a hypothesis, when it was committed, what was taken
back, and which promises were broken.

A text (an utterance, a sentence, a caption) is shown again and again under one id, each time whole. Its first `committed`
words are promised to stay; a final text is promised whole.

Normalized erasure is what Arivazhagan et al. (2020), "Re-translation versus Streaming for Simultaneous Translation", define:
each time a text is shown anew, the words after the longest common prefix with what stood there before were erased; all
erased words over the words that are left at the end. Words are compared as shown, case and punctuation included; a second
count leaves those aside.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from .alignment import align
from .tokens import tokens

RULES = (
    "committed_word_changed",
    "committed_word_twice",
    "record_after_final",
    "revision_not_rising",
    "times_out_of_order",
    "stable_words_beyond_text",
    "never_final",
    "cue_added_twice",
    "cue_unknown",
)
"""The promises of a live session that can be broken; each is counted."""

_REMEMBERED = 500
"""Committed words that a new one is compared with, to find words committed twice: some minutes of speech."""


class Shown(NamedTuple):
    """A word as a record has it."""

    text: str
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True)
class Committed:
    """A word that was promised, or stood there at the end."""

    text: str
    start_ms: int | None
    end_ms: int | None
    committed_s: float
    """The bench's clock when it was first committed."""
    shown_s: float
    """The bench's clock when it first stood in a hypothesis."""
    heard_ms: int | None
    """How much of the audio the system had shown to have heard by then."""


@dataclass
class _Text:
    words: tuple[Shown, ...] = ()
    keys: tuple[str, ...] = ()
    committed: list[Committed] = field(default_factory=list)
    final: bool = False
    removed: bool = False
    rev: int | None = None
    history: list[tuple[float, int, tuple[str, ...]]] = field(default_factory=list)
    """When something was shown, after how many committed words, and what."""
    changed_s: float = 0.0


class Texts:
    """Every text of one kind; `show` is called in order of arrival."""

    def __init__(self, language: str = "") -> None:
        self._language = language
        self._texts: dict[Hashable, _Text] = {}
        self._recent: deque[tuple[str, int, int]] = deque(maxlen=_REMEMBERED)
        self._last: tuple[Hashable, int] | None = None
        self.broken: Counter[str] = Counter()
        self.shown = 0
        """How many times something was shown."""
        self._erased = 0
        self._erased_keys = 0

    def show(
        self, at_s: float, key: Hashable, words: Sequence[Shown], *, committed: int = 0, final: bool = False,
        rev: int | None = None, heard_ms: int | None = None,
    ) -> None:  # fmt: skip
        """A text as it now stands; `committed` of its words are promised, all of them where it is final."""
        text = self._texts.setdefault(key, _Text())
        if text.final:
            self.broken["record_after_final"] += 1
            return
        self.shown += 1
        self._check_order(key, text, words, rev)
        if committed > len(words):
            self.broken["stable_words_beyond_text"] += 1
        self._replace(at_s, text, tuple(words))
        for at, promised in enumerate(text.committed):
            if at >= len(words) or words[at].text != promised.text:
                self.broken["committed_word_changed"] += 1
        count = len(words) if final else min(len(words), max(committed, len(text.committed)))
        self._commit(at_s, text, count, heard_ms)
        text.rev, text.final = rev, final

    def remove(self, key: Hashable, *, taken_back: bool) -> None:
        """A text leaves the screen; `taken_back` says that it had not stood its time."""
        text = self._texts.get(key)
        if text is None or text.removed:
            self.broken["cue_unknown"] += 1
            return
        text.removed = True
        if taken_back:
            self._erased += len(text.words)
            self._erased_keys += len(text.words)
            text.words, text.keys = (), ()

    def standing(self, key: Hashable) -> tuple[str, ...] | None:
        """The words of a text that is shown; None where there is none."""
        text = self._texts.get(key)
        return None if text is None or text.removed else tuple(word.text for word in text.words)

    def end(self) -> None:
        """Nothing more comes: texts that should have become final are counted."""
        self.broken["never_final"] += sum(not text.final for text in self._texts.values())

    def committed(self) -> list[Committed]:
        """Every committed word, in the order of the texts and in each of its words."""
        return [word for text in self._texts.values() for word in text.committed]

    def groups(self) -> Iterator[list[Committed]]:
        """The words of each text as they stand at the end, whether they were ever promised or not."""
        for text in self._texts.values():
            self._commit(text.changed_s, text, len(text.words), None)
            yield text.committed[: len(text.words)]

    @property
    def words(self) -> int:
        """Words that stand at the end."""
        return sum(len(text.words) for text in self._texts.values())

    def erasure(self) -> dict[str, int]:
        """Words that were taken back, as shown and with case and punctuation aside, and words that stand at the end."""
        return {
            "erased_words": self._erased,
            "erased_words_case_and_punctuation_aside": self._erased_keys,
            "final_words": self.words,
        }

    def _replace(self, at_s: float, text: _Text, words: tuple[Shown, ...]) -> None:
        keys = tuple(_key(word.text, self._language) for word in words)
        self._erased += len(text.words) - _common([w.text for w in text.words], [w.text for w in words])
        self._erased_keys += len(text.keys) - _common(text.keys, keys)
        if tuple(w.text for w in words) != tuple(w.text for w in text.words):
            text.changed_s = at_s
        offset = min(len(text.committed), len(words))
        text.words, text.keys = words, keys
        entry = (offset, keys[offset:])
        if entry[1] and (not text.history or text.history[-1][1:] != entry):
            text.history.append((at_s, *entry))

    def _commit(self, at_s: float, text: _Text, count: int, heard_ms: int | None) -> None:
        kept = [
            old if old.text == word.text else None
            for old, word in zip(text.committed, text.words, strict=False)
        ]  # fmt: skip
        fresh = [at for at in range(count) if at >= len(kept) or kept[at] is None]
        if not fresh:
            text.committed[:] = [old for old in kept if old is not None]
            return
        first = _first_shown(text, count)
        committed: list[Committed] = []
        for at in range(count):
            old = kept[at] if at < len(kept) else None
            word = text.words[at]
            if old is None:
                old = Committed(word.text, word.start_ms, word.end_ms, at_s, min(at_s, first.get(at, at_s)), heard_ms)
                self._check_twice(text.keys[at], word)
            committed.append(old)
        text.committed = committed
        # What was shown before and reaches no farther than what is committed now has told all it can.
        text.history = [entry for entry in text.history if entry[1] + len(entry[2]) + 5 > count]

    def _check_order(self, key: Hashable, text: _Text, words: Sequence[Shown], rev: int | None) -> None:
        if rev is not None and text.rev is not None and rev <= text.rev:
            self.broken["revision_not_rising"] += 1
        starts = [word.start_ms for word in words if word.start_ms is not None]
        backwards = any(
            w.start_ms is not None and w.end_ms is not None and w.end_ms < w.start_ms for w in words
        )  # fmt: skip
        disordered = any(b < a for a, b in pairwise(starts))
        early = bool(starts) and self._last is not None and self._last[0] != key and starts[0] < self._last[1]
        if backwards or disordered or early:
            self.broken["times_out_of_order"] += 1
        if starts:
            self._last = (key, starts[-1])

    def _check_twice(self, key: str, word: Shown) -> None:
        if word.start_ms is None or word.end_ms is None:
            return
        for other, start, end in self._recent:
            overlap = min(end, word.end_ms) - max(start, word.start_ms)
            if other == key and overlap >= 0.5 * max(1, min(end - start, word.end_ms - word.start_ms)):
                self.broken["committed_word_twice"] += 1
                break
        self._recent.append((key, word.start_ms, word.end_ms))


def _first_shown(text: _Text, count: int) -> dict[int, float]:
    """Index of each of the first `count` words → when it first stood in what was shown."""
    found: dict[int, float] = {}
    for at_s, offset, keys in text.history:
        wanted = text.keys[offset:count]
        same = _common(wanted, keys)
        matched: Iterable[int] = range(same)
        rest, shown = wanted[same:], keys[same:]
        if rest and shown:
            pairs = align(rest[: len(shown) + 20], shown)
            matched = [
                *matched,
                *(same + r for r, h in pairs if r is not None and h is not None and rest[r] == shown[h]),
            ]
        for index in matched:
            found.setdefault(offset + index, at_s)
    return found


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both start with."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _key(word: str, language: str) -> str:
    """A word without case and punctuation; one that is only punctuation as it is."""
    return " ".join(tokens(word, language)) or word
