"""What the tasks share: the end of a sample, and the words of the prompts in English and Chinese."""

from __future__ import annotations

from qwenvl.sample import Image, Part, Record, Sample, Special, Task

END = Special("<|endoftext|>", supervised=True)
"""Closes every pre-training sample."""


def first_image(record: Record) -> Image | None:
    """The picture that a record's annotations refer to; None for a record without pictures."""
    return record.images[0] if record.images else None


def sample(record: Record, task: Task, name: str, *parts: Part) -> Sample:
    """A sample of a record, closed by `END`; `name` tells it from the record's other samples."""
    return Sample((*parts, END), task, record.source, f"{record.id}/{task}/{name}")
