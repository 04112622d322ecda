"""OK-VQA (paper, Table 4)."""

from __future__ import annotations

from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Benchmark

BENCHMARKS = [
    Benchmark(
        name="okvqa",
        title="OK-VQA",
        split="val",
        table="Table 4",
        file="okvqa/OpenEnded_mscoco_val2014_questions.json",
        train="okvqa/OpenEnded_mscoco_train2014_questions.json",
        pictures=("coco", "okvqa"),
        where="questions and annotations from okvqa.allenai.org, pictures COCO 2014 from cocodataset.org",
        format="okvqa",
        form=questions.FORM,
        items=questions.items,
        published=5_046,
        each=questions.VQA,
    ),
]
