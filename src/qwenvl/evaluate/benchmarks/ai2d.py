"""AI2D, test: the question alone is asked, the answer is the right choice's words (paper, Table 5)."""

from __future__ import annotations

from qwenvl.evaluate.benchmarks import questions
from qwenvl.evaluate.benchmarks.benchmark import Benchmark

BENCHMARKS = [
    Benchmark(
        name="ai2d",
        title="AI2D",
        split="test",
        table="Table 5",
        file="ai2d",
        train="ai2d",
        pictures=("ai2d",),
        where="the diagrams and ai2d_test_ids.csv from prior.allenai.org/projects/diagram-understanding",
        format="ai2d",
        query="split=test",
        form=questions.FORM,
        items=questions.items,
        published=3_088,
        each={"exact_match": questions.exact},
    ),
]
