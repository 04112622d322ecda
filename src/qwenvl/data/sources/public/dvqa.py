"""DVQA as published: `train_qa.json`, a list of 2.3 million questions about bar charts, with the answer's box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import numbers, text_of
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import Answer, Entries, Question, entries_of, id_of, split_in, words_of
from qwenvl.data.sources.rows import Row
from qwenvl.sample import Box


def entries(path: Path) -> Entries:
    """The questions of a file, of which `val_easy` and `val_hard` are the tests. `answer_bbox` is [x, y, width,
    height], all -1 where the answer is not written in the chart.
    """
    split = split_in(path, "val_easy", "val_hard", "train", "val", "test")

    def parse(row: Row) -> Question:
        return Question(
            id=id_of(row, "question_id"),
            pictures=(text_of(row, "image"),),
            question=text_of(row, "question").strip(),
            answers=(Answer(words_of(row["answer"], "answer").strip()),) if row.get("answer") is not None else (),
            box=_box(row.get("answer_bbox")),
            split=split,
            reads_text=True,
            meta={"template": row["template_id"]} if isinstance(row.get("template_id"), str) else {},
        )

    return entries_of(list_rows(path), parse)


def _box(value: Any) -> Box | None:
    if value is None or value == []:
        return None
    x, y, width, height = numbers(value, 4, "answer_bbox", "[x, y, width, height] in pixels")
    return Box(x, y, x + width, y + height) if width > 0 and height > 0 else None
