"""Caption: `<img>…</img>Generate the caption in English: ` + **the caption** (paper, appendix B)."""

from __future__ import annotations

import random

from qwenvl.sample import Image, Language, Record, Sample, Text
from qwenvl.tasks._parts import chosen, first_image, sample
from qwenvl.tasks.wording import EXACT, Wording

PROMPTS: dict[Language, str] = {"en": "Generate the caption in English: ", "zh": "用中文生成图片描述："}
"""The Chinese prompt is a natural translation: "generate a description of the picture in Chinese"."""


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """One sample a caption, at most `most`."""
    image = first_image(record)
    if image is None:
        return []
    return [
        sample(record, "caption", f"{i}", image, Text(words), Text(c.text, supervised=True))
        for i, c in chosen(enumerate(record.captions), rng, most)
        for words in [wording.form("caption", c.language, PROMPTS[c.language], rng)]
    ]


def prompt(image: Image, language: Language = "en") -> Sample:
    """The unanswered sample: asks for a caption."""
    return Sample((image, Text(PROMPTS[language])), "caption")
