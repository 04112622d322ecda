"""What a public annotation says about one picture, before the picture is opened: `Entry`, and the record it becomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from qwenvl.data.images import ImageError, load_image
from qwenvl.data.sources.fields import Pictures, language_of
from qwenvl.data.sources.report import RowError, Spot, place
from qwenvl.sample import QA, Box, Caption, Image, Phrase, Quad, Record, TextLine

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Choices by their places."""


class At(NamedTuple):
    """Where an entry stands."""

    file: str
    spot: Spot

    def __str__(self) -> str:
        return place(*self)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with everything a set says about its answer.

    `answer` is the one to learn ("" where the split keeps it back), `answers` all of them as annotators gave them, in
    the file's order; `kind` is the set's own name for the sort of question or answer. Of `choices` the answer is the
    letter. `context` is what is told before the question, `box` where the answer stands, in pixels.
    """

    text: str
    answer: str = ""
    answers: tuple[str, ...] = ()
    id: str = ""
    choices: tuple[str, ...] = ()
    reads_text: bool = False
    kind: str = ""
    context: str = ""
    box: Box | None = None

    @property
    def asked(self) -> str:
        """The question as it is learnt; one with choices as the reference's evaluation of ScienceQA asks: "Context: …",
        "Question: …", "Options: A. …", a line each, without the context where there is none.
        """
        if not self.choices:
            return self.text
        options = [f"{letter}. {words}" for letter, words in zip(LETTERS, self.choices, strict=False)]
        context = [f"Context: {self.context}"] if self.context else []
        return "\n".join([*context, f"Question: {self.text}", f"Options: {options[0]}", *options[1:]])


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of an annotation. Places are in pixels of a picture of `size`, not yet held against the picture itself.

    `image` is the picture's name as the set has it (or its encoded bytes, where the file holds them), `others` names
    under which it lies elsewhere. `size` is (width, height) as the annotation says, None where it does not.
    """

    id: str
    image: str | bytes
    at: At
    split: str = ""
    size: tuple[int, int] | None = None
    others: tuple[str, ...] = ()
    captions: tuple[Caption, ...] = ()
    questions: tuple[Question, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    lines: tuple[TextLine, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def record_of(entry: Entry, pictures: Pictures, source: str, note: Callable[[str], None], longest: bool) -> Record:
    """The record of an entry and its picture; with `longest` only the longest of several captions (paper, appendix
    A.1).

    Boxes are cut at the picture's edge; one with nothing left is left out, which `note` is told. Raises RowError for a
    picture that is missing, broken or of another shape than annotated, and where nothing to learn from is left.
    """
    image = opened(entry, pictures)
    fit = _Fit(entry.size, image, note)
    captions = tuple(replace(caption, spans=fit.spans(caption)) for caption in entry.captions)
    if longest and len(captions) > 1:
        captions = (max(captions, key=lambda caption: len(caption.text)),)
    phrases = [replace(phrase, boxes=fit.boxes(phrase.boxes)) for phrase in entry.phrases]
    record = Record(
        id=entry.id,
        source=source,
        images=(image,),
        captions=captions,
        qas=tuple(_qa(question) for question in entry.questions if question.answer),
        phrases=tuple(phrase for phrase in phrases if phrase.boxes),
        lines=tuple(TextLine(line.text, quad) for line in entry.lines if (quad := fit.quad(line.quad)) is not None),
        meta=entry.meta,
    )
    if not (record.captions or record.qas or record.phrases or record.lines):
        if entry.questions:
            raise RowError("answer", "missing: this split keeps its answers back, there is nothing to learn from")
        raise RowError("boxes" if entry.phrases or entry.lines else "", "nothing of the row is left to learn from")
    return record


def _qa(question: Question) -> QA:
    return QA(question.asked, question.answer, language_of({}, question.text), question.reads_text)


def opened(entry: Entry, pictures: Pictures) -> Image:
    """The entry's picture. Raises RowError where it is missing or broken."""
    if isinstance(entry.image, bytes):
        try:
            return load_image(entry.image, name=entry.id, verify=True)
        except ImageError as error:
            raise RowError("image", str(error)) from None
    if not entry.image:
        raise RowError("image", "missing: the row names no picture")
    for name in (entry.image, *entry.others):
        if pictures.has(name, "image"):
            return pictures.open(name, "image")
    also = f" (nor {', '.join(entry.others)})" if entry.others else ""
    raise RowError(
        "image", f"no {entry.image}{also} in {pictures.root}; name the folder that holds the pictures with images=…"
    )


class _Fit:
    """Moves places from the annotation's picture into the one that was opened."""

    def __init__(self, size: tuple[int, int] | None, image: Image, note: Callable[[str], None]) -> None:
        self.width, self.height, self.note = float(image.width), float(image.height), note
        self.x = self.y = 1.0
        if size is None or size == (image.width, image.height):
            return
        self.x, self.y = image.width / size[0], image.height / size[1]
        # a picture that was only made smaller or bigger has each side to the nearest pixel
        if not (abs(size[0] * self.y - image.width) <= 1 or abs(size[1] * self.x - image.height) <= 1):
            raise RowError(
                "image",
                f"is {image.width}×{image.height} pixels, annotated as {size[0]}×{size[1]}: places would be off",
            )

    def boxes(self, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
        return tuple(fitted for box in boxes if (fitted := self.box(box)) is not None)

    def box(self, box: Box) -> Box | None:
        x0, x1 = (min(max(x * self.x, 0.0), self.width) for x in (box.x0, box.x1))
        y0, y1 = (min(max(y * self.y, 0.0), self.height) for y in (box.y0, box.y1))
        if x1 <= x0 or y1 <= y0:
            self.note("places wholly outside the picture are left out")
            return None
        return Box(x0, y0, x1, y1)

    def quad(self, quad: Quad) -> Quad | None:
        points = [(x * self.x, y * self.y) for x, y in quad.points]
        if self.box(Quad((points[0], points[1], points[2], points[3])).box) is None:
            return None
        a, b, c, d = ((min(max(x, 0.0), self.width), min(max(y, 0.0), self.height)) for x, y in points)
        return Quad((a, b, c, d))

    def spans(self, caption: Caption) -> tuple[tuple[int, int, tuple[Box, ...]], ...]:
        fitted = ((start, end, self.boxes(boxes)) for start, end, boxes in caption.spans)
        return tuple(span for span in fitted if span[2])


def size_of(row: Mapping[str, Any]) -> tuple[int, int] | None:
    """The picture's size in pixels where the row says it in `width` and `height`."""
    width, height = row.get("width"), row.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) and width > 0 < height else None


def xywh(value: Any, where: str) -> Box:
    """A box given as [x, y, width, height], as COCO does. Raises RowError."""
    x, y, width, height = four(value, where)
    return _box(x, y, x + width, y + height, value, where)


def xyxy(value: Any, where: str) -> Box:
    """A box given by its corners [x0, y0, x1, y1]. Raises RowError."""
    return _box(*four(value, where), value, where)


def four(value: Any, where: str) -> tuple[float, float, float, float]:
    """Four finite numbers. Raises RowError."""
    given = value if isinstance(value, list | tuple) and len(value) == 4 else ()
    numbers = [float(n) for n in given if isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n)]
    if len(numbers) != 4:
        raise RowError(where, f"expected a box of four numbers, not {str(value)[:60]}")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _box(x0: float, y0: float, x1: float, y1: float, value: Any, where: str) -> Box:
    if x1 <= x0 or y1 <= y0:
        raise RowError(where, f"{value} has no area or swapped corners")
    return Box(x0, y0, x1, y1)
