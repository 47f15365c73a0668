"""Whisper's decoder: the words that are told go through it at once, and a beam search finds those behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from . import whisper_layers as layers
from .alignment import Floats
from .ct2_weights import Ct2Weights, Weights
from .graphs import Graph
from .whisper_encoder import States

CERTAIN = 0.9
"""A token that was found last time, and is at least so likely now, is taken without a search."""

AT_END = 0.95
"""Surer than that, the decoder is not made to go on: told some text it takes it for all there is, and goes on with more of the same."""

Offers = list[Weights]
"""What states offer to the decoder: keys and values of the layers, one after the other, shape (heads, positions, size) each."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """Text that has gone through the decoder."""

    tokens: list[int]
    left: list[Weights]
    """What it has left behind: keys and values of the layers, one after the other, shape (1, heads, tokens, size) each."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Text that the decoder has found."""

    tokens: list[int]
    """Without the end."""
    probabilities: list[float]
    """Of each token, given that the text goes on, in [0, 1]."""
    looks: Floats
    """Where the heads that follow the sound looked (see `alignment`): shape (heads, prompt, told and found tokens, positions)."""
    skipped: int
    """So many tokens, the first, had been said before, and have no `looks`."""
    said: Said | None
    """What can be left out next time."""


class Decoder:
    """States and the text so far to what follows."""

    def __init__(
        self, weights: Ct2Weights, threads: int, *,
        never: Sequence[int], not_first: Sequence[int], end: int, following: Sequence[tuple[int, int]],
    ) -> None:  # fmt: skip
        """`never` and `not_first`: tokens that are not to be found, or not as the first one; `end`: the token that ends a text;
        `following`: layer and number of each head that follows the sound.

        The end may come first all the same: where words are told, there may be nothing behind them yet.
        """
        self._weights = weights
        self._layers = weights.layers("decoder")
        self._positions = weights.rows("decoder/position_encodings/encodings")
        self._heads, self._size = layers.heads(weights, "decoder")
        self._not_first, self._end = frozenset(not_first) - {end}, end
        self._following = [[head for at, head in following if at == layer] for layer in range(self._layers)]
        self._offers = self._offer_graph().session(threads)
        self._next = self._next_graph(never).session(1)  # a token at a time is too little for two threads

    def _offer_graph(self) -> Graph:
        """What the states offer to the decoder: the same for each token."""
        heads, size = self._heads, self._size
        graph = Graph()
        states = graph.input("states", ["positions", heads * size])
        for layer in range(self._layers):
            both = layers.linear(graph, self._weights, f"decoder/layer_{layer}/attention/linear_1", states)
            for name, part in zip(("keys", "values"), layers.split(graph, both, 2, heads * size), strict=True):
                shaped = graph.add("Reshape", part, graph.whole(-1, heads, size))
                graph.output(
                    graph.add("Transpose", shaped, perm=[1, 0, 2]), f"{name}_{layer}", [heads, "positions", size]
                )
        return graph

    def _next_graph(self, never: Sequence[int]) -> Graph:
        """Tokens to the likeliest ones after them."""
        weights = self._weights
        graph = Graph()
        value = graph.input("tokens", ["texts", "new", self._heads * self._size])
        graph.input("unseen", ["new", "all"])
        graph.input("parents", ["texts"], np.int64)
        for layer in range(self._layers):
            value = self._layer(graph, value, layer)
        width = self._heads * self._size
        flat = graph.add("Reshape", layers.norm(graph, weights, "decoder/layer_norm", value), graph.whole(-1, width))
        last = graph.add("Gather", flat, graph.input("wanted", ["wanted"], np.int64), axis=0)
        table = weights.rows("decoder/projection/weight")
        bias = np.zeros(len(table), np.float32)
        bias[[token for token in never if token < len(table)]] = -1e9
        likely = graph.add("LogSoftmax", graph.linear(last, table, bias), axis=-1)
        best, tokens = graph.several("TopK", 2, likely, graph.input("count", [1], np.int64), axis=-1)
        graph.output(best, "log_probabilities", ["wanted", "candidates"])
        graph.output(tokens, "candidates", ["wanted", "candidates"], np.int64)
        return graph

    def _layer(self, graph: Graph, value: str, layer: int) -> str:
        weights, name, heads, size = self._weights, f"decoder/layer_{layer}", self._heads, self._size
        normed = layers.norm(graph, weights, f"{name}/self_attention/layer_norm", value)
        query, key, found = (
            graph.add("Transpose", graph.add("Reshape", part, graph.whole(0, 0, heads, size)), perm=[0, 2, 1, 3])
            for part in layers.queries_keys_values(graph, weights, f"{name}/self_attention/linear_0", normed, size)
        )
        before = [graph.input(f"past_{part}_{layer}", ["sources", heads, "past", size]) for part in ("keys", "values")]
        key, found = (
            graph.add("Concat", graph.add("Gather", past, "parents", axis=0), new, axis=2)
            for past, new in zip(before, (key, found), strict=True)
        )
        graph.output(key, f"seen_keys_{layer}", ["texts", heads, "all", size])
        graph.output(found, f"seen_values_{layer}", ["texts", heads, "all", size])
        scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
        scores = graph.add("Softmax", graph.add("Add", scores, "unseen"), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", scores, found), perm=[0, 2, 1, 3])
        mixed = graph.add("Reshape", mixed, graph.whole(0, 0, -1))
        value = graph.add("Add", value, layers.linear(graph, weights, f"{name}/self_attention/linear_1", mixed))

        normed = layers.norm(graph, weights, f"{name}/attention/layer_norm", value)
        query = graph.linear(
            normed, weights.rows(f"{name}/attention/linear_0/weight") / math.sqrt(size),
            weights.rows(f"{name}/attention/linear_0/bias") / math.sqrt(size),
        )  # fmt: skip
        query = graph.add("Transpose", graph.add("Reshape", query, graph.whole(-1, heads, size)), perm=[1, 0, 2])
        keys = graph.input(f"keys_{layer}", [heads, "positions", size])
        scores = graph.add("MatMul", query, graph.add("Transpose", keys, perm=[0, 2, 1]))
        if self._following[layer]:
            looks = graph.add("Gather", scores, graph.whole(*self._following[layer]), axis=0)
            graph.output(looks, f"looks_{layer}", [len(self._following[layer]), "rows", "positions"])
        scores = graph.add("Softmax", scores, axis=-1)
        mixed = graph.add("MatMul", scores, graph.input(f"values_{layer}", [heads, "positions", size]))
        mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=[1, 0, 2]), graph.add("Shape", value))
        value = graph.add("Add", value, layers.linear(graph, weights, f"{name}/attention/linear_2", mixed))
        return layers.feed_forward(graph, weights, name, value)

    def offers(self, states: States) -> Offers:
        """What states offer."""
        names = [f"{part}_{layer}" for layer in range(self._layers) for part in ("keys", "values")]
        offers: Offers = self._offers.run(names, {"states": states})
        return offers

    def follow(
        self, offers: Offers, prompt: Sequence[int], told: Sequence[int], expected: Sequence[int] = (), *,
        heard: int, most: int, beam_size: int, goes_on: bool = False, before: Said | None = None, lasting: int = 0,
    ) -> Followed:  # fmt: skip
        """The likeliest tokens behind `prompt` and `told`, at most `most`.

        `expected`: what may follow, such as what followed last time: as far as it is CERTAIN still, it is not searched for.
        `heard`: so many positions of the states are sound. A beam search as CTranslate2's, over when `beam_size` texts have ended; but
        a text is as likely as its tokens are on average, the end included and those told not: behind a long text a short one would
        be found wherever words can be left out. (Over development recordings, 257 instead of 275 of 2,730 English words were
        wrong, and 95 instead of 105 of 530 Portuguese ones.)
        `goes_on`: somebody has spoken behind the told words. `before`: what had been said of the same audio, which is not said again;
        `lasting`: so many of the told tokens will be told again, and where they look is not asked for.
        """
        run = _Run(self, offers, beam_size, heard)
        said = [*prompt, *told]
        skipped = run.recall(before, said[:-1]) if before else 0
        expected = list(expected)[: max(0, most - 1)]
        new = [*said[skipped:], *expected]
        rows, looks = run.step([new], [0], list(range(len(new) - len(expected) - 1, len(new))))
        # What the last of them finds is asked for again: where the next one is.
        lasts = run.said(said[: len(prompt) + lasting - 1]) if lasting else before
        not_first = self._not_first
        if goes_on and math.exp(_of(rows[0], self._end)) < AT_END:
            not_first = not_first | {self._end}
        sure = self._sure(rows, expected)
        run.forget(len(expected) - sure)
        text = _Text(
            tokens=tuple(expected[:sure]), looks=(looks[:, : len(said) - skipped + sure],),
            score=sum(_of(row, token) for row, token in zip(rows, expected[:sure], strict=False)),
            probabilities=tuple(self._going_on(row, token) for row, token in zip(rows, expected[:sure], strict=False)),
        )  # fmt: skip
        texts, rows = [text], rows[sure : sure + 1]
        ended: list[_Text] = []
        for step in range(sure, most):
            found = sorted(
                (
                    (text.score + score, parent, token)
                    for parent, (text, row) in enumerate(zip(texts, rows, strict=True))
                    for score, token in row
                    if step or token not in not_first
                ),
                reverse=True,
            )[: 2 * beam_size]
            ended += [
                texts[parent].scored(score / (step + 1))
                for score, parent, token in found[:beam_size]
                if token == self._end
            ]
            longer = [(score, parent, token) for score, parent, token in found if token != self._end][:beam_size]
            if len(ended) >= beam_size or self._is_over(ended, longer[0][0], most + 1):
                break
            parents = [parent for _, parent, _ in longer]
            probabilities = [self._going_on(rows[parent], token) for _, parent, token in longer]
            rows, looks = run.step([[token] for _, _, token in longer], parents, list(range(len(longer))))
            texts = [
                _Text(
                    tokens=(*texts[parent].tokens, token), score=score,
                    probabilities=(*texts[parent].probabilities, probability),
                    looks=(*texts[parent].looks, looks[:, index : index + 1]),
                )
                for index, ((score, parent, token), probability) in enumerate(zip(longer, probabilities, strict=True))
            ]  # fmt: skip
        else:
            ended += [text.scored(text.score / (most + 1)) for text in texts]
        best = max(ended, key=lambda text: text.score)
        return Followed(
            tokens=list(best.tokens), probabilities=list(best.probabilities), looks=np.concatenate(best.looks, axis=1),
            skipped=skipped, said=lasts,
        )  # fmt: skip

    def likeliest(self, offers: Offers, prompt: Sequence[int], among: Sequence[int]) -> list[tuple[int, float]]:
        """The tokens of `among` by how likely each is behind `prompt`, the likeliest first, and how likely it is among them."""
        run = _Run(self, offers, 2 * len(among), offers[0].shape[1])
        [row], _ = run.step([list(prompt)], [0], [len(prompt) - 1])
        scores = {token: math.exp(score) for score, token in row if token in set(among)}
        whole = sum(scores.values()) or 1.0
        return sorted(((token, score / whole) for token, score in scores.items()), key=lambda pair: -pair[1])

    @staticmethod
    def _is_over(ended: Sequence[_Text], score: float, longest: int) -> bool:
        """Whether no text that goes on can become as likely as one that has ended: its score can only fall, and is divided by the
        tokens that it will have, `longest` at most."""
        return any(text.score >= score / longest for text in ended)

    def _sure(self, rows: Sequence[_Row], expected: Sequence[int]) -> int:
        """How many of the tokens that are expected are certain still."""
        for count, (row, token) in enumerate(zip(rows, expected, strict=False)):
            score, likeliest = row[0]
            if likeliest != token or math.exp(score) < CERTAIN or (not count and token in self._not_first):
                return count
        return len(expected)

    def _going_on(self, row: _Row, token: int) -> float:
        """How likely a token is, the end aside."""
        return min(1.0, math.exp(_of(row, token)) / max(1e-6, 1 - math.exp(_of(row, self._end))))

    def _embedded(self, tokens: npt.NDArray[np.int64], at: int) -> Weights:
        """What the decoder is given for tokens from position `at` on: shape (texts, tokens, width)."""
        table = self._weights.rows("decoder/embeddings/weight", tokens.reshape(-1))
        return table.reshape(*tokens.shape, -1) + self._positions[at : at + tokens.shape[1]]


_Row = list[tuple[float, int]]
"""The likeliest tokens at some place, log-probability and token, the likeliest first."""


def _of(row: _Row, token: int) -> float:
    """A token's log-probability, or that of nothing where it is not among the likeliest."""
    return next((score for score, other in row if other == token), -1e9)


@dataclass(frozen=True, kw_only=True)
class _Text:
    """A text that is being searched."""

    tokens: tuple[int, ...]
    score: float
    probabilities: tuple[float, ...]
    looks: tuple[Floats, ...]

    def scored(self, score: float) -> _Text:
        return replace(self, score=score)


class _Run:
    """The decoder at work: what the states offer, and what the texts so far have left behind."""

    def __init__(self, decoder: Decoder, offers: Offers, beam_size: int, heard: int) -> None:
        self._decoder, self._heard = decoder, heard
        self._names = [f"{part}_{layer}" for layer in range(decoder._layers) for part in ("keys", "values")]
        self._looks = [f"looks_{layer}" for layer, heads in enumerate(decoder._following) if heads]
        self._offers = dict(zip(self._names, offers, strict=True))
        nothing = np.zeros((1, decoder._heads, 0, decoder._size), np.float32)
        self._seen = {f"past_{name}": nothing for name in self._names}
        self._count = np.array([2 * beam_size + len(decoder._not_first)], np.int64)
        self._at = 0

    def step(self, tokens: list[list[int]], parents: list[int], wanted: list[int]) -> tuple[list[_Row], Floats]:
        """Adds tokens to the texts `parents`: what may follow at the places that are `wanted`, counted through all texts, and where
        each token made the heads look, shape (heads, tokens, positions)."""
        new = len(tokens[0])
        outputs = ["log_probabilities", "candidates", *self._looks, *(f"seen_{name}" for name in self._names)]
        likely, candidates, *rest = self._decoder._next.run(
            outputs,
            self._offers | self._seen | {
                "tokens": self._decoder._embedded(np.array(tokens), self._at),
                "parents": np.array(parents, np.int64),
                "wanted": np.array(wanted, np.int64),
                "unseen": np.triu(np.full((new, self._at + new), -1e9, np.float32), self._at + 1),
                "count": self._count,
            },
        )  # fmt: skip
        self._at += new
        kept = rest[len(self._looks) :]
        self._seen = {f"past_{name}": value for name, value in zip(self._names, kept, strict=True)}
        looks = np.concatenate([layer[:, :, : self._heard] for layer in rest[: len(self._looks)]])
        rows = [list(zip(*row, strict=True)) for row in zip(likely.tolist(), candidates.tolist(), strict=True)]
        return rows, looks

    def recall(self, before: Said, tokens: list[int]) -> int:
        """Begins behind what was said before, as far as it is the same as `tokens`; returns how many those are."""
        pairs = enumerate(zip(before.tokens, tokens, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), min(len(before.tokens), len(tokens)))
        self._at = same
        self._seen = {f"past_{name}": left[:, :, :same] for name, left in zip(self._names, before.left, strict=True)}
        return same

    def said(self, tokens: list[int]) -> Said:
        """The text so far up to the end of `tokens`, which it begins with."""
        left = [np.ascontiguousarray(self._seen[f"past_{name}"][:, :, : len(tokens)]) for name in self._names]
        return Said(tokens=tokens, left=left)

    def forget(self, count: int) -> None:
        """Takes the last tokens back."""
        if count:
            self._at -= count
            self._seen = {name: value[:, :, : self._at] for name, value in self._seen.items()}
