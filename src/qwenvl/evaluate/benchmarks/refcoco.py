"""RefCOCO, RefCOCO+ and RefCOCOg, all eight splits (paper, Table 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qwenvl.evaluate import metrics
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.questions import bare
from qwenvl.sample import Box
from qwenvl.serve.engine import Generation

FORM = "<ref>{expression}</ref><box>"
DECODING = Generation(max_new_tokens=28, min_new_tokens=10)

_CORNERS = re.compile(r"\(([^()]*)\),\(([^()]*)\)")
_NUMBER = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*,\s*(\d{1,6}(?:\.\d{1,6})?)\s*")


def items(data: Data) -> Iterator[Item]:
    """An item an expression."""
    for entry in data.entries():
        for number, phrase in enumerate(entry.phrases):
            yield Item(
                id=f"{entry.id}-{number}",
                prompt=FORM.format(expression=phrase.text),
                entry=bare(entry),
                phrase=phrase.text,
                box=phrase.boxes[0],
            )


def first_box(text: str, size: tuple[int, int]) -> Box | None:
    """The first "(x0,y0),(x1,y1)" of an answer, in pixels of a picture of `size` as the reference's evaluation counts
    them (999 is the right and the lower edge); None where the first is no box.
    """
    match = _CORNERS.search(text)
    corners = [_NUMBER.fullmatch(part) for part in match.groups()] if match else []
    if len(corners) != 2 or corners[0] is None or corners[1] is None:
        return None
    (x0, y0), (x1, y1) = ([float(number) for number in corner.groups()] for corner in corners if corner)
    width, height = size
    return Box(x0 / 999 * width, y0 / 999 * height, x1 / 999 * width, y1 / 999 * height)


def overlap(answer: Answer) -> float:
    """IoU of the first box with the true one; 0 without a box."""
    size = answer.item.entry.size if answer.item.entry and answer.item.entry.size else answer.size
    found = first_box(answer.text, size) if size else None
    true = answer.item.box
    if found is None or true is None:
        return 0.0
    return metrics.iou((found.x0, found.y0, found.x1, found.y1), (true.x0, true.y0, true.x1, true.y1))


def hit(answer: Answer) -> float:
    """1 where the IoU is 0.5 or more."""
    return float(overlap(answer) >= 0.5)


EACH = {"acc@0.5": hit, "mean_iou": overlap}

_SPLITS = {
    "refcoco": ("RefCOCO", {"val": 10_834, "testA": 5_657, "testB": 5_095}),
    "refcoco+": ("RefCOCO+", {"val": 10_758, "testA": 5_726, "testB": 4_889}),
    "refcocog": ("RefCOCOg", {"val": 4_896, "test": 9_602}),
}

BENCHMARKS = [
    Benchmark(
        name=f"{name}_{split}",
        title=f"{title} {split}",
        split=split,
        table="Table 6",
        file=f"refcoco/{name}_{split}.json",
        pictures=("coco", "refcoco"),
        where=f"{name}_{split} as JSON, JSON lines or Parquet (github.com/lichengunc/refer and its copies), pictures "
        "COCO train2014 from cocodataset.org",
        format=name,
        form=FORM,
        items=items,
        published=count,
        kind="refer",
        decoding=DECODING,
        note="the first box counts, cell/999 of the side",
        each=EACH,
    )
    for name, (title, splits) in _SPLITS.items()
    for split, count in splits.items()
]
