"""Shorter translations of sentences that are long for the time they were said in, for a voice that has to keep up.

Two ways, of which an engine may have one:

    the engine's other hypotheses     a beam search has more than one answer (`ct2`)
    the sentence without its filling  what carries no meaning is left out of the source, and the rest is translated

The Firefox engine decodes greedily and gives one answer, so for it there is the second way alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..languages import primary
from . import wording
from .glossary import Glossary
from .routes import Chain
from .sentences import Sentence
from .wording import Worded

VERSION = 1
"""Part of the cache key: raised with every change here that changes an alternative."""

FAST_CHARS_PER_S = 15.0
"""An unhurried voice reads out about so many characters a second in languages that are written in letters."""

_BORROWED_S = 0.8
"""A voice may take so much of the pause that follows."""

_SHORTER = 0.93
"""An alternative is worth having below this share of the length."""

_FILLERS = {
    "en": (
        "you know", "i mean", "you see", "of course", "as you can see", "as you know", "basically", "actually", "obviously",
        "honestly", "frankly", "literally", "essentially", "certainly", "really", "very", "quite", "kind of", "sort of",
        "in fact", "indeed", "at the end of the day", "to be honest", "needless to say", "as a matter of fact", "so to speak",
        "at this point in time",
    ),
    "pt": (
        "sabe", "quer dizer", "tipo assim", "né", "é claro", "claro", "na verdade", "basicamente", "obviamente", "realmente",
        "certamente", "de fato", "de facto", "por assim dizer", "digamos assim", "digamos", "como vocês sabem", "como se sabe",
        "muito", "bastante", "simplesmente", "sinceramente", "no fim das contas", "vamos dizer",
    ),
    "es": (
        "sabes", "es decir", "o sea", "claro", "por supuesto", "en realidad", "básicamente", "obviamente", "realmente",
        "ciertamente", "de hecho", "digamos", "como saben", "muy", "bastante", "simplemente", "la verdad es que",
        "al fin y al cabo",
    ),
}  # fmt: skip
"""Language → what can be left out without a change of what is said."""

_OPENERS = {
    "en": ("well", "so", "now", "okay", "ok", "right", "anyway", "look", "listen", "and so", "and then", "oh", "yeah"),
    "pt": ("bem", "bom", "então", "olha", "agora", "pois é", "pois", "enfim", "aí", "ora", "veja"),
    "es": ("bueno", "pues", "entonces", "mira", "a ver", "vale", "ahora", "vamos"),
}
"""Language → words that begin a sentence and say nothing there, where a comma follows."""

_BOUND = re.compile(
    r"(?:\b(?:not|never|no|nor|too|as|so|how|não|nunca|nem|nada|tão|como|nunca|ni|tan|qué)|n['’]t)(?:\W+\w+){0,2}\W*$",
    re.IGNORECASE,
)
"""Soon behind these a filler is none: “not really”, “não é muito”, “as very”."""

_ASIDE = re.compile(r"\s*\([^()]*\)|\s+[–—]\s[^–—]{1,60}\s[–—](?=\s)")
_STUTTER = re.compile(r"\b([^\W\d_]+)((?:,? \1\b)+)", re.IGNORECASE)


def is_hurried(sentence: Sentence, translation: str) -> bool:
    """Whether `translation` is long for the time in which `sentence` was said."""
    seconds = (sentence.end_ms - sentence.start_ms) / 1000 + _BORROWED_S
    return len(translation) > FAST_CHARS_PER_S * seconds


def condensed(text: str, language: str) -> list[str]:
    """`text` without asides, stutters and filling: the version with the least left out first.

    >>> condensed("Well, I think this is, you know, a very good idea.", "en")
    ['I think this is, you know, a very good idea.', 'I think this is a good idea.']
    >>> condensed("It is not very good.", "en")
    []
    """
    code = primary(language)
    steps = [_without_openers(_STUTTER.sub(r"\1", _ASIDE.sub("", text)), code), ""]
    steps[1] = _without_fillers(steps[0], code)
    made: list[str] = []
    for step in map(_tidied, steps):
        if step and step not in (_tidied(text), *made) and any(character.isalnum() for character in step):
            made.append(step)
    return made


def _without_openers(text: str, code: str) -> str:
    words = _OPENERS.get(code)
    if not words:
        return text
    listed = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return re.sub(rf"^(?:(?:{listed}),\s+)+", "", text, flags=re.IGNORECASE)


def _without_fillers(text: str, code: str) -> str:
    fillers = _FILLERS.get(code)
    if not fillers:
        return text
    listed = "|".join(sorted(map(re.escape, fillers), key=len, reverse=True))
    text = re.sub(rf",\s+(?:{listed}),", "", text, flags=re.IGNORECASE)  # with both its commas

    def left_out(match: re.Match[str]) -> str:
        return match[0] if _BOUND.search(text[: match.start()]) else ""

    return re.sub(rf"(?<![\w'’])(?:{listed}),?(?:\s+|(?=[.!?…]))", left_out, text, flags=re.IGNORECASE)


def _tidied(text: str) -> str:
    """One space between words, none before a comma, a capital first."""
    text = re.sub(r"\s+([,.;:!?…])", r"\1", " ".join(text.split())).lstrip(",;: ")
    return text[:1].upper() + text[1:]


def alternatives(
    text: str, translation: Worded, language: str, chain: Chain, glossary: Glossary, most: int
) -> list[str]:
    """Up to `most` translations of `text` that are shorter than `translation` and keep its terms, the longest first."""
    sources = condensed(text, language)
    found = [
        *(wording.translate(sources, chain, glossary) if sources else ()),
        *wording.others(text, chain, glossary, most + 1),
    ]
    longest = len(translation.text) * _SHORTER
    kept = {
        one.text
        for one in found
        if one.text and len(one.text) <= longest and set(one.misses) <= set(translation.misses)
    }
    return _spread(sorted(kept, key=lambda one: (-len(one), one)), most)


def _spread(ordered: Sequence[str], most: int) -> list[str]:
    """At most `most` of them, the longest and the shortest among them."""
    if len(ordered) <= most:
        return list(ordered)
    if most == 1:
        return [ordered[-1]]
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]
