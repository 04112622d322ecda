"""ChartQA as published: `train_human.json`, `train_augmented.json`: lists of `imgname`, `query` and `label`."""

from __future__ import annotations

from pathlib import Path

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import Answer, Entries, Question, split_in, words_of
from qwenvl.data.sources.report import RowError
from qwenvl.data.sources.rows import Row


def entries(path: Path) -> Entries:
    """The questions of a file; rows have no id, so theirs is the file's name and the row's number."""
    split, human = split_in(path), "human" in path.stem

    def parse(row: Row, number: int | None) -> Question:
        picture = text_of(row, "imgname")
        return Question(
            id=f"{path.stem}-{number}",
            pictures=(picture, f"png/{picture}"),
            question=text_of(row, "query").strip(),
            answers=(Answer(words_of(row["label"], "label").strip()),) if row.get("label") is not None else (),
            split=split,
            reads_text=True,
            meta={"human": human},
        )

    for spot, row in list_rows(path):
        try:
            if isinstance(row, RowError):
                raise row
            yield spot, parse(row, spot.row)
        except RowError as error:
            yield spot, error
