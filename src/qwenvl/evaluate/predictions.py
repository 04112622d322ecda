"""Answers that another program wrote, in the usual forms of result files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.report import BadRows, DataError
from qwenvl.evaluate.benchmarks.benchmark import Item

_IDS = ("id", "question_id", "questionId", "image_id", "image")
_ANSWERS = ("answer", "prediction", "caption", "response", "output", "text", "pred")


def read_predictions(path: Path, items: Sequence[Item]) -> dict[str, str]:
    """The answers by item, from JSON lines or a JSON list of objects with an id (`id`, `question_id`, `questionId`,
    `image_id`) and an answer (`answer`, `prediction`, `caption`, `response`, …); rows without an id are taken in the
    order of the split where there are as many.

    Raises DataError where a row has no answer, an id is none of the split's or comes twice, or none is left.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file of predictions")
    known = {item.id for item in items}
    rows = list(Reading(BadRows(), strict=True).rows(path))
    if rows and all(_id(row) is None for _, row in rows):
        if len(rows) != len(items):
            raise DataError(f"{path}: {len(rows):,} answers without ids for {len(items):,} items")
        return {item.id: _answer(row, str(at)) for item, (at, row) in zip(items, rows, strict=True)}
    found: dict[str, str] = {}
    strange = 0
    for at, row in rows:
        id = _id(row)
        if id is None:
            raise DataError(f"{at}: no id (looked for {', '.join(_IDS)})")
        if id not in known:
            strange += 1
            continue
        if id in found:
            raise DataError(f"{at}: a second answer for {id!r}")
        found[id] = _answer(row, str(at))
    if not found:
        raise DataError(f"{path}: none of its {len(rows):,} ids is of this split, such as {items[0].id!r}")
    return found


def _id(row: dict[str, Any]) -> str | None:
    value = next((row[name] for name in _IDS if row.get(name) is not None), None)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _answer(row: dict[str, Any], where: str) -> str:
    for name in _ANSWERS:
        value = row.get(name)
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    raise DataError(f"{where}: no answer (looked for {', '.join(_ANSWERS)})")
