"""Bars for a rule, source by source, from the numbers in a run's ledgers: which one keeps a wanted share of the pairs.

The paper names no thresholds but tells what share of each set was kept (appendix A.1), so bars are found from shares.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qwenvl.data.clean.rules import RULES
from qwenvl.data.clean.rules.bounded import Bounded

Side = Literal["min", "max"]
Floats = NDArray[np.float64]

_FINEST = 1e-6  # smaller numbers are 0


class TuneError(ValueError):
    """There are no numbers to propose a bar from; the message says why."""


@dataclass(frozen=True)
class Bar:
    """A proposed bar of one source.

    Of `read` pairs `reach` are those that a bar decides about: kept by all other rules and measured by this one;
    `unmeasured` are kept without a number. `bar` keeps `kept` pairs (with the unmeasured) of the `wanted` share; None
    where even without a bar no more are left, or where the unmeasured alone are more. `unjudged` of those that reach it
    this rule dropped in the run, so that the rules behind it have not seen them.
    """

    source: str
    wanted: float
    side: Side
    bar: float | None
    read: int
    reach: int
    unmeasured: int
    unjudged: int
    kept: int


@dataclass
class _Tally:
    read: int = 0
    reach: int = 0
    unmeasured: int = 0
    unjudged: int = 0
    cells: Counter[float] = field(default_factory=Counter)


def tune(ledgers: Sequence[Path], rule: str, keep: Mapping[str, float], side: Side | None = None) -> list[Bar]:
    """A bar of `rule` for every source of the ledgers, by name.

    `keep` gives the share of the pairs read (0 to 1) that shall stay, by source; "" is for the others, and sources
    without any are left out. `side` "min" looks for a smallest number, "max" for a largest one; by default what the
    rule is made for. Bars have four digits, the kept pairs are counted exactly; set rules come after and may take more.
    Memory does not grow with the ledgers. Raises TuneError where there is nothing to go by.
    """
    if side is None:
        made_for = RULES.get(rule)
        side = made_for.tuned if made_for is not None and issubclass(made_for, Bounded) else "min"
    tallies: dict[str, _Tally] = {}
    for source, values, dropped, total in _columns(ledgers, rule):
        _add(tallies.setdefault(source, _Tally()), values, dropped, total, side)
    unknown = [source for source in keep if source and source not in tallies]
    if unknown:
        raise TuneError(f"no pairs of {', '.join(unknown)} in the run; its sources are {', '.join(sorted(tallies))}")
    wanted = {source: keep.get(source, keep.get("")) for source in sorted(tallies)}
    bars = {source: _bar(tallies[source], share, side) for source, share in wanted.items() if share is not None}
    counts: Counter[str] = Counter()
    for source, values, _, _ in _columns(ledgers, rule):
        if source in bars:
            bar, numbers = bars[source], values[np.isfinite(values)]
            passing = slice(None) if bar is None else numbers >= bar if side == "min" else numbers <= bar
            counts[source] += len(numbers[passing])
    return [
        Bar(source, wanted[source] or 0.0, side, bars[source], tally.read, tally.reach, tally.unmeasured,
            tally.unjudged, counts[source] + tally.unmeasured)
        for source, tally in sorted(tallies.items()) if source in bars
    ]  # fmt: skip


def as_recipe(rule: str, bars: Sequence[Bar]) -> str:
    """The bars as a line for a recipe's list of rules."""
    sources = ", ".join(f'"{bar.source}": {{{bar.side}: {bar.bar:g}}}' for bar in bars if bar.bar is not None)
    return f"- {rule}: {{sources: {{{sources}}}}}"


def _columns(ledgers: Sequence[Path], rule: str) -> Iterator[tuple[str, Floats, int, int]]:
    """For each stretch of a ledger and each of its sources: the numbers of the pairs that no other rule dropped (NaN:
    not measured), how many of them this rule dropped, and how many pairs were read.
    """
    import pyarrow.parquet as pq

    column = f"m_{rule}"
    if not ledgers:
        raise TuneError("there are no ledgers: run `qwenvl data clean` first, and give its output folder")
    for path in ledgers:
        with pq.ParquetFile(path) as file:
            _check(file.schema_arrow, column, path)
            for batch in file.iter_batches(1 << 16, columns=["source", "kept", "rule", column]):
                table = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
                own = table["rule"] == rule
                open_to_it = table["kept"].astype(bool) | own
                values = table[column].astype(np.float64)
                for source in sorted(set(table["source"])):
                    here = table["source"] == source
                    yield source, values[here & open_to_it], int((here & own).sum()), int(here.sum())


def _check(schema: Any, column: str, path: Path) -> None:
    import pyarrow as pa

    measured = [name for name in schema.names if name.startswith("m_")]
    if column not in measured:
        names = ", ".join(name[2:] for name in measured)
        raise TuneError(
            f"{path}: the rule {column[2:]} measured nothing in this run; rules that did: {names or 'none'}"
        )
    kind = schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise TuneError(f"{path}: {column[2:]} measures words, not numbers; a bar needs numbers")


def _add(tally: _Tally, values: Floats, dropped: int, total: int, side: Side) -> None:
    numbers = values[np.isfinite(values)]
    tally.read += total
    tally.reach += len(numbers)
    tally.unmeasured += len(values) - len(numbers)
    tally.unjudged += dropped
    cells, counts = np.unique(_four_digits(numbers, side), return_counts=True)
    tally.cells.update(dict(zip(cells.tolist(), counts.tolist(), strict=True)))


def _four_digits(numbers: Floats, side: Side) -> Floats:
    """The numbers rounded to four digits, down for a smallest and up for a largest, so that a bar there keeps them."""
    unit = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(numbers), _FINEST))) - 3)
    # a number that has four digits already is its own
    cells = np.floor(numbers / unit + 1e-6) if side == "min" else np.ceil(numbers / unit - 1e-6)
    rounded: Floats = np.round(cells * unit, 10) + 0.0
    return rounded


def _bar(tally: _Tally, share: float, side: Side) -> float | None:
    """The cell at which the pairs that stay come nearest to the wanted share."""
    wanted = share * tally.read - tally.unmeasured
    if wanted < 0 or tally.reach <= wanted:
        return None
    best, nearest, kept = None, math.inf, 0
    for cell in sorted(tally.cells, reverse=side == "min"):
        kept += tally.cells[cell]
        if abs(kept - wanted) >= nearest:
            break
        best, nearest = cell, abs(kept - wanted)
    return best
