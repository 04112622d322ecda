"""Our scores put beside the paper's: which of a task's numbers is which column of which table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwenvl.evaluate.published import PUBLISHED, Published, plain
from qwenvl.evaluate.results import Result


@dataclass(frozen=True, slots=True)
class Row:
    """A number of ours, and the published one that it is measured like (None where the paper has none).

    `score` holds value, low, high in 0…1 and n.
    """

    result: Result
    metric: str
    score: dict[str, Any]
    published: Published | None

    @property
    def name(self) -> str:
        """What the row is called."""
        return self.published.name if self.published else self.result.task

    @property
    def full(self) -> float:
        """What a score of 1 is in the units in which this benchmark is told."""
        return self.published.full if self.published else 100.0

    @property
    def other_split(self) -> bool:
        """Whether the paper's number is of another split than ours."""
        entry = self.published
        return entry is not None and not _by_metric(entry) and plain(entry.split) not in _names(self.result)


def rows(results: Sequence[Result]) -> list[Row]:
    """A row for each published number that we have ours of, and one for each other metric of a task."""
    found = []
    for result in [*results, *_chartqa(results)]:
        told: dict[str, Published] = {}
        for entry in candidates(result):
            metric = _metric(result, entry, told)
            if metric is not None:
                told[metric] = entry
        found += [Row(result, metric, score, told.get(metric)) for metric, score in result.scores.items()]
    return found


def candidates(result: Result) -> list[Published]:
    """The published numbers of a result's benchmark and, where the paper tells splits apart, of its split."""
    mine = _names(result)
    same = [entry for entry in PUBLISHED if plain(entry.task) in mine]
    if len(same) == 1 or any(map(_by_metric, same)):
        return same
    exact = [entry for entry in same if plain(entry.split) in mine]
    return exact or [entry for entry in same if entry.split == "all"]


def _names(result: Result) -> set[str]:
    """Every way to read a task's name: "refcoco_testA" and ("refcoco", "testA") are the same."""
    words = {plain(result.task), plain(result.split)}
    for entry in PUBLISHED:
        task, split = plain(entry.task), plain(entry.split)
        if plain(result.task) == task + split:
            words |= {task, split}
    return words


def _by_metric(entry: Published) -> bool:
    """Whether the paper tells a benchmark's numbers apart by the metric (MME), not by the split."""
    return len({other.metric for other in PUBLISHED if other.task == entry.task}) > 1


def _metric(result: Result, entry: Published, told: dict[str, Published]) -> str | None:
    """The metric of ours that a published number stands beside: of its name, else the first one."""
    named = [metric for metric in result.scores if plain(metric) == plain(entry.metric)]
    if named:
        return named[0]
    first = next(iter(result.scores), None)
    return None if _by_metric(entry) or first in told else first


_CHARTS = ("chartqa_human", "chartqa_augmented")


def _chartqa(results: Sequence[Result]) -> list[Result]:
    """ChartQA as the paper tells it: the mean of its two halves, where both are there and alike."""
    by_name = {result.task: result for result in results}
    halves = [by_name[name] for name in _CHARTS if name in by_name]
    if len(halves) != 2 or list(halves[0].scores) != list(halves[1].scores):
        return []
    one, other = halves
    counts = [half.whole for half in halves if half.whole is not None]
    return [
        Result(
            task="chartqa",
            split=one.split,
            items=one.items + other.items,
            expected=None,
            published=sum(counts) if len(counts) == 2 else None,
            scores={name: _mean(score, other.scores[name]) for name, score in one.scores.items()},
            categories={},
            protocol={"mean of": list(_CHARTS), **one.protocol},
            unreadable={},
            folder=one.folder,
        )
    ]


def _mean(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The mean of two scores of different items; their intervals' halves add up as those of independent numbers do."""
    both = [one[key] is not None and other[key] is not None for key in ("value", "low", "high")]
    if not both[0]:
        return {"value": None, "low": None, "high": None, "n": None}
    value = (one["value"] + other["value"]) / 2
    low = high = None
    if all(both):
        low = value - math.hypot(one["value"] - one["low"], other["value"] - other["low"]) / 2
        high = value + math.hypot(one["high"] - one["value"], other["high"] - other["value"]) / 2
    return {"value": value, "low": low, "high": high, "n": (one["n"] or 0) + (other["n"] or 0)}
