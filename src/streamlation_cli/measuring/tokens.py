"""The normalisation that words are compared by: case, punctuation and the spelling of numbers aside.

1. NFKC, lower case, typographic apostrophes as `'`.
2. Everything but letters, combining marks, digits and apostrophes inside a word separates words: `ill-disposed` is two.
3. In English, Portuguese, Spanish, French and German digits become words: `20` is `twenty`, `1995` the year, `3.5` `three
   point five`, `%` `percent`; English ordinals (`1st`) too, and the `and` of `two hundred and five` is dropped.
4. Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan, which write no spaces, are compared character by character, as
   the field does (then the word error rate is a character error rate).

Contractions, titles (`Mr.`, `mister`) and spelling variants are not touched: hypotheses and references that differ in them
differ by the same amount in every system.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from ..languages import primary
from . import numbers

UNSPACED = ("zh", "ja", "yue", "th", "lo", "km", "my", "bo")
"""Languages that are compared by character."""

_PERCENT = {"en": "percent", "pt": "por cento", "es": "por ciento", "fr": "pour cent", "de": "prozent"}
_VARIANTS = {
    "pt": {"dezasseis": "dezesseis", "dezassete": "dezessete", "dezanove": "dezenove", "quatorze": "catorze"},
    "en": {"per cent": "percent"},
    "de": {"einhundert": "hundert", "eintausend": "tausend"},
}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")


def tokens(text: str, language: str) -> list[str]:
    """What is left of `text` to compare.

    >>> tokens("Não, I'm “fine” — well-known.", "en")
    ['não', "i'm", 'fine', 'well', 'known']
    >>> " ".join(tokens("In 1995, 20% of 1,250 paid $3.50 on the 1st.", "en"))
    'in nineteen ninety five twenty percent of one thousand two hundred fifty paid three point five zero on the first'
    >>> tokens("two hundred and five", "en") == tokens("205", "en")
    True
    """
    return [token for token, _ in indexed(text.split(), language)]


def indexed(words: Sequence[str], language: str) -> list[tuple[str, int]]:
    """The tokens of words, each with the number of the word it comes from.

    >>> indexed(["Well-known,", "20", "!"], "en")
    [('well', 0), ('known', 0), ('twenty', 1)]
    """
    code = primary(language)
    found = [(token, index) for index, word in enumerate(words) for token in _of_word(word, code)]
    return _without_and(found) if code == "en" else found


def _of_word(word: str, language: str) -> Iterable[str]:
    text = unicodedata.normalize("NFKC", word).lower().translate(_APOSTROPHES)
    if language in numbers.LANGUAGES:
        text = _NUMBER.sub(lambda match: f" {_said(match, language)} ", _ordinals(text, language))
        text = text.replace("%", f" {_PERCENT[language]} ")
    kept = "".join(c if c.isalnum() or c == "'" or unicodedata.category(c)[0] == "M" else " " for c in text)
    for part in kept.split():
        token = part.strip("'")
        if not token:
            continue
        if language in UNSPACED:
            yield from _characters(token)
        else:
            yield _VARIANTS.get(language, {}).get(token, token)


def _characters(token: str) -> Iterable[str]:
    """Letters of other scripts (`CO2`) stay together as words."""
    return re.findall(r"[a-z0-9']+|\S", token)


def _ordinals(text: str, language: str) -> str:
    if language != "en":
        return text
    return re.sub(r"\b(\d{1,6})(?:st|nd|rd|th)\b", lambda match: numbers.english_ordinal(int(match[1])), text)


def _said(match: re.Match[str], language: str) -> str:
    """A number in digits, with its thousands and decimal marks, in words."""
    mark_said, mark = numbers.DECIMAL_MARK[language]
    text = match[0]
    thousands = "," if mark == "." else "."
    grouped = re.fullmatch(rf"(\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+)({re.escape(mark)}\d+)?", text)
    plain = re.fullmatch(rf"(\d+)({re.escape(mark)}\d+)?", text)
    found = grouped or plain
    if found is None:  # a version, a date: its numbers one by one
        return " ".join(_whole(part, language) for part in re.split(r"[.,]", text))
    whole = found[1].replace(thousands, "")
    said = _whole(whole, language, as_year=plain is not None and found[2] is None)
    if found[2] is None:
        return said
    decimals = found[2][1:]
    if language == "en" or decimals.startswith("0"):
        return " ".join([said, mark_said, *(_whole(digit, language) for digit in decimals)])
    return f"{said} {mark_said} {_whole(decimals, language)}"


def _whole(digits: str, language: str, as_year: bool = False) -> str:
    if len(digits) > 9 or (len(digits) > 1 and digits.startswith("0")):
        return " ".join(numbers.cardinal(int(digit), language) for digit in digits)
    value = int(digits)
    return numbers.year(value, language) if as_year and len(digits) == 4 else numbers.cardinal(value, language)


_BEFORE_AND = {"hundred", "thousand", "million"}
_AFTER_AND = {part for word in (*numbers.SMALL["en"], *numbers.TENS["en"]) for part in word.split("-")} | {"a"}


def _without_and(found: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [
        entry
        for at, entry in enumerate(found)
        if not (
            entry[0] == "and"
            and 0 < at < len(found) - 1
            and found[at - 1][0] in _BEFORE_AND
            and found[at + 1][0] in _AFTER_AND
        )
    ]
