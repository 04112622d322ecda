"""VQAv2 (paper, Table 4)."""

from __future__ import annotations

from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Benchmark

BENCHMARKS = [
    Benchmark(
        name="vqav2",
        title="VQAv2",
        split="val",
        table="Table 4 (test-dev)",
        file="vqav2/v2_OpenEnded_mscoco_val2014_questions.json",
        train="vqav2/v2_OpenEnded_mscoco_train2014_questions.json",
        pictures=("coco", "vqav2"),
        where="questions and annotations from visualqa.org, pictures COCO 2014 from cocodataset.org",
        format="vqav2",
        form=questions.FORM,
        items=questions.items,
        published=214_354,
        each=questions.VQA,
    ),
]
