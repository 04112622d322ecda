"""OCR with grounding: `<img>…</img>OCR with grounding: ` + **<ref>line</ref><quad>…</quad>…** (paper, appendix B)."""

from __future__ import annotations

import random

from qwenvl.sample import Image, Language, Record, Region, Sample, Text
from qwenvl.tasks._parts import chosen, first_image, sample
from qwenvl.tasks.wording import EXACT, Wording

PROMPTS: dict[Language, str] = {"en": "OCR with grounding: ", "zh": "带定位的文字识别："}
"""The Chinese prompt is a natural translation: "text recognition with positions"."""


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """All lines in reading order, once under the English and once under the Chinese prompt, or under one of them where
    `most` is 1; none where there are no lines.
    """
    image = first_image(record)
    if image is None or not record.lines:
        return []
    found = tuple(Region(line.text, (), (line.quad,), 0, True, True) for line in record.lines)
    prompts = chosen(PROMPTS.items(), rng, most)
    return [
        sample(record, "ocr", language, image, Text(wording.form("ocr", language, words, rng)), *found)
        for language, words in prompts
    ]


def prompt(image: Image, language: Language = "en") -> Sample:
    """The unanswered sample: asks for every line of text with its quad."""
    return Sample((image, Text(PROMPTS[language])), "ocr")
