"""MMLU: 57 subjects in English, five examples, the letter by logit (paper, appendix)."""

from __future__ import annotations

from collections.abc import Iterator

from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.exams import SHOTS, Exam, subjects
from qwenvl.evaluate.benchmarks.scienceqa import right

_NAMES = ("question", "A", "B", "C", "D", "answer")
EXAM = Exam(
    head="The following are multiple choice questions (with answers) about {subject}.\n\n",
    question="Question: ",
    answer="Answer:",
    before=" ",
    letter=" ",
    columns=_NAMES,
)


def items(data: Data) -> Iterator[Item]:
    """The items of a folder with `dev/<subject>_dev.csv` and `test/<subject>_test.csv`."""
    return EXAM.items(subjects(data.path, "test", "dev", "_"))


BENCHMARKS = [
    Benchmark(
        name="mmlu",
        title="MMLU",
        split="test",
        table="appendix: pure-text tasks",
        file="mmlu",
        where="data.tar of github.com/hendrycks/test, unpacked (dev, test)",
        form=EXAM.form,
        items=items,
        published=14_042,
        kind="rank",
        note='the letter by logit among " A" … " D"',
        shots=SHOTS,
        each={"accuracy": right},
    ),
]
