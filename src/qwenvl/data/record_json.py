"""A `Record`'s annotations as plain JSON values and back, exactly; its pictures are kept beside and counted from 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

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
    """The record of JSON values and encoded pictures (`contents`, in the order `record_to_json` gave them).

    Its annotations become objects when they are first looked at: of a record's eight kinds a task reads one.
    """
    pictures = tuple(
        Image(content, width, height, name)
        for content, (width, height, name) in zip(contents, found["pictures"], strict=True)
    )
    if missing := _KINDS.keys() - found.keys():
        raise KeyError(min(missing))
    record: Record = object.__new__(_Late)
    own = tuple(pictures[i] for i in found["images"])
    known = {"id": id, "source": source, "images": own, "meta": found["meta"], "_found": found, "_pictures": pictures}
    for name, value in known.items():
        object.__setattr__(record, name, value)
    return record


class _Late(Record):
    """A record some of whose slots are empty until they are read."""

    __slots__ = ("_found", "_pictures")

    def __eq__(self, other: object) -> bool:
        names = [field.name for field in fields(Record)]
        return isinstance(other, Record) and all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = Record.__hash__

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in _KINDS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = _KINDS[name](self._found[name], self._pictures)
            object.__setattr__(self, name, value)
            return value


def _captions(found: Json, pictures: Sequence[Image]) -> tuple[Caption, ...]:
    return tuple(Caption(t, lang, tuple((s, e, _to_boxes(b)) for s, e, b in spans)) for t, lang, spans in found)


def _qas(found: Json, pictures: Sequence[Image]) -> tuple[QA, ...]:
    return tuple(QA(*values) for values in found)


def _phrases(found: Json, pictures: Sequence[Image]) -> tuple[Phrase, ...]:
    return tuple(Phrase(t, _to_boxes(b), lang, ref, told) for t, b, lang, ref, told in found)


def _lines(found: Json, pictures: Sequence[Image]) -> tuple[TextLine, ...]:
    return tuple(TextLine(t, _to_quad(q)) for t, q in found)


def _texts(found: Json, pictures: Sequence[Image]) -> tuple[str, ...]:
    return tuple(found)


def _dialogues(found: Json, pictures: Sequence[Image]) -> tuple[tuple[Turn, ...], ...]:
    return tuple(
        tuple(Turn(role, tuple(_to_part(p, pictures) for p in parts)) for role, parts in turns) for turns in found
    )


_KINDS: dict[str, Callable[[Json, Sequence[Image]], Any]] = {
    "captions": _captions,
    "qas": _qas,
    "phrases": _phrases,
    "lines": _lines,
    "texts": _texts,
    "dialogues": _dialogues,
}


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
