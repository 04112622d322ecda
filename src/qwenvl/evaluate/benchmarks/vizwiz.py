"""VizWiz-VQA (paper, Table 4)."""

from __future__ import annotations

from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Benchmark

BENCHMARKS = [
    Benchmark(
        name="vizwiz",
        title="VizWiz",
        split="val",
        table="Table 4 (test-dev)",
        file="vizwiz/val.json",
        train="vizwiz/train.json",
        pictures=("vizwiz/val", "vizwiz/train", "vizwiz"),
        where="Annotations and pictures from vizwiz.org/tasks-and-datasets/vqa",
        format="vizwiz",
        form=questions.FORM,
        items=questions.items,
        published=4_319,
        each=questions.VQA,
    ),
]
