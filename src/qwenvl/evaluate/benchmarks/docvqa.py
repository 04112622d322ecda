"""DocVQA and InfographicVQA: their validation splits, whose answers are published (paper, Table 5, is of the tests)."""

from __future__ import annotations

from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Benchmark

BENCHMARKS = [
    Benchmark(
        name="docvqa",
        title="DocVQA",
        split="val",
        table="Table 5 (test)",
        file="docvqa/val_v1.0.json",
        train="docvqa/train_v1.0.json",
        pictures=("docvqa",),
        where="questions and pages from rrc.cvc.uab.es (challenge 17, task 1)",
        format="docvqa",
        form=questions.FORM,
        items=questions.items,
        published=5_349,
        decoding=questions.LONG,
        each={"anls": questions.anls},
    ),
    Benchmark(
        name="infographicvqa",
        title="InfographicVQA",
        split="val",
        table="not in the paper's tables",
        file="infographicvqa/infographicsVQA_val_v1.0.json",
        train="infographicvqa/infographicsVQA_train_v1.0.json",
        pictures=("infographicvqa/images", "infographicvqa"),
        where="questions and pictures from rrc.cvc.uab.es (challenge 17, task 3)",
        format="infographicvqa",
        form=questions.FORM,
        items=questions.items,
        published=2_801,
        decoding=questions.LONG,
        each={"anls": questions.anls},
    ),
]
