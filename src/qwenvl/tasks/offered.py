"""Which of a record's annotations a task may use: all that suit it, or those that a corpus chose for it.

A corpus stores a picture once with what several sources say of it, and a source may be meant for some tasks alone
(GRIT's captions for captions with grounding, not for plain ones). `Record.meta` says so then: under `OFFERED` stands
task → places of annotations, from 0, in the record's list that the task reads; a task that is not named gets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qwenvl.sample import Record, Task

OFFERED = "qwenvl.tasks"
"""The key in `Record.meta`."""

FIELDS: dict[Task, str] = {
    "caption": "captions",
    "vqa": "qas",
    "grounding": "captions",
    "referring": "phrases",
    "grounded_caption": "phrases",
    "ocr": "lines",
    "text": "texts",
    "dialogue": "dialogues",
}
"""The list of a record that a task reads."""

_SUITS: dict[Task, Callable[[Any], bool]] = {
    "grounding": lambda caption: bool(caption.spans),
    "referring": lambda phrase: bool(phrase.referring and phrase.boxes),
    "grounded_caption": lambda phrase: bool(phrase.description and phrase.boxes),
    "text": bool,
    "dialogue": bool,
}


def suitable(record: Record, task: Task) -> list[int]:
    """The places of the annotations that give `task` a sample; those of OCR are all lines, which give one together."""
    if task not in ("text", "dialogue") and not record.images:
        return []
    suits = _SUITS.get(task)
    found = getattr(record, FIELDS[task])
    return [i for i, annotation in enumerate(found) if suits is None or suits(annotation)]


def offered(record: Record, task: Task) -> Record:
    """The record as `task` may use it: itself where nothing is said, else one with what was chosen for the task."""
    said = record.meta.get(OFFERED)
    if not isinstance(said, Mapping):
        return record
    places = said.get(task, ())
    found = getattr(record, FIELDS[task])
    if len(places) == len(found):
        return record
    chosen: dict[str, Any] = {FIELDS[task]: tuple(found[place] for place in places)}
    return Record(record.id, record.source, record.images, meta=record.meta, **chosen)
