"""Visual question answering, with questions that need reading (OCR-VQA): `<img>…</img> Q Answer: ` + **A** (paper,
appendix B).
"""

from __future__ import annotations

import random

from qwenvl.sample import Image, Language, Record, Sample, Text
from qwenvl.tasks._parts import chosen, first_image, sample

FORMS: dict[Language, str] = {"en": " {} Answer: ", "zh": "{}回答："}
"""Chinese is written without the spaces: question, then "回答：" (answer)."""


def samples(record: Record, rng: random.Random, most: int | None = None) -> list[Sample]:
    """One sample a question, at most `most`."""
    image = first_image(record)
    if image is None:
        return []
    return [
        sample(record, "vqa", f"{i}", image, Text(_question(q.question, q.language)), Text(q.answer, supervised=True))
        for i, q in chosen(enumerate(record.qas), rng, most)
    ]


def prompt(image: Image, question: str, language: Language = "en") -> Sample:
    """The unanswered sample."""
    return Sample((image, Text(_question(question, language))), "vqa")


def _question(question: str, language: Language) -> str:
    before, after = FORMS[language].split("{}")
    return before + question + after
