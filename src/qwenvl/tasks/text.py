"""Pure text: a document, supervised throughout."""

from __future__ import annotations

import random

from qwenvl.sample import Record, Sample, Text
from qwenvl.tasks._parts import sample


def samples(record: Record, rng: random.Random) -> list[Sample]:
    """One sample a document."""
    return [
        sample(record, "text", f"{i}", Text(document, supervised=True))
        for i, document in enumerate(record.texts)
        if document
    ]


def prompt(beginning: str) -> Sample:
    """The unanswered sample: a beginning to go on from."""
    return Sample((Text(beginning),), "text")
