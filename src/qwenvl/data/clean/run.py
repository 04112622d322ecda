"""A whole cleaning run: units → first pass → rules on the whole set → last pass → manifest and report."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from qwenvl.data.clean.gallery import write_pictures
from qwenvl.data.clean.layout import Layout, outside, prepare
from qwenvl.data.clean.past import open_run
from qwenvl.data.clean.recipe import CleanRecipe
from qwenvl.data.clean.report import write_report
from qwenvl.data.clean.setwide import MEMORY_MIB, apply
from qwenvl.data.clean.statistics import Statistics
from qwenvl.data.clean.unit import FirstPass, LastPass
from qwenvl.data.engine import run
from qwenvl.data.engine.run import Engine
from qwenvl.data.run_folder import alone, room
from qwenvl.data.shard_writer import write_manifest
from qwenvl.data.shards import MANIFEST
from qwenvl.data.sources.pairs import Columns, Unit, list_units
from qwenvl.data.sources.pairs.files import is_url
from qwenvl.data.whole import write_text

# Hugging Face's viewer and `load_dataset` take the shards alone, not the ledgers beside them.
_CARD = """---
configs:
- config_name: default
  data_files: "[0-9]*.parquet"
- config_name: dropped
  data_files: "dropped/*.parquet"
---
Image–text pairs cleaned by the recipe `{recipe}`: {kept:,} kept of {read:,}. `report.html` tells what was dropped and
why, `dropped/` pair by pair.
"""


def clean(
    input: str,
    out: str | Path,
    recipe: CleanRecipe,
    *,
    columns: Columns | None = None,
    source: str | None = None,
    engine: Engine = "pool",
    workers: int | None = None,
    address: str | None = None,
    memory_mib: int = MEMORY_MIB,
    fresh: bool = False,
    quiet: bool = False,
) -> Statistics:
    """Clean the pairs of `input` (see `list_units`) into the folder `out`, or go on there; gives what was counted.

    What is in `out` at the end depends on the input, the recipe and the columns alone: not on the engine, the number of
    workers, or how often the run was killed and started again. `fresh` removes an earlier run from `out` first.
    `memory_mib` is for the rules on the whole set, which put the rest on the disk.

    Raises RunError where `out` holds another run or other files, DataError where there is nothing to read, SetRuleError
    for a rule on the whole set that can not run, and the errors of `qwenvl.data.engine`.
    """
    if is_url(str(out)):
        raise ValueError(f"{out}: the output is a folder of this machine, or one that all nodes mount, not an address")
    folder = Path(os.path.abspath(out))
    columns = columns or Columns()
    # nodes of a cluster work elsewhere
    units = list_units(input if is_url(input) else os.path.abspath(input), source, columns)
    outside(folder, input, units)
    with alone(folder), room(folder):
        layout = prepare(folder, units, columns, recipe, fresh)
        if not (folder / MANIFEST).exists():
            _work(layout, units, columns, recipe, engine, workers, address, memory_mib, quiet)
        found = _total(layout, units)
        _end(layout, units, recipe, found)
    return found


def _work(
    layout: Layout,
    units: Sequence[Unit],
    columns: Columns,
    recipe: CleanRecipe,
    engine: Engine,
    workers: int | None,
    address: str | None,
    memory_mib: int,
    quiet: bool,
) -> None:
    set_rules = recipe.set_rules
    reads = frozenset().union(*(rule.reads for rule in set_rules))
    first = FirstPass(layout, recipe.rules, reads, columns, settles=not set_rules)
    last = LastPass(layout, tuple(rule.name for rule in set_rules))
    for title, work in (("reading and judging", first), ("settling", last)):
        if work is last and set_rules and not layout.setwide.exists():
            apply(
                [layout.ledger(unit.number) for unit in units],
                set_rules,
                layout.setwide,
                memory_mib=memory_mib,
                threads=workers,
            )
        outcome = run(
            units,
            work,
            work.done,
            engine=engine,
            workers=workers,
            address=address,
            quiet=quiet,
            title=title,
            noun="pairs",
        )
        outcome.check(lambda unit: unit.path)


def _total(layout: Layout, units: Sequence[Unit]) -> Statistics:
    """All units' counts. Every pair read is kept or dropped, in each unit (see `LastPass`) and here."""
    found = Statistics()
    for unit in units:
        found.merge(Statistics.from_json(json.loads(layout.statistics(unit.number).read_text(encoding="utf-8"))))
    found.check(str(layout.out))
    return found


def _end(layout: Layout, units: Sequence[Unit], recipe: CleanRecipe, found: Statistics) -> None:
    """Report, card and, last of all, the manifest."""
    if (layout.out / MANIFEST).exists():
        return
    for unit in units:
        layout.survivors(unit.number).unlink(missing_ok=True)  # of a unit whose worker died right after its mark
    layout.tidy()
    rules = [rule for _, rule in recipe.entries]
    write_report(layout.out, found, rules, recipe.name, {"units": len(units), "recipe": recipe.plain()})
    write_pictures(open_run(layout.out))
    write_text(layout.out / "README.md", _CARD.format(recipe=recipe.name, kept=found.kept, read=found.read))
    shards = (json.loads(layout.statistics(unit.number).read_text(encoding="utf-8"))["shard"] for unit in units)
    write_manifest(layout.out, list(shards), {"recipe": recipe.plain()})
