"""ChartQA, the questions of people and the made ones apart (paper, Table 5, has their mean)."""

from __future__ import annotations

from dataclasses import replace

from qwenvl.evaluate import metrics
from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark


def _relaxed(answer: Answer) -> float:
    """Relaxed accuracy: 5 % of the true number."""
    return max((float(metrics.relaxed_accuracy(answer.text, true)) for true in answer.item.answers), default=0.0)


def _reference(answer: Answer) -> float:
    """Relaxed accuracy as the reference counts it: 5 % of the predicted number."""
    answers = answer.item.answers
    return max((float(metrics.relaxed_accuracy(answer.text, true, qwen_compat=True)) for true in answers), default=0.0)


_HUMAN = Benchmark(
    name="chartqa_human",
    title="ChartQA (human)",
    split="test",
    table="Table 5 (mean of human and augmented)",
    file="chartqa/test/test_human.json",
    train="chartqa/train/train_human.json",
    pictures=("chartqa/test/png", "chartqa/png"),
    where="the dataset of github.com/vis-nlp/ChartQA",
    format="chartqa",
    form=questions.FORM,
    items=questions.items,
    published=1_250,
    decoding=questions.LONG,
    each={"relaxed_accuracy": _relaxed, "relaxed_accuracy_reference": _reference},
)

BENCHMARKS = [
    _HUMAN,
    replace(
        _HUMAN,
        name="chartqa_augmented",
        title="ChartQA (augmented)",
        file="chartqa/test/test_augmented.json",
        train="chartqa/train/train_augmented.json",
    ),
]
