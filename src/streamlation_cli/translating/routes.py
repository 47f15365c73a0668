"""Which engine translates a pair: what is installed, the route through it, and the opened engines.

en → pt   firefox en-pt                     a model of the pair
pt → fr   firefox pt-en, then ct2 en-fr     else through English, with any two engines
"""

from __future__ import annotations

import contextlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines import REGISTRY, Translator, engine_class
from ..errors import PairMissing, StreamlationError, TryAgain, UsageError
from ..languages import primary
from ..models import store

PIVOT = "en"
ENGINES = tuple(REGISTRY["translator"])
AUTOMATIC = ("firefox", "ct2")
"""What `auto` tries, in this order: the Firefox models are the smaller and, on a CPU, the faster ones."""

_OPEN_AT_ONCE = 4
"""Translators kept open; a stream that mixes more pairs than this loads one again now and then."""
_TRIES = 3
_LISTED = 12
"""Pairs named in an error message."""


@dataclass(frozen=True)
class Offer:
    """A model that is here and what it translates; None stands for any language."""

    engine: str
    model: str
    path: Path | None
    sources: frozenset[str] | None
    targets: frozenset[str] | None

    def covers(self, source: str, target: str) -> bool:
        """Whether it translates `source` into `target`."""
        return (self.sources is None or source in self.sources) and (self.targets is None or target in self.targets)

    @property
    def breadth(self) -> int:
        """How many pairs; a model of one pair is better at it than one of all languages."""
        return 1_000_000 if self.sources is None or self.targets is None else len(self.sources) * len(self.targets)


@dataclass(frozen=True)
class Leg:
    """One engine on the way, and the direction it translates in."""

    offer: Offer
    source: str
    target: str


Route = tuple[Leg, ...]
"""One leg, or two through English."""


def offers(engine: str, model: str) -> Iterator[Offer]:
    """The models that `--engine` and `--model` leave, engine by engine, those of one pair first.

    Raises UsageError for an engine that does not exist, ModelMissing for a model that is not here.
    """
    if engine not in (*ENGINES, "auto"):
        raise UsageError(f"--engine: {engine!r} is not one of auto, {', '.join(ENGINES)}")
    if engine == "stub":
        yield Offer("stub", "stub", None, None, None)
        return
    if model:
        yield _named(engine, model)
        return
    for name in AUTOMATIC if engine == "auto" else (engine,):
        here = (_offer(name, entry.name, None, entry.languages) for entry in store.installed(name))
        yield from sorted(
            (offer for offer in here if offer is not None), key=lambda offer: (offer.breadth, offer.model)
        )


def route(engine: str, model: str, source: str, target: str) -> Route:
    """The way from one language to another: direct by the first engine that can, else through English.

    Raises PairMissing that says which pairs there are and how to get this one.
    """
    source, target = primary(source), primary(target)
    known: list[Offer] = []
    for offer in offers(engine, model):  # one by one: a folder of many languages takes a while to look into
        if offer.covers(source, target):
            return (Leg(offer, source, target),)
        known.append(offer)
    legs = _through_english(source, target, known)
    if legs is None:
        raise PairMissing(_how_to_get(engine, source, target, known))
    return legs


def _through_english(source: str, target: str, known: Sequence[Offer]) -> Route | None:
    first = next((offer for offer in known if offer.covers(source, PIVOT)), None)
    second = next((offer for offer in known if offer.covers(PIVOT, target)), None)
    if first is None or second is None or PIVOT in (source, target):
        return None
    return Leg(first, source, PIVOT), Leg(second, PIVOT, target)


def pairs(engine: str, model: str) -> Iterator[tuple[str, str, str, str]]:
    """Source, target, engine and model of every pair there is, direct ones first; `*` is any language."""
    known = list(offers(engine, model))
    direct: set[tuple[str, str]] = set()
    for offer in known:
        for source in sorted(offer.sources or {"*"}):
            for target in sorted(offer.targets or {"*"}):
                if source != target or source == "*":
                    direct.add((source, target))
                    yield source, target, offer.engine, offer.model
    for source in sorted({source for source, target in direct if target == PIVOT}):
        for target in sorted({target for pivot, target in direct if pivot == PIVOT}):
            if source == target or (source, target) in direct:
                continue
            if legs := _through_english(source, target, known):
                yield source, target, _chain(legs, "engine"), _chain(legs, "model")


def _chain(legs: Route, field: str) -> str:
    return "+".join(getattr(leg.offer, field) for leg in legs)


class Pool:
    """Opened translators, by route. Belongs to the thread that uses it."""

    def __init__(self, engine: str, model: str, open_leg: Callable[[Leg], Translator]) -> None:
        self._engine = engine
        self._model = model
        self._open_leg = open_leg
        self._routes: dict[tuple[str, str], Route] = {}
        self._open: OrderedDict[Leg, Translator] = OrderedDict()

    def route(self, source: str, target: str) -> Route:
        """See `route`; found once a pair."""
        pair = (source, target)
        if pair not in self._routes:
            self._routes[pair] = route(self._engine, self._model, source, target)
        return self._routes[pair]

    def open(self, legs: Route) -> Chain:
        """The route's translators, one after the other."""
        return Chain([self._translator(leg) for leg in legs], _chain(legs, "engine"))

    def _translator(self, leg: Leg) -> Translator:
        if leg not in self._open:
            while len(self._open) >= _OPEN_AT_ONCE:
                self._open.popitem(last=False)[1].close()
            self._open[leg] = self._open_leg(leg)
        self._open.move_to_end(leg)
        return self._open[leg]

    def close(self) -> None:
        """Frees all of them."""
        while self._open:
            self._open.popitem()[1].close()


class Chain:
    """One translator, or two through English."""

    def __init__(self, translators: Sequence[Translator], name: str) -> None:
        self._translators = translators
        self.name = name
        """What `engine` of a translation says, such as `firefox` or `firefox+ct2`."""
        self.identity = " ".join(translator.identity for translator in translators)
        self.max_chars = min(getattr(translator, "max_chars", 1000) for translator in translators)
        self.batch_size = max(getattr(translator, "batch_size", 1) for translator in translators)

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """One translation a sentence, in order; an engine that says it failed only for now is asked again."""
        texts = list(sentences)
        if texts:
            for translator in self._translators:
                texts = _retried(translator, texts)
        return texts

    def alternatives(self, sentence: str, count: int) -> list[str]:
        """Up to `count` answers of the last translator to a sentence, the likeliest first; none where it has but one."""
        *before, last = self._translators
        ask = getattr(last, "alternatives", None)
        if ask is None:
            return []
        texts = [sentence]
        for translator in before:
            texts = _retried(translator, texts)
        answers: list[str] = ask(texts[0], count)
        return answers


def _retried(translator: Translator, texts: list[str]) -> list[str]:
    for _ in range(_TRIES - 1):
        with contextlib.suppress(TryAgain):
            return translator.translate(texts)
    return translator.translate(texts)


def _named(engine: str, model: str) -> Offer:
    """The model of `--model`, a name or a path; with `--engine auto` the engine is the one whose model it is."""
    errors: list[StreamlationError] = []
    for name in AUTOMATIC if engine == "auto" else (engine,):
        try:
            path = store.resolve(name, model)
        except StreamlationError as error:
            errors.append(error)
            continue
        entry = None if path == Path(model) else store.find(name, model)
        offer = _offer(name, model, path, entry.languages if entry else ())
        if offer is not None:
            return offer
        errors.append(UsageError(f"--model {model}: {path} is not a model that engine {name} reads"))
    raise errors[0] if len(errors) == 1 else _plainest(errors)


def _plainest(errors: list[StreamlationError]) -> StreamlationError:
    wrong = [error for error in errors if isinstance(error, UsageError)]
    if not wrong:
        return errors[0]
    return UsageError(wrong[0].message.replace(f"engine {AUTOMATIC[0]} reads", f"{' or '.join(AUTOMATIC)} reads"))


def _offer(engine: str, name: str, path: Path | None, languages: Sequence[str]) -> Offer | None:
    """What a model offers; None where the folder holds no model of the engine."""
    if engine == "firefox":
        return _firefox_offer(name, path, languages)
    from ..engines import ct2

    folder = path or store.find("ct2", name).path  # type: ignore[union-attr]
    layout = ct2.layout_of(folder)
    if layout is None:
        return None
    if layout.languages is not None:
        sources = frozenset(layout.languages) if layout.source_token else None
        targets = frozenset(layout.languages)
        pair = _pair_of(name, languages)
        if not layout.source_token and pair:
            sources = frozenset({pair[0]})
        return Offer("ct2", name, path, sources, targets)
    pair = _pair_of(name, languages)
    if pair is None:
        return Offer("ct2", name, path, None, None)
    return Offer("ct2", name, path, frozenset({pair[0]}), frozenset({pair[1]}))


def _firefox_offer(name: str, path: Path | None, languages: Sequence[str]) -> Offer | None:
    from ..engines import firefox

    if path is not None and not firefox.is_model(path):
        return None
    pair = _pair_of(name, languages)
    if pair is None and path is not None:
        pair = _pair_of_files(path)
    if pair is None:
        return Offer("firefox", name, path, None, None) if path is not None else None
    return Offer("firefox", name, path, frozenset({pair[0]}), frozenset({pair[1]}))


_NAMED_PAIR = re.compile(r"(?:^|[-_/])([a-z]{2,3})-([a-z]{2,3})(?:-ct2|-int8)*$")
_FILE_PAIR = re.compile(r"model\.([a-z]{2})([a-z]{2})\.")


def _pair_of(name: str, languages: Sequence[str]) -> tuple[str, str] | None:
    """Source and target from what the store knows, else from a name such as `opus-mt-en-pt`."""
    if len(languages) == 2:
        return primary(languages[0]), primary(languages[1])
    found = _NAMED_PAIR.search(Path(name).name)
    return (primary(found[1]), primary(found[2])) if found else None


def _pair_of_files(folder: Path) -> tuple[str, str] | None:
    for file in sorted(folder.glob("model.*")):
        if found := _FILE_PAIR.match(file.name):
            return found[1], found[2]
    return None


def _how_to_get(engine: str, source: str, target: str, known: Sequence[Offer]) -> str:
    here = sorted(
        {
            f"{s}→{t}"
            for offer in known
            if offer.breadth <= _LISTED
            for s in offer.sources or ()
            for t in offer.targets or ()
            if s != t
        }
    )
    here += [f"{offer.model} (many)" for offer in known if offer.breadth > _LISTED]
    listed = ", ".join(here[:_LISTED]) + (", …" if len(here) > _LISTED else "")
    legs = [(source, target)] if PIVOT in (source, target) else [(source, PIVOT), (PIVOT, target)]
    lacking = [leg for leg in legs if not any(offer.covers(*leg) for offer in known)]
    how = "hub:ORG/REPO" if engine == "ct2" else " ".join(f"firefox/{s}-{t}" for s, t in lacking)
    with_engine = "" if engine == "auto" else f" with engine {engine}"
    return (
        f"no installed model translates {source}→{target}{with_engine}; available: {listed or 'none'}; get it with: "
        f"streamlation models pull {how} (see: streamlation models list, translate --pairs)"
    )


def opener(
    *, device: str, compute_type: str, threads: int, beam_size: int, stub: dict[str, Any]
) -> Callable[[Leg], Translator]:
    """Opens the translator of a leg with the options its engine takes."""

    def open_leg(leg: Leg) -> Translator:
        engine, offer = engine_class("translator", leg.offer.engine), leg.offer
        if offer.engine == "stub":
            return engine(source=leg.source, target=leg.target, **stub)  # type: ignore[no-any-return]
        path = offer.path or store.resolve(offer.engine, offer.model)
        if offer.engine == "firefox":
            return engine(path)  # type: ignore[no-any-return]
        return engine(  # type: ignore[no-any-return]
            path, source=leg.source, target=leg.target, device=device, compute_type=compute_type, threads=threads,
            beam_size=beam_size,
        )  # fmt: skip

    return open_leg
