"""A `Record`'s annotations as plain JSON values and back, exactly; its pictures are kept beside and counted from 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwenvl.sample import (
    QA,
    Box,
    Caption,
    Image,
    Part,
    Phrase,
    Quad,
    Record,
    Region,
    Special,
    Text,
    TextLine,
    Turn,
)

Json = Any


def record_to_json(record: Record) -> tuple[Json, tuple[Image, ...]]:
    """The annotations as JSON values, and the pictures in their order: the record's, then those that only dialogues
    show.
    """
    images: dict[int, int] = {}
    pictures: list[Image] = []

    def number(image: Image) -> int:
        if id(image) not in images:
            images[id(image)] = len(pictures)
            pictures.append(image)
        return images[id(image)]

    own = [number(image) for image in record.images]
    found: dict[str, Json] = {
        "images": own,
        "captions": [[c.text, c.language, [[s, e, _boxes(b)] for s, e, b in c.spans]] for c in record.captions],
        "qas": [[q.question, q.answer, q.language, q.reads_text] for q in record.qas],
        "phrases": [[p.text, _boxes(p.boxes), p.language, p.referring, p.description] for p in record.phrases],
        "lines": [[line.text, _quad(line.quad)] for line in record.lines],
        "texts": list(record.texts),
        "dialogues": [[[t.role, [_part(p, number) for p in t.parts]] for t in turns] for turns in record.dialogues],
        "meta": dict(record.meta),
    }
    found["pictures"] = [[image.width, image.height, image.name] for image in pictures]
    return found, tuple(pictures)


def record_from_json(id: str, source: str, found: Json, contents: Sequence[bytes]) -> Record:
    """The record of JSON values and encoded pictures (`contents`, in the order `record_to_json` gave them)."""
    pictures = [
        Image(content, width, height, name)
        for content, (width, height, name) in zip(contents, found["pictures"], strict=True)
    ]
    return Record(
        id=id,
        source=source,
        images=tuple(pictures[i] for i in found["images"]),
        captions=tuple(
            Caption(t, lang, tuple((s, e, _to_boxes(b)) for s, e, b in sp)) for t, lang, sp in found["captions"]
        ),
        qas=tuple(QA(q, a, lang, reads) for q, a, lang, reads in found["qas"]),
        phrases=tuple(Phrase(t, _to_boxes(b), lang, ref, told) for t, b, lang, ref, told in found["phrases"]),
        lines=tuple(TextLine(t, _to_quad(q)) for t, q in found["lines"]),
        texts=tuple(found["texts"]),
        dialogues=tuple(
            tuple(Turn(role, tuple(_to_part(p, pictures) for p in parts)) for role, parts in turns)
            for turns in found["dialogues"]
        ),
        meta=found["meta"],
    )


def _boxes(boxes: Sequence[Box]) -> Json:
    return [[b.x0, b.y0, b.x1, b.y1] for b in boxes]


def _to_boxes(found: Json) -> tuple[Box, ...]:
    return tuple(Box(*corners) for corners in found)


def _quad(quad: Quad) -> Json:
    return [list(point) for point in quad.points]


def _to_quad(found: Json) -> Quad:
    a, b, c, d = ((x, y) for x, y in found)
    return Quad((a, b, c, d))


def _part(part: Part, number: Any) -> Json:
    if isinstance(part, Image):
        return ["image", number(part)]
    if isinstance(part, Text):
        return ["text", part.text, part.supervised]
    if isinstance(part, Special):
        return ["special", part.token, part.supervised]
    quads = [_quad(q) for q in part.quads]
    return ["region", part.phrase, _boxes(part.boxes), quads, part.image, part.phrase_supervised, part.supervised]


def _to_part(found: Json, pictures: Sequence[Image]) -> Part:
    kind, *rest = found
    if kind == "image":
        return pictures[rest[0]]
    if kind == "text":
        return Text(*rest)
    if kind == "special":
        return Special(*rest)
    phrase, boxes, quads, image, phrase_supervised, supervised = rest
    return Region(phrase, _to_boxes(boxes), tuple(map(_to_quad, quads)), image, phrase_supervised, supervised)
