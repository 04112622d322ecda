"""OCR-VQA, test (paper, Table 5)."""

from __future__ import annotations

from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Benchmark

BENCHMARKS = [
    Benchmark(
        name="ocrvqa",
        title="OCR-VQA",
        split="test",
        table="Table 5",
        file="ocrvqa/dataset.json",
        train="ocrvqa/dataset.json",
        pictures=("ocrvqa/images", "ocrvqa"),
        where="dataset.json and the book covers from ocr-vqa.github.io",
        format="ocrvqa",
        query="split=test",
        form=questions.FORM,
        items=questions.items,
        decoding=questions.LONG,
        each={"exact_match": questions.exact},
    ),
]
