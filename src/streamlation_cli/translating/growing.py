"""The translation of a sentence that is still being spoken: which of its words are safe to say.

    heard so far                 what the engine makes of it
    "We went to"                 "Fomos"
    "We went to the"             "Fomos para a"
    "We went to the house"       "Fomos para casa"          all three agree on "Fomos": it is committed

An engine that translates whole sentences changes its mind as the sentence grows, so a word is committed when the
translations of the sentence, of the sentence less its last word, and less its last two, all have it in the same place; the
last words even they agree on are held back. Each is translated with a full stop, as the sentence will have one. What is
committed is never taken back: where a later translation has it otherwise, the two are laid side by side and the later one
goes on from where the committed words end. A word that only stands where another was said is not said as well.

Measured on 330 sentences of news (NTREX-128) read at 15 characters a second without a pause, with Firefox models, words shown 0.5 s and
committed 1.0 s after they are spoken, 15 in a hundred misheard until then, a hypothesis each 0.45 s: mean lag
(StreamLAAL), chrF against the reference less that of translating the transcript whole, and chrF against the latter,
English to Portuguese and Portuguese to English

                words less       held back                      StreamLAAL    less           likeness
    latency     one, and two     1 word                         2.4 s  2.5 s  −1.0  −1.5     93.7  92.5    (shorter sentences)
    balanced    one, and two     2 words                        2.4 s  2.5 s  −1.0  −1.4     94.0  92.9
    accuracy    one, and three   3 words, and none that leans   3.1 s  3.2 s  −0.6  −0.9     95.8  95.1

Speech that pauses, and shorter sentences, are followed up to 0.7 s closer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import takewhile

from ..captions.small_words import small_words
from ..languages import primary
from ..seams import UNSPACED
from .sentences import split_pieces

_MARKS = " .,;:!?…\"'“”«»()"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When a word is safe."""

    dropped: tuple[int, ...] = (1, 2)
    """How many of the last heard words the other translations lack that must agree."""
    held_back: int = 2
    """How many of the last words are not committed even so."""
    late_ms: int = 4000
    """A word said this long ago is committed as it is in the newest draft, agreed upon or not: a caption that may be worded
    better is worth less than one that comes while what it is about is still being talked of."""
    no_leaning_end: bool = False
    """The last committed word is none that leans on the next, as an article does, whose form the next one decides."""


class Growing:
    """One sentence's translation in pieces: words with the spaces before them.

    `already` is what an earlier sentence has said of this one, where a sentence too long was cut after it was translated.
    """

    def __init__(self, policy: Policy, target: str, already: Sequence[str] = ()) -> None:
        self._policy = policy
        self._target = target
        self._leaning = small_words(target).leaning if policy.no_leaning_end else frozenset()
        self._committed = list(already)
        self._hidden = len(already)
        self._pieces = list(already)

    @property
    def text(self) -> str:
        """All of it, the part that may change too."""
        return "".join(self._pieces[self._hidden :]).strip()

    @property
    def stable_words(self) -> int:
        """How many leading words are committed."""
        return max(0, len(self._committed) - self._hidden)

    def hear(self, translations: Sequence[str]) -> None:
        """The translations of what has been heard, the whole first, then without the last words (see `Policy.dropped`).

        With fewer than the policy asks for nothing is committed.
        """
        if not translations:
            return
        options = [fitted(self._committed, split_pieces(text), self._target, self._pieces) for text in translations]
        self._pieces = options[0]
        if len(options) <= len(self._policy.dropped):
            return
        agreed = min(_same_start(self._pieces, other) for other in options[1:])
        agreed = min(agreed, len(self._pieces) - self._policy.held_back)
        while agreed > len(self._committed) and _bare(self._pieces[agreed - 1]) in self._leaning:
            agreed -= 1
        self._commit(agreed)

    def agree(self, text: str, words: int) -> None:
        """`text` is right as it is, and its first `words` words will not change."""
        self._pieces = fitted(self._committed, split_pieces(text), self._target)
        self._commit(words + self._hidden)

    def settle(self, words: int) -> None:
        """The first `words` words have waited too long: they are committed as they are now."""
        self._commit(min(words + self._hidden, len(self._pieces)))

    def _commit(self, count: int) -> None:
        if count > len(self._committed):
            self._committed = self._pieces[:count]

    def finish(self, text: str, *, cut: bool = False) -> tuple[str, list[str]]:
        """The final translation, which begins with the committed words, and what these say of the next sentence.

        `cut` says that more was heard than the sentence turned out to have.
        """
        pieces = split_pieces(text)
        surplus: list[str] = []
        if cut:
            surplus = self._committed[_reach(pieces, self._committed, self._target) :] if pieces else []
        whole = self._committed if surplus else fitted(self._committed, pieces, self._target, self._pieces)
        return "".join(whole[self._hidden :]).strip(), surplus


def fitted(committed: Sequence[str], pieces: Sequence[str], target: str, before: Sequence[str] = ()) -> list[str]:
    """The committed words and what `pieces` go on with after them.

    `before`: the last translation, which begins with the committed words. It tells which words of `pieces` only stand where another
    stood.

    >>> fitted(["O", " gato", " preto"], ["Um", " gato", " preto", " dorme."], "pt")
    ['O', ' gato', ' preto', ' dorme.']
    >>> fitted(["The"], ["Voters", " will", " vote."], "en")
    ['The', ' Voters', ' will', ' vote.']
    >>> fitted(["Se", " casou"], ["Se", " casasse", " com", " ela."], "pt", ["Se", " casou", " com"])
    ['Se', ' casou', ' com', ' ela.']
    """
    if list(pieces[: len(committed)]) == list(committed):
        return list(pieces)
    rest = list(pieces[_reach(committed, pieces, target, before) :])
    if rest and committed and not rest[0].startswith(" ") and primary(target) not in UNSPACED:
        rest[0] = " " + rest[0]
    return [*committed, *rest]


def _same_start(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


_LOST = 1.2
"""For a word of meaning in what is left out that has not been said."""
_INSTEAD = 0.3
"""So much of it where another word has been said in its place."""
_TWICE = 0.5
"""For one that is said again: better twice than not at all."""
_SMALL = 0.3
"""The same for a small word, such as an article."""
_ANCHOR = 0.6
"""What it is worth that the last committed word is the one before the cut: text goes on best after that."""
_STUMBLE = 0.5
"""For a small word right after another where the two texts meet, as in `the may`."""
_AGAIN = 1.0
"""For the same word right after itself."""
_AWAY = 0.05
"""For each word that the cut is off the place where the words would end if none were added or left out."""
_MOVED = 4
"""A small word so many places away from its like is another one."""


def _reach(said: Sequence[str], pieces: Sequence[str], target: str, before: Sequence[str] = ()) -> int:
    """After how many of `pieces` to go on when `said` has been said: what is lost and what is said twice weighed up."""
    small_said, small_pieces = _small(said, target), _small(pieces, target)
    like = _likes(said, pieces, small_said)
    instead = _instead(before, pieces, len(said), (_small(before, target), small_pieces), like)
    says = like | instead

    def lost(at: int) -> float:
        if at in like:
            return 0.0
        return (_SMALL if small_pieces[at] else _LOST) * (_INSTEAD if at in instead else 1.0)

    def cost(cut: int) -> float:
        total = _AWAY * abs(cut - len(said)) + sum(lost(at) for at in range(cut))
        total += sum(_SMALL if small_said[word] else _TWICE for at, word in says.items() if at >= cut)
        if said and cut and says.get(cut - 1) == len(said) - 1:
            total -= _ANCHOR
        if said and cut < len(pieces):
            total += _STUMBLE * (small_said[-1] and small_pieces[cut])
            total += _AGAIN * (_bare(said[-1]) == _bare(pieces[cut]))
        return total

    return min(range(len(pieces) + 1), key=lambda cut: (cost(cut), cut))


def _instead(
    before: Sequence[str], pieces: Sequence[str], said: int, small: tuple[Sequence[bool], Sequence[bool]], like: Mapping[int, int]
) -> dict[int, int]:  # fmt: skip
    """Which of `pieces` stand where another of the first `said` words of `before` stood, between words that stay.

    Words of meaning stand for each other, and so do small words, which `small` tells of both; where there are more of them now, which
    one is new cannot be told.
    """
    instead: dict[int, int] = {}
    changes = SequenceMatcher(None, [_bare(one) for one in before], [_bare(one) for one in pieces], autojunk=False)
    for kind, start, end, at, until in changes.get_opcodes():
        if kind != "replace" or end == len(before) or until == len(pieces):
            continue
        for smallness in (False, True):
            olds = [n for n in range(start, end) if small[0][n] == smallness and n not in like.values()]
            news = [n for n in range(at, until) if small[1][n] == smallness and n not in like]
            if len(news) <= len(olds):
                instead |= {new: old for new, old in zip(news, olds, strict=False) if old < said}
    return instead


def _likes(said: Sequence[str], pieces: Sequence[str], small: Sequence[bool]) -> dict[int, int]:
    """Which of `pieces` says which word of `said`: the nearest that is the same word or a form of it, each once."""
    like: dict[int, int] = {}
    for number, word in enumerate(said):
        choices = [
            (abs(number - at) + (2 if difference else 0), at)
            for at, piece in enumerate(pieces)
            if at not in like and (difference := _difference(word, piece)) < 0.5
        ]
        if choices and (not small[number] or min(choices)[0] <= _MOVED):
            like[min(choices)[1]] = number
    return like


def _small(pieces: Sequence[str], target: str) -> list[bool]:
    leaning = small_words(target).leaning
    return [len(_bare(piece)) <= 1 or _bare(piece) in leaning for piece in pieces]


@lru_cache(maxsize=4096)
def _difference(one: str, other: str) -> float:
    """0 for the same word (case and marks aside), less than 0.5 for another form of it, 1 for another word."""
    one, other = _bare(one), _bare(other)
    if one == other:
        return 0.0
    ratio = SequenceMatcher(None, one, other, autojunk=False).ratio()
    return 1.0 if ratio < 0.6 else 0.1 + 1.2 * (1 - ratio)


def _bare(piece: str) -> str:
    return piece.strip(_MARKS).lower()
