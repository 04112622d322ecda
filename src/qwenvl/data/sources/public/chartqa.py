"""ChartQA as published: `train_human.json`, `train_augmented.json`: lists of `imgname`, `query` and `label`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import answer_of, joined, placed, question_of, split_in
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Options


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of a file, those of a picture that follow each other together; rows have no id, so theirs is the
    file's name and the row's number.
    """
    return joined(_entries(path, reading))


def _entries(path: Path, reading: Reading) -> Iterator[Entry]:
    split = split_in(path)
    kind = next((name for name in ("human", "augmented") if name in path.stem), "")
    for at, row in placed(path, list_rows(path), reading):
        with reading.row(at):
            picture, id = text_of(row, "imgname"), f"{path.stem}-{at.spot.row}"
            question = question_of(row, "query", answer_of(row, "label"), id, kind=kind, reads_text=True)
            yield Entry(id, picture, at, split, others=(f"png/{picture}",), questions=(question,))


FORMATS = [Format("chartqa", "ChartQA's train_human.json, … and its png folder (github.com/vis-nlp/ChartQA)", entries)]
