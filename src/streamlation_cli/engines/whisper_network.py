"""Whisper for audio that grows, computed on a CPU by ONNX Runtime from the weights of a CTranslate2 model.

CTranslate2 is made for whole utterances. Live, the same few seconds are heard again and again, and two things are much cheaper
done otherwise:

- Words that are committed are told to the decoder. CTranslate2 takes them one by one, as if it had to find them; here they go
  through the decoder at once.
- The encoder hears the better the more silence follows the audio, best as much as makes 30 s, because it was trained so. Silence is
  the same each time, so what its positions offer to the others (keys and values) is computed once, and the audio attends to that.
  Only the audio and two seconds behind it are encoded each time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import memory
from ..errors import Unavailable
from . import needs_extra
from .alignment import Floats
from .ct2_weights import Ct2Weights, Weights
from .graphs import Graph
from .mel import SAMPLE_RATE_HZ, Mel, MelSpectrogram

with needs_extra("the whisper engine"):
    from tokenizers import Tokenizer

FULL_POSITIONS = 1500
"""What the encoder was trained on: 30 s, 20 ms each."""
POOL = 2
"""So many positions of silence are one: their mean, which counts as often. It halves what they cost; with 4 the encoder hears
clearly less well."""
MULTILINGUAL_TOKENS = 51_865
"""A smaller vocabulary is English alone."""
SILENT_POSITIONS = 600
"""The last of them, 12 s, stand for silence: what the encoder makes of ten pieces of speech is as near as with all of them to what it
makes of the piece and silence to 30 s (the norm of the difference is 0.10 of the norm; with 2 s encoded and no more 0.20, with 8 s
0.13). The first 12 s behind the audio are worth less: 0.16."""
NOISE_S = 7.0
"""Sound before the silence that is computed once: silence alone is nothing that the encoder was trained on."""

CERTAIN = 0.9
"""A token that was found last time, and is at least so likely now, is taken without a search."""

States = Floats
"""The encoder's output: shape (positions, width)."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Text that the decoder has found."""

    tokens: list[int]
    """Without the end."""
    probabilities: list[float]
    """Of each token, given that the text goes on, in [0, 1]."""
    looks: Floats
    """Where the heads that follow the sound looked (see `alignment`): shape (heads, prompt, told and found tokens, positions)."""


class Encoder:
    """Log-mel spectrogram to states."""

    def __init__(self, weights: Ct2Weights, threads: int) -> None:
        self._layers = weights.layers("encoder")
        self._positions = weights.rows("encoder/position_encodings/encodings")
        self._heads, self._size = _heads(weights, "encoder")
        width = self._heads * self._size
        bands = weights.rows("encoder/conv1/weight").shape[1]
        graph = Graph()
        value = graph.input("mel", [1, bands, "frames"])
        for name, stride in (("conv1", 1), ("conv2", 2)):
            kernel, bias = (graph.constant(weights.rows(f"encoder/{name}/{part}")) for part in ("weight", "bias"))
            value = graph.add("Conv", value, kernel, bias, kernel_shape=[3], pads=[1, 1], strides=[stride])
            value = graph.add("Gelu", value)
        value = graph.add("Squeeze", graph.add("Transpose", value, perm=[0, 2, 1]), graph.whole(0))
        value = graph.add("Add", value, graph.input("positions", ["n", width]))
        for layer in range(self._layers):
            value = self._layer(graph, weights, value, layer)
        graph.output(_norm(graph, weights, "encoder/layer_norm", value), "states", ["n", width])
        self._session = graph.session(threads)
        self._silence = self._silent(bands)

    def _layer(self, graph: Graph, weights: Ct2Weights, value: str, layer: int) -> str:
        name, heads, size = f"encoder/layer_{layer}", self._heads, self._size
        normed = _norm(graph, weights, f"{name}/self_attention/layer_norm", value)
        query, key, found = (
            graph.add("Transpose", graph.add("Reshape", part, graph.whole(-1, heads, size)), perm=[1, 0, 2])
            for part in _queries_keys_values(graph, weights, f"{name}/self_attention/linear_0", normed, size)
        )
        graph.output(key, f"keys_{layer}", [heads, "n", size])
        graph.output(found, f"values_{layer}", [heads, "n", size])
        # A last number says how much a key counts: nothing more than it does, or for POOL of them.
        end = graph.whole(0, 0, 0, 0, 0, 1)
        query = graph.add("Pad", query, end, graph.constant(1.0))
        key = graph.add("Pad", key, end, graph.constant(0.0))
        key = graph.add("Concat", key, graph.input(f"silent_keys_{layer}", [heads, "silent", size + 1]), axis=1)
        found = graph.add("Concat", found, graph.input(f"silent_values_{layer}", [heads, "silent", size]), axis=1)
        scores = graph.add("Softmax", graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1])), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", scores, found), perm=[1, 0, 2])
        mixed = graph.add("Reshape", mixed, graph.whole(-1, heads * size))
        value = graph.add("Add", value, _linear(graph, weights, f"{name}/self_attention/linear_1", mixed))
        return _feed_forward(graph, weights, name, value)

    def encode(self, mel: Mel, *, silent: bool = True) -> States:
        """Of a spectrogram, shape (bands, frames); `silent`: as if silence followed it."""
        reached = max(0, -(-mel.shape[1] // 2) - (FULL_POSITIONS - SILENT_POSITIONS))
        start = -(-reached // POOL) if silent else len(self._silence[0][0])
        return self._run(mel, [part[:, start:] for part in self._silence])[0]

    def _silent(self, bands: int) -> list[Weights]:
        """Keys and values of silence, a layer one after the other: shapes (heads, SILENT_POSITIONS / POOL, size + 1) and (…, size)."""
        heads, size = self._heads, self._size
        noise = np.random.default_rng(0).standard_normal((round(10 * NOISE_S), SAMPLE_RATE_HZ // 10)) * 0.1
        loudness = np.random.default_rng(1).uniform(0, 1, (len(noise), 1))
        samples = (noise * loudness).astype(np.float32).reshape(-1)
        nothing = [np.zeros((heads, 0, size + extra), np.float32) for extra in (1, 0)] * self._layers
        _, *found = self._run(MelSpectrogram(bands).one(samples, 2 * FULL_POSITIONS), nothing)
        kept = [part[:, -SILENT_POSITIONS:] for part in found]
        pooled = [part.reshape(heads, SILENT_POSITIONS // POOL, POOL, size).mean(axis=2) for part in kept]
        pooled[::2] = [np.pad(keys, ((0, 0), (0, 0), (0, 1)), constant_values=math.log(POOL)) for keys in pooled[::2]]
        return pooled

    def _run(self, mel: Mel, silence: Sequence[Weights]) -> list[Weights]:
        """States, then keys and values of each layer."""
        inputs = {"mel": mel[None], "positions": self._positions[: -(-mel.shape[1] // 2)]}
        for layer in range(self._layers):
            inputs[f"silent_keys_{layer}"], inputs[f"silent_values_{layer}"] = silence[2 * layer : 2 * layer + 2]
        outputs = [f"{part}_{layer}" for layer in range(self._layers) for part in ("keys", "values")]
        found: list[Weights] = self._session.run(["states", *outputs], inputs)
        return found


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
        self._heads, self._size = _heads(weights, "decoder")
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
            both = _linear(graph, self._weights, f"decoder/layer_{layer}/attention/linear_1", states)
            for name, part in zip(("keys", "values"), _split(graph, both, 2, heads * size), strict=True):
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
        flat = graph.add("Reshape", _norm(graph, weights, "decoder/layer_norm", value), graph.whole(-1, width))
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
        normed = _norm(graph, weights, f"{name}/self_attention/layer_norm", value)
        query, key, found = (
            graph.add("Transpose", graph.add("Reshape", part, graph.whole(0, 0, heads, size)), perm=[0, 2, 1, 3])
            for part in _queries_keys_values(graph, weights, f"{name}/self_attention/linear_0", normed, size)
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
        value = graph.add("Add", value, _linear(graph, weights, f"{name}/self_attention/linear_1", mixed))

        normed = _norm(graph, weights, f"{name}/attention/layer_norm", value)
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
        value = graph.add("Add", value, _linear(graph, weights, f"{name}/attention/linear_2", mixed))
        return _feed_forward(graph, weights, name, value)

    def follow(
        self, states: States, prompt: Sequence[int], told: Sequence[int], expected: Sequence[int] = (), *,
        heard: int, most: int, beam_size: int,
    ) -> Followed:  # fmt: skip
        """The likeliest tokens behind `prompt` and `told`, at most `most`.

        `expected`: what may follow, such as what followed last time: as far as it is CERTAIN still, it is not searched for.
        `heard`: so many positions of the states are sound. A beam search as CTranslate2's: a text is as likely as its tokens are on
        average, those told included, and the search is over when `beam_size` texts have ended.
        """
        run = _Run(self, states, beam_size, heard)
        said = [*prompt, *told]
        expected = list(expected)[: max(0, most - 1)]
        rows, looks = run.step([[*said, *expected]], [0], list(range(len(said) - 1, len(said) + len(expected))))
        sure = self._sure(rows, expected)
        run.forget(len(expected) - sure)
        text = _Text(
            tokens=tuple(expected[:sure]), looks=(looks[:, : len(said) + sure],),
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
                    if step or token not in self._not_first
                ),
                reverse=True,
            )[: 2 * beam_size]
            ended += [
                texts[parent].scored(score / max(1, len(told) + step))
                for score, parent, token in found[:beam_size]
                if token == self._end
            ]
            goes_on = [(score, parent, token) for score, parent, token in found if token != self._end][:beam_size]
            if len(ended) >= beam_size or self._is_over(ended, goes_on[0][0], len(told) + most):
                break
            parents = [parent for _, parent, _ in goes_on]
            probabilities = [self._going_on(rows[parent], token) for _, parent, token in goes_on]
            rows, looks = run.step([[token] for _, _, token in goes_on], parents, list(range(len(goes_on))))
            texts = [
                _Text(
                    tokens=(*texts[parent].tokens, token), score=score,
                    probabilities=(*texts[parent].probabilities, probability),
                    looks=(*texts[parent].looks, looks[:, index : index + 1]),
                )
                for index, ((score, parent, token), probability) in enumerate(zip(goes_on, probabilities, strict=True))
            ]  # fmt: skip
        else:
            ended += [text.scored(text.score / (len(told) + most)) for text in texts]
        best = max(ended, key=lambda text: text.score)
        return Followed(
            tokens=list(best.tokens), probabilities=list(best.probabilities), looks=np.concatenate(best.looks, axis=1)
        )

    def likeliest(self, states: States, prompt: Sequence[int], among: Sequence[int]) -> list[tuple[int, float]]:
        """The tokens of `among` by how likely each is behind `prompt`, the likeliest first, and how likely it is among them."""
        run = _Run(self, states, 2 * len(among), len(states))
        [row], _ = run.step([list(prompt)], [0], [len(prompt) - 1])
        scores = {token: math.exp(score) for score, token in row if token in set(among)}
        whole = sum(scores.values()) or 1.0
        return sorted(((token, score / whole) for token, score in scores.items()), key=lambda pair: -pair[1])

    @staticmethod
    def _is_over(ended: Sequence[_Text], score: float, longest: int) -> bool:
        """Whether no text that goes on can become as likely as one that has ended: its score can only fall, and is divided by the
        tokens that it will have, `longest` at most."""
        return any(text.score >= score / max(1, longest) for text in ended)

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
    """The decoder at work on some states: what they offer, and what the texts so far have left behind."""

    def __init__(self, decoder: Decoder, states: States, beam_size: int, heard: int) -> None:
        self._decoder, self._heard = decoder, heard
        self._names = [f"{part}_{layer}" for layer in range(decoder._layers) for part in ("keys", "values")]
        self._looks = [f"looks_{layer}" for layer, heads in enumerate(decoder._following) if heads]
        self._offers = dict(zip(self._names, decoder._offers.run(self._names, {"states": states}), strict=True))
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

    def forget(self, count: int) -> None:
        """Takes the last tokens back."""
        if count:
            self._at -= count
            self._seen = {name: value[:, :, : self._at] for name, value in self._seen.items()}


class WhisperNetwork:
    """Encoder and decoder of one model directory."""

    def __init__(self, model: Path, *, threads: int) -> None:
        """`threads`: for the encoder; raises Unavailable where the model cannot be read."""
        weights = Ct2Weights(model / "model.bin")
        settings = json.loads((model / "config.json").read_bytes())
        if not settings.get("alignment_heads"):
            raise Unavailable(
                f"{model} does not say which heads follow the sound; convert it again with CTranslate2 3.9 or later"
            )
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.bands = weights.shape("encoder/conv1/weight")[1]
        self.multilingual = weights.shape("decoder/embeddings/weight")[0] >= MULTILINGUAL_TOKENS
        self._start, end = (_id(tokenizer, token) for token in ("<|startoftranscript|>", "<|endoftext|>"))
        self._languages = {
            int(token): str(tokenizer.id_to_token(token)).strip("<|>") for token in settings.get("lang_ids", ())
        }
        self.encoder = Encoder(weights, threads)
        memory.give_back()
        self.decoder = Decoder(
            weights, threads,
            never=settings.get("suppress_ids", ()), not_first=settings.get("suppress_ids_begin", ()),
            end=end,
            following=[(layer, head) for layer, head in settings["alignment_heads"]],
        )  # fmt: skip
        weights.forget()
        memory.give_back()

    def language(self, states: States) -> tuple[str, float]:
        """The language that is spoken, as a code, and how likely it is among all."""
        token, probability = self.decoder.likeliest(states, [self._start], list(self._languages))[0]
        return self._languages[token], probability


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise Unavailable(f"the model's tokenizer has no {token}")
    return int(found)


def _heads(weights: Ct2Weights, part: str) -> tuple[int, int]:
    """Heads of attention and the size of each."""
    heads = int(weights.rows(f"{part}/num_heads"))
    return heads, weights.rows(f"{part}/position_encodings/encodings").shape[1] // heads


def _linear(graph: Graph, weights: Ct2Weights, name: str, value: str) -> str:
    return graph.linear(value, weights.rows(f"{name}/weight"), weights.rows(f"{name}/bias"))


def _norm(graph: Graph, weights: Ct2Weights, name: str, value: str) -> str:
    return graph.normalized(value, weights.rows(f"{name}/gamma"), weights.rows(f"{name}/beta"))


def _split(graph: Graph, value: str, parts: int, width: int) -> list[str]:
    return graph.several("Split", parts, value, graph.whole(*[width] * parts), axis=-1)


def _queries_keys_values(graph: Graph, weights: Ct2Weights, name: str, value: str, size: int) -> list[str]:
    """The three that self-attention works with; the queries are scaled here, once for all."""
    weight, bias = weights.rows(f"{name}/weight"), weights.rows(f"{name}/bias")
    width = len(weight) // 3
    weight[:width] /= math.sqrt(size)
    bias[:width] /= math.sqrt(size)
    return _split(graph, graph.linear(value, weight, bias), 3, width)


def _feed_forward(graph: Graph, weights: Ct2Weights, name: str, value: str) -> str:
    inner = _linear(graph, weights, f"{name}/ffn/linear_0", _norm(graph, weights, f"{name}/ffn/layer_norm", value))
    return graph.add("Add", value, _linear(graph, weights, f"{name}/ffn/linear_1", graph.add("Gelu", inner)))
