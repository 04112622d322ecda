"""Caption: `<img>…</img>Generate the caption in English: ` + **the caption** (paper, appendix B)."""

from __future__ import annotations

import random

from qwenvl.sample import Image, Language, Record, Sample, Text
from qwenvl.tasks._parts import chosen, first_image, sample

PROMPTS: dict[Language, str] = {"en": "Generate the caption in English: ", "zh": "用中文生成图片描述："}
"""The Chinese prompt is a natural translation: "generate a description of the picture in Chinese"."""


def samples(record: Record, rng: random.Random, most: int | None = None) -> list[Sample]:
    """One sample a caption, at most `most`."""
    image = first_image(record)
    if image is None:
        return []
    return [
        sample(record, "caption", f"{i}", image, Text(PROMPTS[c.language]), Text(c.text, supervised=True))
        for i, c in chosen(enumerate(record.captions), rng, most)
    ]


def prompt(image: Image, language: Language = "en") -> Sample:
    """The unanswered sample: asks for a caption."""
    return Sample((image, Text(PROMPTS[language])), "caption")
