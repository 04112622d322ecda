"""A whole run: reading → the strategies → the language model → shards with text-only talk → statistics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from qwenvl.data.dialogues.gather import BUCKETS, TEXTS, Gathered, gather
from qwenvl.data.dialogues.layout import Layout, prepare, read_json, tidy
from qwenvl.data.dialogues.llm.ask import ask_all
from qwenvl.data.dialogues.recipe import DialogueRecipe, identity
from qwenvl.data.dialogues.report import examples_page, statistics
from qwenvl.data.dialogues.report_page import statistics_page
from qwenvl.data.dialogues.statistics import Tally
from qwenvl.data.dialogues.unit import Compose, Finish, Unit
from qwenvl.data.dialogues.wordings import load_wordings
from qwenvl.data.engine import run
from qwenvl.data.run_folder import alone
from qwenvl.data.shard_writer import write_manifest
from qwenvl.data.shards import ShardReader
from qwenvl.data.sources import DataError
from qwenvl.data.whole import write_json, write_text
from qwenvl.typed import to_dict

# Hugging Face's viewer takes the shards alone, not the notes beside them.
_CARD = """---
configs:
- config_name: default
  data_files: "[0-9]*.parquet"
---
{rows:,} conversations made by the recipe `{name}`. `statistics.html` tells what they are, `examples.html` shows some,
`dropped/` what was not kept and why.
"""


def make(
    recipe: DialogueRecipe,
    out: str | Path,
    *,
    workers: int | None = None,
    strict: bool = False,
    fresh: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make a recipe's corpus of conversations in the folder `out`, or go on there; gives its statistics.

    What is in `out` at the end depends on the recipe, the sources and the language model's replies (kept in a cache)
    alone: not on the number of workers, or how often the run was killed and started again. `fresh` removes an earlier
    run first, but not the cache. With `strict` the first bad row of a source ends it.

    Raises RunError where `out` holds something else, DataError for sources that can not be used or give no
    conversation, ConfigError for wordings that can't be used, ImportError without openai for a recipe that asks a
    language model, and the errors of `qwenvl.data.engine`.
    """
    load_wordings(recipe.wordings)
    if recipe.strategies.llm is not None:
        import openai  # noqa: F401  # it is needed late: say now that it is missing
    folder = Path(os.path.abspath(out))
    with alone(folder):
        layout, corpus = prepare(folder, identity(recipe), fresh)
        if not layout.finished.exists():
            _work(layout, recipe, corpus, workers, strict, quiet)
        return read_json(layout.finished)


def _work(layout: Layout, recipe: DialogueRecipe, corpus: str, workers: int | None, strict: bool, quiet: bool) -> None:
    if not layout.reading.exists():
        write_json(layout.reading, gather(recipe, layout.gathered, strict, quiet).to_json())
    found = Gathered.from_json(read_json(layout.reading))
    units = units_of(ShardReader(layout.gathered / BUCKETS).shards, recipe.rows_per_unit)
    compose = Compose(layout, recipe)
    run(units, compose, compose.done, workers=workers, quiet=quiet, title="joining", noun="conversations").check(_name)
    llm = ask_all(layout, recipe, corpus, units, quiet) if recipe.strategies.llm is not None else None
    talks, wanted = _talks(layout, recipe, units)
    finish = Finish(layout, recipe, talks)
    run(units, finish, finish.done, workers=workers, quiet=quiet, title="writing", noun="conversations").check(_name)
    _end(layout, recipe, units, found, wanted, llm)


def units_of(buckets: Sequence[int], rows: int) -> list[Unit]:
    """Buckets, by their numbers of records, put together to units of at least `rows`, but for the last."""
    units: list[Unit] = []
    begin = count = 0
    for number, size in enumerate(buckets):
        count += size
        if count >= rows:
            units.append(Unit(len(units), tuple(range(begin, number + 1))))
            begin, count = number + 1, 0
    if begin < len(buckets):
        units.append(Unit(len(units), tuple(range(begin, len(buckets)))))
    return units


def _name(unit: Unit) -> str:
    return f"unit {unit.number}"


def _made(layout: Layout, unit: Unit) -> int:
    """How many conversations about pictures a unit has."""
    marks = [mark for mark in (layout.made_mark(unit.number), layout.asked_mark(unit.number)) if mark.exists()]
    return sum(sum(read_json(mark)["tally"]["dialogues"].values()) for mark in marks)


def _talks(layout: Layout, recipe: DialogueRecipe, units: Sequence[Unit]) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Which text-only conversations go into which unit, spread evenly over what there is, and how many were wanted."""
    if recipe.text is None:
        return (), 0
    share = recipe.text.share
    ends = [0, *accumulate(_made(layout, unit) for unit in units)]
    there = len(ShardReader(layout.gathered / TEXTS))
    wanted = round(ends[-1] * share / (1 - share))
    count = min(wanted, there)
    places = [index * there // count for index in range(count)]
    cuts = [count * end // ends[-1] if ends[-1] else 0 for end in ends]
    return tuple(tuple(places[a:b]) for a, b in pairwise(cuts)), wanted


def _end(layout: Layout, recipe: DialogueRecipe, units: Sequence[Unit], found: Gathered, wanted: int, llm: Any) -> None:
    """The manifest, card, examples and, last of all, the statistics."""
    tally, shards = Tally(), []
    for unit in units:
        counts = read_json(layout.statistics(unit.number))
        tally.merge(Tally.from_json(counts["tally"]))
        if counts["rows"]:
            path = layout.shard(unit.number)
            shards.append({"file": path.name, "rows": counts["rows"], "bytes": path.stat().st_size})
    if not shards:
        reasons = ", ".join(f"{name} {count:,}" for name, count in tally.dropped.most_common(4))
        raise DataError(f"{layout.out}: the sources gave no conversation ({reasons or 'no record with a picture'})")
    write_manifest(layout.out, shards, {"recipe": to_dict(recipe)})
    told = statistics(recipe, found, tally, wanted, llm)
    rows = sum(int(shard["rows"]) for shard in shards)
    write_text(layout.out / "README.md", _CARD.format(rows=rows, name=recipe.name))
    write_text(layout.out / "examples.html", examples_page(recipe, layout.out))
    write_text(layout.out / "statistics.html", statistics_page(told))
    write_json(layout.finished, told)
    tidy(layout)
