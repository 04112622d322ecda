"""GQA, the balanced questions of test-dev (paper, Table 4)."""

from __future__ import annotations

from qwenvl.evaluate import metrics
from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark


def _cleaned(answer: Answer) -> float:
    """Exact match after the reference's clean-up of the answer."""
    return float(any(metrics.gqa_match(answer.text, true) for true in answer.item.answers))


def _official(answer: Answer) -> float:
    """Exact equality, as GQA's own evaluation."""
    return float(any(metrics.gqa_match(answer.text, true, official=True) for true in answer.item.answers))


BENCHMARKS = [
    Benchmark(
        name="gqa",
        title="GQA",
        split="testdev",
        table="Table 4",
        file="gqa/testdev_balanced_questions.json",
        train="gqa/train_balanced_questions.json",
        pictures=("gqa/images", "gqa"),
        where="questions and pictures from cs.stanford.edu/people/dorarad/gqa",
        format="gqa",
        form=questions.FORM,
        items=questions.items,
        published=12_578,
        each={"gqa_match": _cleaned, "gqa_match_official": _official},
    ),
]
