"""What a data set's own columns say: unsafe pictures and watermarks, as LAION, DataComp and COYO publish them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from qwenvl.data.clean.rule import Drop, Value, Verdict
from qwenvl.data.clean.rules.bounded import Bounded, number
from qwenvl.data.pair import Pair


@dataclass(frozen=True)
class Column(Bounded):
    """The first of `columns` that a pair's metadata has: a number between bounds, or a word that is not in `words`.

    Numerals are numbers. A pair without any of them stays, unless `missing` is "drop".
    """

    tuned: ClassVar[Literal["min", "max"]] = "max"

    columns: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    missing: Literal["keep", "drop"] = "keep"

    def measure(self, pair: Pair) -> Value:
        for column in self.columns:
            value = pair.meta.get(column)
            found = number(value)
            if found is not None:
                return found
            if value is not None and isinstance(value, str | bool) and value != "":
                return str(value).strip().upper()[:40]
        return None

    def decide(self, pair: Pair, value: Value) -> Verdict:
        if value is None:
            return Drop("not known") if self.missing == "drop" else None
        if isinstance(value, str):
            return Drop(self.too_high) if value in self.words else None
        return super().decide(pair, value)


_SHARES = tuple(step / 50 for step in range(51))


@dataclass(frozen=True)
class Nsfw(Column):
    """Unsafe pictures: LAION-2B's `punsafe` (0 to 1), or LAION-400M's UNLIKELY, UNSURE, NSFW. Not in the paper."""

    name: ClassVar[str] = "nsfw"
    too_high: ClassVar[str] = "unsafe"
    bins: ClassVar[tuple[float, ...]] = _SHARES

    columns: tuple[str, ...] = ("punsafe", "NSFW", "nsfw")
    words: tuple[str, ...] = ("NSFW", "LIKELY", "VERY_LIKELY", "TRUE")


@dataclass(frozen=True)
class Watermark(Column):
    """Pictures with a watermark: the probability that LAION-2B and COYO publish (0 to 1). Not in the paper."""

    name: ClassVar[str] = "watermark"
    too_high: ClassVar[str] = "watermark"
    bins: ClassVar[tuple[float, ...]] = _SHARES

    columns: tuple[str, ...] = ("pwatermark", "watermark_score", "watermark")
