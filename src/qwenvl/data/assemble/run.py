"""A whole build: held-out looks → reading → the plan → shards → card and manifest. Killed, it goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from qwenvl.data.assemble.card import summary
from qwenvl.data.assemble.card_page import card_page
from qwenvl.data.assemble.card_text import card_text
from qwenvl.data.assemble.held_out import Look
from qwenvl.data.assemble.layout import FORMAT, WORDING, Layout, prepare
from qwenvl.data.assemble.read import ReadUnit
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.samples import draw_samples
from qwenvl.data.assemble.settle import settle
from qwenvl.data.assemble.statistics import Counts
from qwenvl.data.assemble.units import Listing, list_units
from qwenvl.data.assemble.write import WriteShard
from qwenvl.data.clean.setwide import MEMORY_MIB
from qwenvl.data.engine import run
from qwenvl.data.engine.run import Engine
from qwenvl.data.run_folder import alone, room
from qwenvl.data.shard_writer import write_manifest
from qwenvl.data.shards import MANIFEST
from qwenvl.data.whole import write_json, write_text
from qwenvl.sample import Task


def build(
    recipe: BuildRecipe,
    out: str | Path,
    *,
    engine: Engine = "pool",
    workers: int | None = None,
    address: str | None = None,
    memory_mib: int = MEMORY_MIB,
    fresh: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make the corpus of a recipe in the folder `out`, or go on there; gives the card's numbers.

    What is in `out` at the end depends on the recipe and its sources alone: not on the engine, the number of workers,
    or how often the run was killed. `fresh` removes an earlier corpus from `out` first. `memory_mib` is for the pass
    over all records, which puts the rest on the disk.

    Raises RunError where `out` holds another corpus or other files, DataError for a source that is not there, and the
    errors of `qwenvl.data.engine`.
    """
    folder = Path(os.path.abspath(out))
    listing = list_units(recipe)
    with alone(folder), room(folder):
        layout = prepare(folder, recipe, listing, fresh)
        if not (folder / MANIFEST).exists():
            shards = _work(layout, recipe, listing, engine, workers, address, memory_mib, quiet)
            _end(layout, recipe, listing, shards)
        shutil.rmtree(layout.work, ignore_errors=True)
    card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    return card


def _work(
    layout: Layout,
    recipe: BuildRecipe,
    listing: Listing,
    engine: Engine,
    workers: int | None,
    address: str | None,
    memory_mib: int,
    quiet: bool,
) -> int:
    """All units' work; gives how many shards there are."""

    def do(units: Any, work: Any, title: str, noun: str) -> None:
        outcome = run(
            units, work, work.done, engine=engine, workers=workers, address=address, quiet=quiet, title=title, noun=noun
        )
        outcome.check(lambda unit: str(getattr(unit, "path", unit)))

    do(listing.held_out, Look(layout), "held-out pictures", "pictures")
    held_out = tuple(layout.held(unit.number) for unit in listing.held_out)
    do(listing.units, ReadUnit(layout, recipe, held_out), "reading", "records")
    if not layout.settled.exists():
        settle(layout, recipe, len(listing.units), memory_mib)
    shards: int = json.loads(layout.settled.read_text(encoding="utf-8"))["shards"]
    do(range(shards), WriteShard(layout, recipe), "writing", "records")
    return shards


def _end(layout: Layout, recipe: BuildRecipe, listing: Listing, shards: int) -> None:
    """Card, samples and, last of all, the manifest."""
    counts = Counts()
    files = []
    having: dict[Task, list[Path]] = {}
    for number in range(shards):
        found = json.loads(layout.written(number).read_text(encoding="utf-8"))
        of_shard = Counts.of(found["counts"])
        counts.merge(of_shard)
        files.append(found["shard"])
        for task in of_shard.tasks:
            having.setdefault(task, []).append(layout.shard(number))
    skipped: Counter[str] = Counter()
    messages: list[str] = []
    for unit in listing.units:
        found = json.loads(layout.read(unit.number).read_text(encoding="utf-8"))
        skipped[recipe.sources[unit.source].name] += found["skipped"]
        messages += found["messages"]
    held_out = [json.loads(layout.looked(unit.number).read_text(encoding="utf-8")) for unit in listing.held_out]
    settled = json.loads(layout.settled.read_text(encoding="utf-8"))
    card = summary(recipe, counts, settled, skipped, listing.missing)
    card |= {"held_out": held_out, "messages": messages[:50]}
    drawn = draw_samples(layout.out, having, recipe)
    write_json(layout.out / "card.json", card)
    write_text(layout.out / "card.html", card_page(card, drawn))
    write_text(layout.out / "card.md", card_text(card))
    words = recipe.words().plain()
    if words:
        write_text(layout.out / WORDING, yaml.safe_dump(words, allow_unicode=True, sort_keys=False))
    # what training draws by: `weight` is relative to the others
    tasks = {task["name"]: {key: task[key] for key in ("samples", "records", "weight")} for task in card["tasks"]}
    write_manifest(layout.out, files, {"corpus": FORMAT, "recipe": recipe.plain(), "tasks": tasks})
