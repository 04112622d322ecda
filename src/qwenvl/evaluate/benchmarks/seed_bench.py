"""SEED-Bench, the questions about pictures: dimensions 1 to 9 (paper, Table 7)."""

from __future__ import annotations

from collections.abc import Iterator

from qwenvl.data.sources.fields import shown, text_of
from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import id_of, placed, words_of
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.report import BadRows, RowError
from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.scienceqa import letters, listed, right

FORM = "\nQuestion: {question}\nOptions: {options}\nAnswer:"
DIMENSIONS = (
    *("Scene Understanding", "Instance Identity", "Instance Attributes", "Instance Location", "Instance Counting"),
    *("Spatial Relation", "Instance Interaction", "Visual Reasoning", "Text Recognition"),
)
"""By `question_type_id` from 1; 10 to 12 are about videos."""


def items(data: Data) -> Iterator[Item]:
    """An item a question of `SEED-Bench.json` about a picture. Raises DataError for a row that can not be read."""
    reading = Reading(BadRows(), strict=True)
    for at, row in placed(data.path, list_rows(data.path, "questions"), reading):
        with reading.row(at):
            kind = row.get("question_type_id")
            if type(kind) is not int or kind < 1:
                raise RowError("question_type_id", f"expected a whole number from 1, not {shown(kind)}")
            if kind > len(DIMENSIONS):
                continue
            yield _item(row, at, DIMENSIONS[kind - 1])


def _item(row: dict[str, object], at: At, dimension: str) -> Item:
    choices = [words_of(row.get(f"choice_{letter}"), f"choice_{letter}") for letter in "abcd"]
    id, name, answer = id_of(row, "question_id"), text_of(row, "data_id"), text_of(row, "answer")
    if answer not in ("A", "B", "C", "D"):
        raise RowError("answer", f"expected A, B, C or D, not {shown(answer)}")
    return Item(
        id=id,
        prompt=FORM.format(question=text_of(row, "question"), options=listed(choices)),
        # CC3M's pictures have no ending, and some people gave them one
        entry=Entry(id, name, at, others=(f"{name}.jpg", f"{name}.png")),
        answers=(answer,),
        answer=answer,
        options=letters(4),
        category=dimension,
    )


BENCHMARKS = [
    Benchmark(
        name="seed",
        title="SEED-Bench (image)",
        split="image",
        table="Table 7",
        file="seed/SEED-Bench.json",
        pictures=("seed/SEED-Bench-image", "seed"),
        where="SEED-Bench.json and SEED-Bench-image.zip from huggingface.co/datasets/AILab-CVC/SEED-Bench",
        form=FORM,
        items=items,
        published=14_233,
        kind="rank",
        note='the lowest mean loss among " A" … " D"',
        each={"accuracy": right},
    ),
]
