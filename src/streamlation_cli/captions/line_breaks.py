"""Where a line of text may be broken, and how well it reads there.

The rules are the ones subtitlers share (Netflix Timed Text Style Guide, General Requirements, "Line Treatment"; BBC
Subtitle Guidelines, "Break at natural points"): break after punctuation; before conjunctions and prepositions; never
part an article from its noun, an auxiliary from its verb, a first name from a last name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from .formats import NO_BREAK_SPACES
from .small_words import ABBREVIATIONS, SmallWords, likely_language, small_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """The least that a line can be broken into: a word, or a character of a script without spaces."""

    text: str
    start_ms: int
    end_ms: int
    spaced: bool = True
    """A space goes before it when it is not first in its line."""
    forced: bool = False
    """Part of a word too long for a line: a break before it is a last resort."""
    confidence: float | None = None


def width(text: str) -> int:
    """Columns that `text` takes: East Asian wide characters count two, combining and invisible ones none.

    >>> width("café"), width("cafe\u0301"), width("字幕")
    (4, 4, 4)
    """
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


@lru_cache(maxsize=4096)
def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pieces(text: str, max_width: int) -> list[tuple[str, bool, bool]]:
    """`text` cut into (text, spaced, forced) units.

    >>> pieces("Hi you", 42)
    [('Hi', True, False), ('you', True, False)]
    >>> [piece for piece, _, _ in pieces("「字幕」です。OK", 42)]
    ['「字', '幕」', 'で', 'す。', 'OK']
    >>> pieces("abcdefgh", 5)
    [('abcde', True, False), ('fgh', False, True)]
    """
    result: list[tuple[str, bool, bool]] = []
    for word in _WORD.findall(text):
        spaced = True
        for part in _unspaced_parts(word):
            forced = False
            for piece in _no_wider(part, max_width):
                result.append((piece, spaced, forced))
                spaced, forced = False, True
    return result


_WORD = re.compile(rf"(?:[^\s]|[{NO_BREAK_SPACES}])+")
_CLOSING = frozenset(
    "、。，．・：；？！ー）］｝」』】〕〉》’”…‥,.:;?!)]}%％〜～々ゝゞヽヾぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶๆฯ"
)
_OPENING = frozenset("（［｛「『【〔〈《‘“([{$￥＄#＃เแโใไເແໂໃໄ")
_FOLLOWING_VOWELS = frozenset("ะาำๅະາຳ")
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x30FF),  # radicals, CJK punctuation, kana
    (0x31F0, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),
    (0x20000, 0x3FFFF),
)


@lru_cache(maxsize=4096)
def _is_unspaced(character: str) -> bool:
    code = ord(character)
    return any(low <= code <= high for low, high in _UNSPACED_RANGES)


def _unspaced_parts(word: str) -> list[str]:
    """A word cut where scripts without spaces allow a line break (kinsoku: no closing mark first, no opening mark last)."""
    if word.isascii() or not any(map(_is_unspaced, word)):
        return [word]
    parts = [word[0]]
    for before, character in pairwise(word):
        joined = (
            _character_width(character) == 0
            or unicodedata.category(character) == "Mc"
            or before in "\u200d\u2060"
            or character in _CLOSING
            or before in _OPENING
            or character in _FOLLOWING_VOWELS
            or not (_is_unspaced(before) or _is_unspaced(character))
        )
        if joined:
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _no_wider(word: str, max_width: int) -> list[str]:
    """`word` in parts no wider than `max_width`, where one character is not wider by itself; cut after `-/_.` if it has them.

    >>> _no_wider("https://example.org/talks/2026", 12)
    ['https://', 'example.org/', 'talks/2026']
    """
    parts = []
    while width(word) > max_width:
        columns = [0]
        while columns[-1] <= max_width:
            columns.append(columns[-1] + _character_width(word[len(columns) - 1]))
        fits = max(1, len(columns) - 2)
        marks = [at for at in range(fits // 2 + 1, fits + 1) if word[at - 1] in "-/_.&=–—"]
        cut = marks[-1] if marks else fits
        while cut < len(word) and _character_width(word[cut]) == 0:
            cut += 1  # a combining mark stays with its letter
        parts.append(word[:cut])
        word = word[cut:]
    return [*parts, word] if word else parts


SENTENCE_END = 0.0
CLAUSE_END = 2.0
"""After a comma, semicolon, colon or dash."""
BEFORE_CLAUSE = 4.0
"""Before a conjunction."""
BEFORE_PREPOSITION = 6.0
BEFORE_COORDINATOR = 7.0
BEFORE_SUBJECT = 7.0
BEFORE_SMALL_WORD = 8.0
"""Before an article or an auxiliary, where a noun or verb phrase begins."""
PLAIN = 10.0
DANGLING = 30.0
"""After a word that leans on the next one: an article, a preposition, an auxiliary."""
FORCED = 40.0
"""Inside a word."""


def break_costs(units: Sequence[Unit], language: str) -> list[float]:
    """For each unit, how badly a break before it reads: 0 at the end of a sentence, 40 inside a word; index 0 is 0.

    An empty `language` is guessed from the words.
    """
    words = small_words(language or likely_language(_key(unit.text) for unit in units))
    following = [*(unit.text for unit in units[2:]), "", ""]
    costs = [0.0, *(_break_cost(a, b, c, words) for (a, b), c in zip(pairwise(units), following, strict=False))]
    boundary = [at == 0 or cost <= CLAUSE_END + 1 for at, cost in enumerate(costs)] + [True]
    for at, cost in enumerate(costs):
        if not boundary[at]:
            costs[at] = cost + _stranding(boundary, at) - _pause_bonus(units[at - 1], units[at], cost)
    return costs


def _stranding(boundary: Sequence[bool], at: int) -> float:
    """For a break that leaves a word or two of a clause behind, or takes only the last ones along."""
    return sum(
        cost
        for distance, cost in ((1, 4.0), (2, 2.0))
        for near in (at - distance, at + distance)
        if 0 < near < len(boundary) and boundary[near]
    )


def _pause_bonus(before: Unit, after: Unit, cost: float) -> float:
    """A speaker's pause marks a phrase; a hesitation after a word that leans on the next does not."""
    share = 0.8 if cost <= PLAIN else 0.3
    return min(cost * share, max(0.0, after.start_ms - before.end_ms - 100) / 60)


def _break_cost(before: Unit, after: Unit, following: str, words: SmallWords) -> float:
    if after.forced:
        return FORCED
    cost = _punctuation_cost(before, after)
    if cost is not None:
        return cost
    return (
        _word_cost(before.text, after.text, following, words) if after.spaced else _script_cost(before.text, after.text)
    )


def ends_sentence(text: str, following: str = "") -> bool:
    """Whether a sentence ends with the word `text`.

    >>> ends_sentence("done."), ends_sentence('"Why?"'), ends_sentence("Dr.", "Smith"), ends_sentence("J.", "Doe")
    (True, True, False, False)
    >>> ends_sentence("Wait...", "so"), ends_sentence("です。")
    (False, True)
    >>> ends_sentence("approx.", "five"), ends_sentence("finished.", "this")
    (False, True)
    """
    bare = text.rstrip(_QUOTES)
    if not bare or bare[-1] not in ".!?…。！？؟।։":
        return False
    if bare[-1] in ".…" and following:
        stem = bare.lstrip(_QUOTES).rstrip(".…")
        goes_on = following.lstrip(_QUOTES)[:1].islower()
        if goes_on and (len(stem) <= _LONGEST_ABBREVIATION or not bare.endswith(stem + ".")):
            return False
        if stem.lower() in ABBREVIATIONS or (len(stem) == 1 and stem.isupper() and stem != "I"):
            return False
    return True


_LONGEST_ABBREVIATION = 6
"""A full stop after a longer word ends a sentence, even where a small letter follows."""
_QUOTES = "\"'”’»)]}」』）«“‘¿¡("
_CLAUSE_MARKS = frozenset(",;:–—-、，；：،؛·…")


def _punctuation_cost(before: Unit, after: Unit) -> float | None:
    if ends_sentence(before.text, after.text):
        return SENTENCE_END
    bare = before.text.rstrip(_QUOTES)
    if bare[-1:] in _CLAUSE_MARKS or bare.endswith("...") or after.text[0] in "–—-":
        return CLAUSE_END
    return None


def _word_cost(before: str, after: str, following: str, words: SmallWords) -> float:
    left, right = _key(before), _key(after)
    if after[:1].isupper() and right != "i" and right in words.leaning:
        return CLAUSE_END + 1  # a sentence begins, and the full stop before it is missing
    if left in words.leaning:
        return DANGLING
    if right in words.coordinators and _key(following) in words.subjects:
        return BEFORE_CLAUSE
    for small, cost in (
        (words.conjunctions, BEFORE_CLAUSE),
        (words.prepositions, BEFORE_PREPOSITION),
        (words.coordinators, BEFORE_COORDINATOR),
        (words.subjects, BEFORE_SUBJECT),
    ):
        if right in small:
            return cost
    if right in words.leaning:
        return BEFORE_SMALL_WORD
    if left[-1:].isdigit() or right[:1].isdigit():
        return PLAIN + 4  # a number and its unit or noun
    if before[:1].isupper() and after[:1].isupper() and words.names_are_capitalised:
        return PLAIN + 5  # the parts of a name
    return PLAIN


def _key(word: str) -> str:
    return word.strip(_QUOTES + ",;:.!?…").lower()


_HAN_ENDINGS = frozenset("的了着过们吗呢吧啊得")
_HAN_LEANING = frozenset("很不最更太在和与從从对對把被将將是有这這那每")
"""Chinese characters that belong to the one before them, and to the one after."""


def _script_cost(before: str, after: str) -> float:
    """Breaks inside unspaced text: best after kana that ends a phrase, worst inside a run of one script."""
    left, right = _script(before[-1]), _script(after[0])
    if after[0] in _HAN_ENDINGS or before[-1] in _HAN_LEANING:
        return DANGLING
    if left == "hiragana" and right != "hiragana":
        return BEFORE_PREPOSITION
    if left == right and left in ("katakana", "latin", "hiragana"):
        return DANGLING
    return PLAIN + 2


def _script(character: str) -> str:
    code = ord(character)
    if 0x3040 <= code <= 0x309F:
        return "hiragana"
    if 0x30A0 <= code <= 0x30FF:
        return "katakana"
    return "latin" if code < 0x0E00 else "other"
