"""Terms that must be translated the way the user says, or not at all.

    # source term<TAB>target term<TAB>languages
    Streamlation
    neural network	rede neural
    sprint	sprint	pt,es
    caption	legenda	en-pt

A term alone, or twice the same, is not to be translated. A term in lower case is found in any case; one with capitals
only as it is written, or all in capitals. Terms are whole words, the longest first. The third column names the
languages a line is for: target languages or pairs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, InputMissing
from ..languages import primary

_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]+)*")
_PAIR = re.compile(r"([A-Za-z]{2,3})(?:-|→|>)([A-Za-z]{2,3})")


@dataclass(frozen=True)
class Term:
    """One line of a glossary."""

    source: str
    target: str
    pairs: frozenset[tuple[str, str]] = frozenset()
    """Source and target languages it is for, `*` being any source; empty: all."""

    def is_for(self, source: str, target: str) -> bool:
        """Whether the line counts when translating `source` into `target`."""
        return not self.pairs or bool(self.pairs & {(source, target), ("*", target)})


@dataclass(frozen=True)
class Use:
    """A term found in a sentence."""

    term: Term
    start: int
    end: int
    written: str
    """As the sentence has it."""


class Glossary:
    """The terms for one pair."""

    def __init__(self, terms: Sequence[Term] = ()) -> None:
        by_source: dict[str, Term] = {}
        for term in terms:
            by_source.setdefault(term.source, term)
        # Capitals sort before lower case, so that `US` is looked for before `us`, which is found in any case.
        self._terms = sorted(by_source.values(), key=lambda term: (-len(term.source), term.source))
        self._pattern = re.compile("|".join(f"({_pattern(term.source)})" for term in self._terms))
        lines = sorted(f"{term.source}\t{term.target}" for term in self._terms)
        self.fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""
        """Changes when a term does; empty where there are none. Part of the cache key."""

    def uses(self, text: str) -> list[Use]:
        """The terms in `text`, in order, none overlapping."""
        if not self._terms:
            return []
        return [
            Use(self._terms[match.lastindex - 1], match.start(), match.end(), match[0])
            for match in self._pattern.finditer(text)
            if match.lastindex
        ]


def load(file: Path, flag: str = "--glossary") -> list[Term]:
    """The terms of a glossary file; `flag` is what named it.

    Raises InputMissing where it cannot be read, ConfigError that names the line where it is malformed.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputMissing(f"{flag} {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        bad_line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{flag} {file}: line {bad_line}: not UTF-8") from error
    terms: list[Term] = []
    seen: dict[tuple[str, frozenset[tuple[str, str]]], tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            term = _term(line)
            earlier = seen.setdefault((term.source, term.pairs), (number, term.target))
            if earlier[1] != term.target:
                raise ValueError(f"{term.source!r} is {earlier[1]!r} in line {earlier[0]} and {term.target!r} here")
        except ValueError as error:
            raise ConfigError(f"{flag} {file}: line {number}: {error}") from None
        terms.append(term)
    return terms


def _term(line: str) -> Term:
    columns = [" ".join(column.split()) for column in line.split("\t")]
    if len(columns) > 3:
        raise ValueError("more than three columns; there are: source term, target term, languages")
    source, target, languages = (*columns, "", "")[:3]
    if not source:
        raise ValueError("the first column is empty; it holds the source term")
    if not any(character.isalnum() for character in source):
        raise ValueError(f"{source!r} has neither letter nor digit")
    return Term(source, target or source, _pairs(languages))


def _pairs(column: str) -> frozenset[tuple[str, str]]:
    found = set()
    for name in column.replace(",", " ").split():
        if pair := _PAIR.fullmatch(name):
            # `pt-BR` reads like a pair, but no language is called BR.
            if name.partition("-")[2].isupper():
                found.add(("*", primary(name)))
            else:
                found.add((primary(pair[1]), primary(pair[2])))
        elif _LANGUAGE.fullmatch(name):
            found.add(("*", primary(name)))
        else:
            raise ValueError(f"{name!r} is neither a language nor a pair such as en-pt")
    return frozenset(found)


def _pattern(source: str) -> str:
    """A pattern of the term that keeps to its case rule and to whole words."""
    body = r"\s+".join(re.escape(part) for part in source.split())
    if source.islower():
        body = f"(?i:{body})"
    elif not source.isupper():
        capitals = r"\s+".join(re.escape(part) for part in source.upper().split())
        body = f"(?:{body}|{capitals})"
    return _edge(source[0], r"(?<!\w)") + body + _edge(source[-1], r"(?!\w)")


def _edge(character: str, boundary: str) -> str:
    return boundary if (character.isalnum() or character == "_") and not _UNSPACED.match(character) else ""


def count_of(term: str, text: str) -> int:
    """How often `text` has the target term, in any case, as whole words."""
    pattern = r"\s+".join(re.escape(part) for part in term.split())
    pattern = _edge(term[0], r"(?<!\w)") + pattern + _edge(term[-1], r"(?!\w)")
    return len(re.findall(pattern, text, re.IGNORECASE))


def misses_in(uses: Sequence[Use], translation: str) -> tuple[str, ...]:
    """Source terms whose target the translation has less often than the source has the term, in order, once each."""
    missing = []
    for term in dict.fromkeys(use.term for use in uses):
        wanted = sum(use.term.target.lower() == term.target.lower() for use in uses)
        if count_of(term.target, translation) < wanted:
            missing.append(term.source)
    return tuple(missing)
