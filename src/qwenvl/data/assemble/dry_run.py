"""A try: the first records of every source, judged one by one; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa

from qwenvl.data.assemble.held_out import HeldOutPictures, looks_of
from qwenvl.data.assemble.judge import Judge
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.units import Unit, list_units
from qwenvl.data.sources import BadRows, DataError
from qwenvl.sample import Task


@dataclass
class Tried:
    """What became of the records of a source: by rule how many were dropped, with the first one's reason; samples by
    task; rows that could not be used, with the first one's message.
    """

    name: str
    there: bool = True
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    why: dict[str, str] = field(default_factory=dict)
    samples: Counter[Task] = field(default_factory=Counter)
    skipped: int = 0
    first: str = ""


def dry_run(recipe: BuildRecipe, count: int) -> list[Tried]:
    """Judge up to `count` records of every source, and compare with up to `count` of every held-out one.

    What needs all records is left out: copies, counts, joining. Raises what listing and reading raise.
    """
    listing = list_units(recipe)
    looks = [looks_of(islice(unit.pictures(BadRows()), count)) for unit in _first(listing.held_out)]
    held_out = HeldOutPictures(pa.concat_tables(looks) if looks else None, recipe.held_out.distance)
    tried = [Tried(source.name, source.name not in listing.missing) for source in recipe.sources]
    for unit in _first(listing.units):
        _try(unit, Judge(recipe, unit.source, held_out), tried[unit.source], count)
    return tried


def _first(units: Sequence[Unit]) -> list[Unit]:
    """The first unit of each source."""
    found: dict[int, Unit] = {}
    for unit in units:
        found.setdefault(unit.source, unit)
    return list(found.values())


def _try(unit: Unit, judge: Judge, tried: Tried, count: int) -> None:
    bad = BadRows()
    try:
        for record in islice(unit.records(bad), count):
            entry, _ = judge(record)
            tried.read += 1
            if entry.rule is not None:
                tried.dropped[entry.rule] += 1
                tried.why.setdefault(entry.rule, f"{record.id}: {entry.why}")
            tried.samples.update(entry.counts)
    except DataError as error:
        tried.first = str(error)
    tried.skipped, tried.first = bad.count, bad.first or tried.first


def told(tried: Sequence[Tried]) -> list[str]:
    """Lines for a terminal: a source, what its first records gave, and what was wrong with some."""
    width = max(len(found.name) for found in tried)
    lines = []
    for found in tried:
        if not found.there:
            lines.append(f"{found.name:{width}}  not there")
            continue
        samples = ", ".join(f"{task} {count:,}" for task, count in found.samples.items()) or "no samples"
        left = found.read - found.dropped.total()
        lines.append(f"{found.name:{width}}  {left:,} of {found.read:,} records: {samples}")
        if found.first:
            lines.append(f"{'':{width}}    {found.skipped:,} rows unreadable; the first: {found.first}")
        for rule, times in found.dropped.items():
            lines.append(f"{'':{width}}    {times:,} {rule}; the first: {found.why[rule]}")
    return lines
