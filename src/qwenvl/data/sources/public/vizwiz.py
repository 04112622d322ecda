"""VizWiz as published: a list of pictures, each with its question and ten answers with confidences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import placed, question_of, split_in
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.data.sources.public.vqa import answers_from


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of `train.json`, `val.json` or `test.json`; the picture's name without its ending is their id."""
    split = split_in(path)
    for at, row in placed(path, list_rows(path), reading):
        with reading.row(at):
            picture = text_of(row, "image")
            answers = answers_from(row) if "answers" in row else ()
            question = question_of(row, "question", answers, Path(picture).stem, kind=row.get("answer_type"))
            meta = {"answerable": row["answerable"]} if "answerable" in row else {}
            yield Entry(question.id, picture, at, split, questions=(question,), meta=meta)


FORMATS = [Format("vizwiz", "VizWiz-VQA's Annotations/train.json and the like and its pictures (vizwiz.org)", entries)]
