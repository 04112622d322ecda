"""Referring grounding: `<img>…</img><ref>the ear on a giraffe</ref>` + **<box>…</box>** (paper, appendix B)."""

from __future__ import annotations

import random

from qwenvl.sample import Image, Record, Region, Sample
from qwenvl.tasks._parts import chosen, first_image, sample
from qwenvl.tasks.wording import EXACT, Wording


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """One sample a referring phrase, at most `most`; a phrase for several things is answered by all their boxes. The
    same in every language.
    """
    image = first_image(record)
    if image is None:
        return []
    found = ((i, p) for i, p in enumerate(record.phrases) if p.referring and p.boxes)
    return [
        sample(record, "referring", f"{i}", image, Region(p.text, p.boxes, supervised=True))
        for i, p in chosen(found, rng, most)
    ]


def prompt(image: Image, phrase: str) -> Sample:
    """The unanswered sample: a phrase whose boxes are wanted."""
    return Sample((image, Region(phrase)), "referring")
