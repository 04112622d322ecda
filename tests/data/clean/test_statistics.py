"""Counts of units add up to those of the whole, in any order, and survive their file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.data.clean.rule import Rule, Value, Verdict
from qwenvl.data.clean.statistics import EDGES, Measured, Statistics
from qwenvl.data.pair import Pair


@dataclass(frozen=True)
class Given(Rule):
    """Measures what it is told to."""

    name: ClassVar[str] = "given"
    bins: ClassVar[tuple[float, ...]] = (0.0, 1.0, 2.0)

    def measure(self, pair: Pair) -> Value:
        return None

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return None


class Unbinned(Given):
    name = "unbinned"
    bins = ()


def counted(values: list[tuple[str, Value]]) -> Statistics:
    """Statistics of pairs of which every third is dropped."""
    found = Statistics()
    for i, (source, value) in enumerate(values):
        counts = found.source(source)
        counts.read += 1
        counts.measure(Given(), value)
        counts.measure(Unbinned(), value)
        if i % 3:
            counts.kept += 1
        else:
            counts.drop("given", f"why {i % 2}")
    return found


measured = st.lists(
    st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.floats(allow_infinity=True), st.booleans(), st.text()))
)


@given(measured, measured)
def test_units_add_up(first: list[tuple[str, Value]], second: list[tuple[str, Value]]) -> None:
    one, two = counted(first), counted(second)
    sums = [Statistics.total(parts).to_json() for parts in ([one, two], [two, one])]
    assert json.dumps(sums[0], sort_keys=True) == json.dumps(sums[1], sort_keys=True)
    whole = Statistics.from_json(json.loads(json.dumps(sums[0])))
    assert whole.to_json() == sums[0]
    whole.check("here")
    assert whole.read == len(first) + len(second) == whole.kept + whole.dropped
    for name, counts in whole.sources.items():
        for found in counts.measured.values():
            counted_here = sum(found.counts) + sum(found.words.values()) + found.unknown
            assert counted_here == sum(source == name for source, _ in first + second)


def test_a_number_lies_in_the_bin_that_begins_at_or_below_it() -> None:
    found = Statistics()
    for value in (-1, 0.0, 0.5, 1, 1.99, 2, 7):
        found.source("s").measure(Given(), value)
    assert found.source("s").measured["given"].counts == [1, 2, 2, 2]


def test_what_is_no_number_and_not_known() -> None:
    found = Statistics().source("s")
    for value in (None, math.nan, True, "en", "en"):
        found.measure(Given(), value)
    assert found.measured["given"].unknown == 2
    assert found.measured["given"].words == {"True": 1, "en": 2}


def test_a_rule_without_edges_gets_the_general_ones_and_words_are_bounded() -> None:
    assert list(EDGES) == sorted(EDGES)
    found = Statistics().source("s")
    for i in range(1000):
        found.measure(Unbinned(), f"word {i}")
    assert len(found.measured["unbinned"].words) <= 201
    assert sum(found.measured["unbinned"].words.values()) == 1000


def test_a_lost_pair_is_told() -> None:
    found = counted([("a", 1), ("a", 2)])
    found.source("a").read += 1
    with pytest.raises(ValueError, match=r"unit 7: 3 pairs of a were read.*\+1 unaccounted"):
        found.check("unit 7")


@given(st.lists(st.lists(st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=3)))))
def test_many_values_at_once_count_as_one_by_one(parts: list[list[Value]]) -> None:
    at_once, single = Measured(), Measured()
    for part in parts:
        at_once.add_all(part, EDGES)
        for value in part:
            single.add(value, EDGES)
    assert at_once == single
