"""Grounded captioning: `<img>…</img><ref>This</ref><box>…</box>` + ** is a red star** (paper, appendix B)."""

from __future__ import annotations

import random

from qwenvl.sample import Box, Image, Language, Record, Region, Sample, Text
from qwenvl.tasks._parts import chosen, first_image, sample
from qwenvl.tasks.wording import EXACT, Wording

SUBJECTS: dict[Language, str] = {"en": "This", "zh": "这"}
VERBS: dict[Language, str] = {"en": " is ", "zh": "是"}
"""Supervised, before the description: "<ref>这</ref><box>…</box>是一个红色的星星" in Chinese."""


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """One sample a phrase that has a description, at most `most`."""
    image = first_image(record)
    if image is None:
        return []
    found = ((i, p, p.description) for i, p in enumerate(record.phrases) if p.description and p.boxes)
    return [
        sample(
            record, "grounded_caption", f"{i}", image, Region(subject, p.boxes),
            Text(verb + description, supervised=True),
        )
        for i, p, description in chosen(found, rng, most)
        for exact in [f"{SUBJECTS[p.language]}{{}}{VERBS[p.language]}"]
        for subject, verb in [wording.form("grounded_caption", p.language, exact, rng).split("{}")]
    ]  # fmt: skip


def prompt(image: Image, box: Box, language: Language = "en") -> Sample:
    """The unanswered sample: a box (in pixels) whose content is to be described."""
    return Sample((image, Region(SUBJECTS[language], (box,))), "grounded_caption")
