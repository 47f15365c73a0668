"""What the layers of Whisper's encoder and decoder have in common, as operations of a `Graph`."""

from __future__ import annotations

import math

from .ct2_weights import Ct2Weights
from .graphs import Graph


def heads(weights: Ct2Weights, part: str) -> tuple[int, int]:
    """Heads of attention and the size of each."""
    heads = int(weights.rows(f"{part}/num_heads"))
    return heads, weights.rows(f"{part}/position_encodings/encodings").shape[1] // heads


def linear(graph: Graph, weights: Ct2Weights, name: str, value: str) -> str:
    return graph.linear(value, weights.rows(f"{name}/weight"), weights.rows(f"{name}/bias"))


def norm(graph: Graph, weights: Ct2Weights, name: str, value: str) -> str:
    return graph.normalized(value, weights.rows(f"{name}/gamma"), weights.rows(f"{name}/beta"))


def split(graph: Graph, value: str, parts: int, width: int) -> list[str]:
    return graph.several("Split", parts, value, graph.whole(*[width] * parts), axis=-1)


def queries_keys_values(graph: Graph, weights: Ct2Weights, name: str, value: str, size: int) -> list[str]:
    """The three that self-attention works with; the queries are scaled here, once for all."""
    weight, bias = weights.rows(f"{name}/weight"), weights.rows(f"{name}/bias")
    width = len(weight) // 3
    weight[:width] /= math.sqrt(size)
    bias[:width] /= math.sqrt(size)
    return split(graph, graph.linear(value, weight, bias), 3, width)


def feed_forward(graph: Graph, weights: Ct2Weights, name: str, value: str) -> str:
    inner = linear(graph, weights, f"{name}/ffn/linear_0", norm(graph, weights, f"{name}/ffn/layer_norm", value))
    return graph.add("Add", value, linear(graph, weights, f"{name}/ffn/linear_1", graph.add("Gelu", inner)))
