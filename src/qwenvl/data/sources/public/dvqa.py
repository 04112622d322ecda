"""DVQA as published: `train_qa.json`, a list of 2.3 million questions about bar charts, with the answer's box."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.entry import Entry, four
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import answer_of, id_of, joined, placed, question_of, split_in
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.sample import Box


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of a file, of which `val_easy` and `val_hard` are the tests; those of a chart that follow each
    other together.
    """
    return joined(_entries(path, reading))


def _entries(path: Path, reading: Reading) -> Iterator[Entry]:
    split = split_in(path, "val_easy", "val_hard", "train", "val", "test")
    for at, row in placed(path, list_rows(path), reading):
        with reading.row(at):
            id, picture, kind = id_of(row, "question_id"), text_of(row, "image"), row.get("template_id")
            answers, box = answer_of(row, "answer"), _box(row.get("answer_bbox"))
            question = question_of(row, "question", answers, id, kind=kind, reads_text=True, box=box)
            yield Entry(f"{path.stem}-{id}", picture, at, split, None, (f"images/{picture}",), questions=(question,))


def _box(value: Any) -> Box | None:
    """[x, y, width, height]; what is empty or without area says that the answer is not written in the chart."""
    if value is None or value == []:
        return None
    x, y, width, height = four(value, "answer_bbox")
    return Box(x, y, x + width, y + height) if width > 0 and height > 0 else None


FORMATS = [Format("dvqa", "DVQA's train_qa.json, … and its images (github.com/kushalkafle/DVQA_dataset)", entries)]
