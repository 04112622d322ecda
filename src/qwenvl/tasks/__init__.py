"""The seven pre-training tasks and dialogue: each turns a `Record` into every `Sample` that the record supports.

The forms are those of the paper's appendix B, to the letter; each module also has `prompt`, the unanswered sample for
inference.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from qwenvl.sample import Record, Sample, Task
from qwenvl.tasks import caption, dialogue, grounded_caption, grounding, ocr, referring, text, vqa
from qwenvl.tasks.offered import offered
from qwenvl.tasks.wording import EXACT, Wording

__all__ = [
    "EXACT",
    "TASKS",
    "Builder",
    "Wording",
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
    """A task's samples of a record: all, or `most` of them that `rng` chooses. One that has no more draws nothing.

    `wording` are the prompts' words, the paper's unless told otherwise.
    """

    def __call__(
        self, record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT
    ) -> list[Sample]:
        """The samples; none where the record has nothing for the task."""
        ...


@dataclass(frozen=True, slots=True)
class _Offered:
    """A task's samples of what a corpus chose for the task (`qwenvl.tasks.offered`)."""

    task: Task
    make: Builder

    def __call__(
        self, record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT
    ) -> list[Sample]:
        return self.make(offered(record, self.task), rng, most, wording)


_BUILDERS: dict[Task, Builder] = {
    "caption": caption.samples,
    "vqa": vqa.samples,
    "grounding": grounding.samples,
    "referring": referring.samples,
    "grounded_caption": grounded_caption.samples,
    "ocr": ocr.samples,
    "text": text.samples,
    "dialogue": dialogue.samples,
}

TASKS: dict[Task, Builder] = {task: _Offered(task, make) for task, make in _BUILDERS.items()}
"""Task → the function that makes its samples of a record."""
