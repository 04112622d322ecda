"""Samples of a finished corpus for people: some of each task, evenly spread, drawn from their tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from qwenvl.data.assemble.ledger import COUNTS
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.write import row_groups, tokenizer_of
from qwenvl.data.clean.gallery import spread
from qwenvl.data.record_json import record_from_json
from qwenvl.data.shards import COLUMNS
from qwenvl.data.whole import write_text
from qwenvl.sample import Record, Task
from qwenvl.tasks import TASKS
from qwenvl.text.inspect import article, to_html
from qwenvl.text.render import Example, render

DRAWN = 12
"""Samples on a task's page; the card shows the first `ON_CARD` of them."""

ON_CARD = 2
_SHARDS = 8


def draw_samples(out: Path, shards: Mapping[Task, Sequence[Path]], recipe: BuildRecipe) -> dict[Task, str]:
    """Write `samples/<task>.html` into `out` for every task; gives the first ones as HTML, for the card.

    `shards` are those in which there are samples of a task.
    """
    tokenizer = tokenizer_of(recipe.packing.tokenizer)
    (out / "samples").mkdir(exist_ok=True)
    shown: dict[Task, str] = {}
    for task in recipe.used:
        examples = _examples(task, spread(shards.get(task, ()), _SHARDS), recipe)
        if not examples:
            continue
        title = f"{recipe.name}: {task}"
        write_text(out / "samples" / f"{task}.html", to_html(examples, tokenizer, title))
        shown[task] = "".join(article(example, tokenizer) for example in examples[:ON_CARD])
    return shown


def _examples(task: Task, shards: Sequence[Path], recipe: BuildRecipe) -> list[Example]:
    """About the same number from each shard; of a record one sample, which the recipe's seed chooses."""
    tokenizer, words = tokenizer_of(recipe.packing.tokenizer), recipe.words()
    examples = []
    for number, path in enumerate(shards):
        counts = pq.read_table(path, columns=[COUNTS[task]]).column(0).to_pylist()
        places = [row for row, count in enumerate(counts) if count]
        share = DRAWN * (number + 1) // len(shards) - DRAWN * number // len(shards)
        for record in _records(path, spread(places, share)):
            rng = random.Random(f"{recipe.seed}/{record.id}/{task}")
            for sample in TASKS[task](record, rng, 1, words):
                examples.append(render(sample, tokenizer, recipe.packing.slots))
    return examples


def _records(path: Path, rows: Sequence[int]) -> list[Record]:
    """Some records of a shard, in rising order; only their row groups are read."""
    wanted: list[Mapping[str, int]] = [{"place": row} for row in rows]
    found = []
    for begin, table, chosen in row_groups(path, wanted, list(COLUMNS)):
        for row in table.take([row["place"] - begin for row in chosen]).to_pylist():
            contents = [image["bytes"] for image in row["images"]]
            found.append(record_from_json(row["id"], row["source"], json.loads(row["record"]), contents))
    return found
