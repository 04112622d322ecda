"""Reading what an evaluation wrote: each task's scores with their protocol, and its answers one by one."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenvl.sample import Box

LONGEST_LINE = 4 << 20
"""Bytes of one answer's line; a few-shot prompt is long, a line beyond this is no answer."""

RESULT, ANSWERS = "result.json", "answers.jsonl"


class ResultsError(ValueError):
    """A results folder that can't be used; the message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One item: what was asked, said and right. `score` is in 0…1 (CIDEr of one picture may be more), None without one.

    `image` is the picture's path as written; `boxes` are the answer's, `truth` the target's, in its pixels.
    """

    id: str
    prompt: str
    answer: str
    targets: tuple[str, ...]
    score: float | None
    category: str | None
    image: str | None
    boxes: tuple[Box, ...]
    truth: tuple[Box, ...]
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """One task's scores. `scores` are metric → value, low, high (all in 0…1 or None), n.

    `categories` are name → metric → value ("n" is a count); `protocol` says how the numbers were made. `items` were
    scored of `expected` asked; `published` is how many the split has, where that is known. `unreadable` is
    what a judge replied without scores: count, of, why, shown. `folder` holds the answers.
    """

    task: str
    split: str
    items: int
    expected: int | None
    scores: dict[str, dict[str, Any]]
    published: int | None
    categories: dict[str, dict[str, float | None]]
    protocol: dict[str, Any]
    unreadable: dict[str, Any]
    folder: Path

    @property
    def whole(self) -> int | None:
        """How many items there should be."""
        return self.published if self.published is not None else self.expected


def read_results(folder: Path) -> list[Result]:
    """Every task's result below `folder`, or the one of a task's own folder, in the order of `results.json`.

    Raises ResultsError.
    """
    if (folder / RESULT).is_file():
        return [read_result(folder)]
    if not folder.is_dir():
        raise ResultsError(f"{folder}: there is no such folder; expected one that `qwenvl eval --out` wrote")
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{RESULT}"))}
    if not found:
        raise ResultsError(f"{folder}: no results; expected TASK/{RESULT} in it, as `qwenvl eval --out` writes")
    listed = [name for name in _listed(folder) if name in found]
    return [read_result(found[name]) for name in dict.fromkeys([*listed, *found])]


def _listed(folder: Path) -> list[str]:
    """The tasks' names by `results.json`, which only gives the order: a folder that was put together has none."""
    path = folder / "results.json"
    if not path.is_file():
        return []
    tasks = _json(path).get("tasks", [])
    names = tasks if isinstance(tasks, list | dict) else []
    return [str(name["task"] if isinstance(name, dict) and "task" in name else name) for name in names]


def read_result(folder: Path) -> Result:
    """The result of one task. Raises ResultsError."""
    path = folder / RESULT
    found = _json(path)
    task = found.get("task")
    scores = found.get("scores")
    if not isinstance(task, str) or not isinstance(scores, dict):
        raise ResultsError(f"{path}: expected an object with 'task' (text) and 'scores' (an object)")
    categories = found.get("categories", {})
    protocol = found.get("protocol", {})
    unreadable = found.get("unreadable", {})
    if not all(isinstance(value, dict) for value in (categories, protocol, unreadable)):
        raise ResultsError(f"{path}: expected 'categories', 'protocol' and 'unreadable' to be objects")
    return Result(
        task=task,
        split=str(found.get("split") or ""),
        items=_count(found.get("items"), path, "items") or 0,
        expected=_count(found.get("expected"), path, "expected"),
        published=_count(found.get("published"), path, "published"),
        scores={str(name): _score(value, path, f"scores.{name}") for name, value in scores.items()},
        categories={str(name): _category(value, path, str(name)) for name, value in categories.items()},
        protocol=protocol,
        unreadable=unreadable,
        folder=folder,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: not readable: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ResultsError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def _count(value: Any, path: Path, field: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ResultsError(f"{path}: {field}: expected a count, found {value!r}")
    return value


def _score(value: Any, path: Path, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        value = {"value": value}
    numbers = {key: _number(value.get(key), path, f"{field}.{key}") for key in ("value", "low", "high")}
    return {**numbers, "n": _count(value.get("n"), path, f"{field}.n")}


def _category(value: Any, path: Path, name: str) -> dict[str, float | None]:
    field = f"categories.{name}"
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: {field}: expected metric → value, found {value!r}")
    inner = {key: found["value"] if isinstance(found, dict) else found for key, found in value.items()}
    return {str(key): _number(found, path, f"{field}.{key}") for key, found in inner.items()}


def _number(value: Any, path: Path, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ResultsError(f"{path}: {field}: expected a number or null, found {value!r}")
    return None if math.isnan(value) else float(value)


def read_answers(folder: Path) -> Iterator[Answer]:
    """A task's answers in the order they came; none where there is no file.

    A last line without its end was cut off by a kill and is left out. Raises ResultsError for any other bad line.
    """
    path = folder / ANSWERS
    if not path.is_file():
        return
    with path.open("rb") as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise ResultsError(f"{path}: line {number}: longer than {LONGEST_LINE:,} bytes")
            if not line.endswith(b"\n") and not _whole(line):
                return
            if line.strip():
                yield _answer(line, f"{path}: line {number}")


def _whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _answer(line: bytes, where: str) -> Answer:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{where}: not JSON: {error}") from None
    if not isinstance(found, dict) or "id" not in found or "answer" not in found:
        raise ResultsError(f"{where}: expected an object with 'id' and 'answer'")
    score = found.get("score")
    number = isinstance(score, int | float) and not isinstance(score, bool)
    if score is not None and not (number and 0 <= score < math.inf):
        raise ResultsError(f"{where}: score: expected null or a number of 0 or more, found {score!r}")
    targets = found.get("targets", found.get("target"))
    known = {"id", "prompt", "answer", "target", "targets", "score", "category", "image", "boxes"}
    boxes, truth = _places(found.get("boxes"), f"{where}: boxes")
    return Answer(
        id=str(found["id"]),
        prompt=str(found.get("prompt") or ""),
        answer=str(found["answer"]),
        targets=_texts(targets),
        score=None if score is None else float(score),
        category=None if found.get("category") is None else str(found["category"]),
        image=found["image"] if isinstance(found.get("image"), str) else None,
        boxes=boxes,
        truth=truth,
        extra={key: value for key, value in found.items() if key not in known},
    )


def _texts(targets: Any) -> tuple[str, ...]:
    if targets is None:
        return ()
    # a split repeats its answers many thousand times
    return tuple(sys.intern(str(target)) for target in (targets if isinstance(targets, list) else [targets]))


def _places(value: Any, where: str) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """The boxes of the answer and of the target."""
    if value is None:
        return (), ()
    if not isinstance(value, dict):
        raise ResultsError(f'{where}: expected {{"true": …, "found": …}}, found {str(value)[:80]}')
    return _boxes(value.get("found"), f"{where}.found"), _boxes(value.get("true"), f"{where}.true")


def _boxes(value: Any, where: str) -> tuple[Box, ...]:
    """One box or a list of them."""
    if value is None or value == []:
        return ()
    try:
        boxes = value if isinstance(value[0], list) else [value]
        return tuple(Box(*(_finite(corner) for corner in box)) for box in boxes)
    except (TypeError, ValueError, KeyError):
        raise ResultsError(f"{where}: expected [x0, y0, x1, y1] in pixels, found {str(value)[:80]}") from None


def _finite(value: Any) -> float:
    number = float(value)
    if isinstance(value, str | bool) or not math.isfinite(number):
        raise ValueError
    return number
