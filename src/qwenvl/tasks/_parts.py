"""What the tasks share: the end of a sample, and the words of the prompts in English and Chinese."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TypeVar

from qwenvl.sample import Image, Part, Record, Sample, Special, Task

T = TypeVar("T")

END = Special("<|endoftext|>", supervised=True)
"""Closes every pre-training sample."""


def first_image(record: Record) -> Image | None:
    """The picture that a record's annotations refer to; None for a record without pictures."""
    return record.images[0] if record.images else None


def chosen(found: Iterable[T], rng: random.Random, most: int | None) -> list[T]:
    """What samples are made of: all that a record has, or `most` of it in an order of `rng`'s where it has more."""
    items = list(found)
    return items if most is None or len(items) <= most else rng.sample(items, most)


def sample(record: Record, task: Task, name: str, *parts: Part) -> Sample:
    """A sample of a record, closed by `END`; `name` tells it from the record's other samples."""
    return Sample((*parts, END), task, record.source, f"{record.id}/{task}/{name}")
