"""Dialogue (stage 3): ChatML with pictures numbered in order; supervised are the assistant's words and the control
tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from qwenvl.sample import Record, Sample, Turn
from qwenvl.tasks._parts import chosen
from qwenvl.tasks.wording import EXACT, Wording
from qwenvl.text.chatml import dialogue_sample


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """One sample a conversation, at most `most`; the turns are its only words."""
    return [
        dialogue_sample(turns, source=record.source, id=f"{record.id}/dialogue/{i}")
        for i, turns in chosen(((i, turns) for i, turns in enumerate(record.dialogues) if turns), rng, most)
    ]


def prompt(turns: Sequence[Turn]) -> Sample:
    """The unanswered sample: a conversation that ends with the user's turn."""
    return dialogue_sample(turns, reply=True)
