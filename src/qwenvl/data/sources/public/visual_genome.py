"""Visual Genome: region descriptions, and its questions (VGQA)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from qwenvl.data.sources.fields import language_of, list_of, shown, text_of
from qwenvl.data.sources.public.entry import At, Entry, Question, xywh
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import id_of, placed
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.data.sources.report import RowError
from qwenvl.sample import Phrase

T = TypeVar("T")


def region_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture: each region's words lead to its box (referring) and its box to the words (grounded caption).

    A region that can not be used is reported; the picture's others stay.
    """
    for at, row, phrases in _lists(path, "regions", _region, reading):
        yield _entry(path, at, row, phrases=phrases)


def question_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture with its questions, one answer each."""
    for at, row, questions in _lists(path, "qas", _question, reading):
        yield _entry(path, at, row, questions=questions)


def _lists(
    path: Path, field: str, read: Callable[[object, str], T], reading: Reading
) -> Iterator[tuple[At, Row, tuple[T, ...]]]:
    """What is usable of every picture's list under `field`, with the picture's row."""
    for at, row in placed(path, list_rows(path), reading):
        with reading.row(at):
            found = []
            for index, value in enumerate(list_of(row, field)):
                with reading.row(at):
                    found.append(read(value, f"{field}[{index}]"))
            if found:
                yield at, row, tuple(found)


def _region(value: object, where: str) -> Phrase:
    if not isinstance(value, dict):
        raise RowError(where, f"expected a region, not {shown(value)}")
    text = text_of(value, "phrase", f"{where}.").strip()
    box = xywh([value.get(name) for name in ("x", "y", "width", "height")], where)
    # set as the paper's example has it: "This is Yellow cross country ski racing gloves"
    return Phrase(text, (box,), language_of({}, text), description=text)


def _question(value: object, where: str) -> Question:
    if not isinstance(value, dict):
        raise RowError(where, f"expected a question, not {shown(value)}")
    # the set ends every answer with a full stop, VQA none
    answer = text_of(value, "answer", f"{where}.").strip().removesuffix(".")
    return Question(text_of(value, "question", f"{where}.").strip(), answer, (answer,), id_of(value, "qa_id"))


def _entry(
    path: Path, at: At, row: Row, phrases: tuple[Phrase, ...] = (), questions: tuple[Question, ...] = ()
) -> Entry:
    number = id_of(row, "id", "image_id")
    # region_descriptions.json has no sizes: boxes are in the pixels of the published pictures
    return Entry(
        id=f"vg-{number}",
        image=f"{number}.jpg",
        others=(f"VG_100K/{number}.jpg", f"VG_100K_2/{number}.jpg"),
        at=at,
        phrases=phrases,
        questions=questions,
    )


_FROM = "(homes.cs.washington.edu/~ranjay/visualgenome; pictures: VG_100K and VG_100K_2)"
FORMATS = [
    Format("vg-regions", f"Visual Genome's region_descriptions.json {_FROM}", region_entries),
    Format("vgqa", f"Visual Genome's question_answers.json {_FROM}", question_entries),
]
