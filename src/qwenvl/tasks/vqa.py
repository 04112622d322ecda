"""Visual question answering, with questions that need reading (OCR-VQA): `<img>…</img> Q Answer: ` + **A** (paper,
appendix B).
"""

from __future__ import annotations

import random

from qwenvl.sample import Image, Language, Record, Sample, Text
from qwenvl.tasks._parts import chosen, first_image, sample
from qwenvl.tasks.wording import EXACT, Wording

FORMS: dict[Language, str] = {"en": " {} Answer: ", "zh": "{}回答："}
"""Chinese is written without the spaces: question, then "回答：" (answer)."""


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """One sample a question, at most `most`."""
    image = first_image(record)
    if image is None:
        return []
    return [
        sample(record, "vqa", f"{i}", image, Text(_question(q.question, form)), Text(q.answer, supervised=True))
        for i, q in chosen(enumerate(record.qas), rng, most)
        for form in [wording.form("vqa", q.language, FORMS[q.language], rng)]
    ]


def prompt(image: Image, question: str, language: Language = "en") -> Sample:
    """The unanswered sample."""
    return Sample((image, Text(_question(question, FORMS[language]))), "vqa")


def _question(question: str, form: str) -> str:
    before, after = form.split("{}")
    return before + question + after
