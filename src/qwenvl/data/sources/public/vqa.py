"""VQAv2's form: a file of questions and one of annotations; OK-VQA, and TextVQA and VizWiz as others re-wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import list_of, shown, text_of
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import Answer, Entries, Question, id_of, words_of
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.data.sources.rows import Row

_YEARS = re.compile(r"(train|val|test)(20\d\d)")
MAX_WAITING = 1_000_000
"""Annotations that may wait for their question: in the published files both stand in the same order."""


def entries(
    path: Path, annotations: Path | None = None, pictures: str = "", reads_text: bool = False, split: str = ""
) -> Entries:
    """The questions of a file of questions, each with its answers where the annotations are there.

    `annotations` is looked for beside `path` under the name that belongs to it; without one (a test split) the
    questions have no answers. `pictures` is a picture's name with `{image_id}` in it; by default COCO's of the year in
    the file's name, or the id itself where it is a text. Raises DataError where a file can not be read.
    """
    beside = annotations if annotations is not None else annotations_beside(path)
    year = _YEARS.search(path.name)
    split = split or (year[1] if year else "")
    form = pictures or (f"COCO_{year[0]}_{{image_id:012d}}.jpg" if year else "")
    answers = _Answers(list_rows(beside, "annotations")) if beside is not None else None

    def parse(row: Row) -> Question:
        id = id_of(row, "question_id")
        found = answers.of(id) if answers is not None else None
        best = found.get("multiple_choice_answer", "") if found else ""
        return Question(
            id=id,
            pictures=_names(row.get("image_id"), form),
            question=text_of(row, "question").strip(),
            answers=answers_from(found) if found else (),
            split=split,
            best=best if isinstance(best, str) else "",
            reads_text=reads_text,
            meta={name: found[name] for name in ("question_type", "answer_type") if name in found} if found else {},
        )

    for spot, row in list_rows(path, "questions"):
        try:
            if isinstance(row, RowError):
                raise row
            yield spot, parse(row)
        except RowError as error:
            yield spot, error


def annotations_beside(path: Path) -> Path | None:
    """The annotations that belong to a file of questions: "…OpenEnded_mscoco_val2014_questions.json" →
    "…mscoco_val2014_annotations.json". None where the file is not there.
    """
    names = [path.name.replace("questions", "annotations")]
    names.append(names[0].replace("OpenEnded_", ""))
    return next((path.with_name(name) for name in names if name != path.name and path.with_name(name).is_file()), None)


def answers_from(row: Row) -> tuple[Answer, ...]:
    """The annotators' answers of a row. Raises RowError."""
    found = []
    for index, item in enumerate(list_of(row, "answers")):
        where = f"answers[{index}]"
        if isinstance(item, str):
            found.append(Answer(item))
            continue
        if not isinstance(item, dict):
            raise RowError(where, f"expected an object with an answer, not {shown(item)}")
        # annotators leave blanks: they are no reason to lose the question, and the choice passes over them
        text = "" if item.get("answer") == "" else words_of(item.get("answer"), f"{where}.answer")
        sure, raw = item.get("answer_confidence", ""), item.get("raw_answer", "")
        if sure not in ("yes", "maybe", "no", ""):
            raise RowError(f"{where}.answer_confidence", f'expected "yes", "maybe" or "no", not {shown(sure)}')
        found.append(Answer(text, sure, raw if isinstance(raw, str) else ""))
    return tuple(found)


def _names(image: Any, form: str) -> tuple[str, ...]:
    if isinstance(image, str) and image.strip():
        if form and "{image_id" in form and not form.startswith("COCO_"):
            return (_filled(form, image),)
        return (image,) if Path(image).suffix else (f"{image}.jpg", f"{image}.png")
    if isinstance(image, bool) or not isinstance(image, int):
        raise RowError("image_id", "missing" if image is None else f"expected a number or a name, not {shown(image)}")
    if not form:
        raise RowError(
            "image_id",
            f"{image} names no picture, as the file's name has no year (val2014): give "
            "pictures=COCO_val2014_{image_id:012d}.jpg",
        )
    # newer downloads of COCO have the number alone for a name
    return tuple(dict.fromkeys((_filled(form, image), f"{image:012d}.jpg")))


def _filled(form: str, image: int | str) -> str:
    found = re.fullmatch(r"(.*)\{image_id(?::0(\d{1,2})d)?\}(.*)", form)
    if found is None:
        raise DataError(f"pictures={form}: expected a name with {{image_id}} or {{image_id:012d}} in it")
    return f"{found[1]}{str(image).zfill(int(found[2] or 0))}{found[3]}"


class _Answers:
    """The annotations by question: read on until the one that is asked for, those passed by wait."""

    def __init__(self, rows: Iterator[tuple[Spot, Row | RowError]]) -> None:
        self._rows = rows
        self._waiting: dict[str, Row] = {}

    def of(self, id: str) -> Row:
        if id in self._waiting:
            return self._waiting.pop(id)
        for _, row in self._rows:
            if isinstance(row, RowError):
                self._trouble = row
                continue
            if (found := id_of(row, "question_id")) == id:
                return row
            self._waiting[found] = row
            if len(self._waiting) > MAX_WAITING:
                raise DataError(f"more than {MAX_WAITING:,} annotations belong to no question: are these two a pair?")
        raise RowError("question_id", f"{id} has no annotation{self._because}")

    _trouble: RowError | None = None

    @property
    def _because(self) -> str:
        return f" (one of them can not be read: {self._trouble})" if self._trouble is not None else ""
