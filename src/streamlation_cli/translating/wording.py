"""What stands between a sentence and an engine, the same for every engine.

Engines translate plain sentences well and stumble over the rest: a dash or a note sign at the edge is dropped, capitals
are taken for names, an address is rewritten, one word without a full stop grows a tail. So the rest is taken off, the
plain sentence translated, and the rest put back; terms that must stay or have a given translation are checked for, and
where the engine's own wording lacks one the sentence is translated again with a token in the term's place, which
engines carry through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .glossary import Glossary, Term, Use, misses_in
from .routes import Chain
from .sentences import best_cut_of_text

VERSION = 1
"""Part of the cache key: raised with every change here that changes a translation."""

_EMOJI = "\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u200d\ufe0f\u20e3"
_LEAD = re.compile(rf"(?:[\s♪♫•*#~=|>{_EMOJI}]|[-–—](?=\s)|\.{{2,}}|…)*")
_TAIL = re.compile(rf"[\s♪♫•*#~=|{_EMOJI}]*$")
_KEPT = re.compile(
    r"https?://[^\s<>\"]*[\w/]|www\.[^\s<>\"]*[\w/]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<!\w)[@#]\w*[^\W\d]\w*"
    rf"|[{_EMOJI}♪♫]+|[^\s\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{{80,}}"
)
"""What is carried over as it is written: addresses, handles, tags, pictures, and words too long to be any."""
_TOKENS = ("Zxq{}", "X{}", "Q{}Q")
"""Tokens put in a term's place, one style after the other until one comes through; each does in 98 of 100 sentences."""
_MOST_KEPT = 8
"""A text with more addresses and pictures than this is no sentence, and not worth asking for again and again."""
_SUSPICIOUS_CHARS = 24
"""Longer sentences do not run wild."""


@dataclass(frozen=True)
class Worded:
    """A finished translation."""

    text: str
    misses: tuple[str, ...] = ()
    """Glossary terms that it lacks although the source has them."""


@dataclass(frozen=True)
class _Plain:
    """A sentence as the engine gets it, and what was taken off."""

    text: str
    lead: str = ""
    tail: str = ""
    shout: bool = False
    """It was in capitals."""
    stop: bool = False
    """It was given a full stop."""
    uses: tuple[Use, ...] = ()


def plain_of(text: str, glossary: Glossary) -> _Plain:
    """`text` on one line without what engines stumble over; nothing is left where there is nothing to translate."""
    flat = " ".join(text.split())
    lead = _LEAD.match(flat)[0]  # type: ignore[index]
    tail = _TAIL.search(flat, len(lead))[0]  # type: ignore[index]
    core = flat[len(lead) : len(flat) - len(tail)]
    if not any(character.isalpha() for character in _KEPT.sub("", core)):
        return _Plain("", flat, "")
    shout = _is_shouted(core)
    if shout:
        core = _lowered(core, _uses(core, glossary))
    stop = len(core.split()) <= 2 and core[-1].isalnum() and core[-1].isascii()
    return _Plain(core + "." * stop, lead, tail, shout, stop, tuple(_uses(core, glossary)))


def _is_shouted(text: str) -> bool:
    return len(text.split()) > 1 and text.isupper() and sum(character.isalpha() for character in text) > 5


def _lowered(text: str, uses: Sequence[Use]) -> str:
    """`text` as a sentence that is not shouted; terms stay as they are."""
    lowered, end = "", 0
    for use in uses:
        lowered += text[end : use.start].lower() + use.written
        end = use.end
    lowered += text[end:].lower()
    return re.sub(r"\w", lambda first: first[0].upper(), lowered, count=1)


def _uses(text: str, glossary: Glossary) -> list[Use]:
    kept = [Use(Term(match[0], match[0]), match.start(), match.end(), match[0]) for match in _KEPT.finditer(text)]
    terms = [use for use in glossary.uses(text) if not any(use.start < k.end and k.start < use.end for k in kept)]
    return sorted([*kept[:_MOST_KEPT], *terms], key=lambda use: use.start)


def translate(texts: Sequence[str], chain: Chain, glossary: Glossary) -> list[Worded]:
    """One finished translation a text, in order; an empty text, or one without words, stays as it is."""
    plains = [plain_of(text, glossary) for text in texts]
    wordings = _engine([plain.text for plain in plains], chain)
    _second_opinions(plains, wordings, chain)
    wordings = [_without_stop(plain, wording) for plain, wording in zip(plains, wordings, strict=True)]
    _enforce_terms(plains, wordings, chain)
    ours = {use.term.source for plain in plains for use in plain.uses if _KEPT.fullmatch(use.written)}
    return [_finished(plain, wording, ours) for plain, wording in zip(plains, wordings, strict=True)]


def others(text: str, chain: Chain, glossary: Glossary, count: int) -> list[Worded]:
    """Up to `count` finished translations of a text that the engine thinks likely, its best among them; none where it has one answer."""
    plain = plain_of(text, glossary)
    if not plain.text or len(plain.text) > chain.max_chars:
        return []
    ours = {use.term.source for use in plain.uses if _KEPT.fullmatch(use.written)}
    return [_finished(plain, _without_stop(plain, wording), ours) for wording in chain.alternatives(plain.text, count)]


def _engine(texts: Sequence[str], chain: Chain) -> list[str]:
    """The engine's translations; a text beyond its limit goes in pieces."""
    pieces = [_pieces(text, chain.max_chars) for text in texts]
    translated = iter(chain.translate([piece for some in pieces for piece in some]))
    return [" ".join(next(translated) for _ in some) for some in pieces]


def _pieces(text: str, limit: int) -> list[str]:
    pieces = []
    while len(text) > limit:
        at = best_cut_of_text(text[:limit])
        pieces.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return [*pieces, text] if text else pieces


def _second_opinions(plains: Sequence[_Plain], wordings: list[str], chain: Chain) -> None:
    """Short sentences whose translation is far too long are asked for once more, as a quotation.

    Left to themselves, models that learnt from web pages make "Thank you for sharing." of one word of thanks.
    """
    doubtful = [index for index, plain in enumerate(plains) if _is_too_long(plain.text, wordings[index])]
    for index, again in zip(doubtful, _engine([f'"{plains[i].text}"' for i in doubtful], chain), strict=True):
        unquoted = re.sub(r'["“”„«»]', "", again).strip()
        source = plains[index].text
        copied = unquoted.casefold() == source.casefold()
        if unquoted and not copied and "(" not in unquoted and len(unquoted) < len(wordings[index]):
            wordings[index] = unquoted


def _is_too_long(text: str, wording: str) -> bool:
    if not text or len(text) > _SUSPICIOUS_CHARS or '"' in text:
        return False
    return len(wording) > 1.5 * len(text) + 6 or len(wording.split()) > 2 * len(text.split())


def _without_stop(plain: _Plain, wording: str) -> str:
    if not plain.stop:
        return wording
    wording = wording.rstrip(".").rstrip()
    return wording[:1].lower() + wording[1:] if plain.text[:1].islower() else wording


def _enforce_terms(plains: Sequence[_Plain], wordings: list[str], chain: Chain) -> None:
    """Translates again, with tokens for its terms, each sentence whose wording lacks one."""
    missing = {index: len(_lacks(plain, wordings[index])) for index, plain in enumerate(plains)}
    for style in _TOKENS:
        again = [index for index, count in missing.items() if count]
        marked = [_mark(plains[index], style) for index in again]
        for index, (tokens, _), wording in zip(
            again, marked, _engine([text for _, text in marked], chain), strict=True
        ):
            plain = plains[index]
            filled = _fill(wording.rstrip(".") if plain.stop else wording, plain.uses, tokens)
            lacks = len(_lacks(plain, filled)) if filled else len(plain.uses) + 1
            if filled and lacks < missing[index]:
                wordings[index], missing[index] = filled, lacks


def _lacks(plain: _Plain, wording: str) -> tuple[str, ...]:
    return misses_in(plain.uses, wording)


def _mark(plain: _Plain, style: str) -> tuple[list[str], str]:
    """Tokens that the sentence does not have, and the sentence with them in place of its terms."""
    tokens: list[str] = []
    number = 1
    text, end = "", 0
    for use in plain.uses:
        while style.format(number) in plain.text:
            number += 1
        tokens.append(style.format(number))
        number += 1
        text += plain.text[end : use.start] + tokens[-1]
        end = use.end
    return tokens, text + plain.text[end:]


def _fill(wording: str, uses: Sequence[Use], tokens: Sequence[str]) -> str:
    """The wording with the terms for their tokens; empty where a token is not there exactly once."""
    # The longest first: X1 is in X12 too.
    for token, use in sorted(zip(tokens, uses, strict=True), key=lambda pair: -len(pair[0])):
        if wording.count(token) != 1:
            return ""
        target = use.written if use.term.source == use.term.target else use.term.target
        before = wording.partition(token)[0]
        if target.islower() and not any(character.isalnum() for character in before) and uses[0].written[:1].isupper():
            target = target[:1].upper() + target[1:]
        wording = wording.replace(token, target)
    return wording


def _finished(plain: _Plain, wording: str, ours: set[str]) -> Worded:
    if plain.shout:
        wording = wording.upper()
    misses = tuple(term for term in _lacks(plain, wording) if term not in ours)
    return Worded(plain.lead + wording + plain.tail, misses)
