"""GQA as published: `train_balanced_questions.json`, an object of questions, or a folder of `train_all`'s parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.json_stream import member_rows
from qwenvl.data.sources.public.question import Answer, Entries, Question, entries_of, id_of, split_in
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.data.sources.rows import Row


def entries(path: Path, answer: Literal["short", "full"] = "short") -> Entries:
    """The questions of a file, or of all JSON files of a folder by name; the test split has no answers.

    `answer` takes the word that is scored ("no") or the sentence ("No, the sky is not dark.").
    """
    split = split_in(path)
    field = "answer" if answer == "short" else "fullAnswer"

    def parse(row: Row) -> Question:
        return Question(
            id=id_of(row, "question_id"),
            pictures=(f"{id_of(row, 'imageId')}.jpg",),
            question=text_of(row, "question").strip(),
            answers=(Answer(text_of(row, field).strip()),) if row.get(field) is not None else (),
            split=split,
            meta={name: row[name] for name in ("isBalanced", "types", "fullAnswer", "answer") if name in row},
        )

    return entries_of(_rows(path), parse)


def _rows(path: Path) -> Iterator[tuple[Spot, Row | RowError]]:
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no JSON file in this folder; expected GQA's questions")
    for file in files:
        yield from member_rows(file, "question_id")
