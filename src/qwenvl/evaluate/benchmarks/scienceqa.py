"""ScienceQA-Img: the problems of the test split that have a picture, letters ranked by loss (paper, Table 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qwenvl.data.sources.public.entry import LETTERS
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.questions import bare

FORM = "Context: {hint}\nQuestion: {question}\nOptions: {options}\nAnswer:"
RANKED = 'the lowest mean loss among " A", " B", …'


def items(data: Data) -> Iterator[Item]:
    """An item a problem; a problem without a hint has "N/A" for one."""
    for entry in data.entries():
        for question in entry.questions:
            prompt = FORM.format(
                hint=question.context or "N/A", question=question.text, options=listed(question.choices)
            )
            yield Item(
                id=question.id,
                prompt=prompt,
                entry=bare(entry),
                answers=question.answers,
                answer=question.answer,
                options=letters(len(question.choices)),
                category=str(entry.meta.get("subject", "")),
            )


def listed(choices: Sequence[str]) -> str:
    """ "A. …", "B. …", a line each."""
    return "\n".join(f"{letter}. {words}" for letter, words in zip(LETTERS, choices, strict=False))


def letters(count: int, before: str = " ") -> tuple[str, ...]:
    """The options " A", " B", … as they are ranked."""
    return tuple(before + letter for letter in LETTERS[:count])


def right(answer: Answer) -> float:
    """1 where the letter is the true one."""
    return float(answer.text.strip() in answer.item.answers)


BENCHMARKS = [
    Benchmark(
        name="scienceqa",
        title="ScienceQA (Image)",
        split="test",
        table="Table 4",
        file="scienceqa/problems.json",
        pictures=("scienceqa/images", "scienceqa"),
        where="problems.json and the pictures from scienceqa.github.io",
        format="scienceqa",
        query="split=test",
        form=FORM,
        items=items,
        published=2_017,
        kind="rank",
        note=RANKED,
        each={"accuracy": right},
    ),
]
