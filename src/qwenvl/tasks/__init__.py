"""The seven pre-training tasks and dialogue: each turns a `Record` into every `Sample` that the record supports.

The forms are those of the paper's appendix B, to the letter; each module also has `prompt`, the unanswered sample for
inference.
"""

from __future__ import annotations

import random
from typing import Protocol

from qwenvl.sample import Record, Sample, Task
from qwenvl.tasks import caption, dialogue, grounded_caption, grounding, ocr, referring, text, vqa

__all__ = [
    "TASKS",
    "Builder",
    "caption",
    "dialogue",
    "grounded_caption",
    "grounding",
    "ocr",
    "referring",
    "text",
    "vqa",
]


class Builder(Protocol):
    """A task's samples of a record: all, or `most` of them that `rng` chooses. One that has no more draws nothing."""

    def __call__(self, record: Record, rng: random.Random, most: int | None = None) -> list[Sample]:
        """The samples; none where the record has nothing for the task."""
        ...


TASKS: dict[Task, Builder] = {
    "caption": caption.samples,
    "vqa": vqa.samples,
    "grounding": grounding.samples,
    "referring": referring.samples,
    "grounded_caption": grounded_caption.samples,
    "ocr": ocr.samples,
    "text": text.samples,
    "dialogue": dialogue.samples,
}
"""Task → the function that makes its samples of a record."""
