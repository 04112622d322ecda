"""A row of the project's own JSONL (docs/data.md) → `Record`: captions, questions, phrases with boxes, text lines,
plain texts.

Coordinates are pixels of the upright picture. Conversations in a row are read by `conversations.py`.
"""

from __future__ import annotations

import difflib
from typing import Any

from qwenvl.data.sources.fields import (
    Pictures,
    box_from,
    boxes_of,
    flag_of,
    language_of,
    list_of,
    quad_from,
    shown,
    text_of,
)
from qwenvl.data.sources.report import RowError
from qwenvl.sample import QA, Box, Caption, Image, Phrase, Quad, Record, TextLine

NEEDS: dict[str, tuple[str, ...]] = {
    "caption": ("caption",),
    "vqa": ("question", "answer"),
    "grounding": ("caption", "spans"),
    "referring": ("phrase", "boxes"),
    "grounded_caption": ("boxes", "description"),
    "ocr": ("lines",),
    "text": ("text",),
    "dialogue": ("conversations",),
}
"""Task → the fields that a row for it has; `task` itself may be left out."""

LISTS = ("captions", "qas", "phrases", "texts")
"""Fields that hold several at once: lists of objects with the fields of one (`texts`: of texts)."""

KNOWN = frozenset(
    {"id", "task", "image", "images", "language", "reads_text", "box", "meta", "messages", "system", "width", "height"}
    | {name for names in NEEDS.values() for name in names}
    | set(LISTS)
)


_OTHERS = """
filename file_name filepath file_path path img img_path imgname image_path image_file image_name image_id img_id url
"""
PICTURE_NAMES = frozenset(_OTHERS.split())
"""What others call the picture: a row that has one of these and no `image` would be read without its picture."""


def unknown_fields(row: dict[str, Any]) -> list[str]:
    """What a row holds that nothing reads, each with the field that was perhaps meant."""
    found = []
    for name in row:
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, 1)
            found.append(f'field "{name}" is unknown and ignored' + (f' (did you mean "{near[0]}"?)' if near else ""))
    return found


def record_from_row(row: dict[str, Any], pictures: Pictures, id: str, source: str) -> Record:
    """The record of one row. Raises RowError naming the field."""
    task = row.get("task")
    if task is not None:
        if not isinstance(task, str) or task not in NEEDS:
            near = difflib.get_close_matches(str(task), NEEDS, 1)
            raise RowError(
                "task",
                f"unknown task {shown(task)}"
                + (f'; did you mean "{near[0]}"?' if near else f"; known: {', '.join(NEEDS)}"),
            )
        for name in NEEDS[task]:
            if name not in row and not (name == "boxes" and "box" in row):
                raise RowError(name, f'missing: a row of task "{task}" needs {" and ".join(NEEDS[task])}')
    image = _image(row, pictures)
    captions = [_caption(row, image, "")] if "caption" in row else []
    captions += [_caption(item, image, where) for item, where in _objects(row, "captions")]
    qas = [_qa(row, "")] if "question" in row or "answer" in row else []
    qas += [_qa(item, where) for item, where in _objects(row, "qas")]
    phrases = [_phrase(row, image, "")] if {"phrase", "boxes", "box", "description"} & row.keys() else []
    phrases += [_phrase(item, image, where) for item, where in _objects(row, "phrases")]
    lines = _lines(row, image) if "lines" in row else ()
    texts = [text_of(row, "text")] if "text" in row else []
    if "texts" in row:
        texts += [text_of({"text": t}, "text", f"texts[{i}].") for i, t in enumerate(list_of(row, "texts"))]
    if image is None and (captions or qas or phrases or lines):
        raise RowError("image", "missing: only plain text and conversations go without a picture")
    if not (captions or qas or phrases or lines or texts):
        raise RowError(
            "", f"nothing to learn from: found {shown(sorted(row))}; a row needs the fields of one task (docs/data.md)"
        )
    meta = row.get("meta", {})
    if not isinstance(meta, dict):
        raise RowError("meta", f"expected an object, not {shown(meta)}")
    return Record(
        id=id,
        source=source,
        images=(image,) if image is not None else (),
        captions=tuple(captions),
        qas=tuple(qas),
        phrases=tuple(phrases),
        lines=tuple(lines),
        texts=tuple(texts),
        meta=meta,
    )


def _objects(row: dict[str, Any], name: str) -> list[tuple[dict[str, Any], str]]:
    """The objects of a list field, each with the name that its fields have in messages."""
    found = []
    for index, item in enumerate(list_of(row, name) if name in row else ()):
        if not isinstance(item, dict):
            raise RowError(f"{name}[{index}]", f"expected an object, not {shown(item)}")
        found.append((item, f"{name}[{index}]."))
    return found


def _image(row: dict[str, Any], pictures: Pictures) -> Image | None:
    if "image" not in row and "images" not in row:
        for name in PICTURE_NAMES & row.keys():
            raise RowError(name, f'{shown(row[name])} seems to name a picture; call the field "image" (a path)')
    if "image" in row:
        image = pictures.open(row["image"], "image")
        for name, side in (("width", image.width), ("height", image.height)):
            if name in row and row[name] != side:
                raise RowError(name, f"{shown(row[name])}, but the picture's is {side}: boxes would be off")
        return image
    if "images" in row:
        names = list_of(row, "images")
        if len(names) > 1:
            raise RowError("images", "only conversations hold several pictures; annotations need one row a picture")
        return pictures.open(names[0], "images[0]")
    return None


def _placed(image: Image | None, where: str) -> Image:
    if image is None:
        raise RowError("image", f"missing: the places in {where.rstrip('.') or 'the row'} need their picture")
    return image


def _caption(row: dict[str, Any], image: Image | None, where: str) -> Caption:
    text = text_of(row, "caption", where)
    spans: list[tuple[int, int, tuple[Box, ...]]] = []
    end = 0
    for index, item in enumerate(list_of(row, "spans", where) if "spans" in row else ()):
        at = f"{where}spans[{index}]"
        if not isinstance(item, dict):
            raise RowError(at, f"expected an object, not {shown(item)}")
        start, stop = _span(item, text, end, at)
        spans.append((start, stop, boxes_of(item, _placed(image, at), at + ".")))
        end = stop
    return Caption(text, language_of(row, text, where), tuple(spans))


def _span(item: dict[str, Any], text: str, end: int, where: str) -> tuple[int, int]:
    """Where a span lies in its caption: by `start` and `end`, or by the words themselves, looked for after the span
    before.
    """
    if "text" in item and "start" not in item:
        words = text_of(item, "text", where + ".")
        start = text.find(words, end)
        if start < 0:
            raise RowError(where + ".text", f"{shown(words)} is not in the caption after the span before it")
        return start, start + len(words)
    start, stop = item.get("start", -1), item.get("end", -1)
    if type(start) is not int or type(stop) is not int or start < 0:
        raise RowError(where, "expected start and end (characters of the caption), or text")
    if not end <= start < stop <= len(text):
        raise RowError(
            where,
            f"{start}…{stop} does not fit a caption of {len(text)} characters: spans come in order and do not overlap",
        )
    return start, stop


def _qa(row: dict[str, Any], where: str) -> QA:
    question, answer = text_of(row, "question", where), text_of(row, "answer", where)
    return QA(question, answer, language_of(row, question, where), flag_of(row, "reads_text", False))


def _phrase(row: dict[str, Any], image: Image | None, where: str) -> Phrase:
    boxes = boxes_of(row, _placed(image, where), where)
    told = text_of(row, "description", where) if row.get("description") is not None else None
    if row.get("phrase") is None and told is not None:
        return Phrase(told, boxes, language_of(row, told, where), False, told)
    words = text_of(row, "phrase", where)
    return Phrase(words, boxes, language_of(row, words, where), True, told)


def _lines(row: dict[str, Any], image: Image | None) -> tuple[TextLine, ...]:
    found = []
    for index, item in enumerate(list_of(row, "lines")):
        where = f"lines[{index}]"
        if not isinstance(item, dict):
            raise RowError(where, f"expected an object, not {shown(item)}")
        words = text_of(item, "text", where + ".")
        if "quad" in item:
            quad = quad_from(item["quad"], _placed(image, where), where + ".quad")
        elif "box" in item:
            box = box_from(item["box"], _placed(image, where), where + ".box")
            quad = Quad(((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)))
        else:
            raise RowError(where + ".quad", "missing")
        found.append(TextLine(words, quad))
    return tuple(found)
