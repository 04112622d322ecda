"""What a corpus is, in numbers: the summary that `card.html` and `card.md` show, beside the paper's tables 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.statistics import Counts, TaskCounts, fill_of
from qwenvl.sample import Task


def summary(
    recipe: BuildRecipe, counts: Counts, settled: Mapping[str, Any], skipped: Mapping[str, int], missing: Sequence[str]
) -> dict[str, Any]:
    """The numbers as JSON values.

    `settled` is what `qwenvl.data.assemble.settle` counted, `skipped` the rows of each source that could not be used,
    `missing` the sources that were not there.
    """
    tasks = [_task(task, counts.tasks.get(task, TaskCounts()), recipe, counts.records) for task in recipe.used]
    total = sum(task["samples"] for task in tasks)
    weights = sum(task["weight"] for task in tasks if task["samples"])
    published = sum(task["published"] or 0 for task in tasks)
    for task in tasks:
        task["part"] = task["samples"] / total if total else None
        task["drawn"] = task["weight"] / weights if task["samples"] else 0.0
        task["published_part"] = task["published"] / published if task["published"] else None
    return {
        "name": recipe.name,
        "about": recipe.about,
        "records": counts.records,
        "pictures": counts.pictures,
        "samples": total,
        "joined": counts.joined,
        "twice": counts.twice,
        "sequence": recipe.packing.sequence,
        "tokenizer": recipe.packing.tokenizer or "the packaged nano model's",
        "tasks": tasks,
        "sources": _sources(recipe, counts, settled, skipped, missing),
        "missing": list(missing),
    }


def _task(name: Task, counts: TaskCounts, recipe: BuildRecipe, records: int) -> dict[str, Any]:
    plan = recipe.tasks.get(name)
    samples = counts.samples.total()
    fill = fill_of(name, counts.lengths, recipe.packing.sequence)
    measured = counts.measured
    return {
        "name": name,
        "samples": samples,
        "records": counts.records,
        "weight": plan.weight if plan and plan.weight is not None else float(samples),
        "published": plan.published if plan else None,
        "sources": dict(sorted(counts.samples.items())),
        "languages": dict(sorted(counts.languages.items())),
        "measured": measured,
        "tokens": counts.tokens / measured if measured else None,
        "supervised": counts.supervised / measured if measured else None,
        "longest": counts.longest if measured else None,
        "too_long": counts.too_long,
        "bins": counts.bins,
        "fill": {"groups": fill.groups, "rows": fill.rows, "share": fill.share} if fill.rows else None,
    }


def _sources(
    recipe: BuildRecipe,
    counts: Counts,
    settled: Mapping[str, Any],
    skipped: Mapping[str, int],
    missing: Sequence[str],
) -> list[dict[str, Any]]:
    rows = []
    for source, found in zip(recipe.sources, settled["sources"], strict=True):
        given = {task: counts.tasks[task].samples[source.name] for task in source.tasks if task in counts.tasks}
        rows.append(
            {
                "name": source.name,
                "there": source.name not in missing,
                "skipped": skipped.get(source.name, 0),
                "read": found["read"],
                "dropped": found["dropped"],
                "joined": found["joined"],
                "kept": found["read"] - sum(found["dropped"].values()),
                "samples": given,
                "published": list(source.published) or None,
            }
        )
    return rows
