"""What a corpus of conversations holds, counted: a unit's, and the sum of all."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from qwenvl.data.dialogues.exchanges import turn_tokens
from qwenvl.sample import Image, Record, Region

EDGES = (32, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 1792, 2048, 3072, 4096)
"""Bounds of the histogram of estimated tokens."""


@dataclass
class Tally:
    """Counts by strategy. Names of counters are "strategy", or "strategy/what".

    `tokens` counts by the number of the bin of `EDGES`; `origins` the records that conversations were made of, by
    source, each as often as it was used.
    """

    dialogues: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    exchanges: Counter[str] = field(default_factory=Counter)
    turns: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, strategy: str, language: str, record: Record, picture_tokens: int) -> None:
        """Count the conversations of a record."""
        for turns in record.dialogues:
            parts = [part for turn in turns for part in turn.parts]
            asked = sum(turn.role == "user" for turn in turns)
            self.dialogues[strategy] += 1
            self.languages[f"{strategy}/{language}"] += 1
            self.exchanges[strategy] += asked
            self.turns[f"{strategy}/{asked}"] += 1
            self.pictures[f"{strategy}/{sum(isinstance(part, Image) for part in parts)}"] += 1
            self.regions[strategy] += sum(isinstance(part, Region) for part in parts)
            self.tokens[f"{strategy}/{bisect.bisect(EDGES, turn_tokens(turns, picture_tokens))}"] += 1
        for origin in record.meta.get("from", ()):
            self.origins[origin.partition("/")[0]] += 1

    def drop(self, strategy: str, reason: str) -> None:
        """Count what was not kept."""
        self.dropped[f"{strategy}/{reason}"] += 1

    def merge(self, other: Tally) -> None:
        """Add another's counts."""
        for each in fields(self):
            getattr(self, each.name).update(getattr(other, each.name))

    def to_json(self) -> dict[str, dict[str, int]]:
        """Plain values."""
        return {each.name: dict(sorted(getattr(self, each.name).items())) for each in fields(self)}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Tally:
        """The counts that `to_json` gave."""
        return Tally(**{each.name: Counter(found[each.name]) for each in fields(Tally)})


def by_strategy(counter: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts named "strategy/what" as strategy → what → count."""
    found: dict[str, dict[str, int]] = {}
    for name, count in counter.items():
        strategy, _, what = name.partition("/")
        found.setdefault(strategy, {})[what] = count
    return found
