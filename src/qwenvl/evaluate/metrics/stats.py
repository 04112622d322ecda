"""A measured number with its 95 % interval.

Wilson's for shares of items, a bootstrap over items for everything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_COUNTS = 1 << 22
_Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True, slots=True)
class Score:
    """`value` in [0, 1] over `n` items, with the 95 % interval [`low`, `high`]; all three are NaN when `n` is 0."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON: NaN, which JSON does not have, becomes None."""

        def plain(x: float) -> float | None:
            return None if math.isnan(x) else round(float(x), 5)

        return {"value": plain(self.value), "low": plain(self.low), "high": plain(self.high), "n": self.n}


EMPTY = Score(math.nan, math.nan, math.nan, 0)


def share(hits: Sequence[bool | int]) -> Score:
    """The share of true items, with Wilson's score interval (E. B. Wilson, 1927), which also holds near 0 and 1."""
    n = len(hits)
    if n == 0:
        return EMPTY
    p = sum(map(int, hits)) / n
    scale = 1 + _Z**2 / n
    centre = (p + _Z**2 / (2 * n)) / scale
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / scale
    # At 0 and 1 the bounds are exact; rounding must not push them past the value itself.
    return Score(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)), n)


def bootstrap(
    items: Sequence[Sequence[float]],
    statistic: Callable[[np.ndarray], np.ndarray],
    rounds: int = 500,
    seed: int = 0,
) -> Score:
    """A statistic of column sums over items, with the bootstrap's percentile interval over whole items.

    `items` is (n, k): what each item adds to k sums. `statistic` maps sums of shape (..., k) to values of shape
    (...): a mean is `sum / count`, an F1 is `2 tp / (2 tp + fp + fn)`. Items are resampled whole, so that boxes of
    one picture stay together. Deterministic.
    """
    n = len(items)
    if n == 0:
        return EMPTY
    table = np.asarray(items, dtype=np.float64)
    draws = np.asarray(statistic(resampled(table, rounds, seed)), dtype=np.float64)
    draws = draws[~np.isnan(draws)]
    value = float(statistic(table.sum(axis=0)))
    if math.isnan(value) or draws.size == 0:
        return Score(math.nan, math.nan, math.nan, n)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Score(value, float(low), float(high), n)


def resampled(table: np.ndarray, rounds: int, seed: int = 0) -> np.ndarray:
    """Column sums (rounds, k) of as many rows of `table` (n, k) as it has, drawn with replacement. Deterministic."""
    n = len(table)
    rng, even = np.random.default_rng(seed), np.full(n, 1 / n)
    # a few rounds at a time: all counts of a split of 200,000 items would take a gigabyte
    at_once = max(1, _COUNTS // n)
    sums = [rng.multinomial(n, even, size=min(at_once, rounds - at)) @ table for at in range(0, rounds, at_once)]
    return np.concatenate(sums)


def mean(values: Sequence[float]) -> Score:
    """The mean of per-item values, with a bootstrap interval."""
    return ratio([(v, 1.0) for v in values])


def ratio(items: Sequence[tuple[float, float]]) -> Score:
    """Sum of the firsts over sum of the seconds, with a bootstrap interval: a recall, or a mean weighted by size."""

    def divide(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., 0] / sums[..., 1]

    return bootstrap(items, divide)


def f1(items: Sequence[tuple[int, int, int]]) -> Score:
    """Micro-averaged F1 of (true positives, false positives, misses) per item, with a bootstrap interval."""

    def harmonic(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2])

    return bootstrap(items, harmonic)
