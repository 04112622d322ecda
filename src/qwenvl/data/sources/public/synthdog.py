"""SynthDoG's own output: `metadata.jsonl` beside its pictures, with `ground_truth.gt_parse.text_sequence`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import shown, text_of
from qwenvl.data.sources.public.entry import Entry, Question
from qwenvl.data.sources.public.question import placed
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.report import DataError, RowError
from qwenvl.data.sources.rows import Row, read_rows

FILE = "metadata.jsonl"


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The pages of a `metadata.jsonl`, or of a folder with one in it or in its sub-folders (train, validation, test).

    SynthDoG keeps no places of words, so a page is a question whose answer is the whole text, not a page for OCR with
    quads. Raises DataError for a folder without the file.
    """
    for file in _files(path):
        folder = f"{file.parent.relative_to(path).as_posix()}/" if path.is_dir() and file.parent != path else ""
        split = folder.rstrip("/") or (file.parent.name if file.parent.name in ("train", "validation", "test") else "")
        for at, row in placed(file, read_rows(file), reading):
            with reading.row(at):
                name = text_of(row, "file_name")
                words = text_of(_parse(row.get("ground_truth")), "text_sequence", "ground_truth.gt_parse.").strip()
                question = Question(str(options["question"]), words, (words,), folder + name, reads_text=True)
                yield Entry(folder + name, folder + name, at, split, questions=(question,))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted([*path.glob(FILE), *path.glob(f"*/{FILE}")])
    if not found:
        raise DataError(f"{path}: no {FILE} in it or in its folders; expected SynthDoG's output")
    return found


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


FORMATS = [
    Format(
        "synthdog",
        "a folder that SynthDoG wrote, with metadata.jsonl (github.com/clovaai/donut)",
        entries,
        {"question": Option("What is written in the picture?", "what is asked of each page")},
    )
]
