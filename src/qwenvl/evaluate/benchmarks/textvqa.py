"""TextVQA (paper, Table 5)."""

from __future__ import annotations

from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Benchmark

BENCHMARKS = [
    Benchmark(
        name="textvqa",
        title="TextVQA",
        split="val",
        table="Table 5",
        file="textvqa/TextVQA_0.5.1_val.json",
        train="textvqa/TextVQA_0.5.1_train.json",
        pictures=("textvqa/train_images", "textvqa"),
        where="questions and pictures from textvqa.org",
        format="textvqa",
        form=questions.FORM,
        items=questions.items,
        published=5_000,
        each={**questions.VQA, "vqa_accuracy_m4c": questions.vqa_m4c},
    ),
]
