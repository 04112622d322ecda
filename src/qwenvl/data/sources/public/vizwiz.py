"""VizWiz as published: a list of pictures, each with its question and ten answers with confidences."""

from __future__ import annotations

from pathlib import Path

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import Entries, Question, entries_of, split_in
from qwenvl.data.sources.public.vqa import answers_from
from qwenvl.data.sources.rows import Row


def entries(path: Path) -> Entries:
    """The questions of `train.json`, `val.json` or `test.json`; the picture's name without its ending is their id."""
    split = split_in(path)

    def parse(row: Row) -> Question:
        picture = text_of(row, "image")
        return Question(
            id=Path(picture).stem,
            pictures=(picture,),
            question=text_of(row, "question").strip(),
            answers=answers_from(row) if "answers" in row else (),
            split=split,
            meta={name: row[name] for name in ("answer_type", "answerable") if name in row},
        )

    return entries_of(list_rows(path), parse)
