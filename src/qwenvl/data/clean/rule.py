"""What a cleaning rule is: it measures a pair, and decides from what it measured; the two are apart so that thresholds
can be tuned from the numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from qwenvl.data.pair import Pair

Value = float | int | str | bool | None
"""What a rule measures of a pair. Numbers get histograms in the report; strings are counted."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The pair goes. `why` is short and has no numbers of the pair, so that equal reasons count together."""

    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """The pair stays with this caption."""

    caption: str


Verdict = Drop | Change | None
"""None keeps the pair as it is."""


class Rule(ABC):
    """A rule of a recipe. A subclass is a frozen dataclass whose fields are its keys in the recipe, thresholds and all.

    Ten lines make one: `name`, `measure`, `decide`. Rules hold no state between pairs: what needs the whole set is a
    `SetRule`.
    """

    name: ClassVar[str]
    """Its name in recipes, ledgers and reports."""

    bins: ClassVar[tuple[float, ...]] = ()
    """Edges of the histogram of what it measures, rising; none where it measures words."""

    @abstractmethod
    def measure(self, pair: Pair) -> Value:
        """The number (or word) that decides. ImageError is counted as an undecodable picture."""

    @abstractmethod
    def decide(self, pair: Pair, value: Value) -> Verdict:
        """What follows from `value`, which `measure` gave for this pair. Looks at no pixels."""

    def measure_all(self, pairs: Sequence[Pair]) -> Sequence[Value | Exception]:
        """`measure` of many pairs; overridden where a batch is cheaper (CLIP). One bad pair costs no other."""
        found: list[Value | Exception] = []
        for pair in pairs:
            try:
                found.append(self.measure(pair))
            except Exception as error:  # a rule may be a user's own code
                found.append(error)
        return found

    def thresholds(self, source: str) -> Mapping[str, float]:
        """The numbers that `decide` compares with, by name, for the lines in the report's histograms."""
        return {}

    def fingerprint(self) -> str:
        """A digest of what it judges by beside its keys (the contents of files that they name): where it changes, a run
        can not be continued. "" where there is nothing of the kind.
        """
        return ""


class SetRule(ABC):
    """A rule that needs the whole set: SQL over the ledgers of the pairs that the other rules kept (DuckDB, out of
    core). A subclass is a frozen dataclass whose fields are its keys in the recipe.
    """

    name: ClassVar[str]

    @property
    def reads(self) -> frozenset[str]:
        """Which of the costly columns "digest" and "phash" it looks at; they are computed only where a rule does."""
        return frozenset()

    @abstractmethod
    def drops(self, database: Any) -> Iterable[str]:
        """SELECTs over the view `kept`, each giving the columns row, why, value (text) and winner of what goes.

        `kept` has the columns row (number in the whole input, in its order), id, source, url, digest, phash (64 bits
        or null), caption, characters, width and height, and shrinks from one SELECT to the next. `why` is short and
        has no numbers; `winner` is the row of the pair that stays in its place, or null. The choice must not hang on
        the order of rows: break ties by row. `database` is the DuckDB connection, for temporary tables; most rules
        need only `return ["SELECT …"]`.
        """
