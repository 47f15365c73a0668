"""Percentiles of latencies and the slope of what should stay flat."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The least of `values` that at least `percent` of 100 of them do not exceed (nearest rank); None of none.

    >>> percentile([5, 1, 4, 2, 3], 50), percentile([5, 1, 4, 2, 3], 95), percentile([], 50)
    (3, 5, None)
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def summary(seconds: Sequence[float]) -> dict[str, float | int | None]:
    """Count, mean, least, p50, p95 and most of a set of latencies in seconds, rounded to the millisecond.

    >>> summary([1.0, 2.0, 4.5])
    {'count': 3, 'mean_s': 2.5, 'min_s': 1.0, 'p50_s': 2.0, 'p95_s': 4.5, 'max_s': 4.5}
    """
    return {
        "count": len(seconds),
        "mean_s": rounded(sum(seconds) / len(seconds) if seconds else None),
        "min_s": rounded(min(seconds, default=None)),
        "p50_s": rounded(percentile(seconds, 50)),
        "p95_s": rounded(percentile(seconds, 95)),
        "max_s": rounded(max(seconds, default=None)),
    }


def slope(times: Sequence[float], values: Sequence[float]) -> float | None:
    """Slope of the least-squares line through the points, in units of value per unit of time; None where times do not differ.

    >>> slope([0, 1, 2], [5, 7, 9]), slope([3], [1])
    (2.0, None)
    """
    count = len(times)
    if count < 2:
        return None
    middle, mean = sum(times) / count, sum(values) / count
    spread = sum((t - middle) ** 2 for t in times)
    if not spread:
        return None
    return sum((t - middle) * (v - mean) for t, v in zip(times, values, strict=True)) / spread


def rounded(value: float | None, digits: int = 3) -> float | None:
    """`round`, where there is something to round.

    >>> rounded(1.23456), rounded(None)
    (1.235, None)
    """
    return None if value is None else round(value, digits)
