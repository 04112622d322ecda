"""GRIT's referring expressions (Gupta et al., 2022; paper, Table 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.entry import Entry, xyxy
from qwenvl.data.sources.public.question import tails
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.report import BadRows, RowError
from qwenvl.evaluate.benchmarks import refcoco
from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Data, Item


def items(data: Data) -> Iterator[Item]:
    """An item a sample of `refexp.json`: `task_query`, `image_path` or `image_id`, `bboxes` by corners, at the top or
    below `input` and `gt` (or `output`). Several boxes: the first counts.
    """
    reading = Reading(BadRows(), strict=True)
    for number, (at, row) in enumerate(reading.rows(data.path), 1):
        with reading.row(at):
            asked, true = _below(row, "input"), _below(row, "gt", "output")
            name = text_of(asked, "image_path" if "image_path" in asked else "image_id")
            boxes = true.get("bboxes")
            if not isinstance(boxes, list) or not boxes:
                raise RowError("bboxes", "missing")
            query = text_of(asked, "task_query")
            names = tails(name)
            entry = Entry(f"{data.path.stem}-{number}", names[0], at, others=names[1:])
            yield Item(
                id=str(row.get("example_id", number)),
                prompt=refcoco.FORM.format(expression=query),
                entry=entry,
                phrase=query,
                box=xyxy(boxes[0], "bboxes[0]"),
                category=str(row.get("partition", "")),
            )


def _below(row: Row, *names: str) -> dict[str, Any]:
    inner = next((row[name] for name in names if isinstance(row.get(name), Mapping)), None)
    return row if inner is None else dict(inner)


BENCHMARKS = [
    Benchmark(
        name="grit",
        title="GRIT referring",
        split="ablation",
        table="Table 6",
        file="grit/ablation/refexp.json",
        pictures=("grit/images", "grit"),
        where="the samples and pictures of github.com/allenai/grit_official",
        form=refcoco.FORM,
        items=items,
        kind="refer",
        decoding=refcoco.DECODING,
        note="the first box counts, cell/999 of the side",
        each=refcoco.EACH,
    ),
]
