"""GQA as published: `train_balanced_questions.json`, an object of questions, or a folder of `train_all`'s parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.public.json_stream import member_rows
from qwenvl.data.sources.public.question import answer_of, id_of, joined, placed, question_of, split_in
from qwenvl.data.sources.public.reading import Reading, Row, files_of
from qwenvl.data.sources.public.registry import Format, Option, Options


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of a file, or of all JSON files of a folder by name; those of a picture that follow each other
    together. The test split has no answers.
    """
    field = "answer" if options["answer"] == "short" else "fullAnswer"
    for file in files_of(path):
        yield from joined(_entries(file, field, reading))


def _entries(path: Path, field: str, reading: Reading) -> Iterator[Entry]:
    split = split_in(path)
    for at, row in placed(path, member_rows(path, "question_id"), reading):
        with reading.row(at):
            image, id = id_of(row, "imageId"), id_of(row, "question_id")
            question = question_of(row, "question", answer_of(row, field), id, kind=_kind(row))
            others = (f"images/{image}.jpg",)
            yield Entry(f"gqa-{id}", f"{image}.jpg", at, split, None, others, questions=(question,))


def _kind(row: Row) -> str:
    types = row.get("types")
    kind = types.get("structural") if isinstance(types, dict) else None
    return kind if isinstance(kind, str) else ""


FORMATS = [
    Format(
        "gqa",
        "GQA's train_balanced_questions.json and the like, and its pictures (cs.stanford.edu/people/dorarad/gqa)",
        entries,
        {"answer": Option("short", 'the word that is scored ("no"), or the full sentence', ("short", "full"))},
    )
]
