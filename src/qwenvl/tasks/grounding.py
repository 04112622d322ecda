"""Caption with grounding: `<img>…</img>Generate the caption in English with grounding: ` + **text with
<ref>…</ref><box>…</box>**.
"""

from __future__ import annotations

import random

from qwenvl.sample import Caption, Image, Language, Part, Record, Region, Sample, Text
from qwenvl.tasks._parts import chosen, first_image, sample
from qwenvl.tasks.wording import EXACT, Wording

PROMPTS: dict[Language, str] = {
    "en": "Generate the caption in English with grounding: ",
    "zh": "用中文生成带定位的图片描述：",
}
"""The Chinese prompt is a natural translation: "generate a description of the picture with positions in Chinese"."""


def samples(record: Record, rng: random.Random, most: int | None = None, wording: Wording = EXACT) -> list[Sample]:
    """One sample a caption that has grounded spans, at most `most`."""
    image = first_image(record)
    if image is None:
        return []
    return [
        sample(record, "grounding", f"{i}", image, Text(words), *answer(c))
        for i, c in chosen(((i, c) for i, c in enumerate(record.captions) if c.spans), rng, most)
        for words in [wording.form("grounding", c.language, PROMPTS[c.language], rng)]
    ]


def answer(caption: Caption) -> tuple[Part, ...]:
    """The caption's words and grounded phrases in reading order, all supervised. Raises ValueError for spans that
    overlap or lie outside.
    """
    parts: list[Part] = []
    end = 0
    for start, stop, boxes in caption.spans:
        if not end <= start < stop <= len(caption.text):
            raise ValueError(
                f"span {start}…{stop} of a caption of {len(caption.text)} characters: "
                "spans must lie in the text, in order and disjoint"
            )
        if start > end:
            parts.append(Text(caption.text[end:start], supervised=True))
        parts.append(Region(caption.text[start:stop], boxes, phrase_supervised=True, supervised=True))
        end = stop
    if end < len(caption.text):
        parts.append(Text(caption.text[end:], supervised=True))
    return tuple(parts)


def prompt(image: Image, language: Language = "en") -> Sample:
    """The unanswered sample: asks for a caption with boxes."""
    return Sample((image, Text(PROMPTS[language])), "grounding")
