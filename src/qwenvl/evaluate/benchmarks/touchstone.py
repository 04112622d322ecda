"""TouchStone: 908 questions answered in chat, judged by another model against the answer beside them (paper, Table
7).
"""

from __future__ import annotations

from collections.abc import Iterator

from qwenvl.data.sources.public.entry import Entry
from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.tables import need, picture, rows
from qwenvl.serve.engine import Generation

FORM = "\n{question}"


def items(data: Data) -> Iterator[Item]:
    """An item a row of the TSV: index, question, human_annotation, gpt4_ha_answer, category, task_name, image (base64).

    What a judge needs beside the answer is in `meta`. Raises DataError.
    """
    for at, row in rows(data.path, "\t"):
        index, asked, told, other, category, task = need(
            row, at, "index", "question", "human_annotation", "gpt4_ha_answer", "category", "task_name"
        )
        yield Item(
            id=index,
            prompt=FORM.format(question=asked),
            entry=Entry(index, picture(row, at), at),
            category=category,
            meta={"question": asked, "human_annotation": told, "gpt4_ha_answer": other, "task_name": task},
        )


BENCHMARKS = [
    Benchmark(
        name="touchstone",
        title="TouchStone",
        split="20230831",
        table="Table 7",
        file="touchstone/touchstone_20230831.tsv",
        where="touchstone_20230831.tsv, linked from github.com/OFA-Sys/TouchStone",
        form="<chat>" + FORM,
        items=items,
        published=908,
        kind="chat",
        decoding=Generation(max_new_tokens=512, temperature=1.0, top_p=0.3, seed=0),
        note="the chat model's generation config; scored by a judge",
    ),
]
