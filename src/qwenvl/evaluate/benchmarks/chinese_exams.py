"""CMMLU and C-Eval: exams in Chinese, five examples, the letter by logit (paper, appendix)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.exams import SHOTS, Exam, by_subject, subjects
from qwenvl.evaluate.benchmarks.scienceqa import right

CEVAL = Exam(head="", question="问题：", answer="答案：", before="", letter="")
CMMLU = replace(CEVAL, names=("Question", "A", "B", "C", "D", "Answer"))


def cmmlu_items(data: Data) -> Iterator[Item]:
    """The items of a folder with `dev/<subject>.csv` and `test/<subject>.csv`."""
    return CMMLU.items(subjects(data.path, "test", "dev"))


def ceval_items(data: Data) -> Iterator[Item]:
    """The items of a folder with `dev/<subject>_dev.csv` and `val/<subject>_val.csv`; the test split keeps its answers
    back.
    """
    return CEVAL.items(subjects(data.path, "val", "dev", "_"))


_CMMLU = Benchmark(
    name="cmmlu",
    title="CMMLU",
    split="test",
    table="appendix: pure-text tasks",
    file="cmmlu",
    where="cmmlu_v1_0_1.zip from huggingface.co/datasets/haonan-li/cmmlu, unpacked (dev, test)",
    form=CMMLU.form,
    items=cmmlu_items,
    published=11_582,
    kind="rank",
    note='the letter by logit among "A" … "D"',
    shots=SHOTS,
    each={"accuracy": right},
    whole={"by_subject": by_subject},
)

BENCHMARKS = [
    _CMMLU,
    replace(
        _CMMLU,
        name="ceval",
        title="C-Eval",
        split="val",
        file="ceval",
        where="ceval-exam.zip from huggingface.co/datasets/ceval/ceval-exam, unpacked (dev, val)",
        form=CEVAL.form,
        items=ceval_items,
        published=1_346,
    ),
]
