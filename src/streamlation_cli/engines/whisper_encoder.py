"""Whisper's encoder for audio that grows: what silence after it and what is heard already offer is computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import whisper_layers as layers
from .alignment import Floats
from .ct2_weights import Ct2Weights, Weights
from .graphs import Graph
from .mel import SAMPLE_RATE_HZ, Mel, MelSpectrogram

FULL_POSITIONS = 1500
"""What the encoder was trained on: 30 s, 20 ms each."""
POOL = 2
"""So many positions of silence are one: their mean, which counts as often. It halves what they cost; with 4 the encoder hears
clearly less well."""
SILENT_POSITIONS = 600
"""The last of them, 12 s, stand for silence: what the encoder makes of ten pieces of speech is as near as with all of them to what it
makes of the piece and silence to 30 s (the norm of the difference is 0.10 of the norm; with 2 s encoded and no more 0.20, with 8 s
0.13). The first 12 s behind the audio are worth less: 0.16."""
EDGE = 1
"""Positions that suffer from the convolution at the edge of a spectrogram."""
NOISE_S = 7.0
"""Sound before the silence that is computed once: silence alone is nothing that the encoder was trained on."""

States = Floats
"""The encoder's output: shape (positions, width)."""


class Encoder:
    """Log-mel spectrogram to states."""

    def __init__(self, weights: Ct2Weights, threads: int) -> None:
        self._layers = weights.layers("encoder")
        self._positions = weights.rows("encoder/position_encodings/encodings")
        self._heads, self._size = layers.heads(weights, "encoder")
        width = self._heads * self._size
        bands = weights.rows("encoder/conv1/weight").shape[1]
        graph = Graph()
        value = graph.input("mel", [1, bands, "frames"])
        for name, stride in (("conv1", 1), ("conv2", 2)):
            kernel, bias = (graph.constant(weights.rows(f"encoder/{name}/{part}")) for part in ("weight", "bias"))
            value = graph.add("Conv", value, kernel, bias, kernel_shape=[3], pads=[1, 1], strides=[stride])
            value = graph.add("Gelu", value)
        value = graph.add("Squeeze", graph.add("Transpose", value, perm=[0, 2, 1]), graph.whole(0))
        first = graph.input("first", [1], np.int64)
        value = graph.add("Slice", value, first, graph.whole(FULL_POSITIONS + 1), graph.whole(0))
        value = graph.add("Add", value, graph.input("positions", ["n", width]))
        for layer in range(self._layers):
            value = self._layer(graph, weights, value, layer)
        graph.output(layers.norm(graph, weights, "encoder/layer_norm", value), "states", ["n", width])
        self._session = graph.session(threads)
        self._nothing = [np.zeros((self._heads, 0, self._size + extra), np.float32) for extra in (1, 0)] * self._layers
        self._silence = self._silent(bands)

    def _layer(self, graph: Graph, weights: Ct2Weights, value: str, layer: int) -> str:
        name, heads, size = f"encoder/layer_{layer}", self._heads, self._size
        normed = layers.norm(graph, weights, f"{name}/self_attention/layer_norm", value)
        query, key, found = (
            graph.add("Transpose", graph.add("Reshape", part, graph.whole(-1, heads, size)), perm=[1, 0, 2])
            for part in layers.queries_keys_values(graph, weights, f"{name}/self_attention/linear_0", normed, size)
        )
        # A last number says how much a key counts: nothing more than it does, or for POOL of them.
        end = graph.whole(0, 0, 0, 0, 0, 1)
        query = graph.add("Pad", query, end, graph.constant(1.0))
        key = graph.add("Pad", key, end, graph.constant(0.0))
        graph.output(key, f"keys_{layer}", [heads, "n", size + 1])
        graph.output(found, f"values_{layer}", [heads, "n", size])
        for others in ("known", "silent"):
            graph.input(f"{others}_keys_{layer}", [heads, others, size + 1])
            graph.input(f"{others}_values_{layer}", [heads, others, size])
        key = graph.add("Concat", key, f"known_keys_{layer}", f"silent_keys_{layer}", axis=1)
        found = graph.add("Concat", found, f"known_values_{layer}", f"silent_values_{layer}", axis=1)
        scores = graph.add("Softmax", graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1])), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", scores, found), perm=[1, 0, 2])
        mixed = graph.add("Reshape", mixed, graph.whole(-1, heads * size))
        value = graph.add("Add", value, layers.linear(graph, weights, f"{name}/self_attention/linear_1", mixed))
        return layers.feed_forward(graph, weights, name, value)

    def encode(self, mel: Mel, known: Sequence[Weights] = (), *, silent: bool = True) -> tuple[States, list[Weights]]:
        """States of a spectrogram, shape (bands, frames), and what its positions offer to others: keys and values of the layers, one
        after the other, shapes (heads, positions, size + 1) and (…, size).

        `known`: the same of the positions before, whose last EDGE positions the spectrogram begins with then; `silent`: as if silence
        followed.
        """
        start = known[0].shape[1] if known else 0
        first = EDGE if start else 0
        count = -(-mel.shape[1] // 2) - first
        reached = max(0, start + count - (FULL_POSITIONS - SILENT_POSITIONS))
        inputs = {
            "mel": mel[None], "positions": self._positions[start : start + count], "first": np.array([first], np.int64),
        }  # fmt: skip
        silence = [part[:, -(-reached // POOL) :] for part in self._silence] if silent else self._nothing
        for others, parts in (("known", known or self._nothing), ("silent", silence)):
            for layer in range(self._layers):
                inputs[f"{others}_keys_{layer}"], inputs[f"{others}_values_{layer}"] = parts[2 * layer : 2 * layer + 2]
        outputs = [f"{part}_{layer}" for layer in range(self._layers) for part in ("keys", "values")]
        states, *offers = self._session.run(["states", *outputs], inputs)
        return states, offers

    def _silent(self, bands: int) -> list[Weights]:
        """What silence offers, POOL positions as one."""
        noise = np.random.default_rng(0).standard_normal((round(10 * NOISE_S), SAMPLE_RATE_HZ // 10)) * 0.1
        loudness = np.random.default_rng(1).uniform(0, 1, (len(noise), 1))
        samples = (noise * loudness).astype(np.float32).reshape(-1)
        mel = MelSpectrogram(bands).one(samples, 2 * FULL_POSITIONS)
        # In two parts, for attention of all to all takes much memory.
        middle = FULL_POSITIONS - SILENT_POSITIONS
        _, known = self.encode(mel[:, : 2 * middle], silent=False)
        _, offers = self.encode(mel[:, 2 * (middle - EDGE) :], known, silent=False)
        pooled = [part.reshape(self._heads, SILENT_POSITIONS // POOL, POOL, -1).mean(axis=2) for part in offers]
        for keys in pooled[::2]:
            keys[..., -1] = math.log(POOL)
        return pooled
