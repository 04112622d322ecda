"""TextVQA as published: `TextVQA_0.5.1_train.json`, with ten answers a question and no confidences."""

from __future__ import annotations

from pathlib import Path

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import Entries, Question, answers_of, entries_of, id_of, split_in
from qwenvl.data.sources.rows import Row


def entries(path: Path) -> Entries:
    """The questions of a file; the test split has no answers. Pictures are Open Images' ids."""
    split = split_in(path)

    def parse(row: Row) -> Question:
        given = row.get("set_name")
        return Question(
            id=id_of(row, "question_id"),
            pictures=(f"{text_of(row, 'image_id')}.jpg",),
            question=text_of(row, "question").strip(),
            answers=answers_of(row, "answers"),
            split=given if isinstance(given, str) else split,
            reads_text=True,
            meta={"classes": row["image_classes"]} if isinstance(row.get("image_classes"), list) else {},
        )

    return entries_of(list_rows(path, "data"), parse)
