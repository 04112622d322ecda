"""Records of one picture become one: what each says stands there once, and which tasks may use it is kept."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwenvl.data.assemble.judge import digest_of, samples_in
from qwenvl.sample import Task
from qwenvl.tasks.offered import FIELDS, OFFERED

JOINED = "qwenvl.joined"
"""In a joined record's `meta`: source and id of each record in it, and what else its `meta` says."""


@dataclass(frozen=True)
class Part:
    """A record that goes into one: its source and id, its annotations as JSON values (`qwenvl.data.record_json`), and
    how many samples each task takes of it.
    """

    source: str
    id: str
    found: Mapping[str, Any]
    takes: Mapping[Task, int]


@dataclass
class Joined:
    """One record of the corpus as JSON values. `given` is how many samples of each task each source gave;
    `twice` counts annotations that an earlier part had said already.
    """

    found: dict[str, Any]
    given: dict[Task, dict[str, int]] = field(default_factory=dict)
    twice: int = 0

    @property
    def counts(self) -> dict[Task, int]:
        """How many samples each task can make."""
        return {task: samples_in(task, places) for task, places in self.found["meta"][OFFERED].items()}


def join(parts: Sequence[Part]) -> Joined:
    """The parts as one record, the first part's pictures; annotations that no task takes are left out.

    Of several parts with text lines the first one's are taken: two readings of one picture are not one page.
    """
    first = parts[0].found
    fields: dict[str, list[Any]] = {name: [] for name in dict.fromkeys(FIELDS.values())}
    known: dict[str, dict[str, int]] = {name: {} for name in fields}
    offered: dict[Task, list[int]] = {}
    said: set[tuple[Task, str]] = set()
    joined = Joined({})
    for part in parts:
        for task, places in _taken(part).items():
            name = FIELDS[task]
            if task == "ocr" and offered.get(task):
                joined.twice += 1
                continue
            new = 0
            for place in places:
                annotation = part.found[name][place]
                key = (task, digest_of(_says(task, annotation)))
                if key in said and task != "ocr":
                    joined.twice += 1
                    continue
                said.add(key)
                at = _place(annotation, fields[name], known[name], task)
                offered.setdefault(task, []).append(at)
                new += 1
            given = joined.given.setdefault(task, {})
            given[part.source] = given.get(part.source, 0) + (min(1, new) if task == "ocr" else new)
    meta = {**first["meta"], OFFERED: offered}
    if len(parts) > 1:
        meta[JOINED] = [_origin(part) for part in parts]
    shown = next((part.found["images"] for part in parts if part.found["images"]), first["images"])
    joined.found = {"images": shown, **fields, "meta": meta, "pictures": first["pictures"]}
    return joined


def _origin(part: Part) -> dict[str, Any]:
    meta = {key: value for key, value in part.found["meta"].items() if key != OFFERED}
    return {"source": part.source, "id": part.id, **({"meta": meta} if meta else {})}


def _taken(part: Part) -> dict[Task, list[int]]:
    """The places of the annotations that each task takes: all, or some that the record's id draws."""
    offered: dict[Task, list[int]] = part.found["meta"][OFFERED]
    taken: dict[Task, list[int]] = {}
    for task, places in offered.items():
        take = len(places) if task == "ocr" and part.takes[task] else part.takes[task]
        if take:
            rng = random.Random(f"{part.source}/{part.id}/{task}")
            taken[task] = places if take >= len(places) else sorted(rng.sample(places, take))
    return taken


def _says(task: Task, annotation: Any) -> Any:
    """What makes two annotations the same to a task: for a caption its words, whatever boxes another task has there."""
    return annotation[:1] if task == "caption" else annotation


def _place(annotation: Any, field: list[Any], known: dict[str, int], task: Task) -> int:
    """Where the annotation stands in the joined record's list, once whatever tasks use it (a text line as often as it
    is there).
    """
    key = digest_of(annotation)
    if key not in known or task == "ocr":
        known[key] = len(field)
        field.append(annotation)
    return known[key]
