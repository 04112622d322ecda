"""SynthDoG's own output: `metadata.jsonl` beside its pictures, with `ground_truth.gt_parse.text_sequence`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import shown, text_of
from qwenvl.data.sources.public.question import Answer, Entries, Question
from qwenvl.data.sources.report import DataError, RowError
from qwenvl.data.sources.rows import Row, read_rows

ASK = "What is written in the picture?"
FILE = "metadata.jsonl"


def entries(path: Path, question: str = ASK) -> Entries:
    """The pages of a `metadata.jsonl`, or of a folder with one in it or in its sub-folders (train, validation, test).

    SynthDoG keeps no places of words, so a page is a question whose answer is the whole text, not a page for OCR with
    quads. Raises DataError for a folder without the file.
    """
    for file in _files(path):
        folder = "" if file.parent == path or file == path else f"{file.parent.relative_to(path).as_posix()}/"
        for spot, row in read_rows(file):
            try:
                if isinstance(row, RowError):
                    raise row
                yield spot, _question(row, folder, question)
            except RowError as error:
                yield spot, RowError(error.field, f"{error.reason} ({folder}{FILE})" if folder else error.reason)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    found = sorted([*path.glob(FILE), *path.glob(f"*/{FILE}")])
    if not found:
        raise DataError(f"{path}: no {FILE} in it or in its folders; expected SynthDoG's output")
    yield from found


def _question(row: Row, folder: str, question: str) -> Question:
    name = text_of(row, "file_name")
    return Question(
        id=f"{folder}{name}",
        pictures=(f"{folder}{name}",),
        question=question,
        answers=(Answer(text_of(_parse(row.get("ground_truth")), "text_sequence", "ground_truth.gt_parse.").strip()),),
        split=folder.rstrip("/"),
        reads_text=True,
    )


def _parse(truth: Any) -> Row:
    """The object under `gt_parse`; SynthDoG writes the ground truth as a text of JSON."""
    if isinstance(truth, str):
        try:
            truth = json.loads(truth)
        except (ValueError, RecursionError):
            raise RowError("ground_truth", f"expected JSON, not {shown(truth)}") from None
    found = truth.get("gt_parse") if isinstance(truth, dict) else None
    if not isinstance(found, dict):
        raise RowError("ground_truth.gt_parse", "missing")
    return found
