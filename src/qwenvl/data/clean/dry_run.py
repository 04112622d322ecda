"""A recipe tried on a sample: nothing is written, what each rule took is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from qwenvl.data.clean.explain import line
from qwenvl.data.clean.judge import Judge, Seen, blocks
from qwenvl.data.clean.recipe import CleanRecipe
from qwenvl.data.clean.statistics import READING, Statistics
from qwenvl.data.clean.summary import summary_lines
from qwenvl.data.clean.unit import count_block
from qwenvl.data.sources.pairs import Columns, Unit, read_unit

_A_UNIT = 16
"""Pairs of a unit at least: opening one costs more than reading a few pairs of it."""

_SHOWN = 3
_WIDE = 160


def sample(units: Sequence[Unit], columns: Columns, count: int) -> Iterator[tuple[Unit, list[Seen]]]:
    """About `count` pairs in blocks, the first ones of units that are evenly spread over the input.

    The same units and `count` give the same pairs. Where a unit has fewer than its part others give more.
    """
    chosen = min(len(units), max(1, count // _A_UNIT))
    first = [index * len(units) // chosen for index in range(chosen)]
    others = set(range(len(units))).difference(first)
    left = count
    for place, index in enumerate([*first, *sorted(others)]):
        if left <= 0:
            return
        part = -(-left // max(1, chosen - place))
        for block in blocks(islice(read_unit(units[index], columns), part)):
            left -= len(block)
            yield units[index], block


def dry_run(
    units: Sequence[Unit], columns: Columns, recipe: CleanRecipe, count: int
) -> tuple[Statistics, dict[str, list[Seen]]]:
    """Judge a sample by the rules on single pairs; gives what was counted, and of each rule the first pairs it took.

    Rules on the whole set are left out: in a sample there is little that is there twice. Raises what reading raises.
    """
    judge = Judge(recipe.rules)
    statistics = Statistics()
    examples: dict[str, list[Seen]] = {}
    for unit, block in sample(units, columns, count):
        measured = judge.judge(block)
        count_block(statistics.source(unit.source), block, recipe.rules, measured)
        for seen in block:
            if seen.rule is not None and len(examples.setdefault(seen.rule, [])) < _SHOWN:
                examples[seen.rule].append(seen)
            seen.pair = None  # so that no picture is held
    statistics.check("the sample")
    return statistics, examples


def told(statistics: Statistics, examples: Mapping[str, Sequence[Seen]], recipe: CleanRecipe) -> list[str]:
    """Lines for a terminal: the counts, then pairs that each rule took."""
    names = [rule.name for rule in recipe.rules]
    lines = summary_lines(statistics, names)
    for name in (READING, *names):
        for seen in examples.get(name, ()):
            value = f" ({seen.value})" if seen.value else ""
            caption = f"  “{seen.original}”" if seen.original is not None else ""
            lines.append(line(f"{name}: {seen.why}{value}  {seen.id}{caption}", _WIDE))
        lines += [""] if name in examples else []
    late = [rule.name for rule in recipe.set_rules]
    if late:
        lines.append(f"not tried, for they need the whole input: {', '.join(late)}")
    return lines
