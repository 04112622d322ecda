"""Pure text: a document, supervised throughout."""

from __future__ import annotations

import random

from qwenvl.sample import Record, Sample, Text
from qwenvl.tasks._parts import chosen, sample
from qwenvl.tasks.wording import EXACT, Wording


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """One sample a document, at most `most`; no words are added."""
    return [
        sample(record, "text", f"{i}", Text(document, supervised=True))
        for i, document in chosen(((i, text) for i, text in enumerate(record.texts) if text), rng, most)
    ]


def prompt(beginning: str) -> Sample:
    """The unanswered sample: a beginning to go on from."""
    return Sample((Text(beginning),), "text")
