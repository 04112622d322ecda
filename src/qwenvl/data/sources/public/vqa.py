"""VQAv2's form: a file of questions and one of annotations; OK-VQA, and TextVQA and VizWiz as others re-wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import list_of, shown
from qwenvl.data.sources.public.entry import Entry, Question
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import Answer, id_of, joined, placed, question_of, split_in, words_of
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.report import DataError, RowError

_YEARS = re.compile(r"(train|val|test)(20\d\d)")
_PLACE = re.compile(r"\{image_id(?::0(\d{1,2})d)?\}")
MAX_WAITING = 500_000
"""Annotations that may wait for their question: in the published files both stand in the same order."""


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of a file, those of a picture together, with their answers where the annotations are there.

    Raises DataError where a file can not be read, or the annotations belong to another file of questions.
    """
    return joined(_entries(path, options, reading, reads_text=False))


def reading_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The same for questions that need reading (TextVQA)."""
    return joined(_entries(path, options, reading, reads_text=True))


def _entries(path: Path, options: Options, reading: Reading, reads_text: bool) -> Iterator[Entry]:
    given = str(options["annotations"])
    beside = Path(given) if given else annotations_beside(path)
    form = _form(str(options["pictures"]), path)
    split = split_in(path)
    answers = _Answers(beside, reading) if beside is not None else None
    for at, row in placed(path, list_rows(path, "questions"), reading):
        with reading.row(at):
            id = id_of(row, "question_id")
            names = _names(row.get("image_id"), form)
            question = _question(row, id, answers.of(id) if answers is not None else None, reads_text)
            yield Entry(f"{path.stem}-{id}", names[0], at, split, None, names[1:], questions=(question,))


def _question(row: Row, id: str, annotation: Row | None, reads_text: bool) -> Question:
    if annotation is None:
        return question_of(row, "question", (), id, reads_text=reads_text)
    try:
        answers = answers_from(annotation)
    except RowError as error:
        raise RowError(error.field, f"{error.reason} (in the annotation of question {id})") from None
    best, kind = annotation.get("multiple_choice_answer"), annotation.get("question_type")
    return question_of(row, "question", answers, id, best if isinstance(best, str) else "", kind, reads_text)


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


def _form(given: str, path: Path) -> str:
    if given and _PLACE.search(given) is None:
        raise DataError(f"pictures={given}: expected a name with {{image_id}} or {{image_id:012d}} in it")
    year = _YEARS.search(path.name)
    return given or (f"COCO_{year[0]}_{{image_id:012d}}.jpg" if year else "")


def _names(image: Any, form: str) -> tuple[str, ...]:
    """A picture's usual name and others: newer downloads of COCO have the number alone."""
    # an id of Open Images may happen to have no letters
    if isinstance(image, str) and image.strip() and not (form.startswith("COCO_") and image.isdigit()):
        if form and not form.startswith("COCO_"):
            return (_filled(form, image),)
        return (image,) if Path(image).suffix else (f"{image}.jpg", f"{image}.png")
    if isinstance(image, bool) or not isinstance(image, int | str) or image == "":
        raise RowError("image_id", "missing" if image is None else f"expected a number or a name, not {shown(image)}")
    if not form:
        raise RowError(
            "image_id",
            f"{image} names no picture, as the file's name has no year (such as val2014): give "
            "pictures=COCO_val2014_{image_id:012d}.jpg",
        )
    name, number = _filled(form, image), f"{str(image).zfill(12)}.jpg"
    folder = f"{name.split('_')[1]}/" if name.startswith("COCO_") else ""
    return tuple(dict.fromkeys((name, folder + name, number, folder + number)))


def _filled(form: str, image: int | str) -> str:
    return _PLACE.sub(lambda found: str(image).zfill(int(found[1] or 0)), form)


class _Answers:
    """The annotations by question: read on until the one that is asked for, those passed by wait."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        self._rows = placed(path, list_rows(path, "annotations"), reading)
        self._reading = reading
        self._waiting: dict[str, Row] = {}

    def of(self, id: str) -> Row:
        if id in self._waiting:
            return self._waiting.pop(id)
        for at, row in self._rows:
            with self._reading.row(at):
                if (found := id_of(row, "question_id")) == id:
                    return row
                self._waiting[found] = row
            if len(self._waiting) > MAX_WAITING:
                raise DataError(
                    f"{self._path}: {MAX_WAITING:,} annotations belong to no question; are these two a pair?"
                )
        raise RowError("question_id", f"{id} has no annotation in {self._path.name}")


OPTIONS = {
    "annotations": Option("", "the file of annotations; default: the one beside the questions that belongs to them"),
    "pictures": Option("", "a picture's name with {image_id} in it; default: COCO's, or the id where it is a name"),
}
FORMATS = [
    Format(
        "vqav2", "VQAv2's questions (and annotations beside them; visualqa.org), pictures: COCO 2014", entries, OPTIONS
    ),
    Format(
        "okvqa",
        "OK-VQA's questions (and annotations; okvqa.allenai.org), pictures: COCO 2014",
        entries,
        OPTIONS,
    ),
    Format("vqa", "any set in VQAv2's form, such as VizWiz as others re-wrote it", entries, OPTIONS),
    Format("vqa-text", "the same for questions that need reading, such as TextVQA's", reading_entries, OPTIONS),
]
