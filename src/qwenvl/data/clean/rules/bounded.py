"""Rules of one number and the range that it must lie in, for all sources alike or for each its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from qwenvl.data.clean.rule import Drop, Rule, Value, Verdict
from qwenvl.data.pair import Pair


@dataclass(frozen=True)
class Bounds:
    """The smallest and the largest number that stays; None is no bound."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Bounded(Rule):
    """Keeps a pair whose number lies in [min, max]; `sources` gives bounds to single sources, by their names.

    A bound that a source's entry leaves out is the general one. A number that is not known (None, NaN) keeps the pair.
    """

    too_low: ClassVar[str] = "too small"
    too_high: ClassVar[str] = "too large"
    tuned: ClassVar[Literal["min", "max"]] = "min"
    """Which bound decides for most pairs: the one that `qwenvl data tune` proposes."""

    min: float | None = None
    max: float | None = None
    sources: dict[str, Bounds] = field(default_factory=dict)

    def bounds(self, source: str) -> tuple[float | None, float | None]:
        """The range of this source's pairs."""
        own = self.sources.get(source)
        if own is None:
            return self.min, self.max
        return (self.min if own.min is None else own.min), (self.max if own.max is None else own.max)

    def decide(self, pair: Pair, value: Value) -> Verdict:
        if not isinstance(value, int | float):
            return None
        low, high = self.bounds(pair.source) if self.sources else (self.min, self.max)
        if low is not None and value < low:
            return Drop(self.too_low)
        if high is not None and value > high:
            return Drop(self.too_high)
        return None

    def thresholds(self, source: str) -> Mapping[str, float]:
        low, high = self.bounds(source)
        return {name: bound for name, bound in (("min", low), ("max", high)) if bound is not None}


def number(value: object) -> float | None:
    """A column's value as a number: numbers and numerals as they are; what is none, infinite or NaN is None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
