"""The seven pre-training tasks and dialogue: each turns a `Record` into every `Sample` that the record supports.

The forms are those of the paper's appendix B, to the letter; each module also has `prompt`, the unanswered sample for
inference.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from qwenvl.sample import Record, Sample, Task
from qwenvl.tasks import caption, dialogue, grounded_caption, grounding, ocr, referring, text, vqa

__all__ = ["TASKS", "caption", "dialogue", "grounded_caption", "grounding", "ocr", "referring", "text", "vqa"]

TASKS: dict[Task, Callable[[Record, random.Random], list[Sample]]] = {
    "caption": caption.samples,
    "vqa": vqa.samples,
    "grounding": grounding.samples,
    "referring": referring.samples,
    "grounded_caption": grounded_caption.samples,
    "ocr": ocr.samples,
    "text": text.samples,
    "dialogue": dialogue.samples,
}
"""Task → the function that makes all samples of a record; `rng` decides where a task has a choice."""
