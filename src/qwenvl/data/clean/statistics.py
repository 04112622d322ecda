"""What cleaning counted, by source and rule, and histograms of what was measured; units add up to the whole."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from qwenvl.data.clean.rule import Rule, Value

READING = "reading"
"""Under this name stands what could not be read, as if reading were the first rule."""

EDGES = (
    *(-mantissa * 10.0**power for power in range(6, -4, -1) for mantissa in (5, 2, 1)),
    0.0,
    *(mantissa * 10.0**power for power in range(-3, 7) for mantissa in (1, 2, 5)),
)
"""Edges of the histogram of a rule that gives none of its own: steps of about two, from thousandths to millions."""

_WORDS = 200
_LETTERS = 40


def edges(rule: Rule) -> tuple[float, ...]:
    """The edges of a rule's histogram."""
    return rule.bins or EDGES


@dataclass
class Measured:
    """What one rule measured of one source.

    `counts[i]` is how many numbers lie in [edges[i − 1], edges[i]), the first below all edges, the last at or above
    the last one; empty where no number was measured. `words` counts texts and truths. `unknown` counts None.
    """

    counts: list[int] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)
    unknown: int = 0

    def add(self, value: Value, bounds: tuple[float, ...]) -> None:
        """Count one value; `bounds` are the rule's edges."""
        if value is None or value != value:
            self.unknown += 1
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if not self.counts:
                self.counts = [0] * (len(bounds) + 1)
            self.counts[bisect_right(bounds, value)] += 1
        else:
            self._word(str(value))

    def add_all(self, values: Sequence[Value], bounds: tuple[float, ...]) -> None:
        """Count many values, as `add` does one after another."""
        kinds = set(map(type, values))
        if kinds <= {float, int, type(None)}:
            numbers = [value for value in values if value is not None and value == value]
            self.unknown += len(values) - len(numbers)
            if numbers and not self.counts:
                self.counts = [0] * (len(bounds) + 1)
            for place, count in Counter(map(bisect_right, repeat(bounds), numbers)).items():
                self.counts[place] += count
        elif kinds <= {str, bool}:
            for word, count in Counter(map(str, values)).items():
                self._word(word, count)
        else:
            for value in values:
                self.add(value, bounds)

    def _word(self, word: str, count: int = 1) -> None:
        word = word[:_LETTERS]
        # a rule may measure something else of each pair: its words must not fill the memory
        word = word if word in self.words or len(self.words) < _WORDS else "…"
        self.words[word] = self.words.get(word, 0) + count

    def merge(self, other: Measured) -> None:
        """Add another unit's counts."""
        if self.counts and other.counts:
            self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        else:
            self.counts = self.counts or list(other.counts)
        for word, count in other.words.items():
            self.words[word] = self.words.get(word, 0) + count
        self.unknown += other.unknown


@dataclass
class SourceCounts:
    """The pairs of one source: `read` = `kept` + all of `dropped`; `dropped` is rule → reason → pairs.

    `changed` counts the kept pairs whose caption is not the source's; `changed_by` every change that a rule made,
    also of pairs that were dropped later.
    """

    read: int = 0
    kept: int = 0
    changed: int = 0
    changed_by: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)

    def drop(self, rule: str, why: str, count: int = 1) -> None:
        """Count pairs that a rule dropped; pairs that were counted as kept must be taken from `kept` by the caller."""
        reasons = self.dropped.setdefault(rule, {})
        reasons[why] = reasons.get(why, 0) + count

    def measure(self, rule: Rule, value: Value) -> None:
        """Count what a rule measured of a pair."""
        self.measured.setdefault(rule.name, Measured()).add(value, edges(rule))

    @property
    def gone(self) -> int:
        """All pairs dropped."""
        return sum(sum(reasons.values()) for reasons in self.dropped.values())


@dataclass
class Statistics:
    """Counts by source."""

    sources: dict[str, SourceCounts] = field(default_factory=dict)

    def source(self, name: str) -> SourceCounts:
        """The counts of one source, to be added to."""
        return self.sources.setdefault(name, SourceCounts())

    @property
    def read(self) -> int:
        """All pairs read, those that could not be read among them."""
        return sum(source.read for source in self.sources.values())

    @property
    def kept(self) -> int:
        """All pairs kept."""
        return sum(source.kept for source in self.sources.values())

    @property
    def dropped(self) -> int:
        """All pairs dropped."""
        return sum(source.gone for source in self.sources.values())

    def merge(self, other: Statistics) -> None:
        """Add another unit's counts."""
        for name, counts in other.sources.items():
            mine = self.source(name)
            mine.read += counts.read
            mine.kept += counts.kept
            mine.changed += counts.changed
            for rule, count in counts.changed_by.items():
                mine.changed_by[rule] = mine.changed_by.get(rule, 0) + count
            for rule, reasons in counts.dropped.items():
                for why, count in reasons.items():
                    mine.drop(rule, why, count)
            for rule, measured in counts.measured.items():
                mine.measured.setdefault(rule, Measured()).merge(measured)

    def check(self, where: str) -> None:
        """Raise ValueError unless every pair read is kept or dropped."""
        for name, counts in self.sources.items():
            if counts.read != counts.kept + counts.gone:
                raise ValueError(
                    f"{where}: {counts.read:,} pairs of {name} were read, but {counts.kept:,} kept and "
                    f"{counts.gone:,} dropped: {counts.read - counts.kept - counts.gone:+,} unaccounted for"
                )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with sorted names, so that equal counts give equal files."""
        return {"sources": {name: _source_json(self.sources[name]) for name in sorted(self.sources)}}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Statistics:
        """What `to_json` gave. Raises KeyError and TypeError for anything else."""
        return cls({name: _source(counts) for name, counts in found["sources"].items()})

    @classmethod
    def total(cls, parts: Iterable[Statistics]) -> Statistics:
        """The sum of units."""
        whole = cls()
        for part in parts:
            whole.merge(part)
        return whole


def _source_json(counts: SourceCounts) -> dict[str, Any]:
    measured = {
        rule: {"counts": found.counts, "words": dict(sorted(found.words.items())), "unknown": found.unknown}
        for rule, found in sorted(counts.measured.items())
    }
    return {
        "read": counts.read,
        "kept": counts.kept,
        "changed": counts.changed,
        "changed_by": dict(sorted(counts.changed_by.items())),
        "dropped": {rule: dict(sorted(reasons.items())) for rule, reasons in sorted(counts.dropped.items())},
        "measured": measured,
    }


def _source(found: Mapping[str, Any]) -> SourceCounts:
    return SourceCounts(
        found["read"],
        found["kept"],
        found["changed"],
        dict(found["changed_by"]),
        {rule: dict(reasons) for rule, reasons in found["dropped"].items()},
        {rule: Measured(m["counts"], dict(m["words"]), m["unknown"]) for rule, m in found["measured"].items()},
    )
