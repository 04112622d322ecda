"""MMBench: letters ranked by loss; a question counts where all its circular orders are right (paper's repository)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.report import DataError
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.scienceqa import FORM, letters, listed, right
from qwenvl.evaluate.benchmarks.tables import need, picture, rows

CIRCLE = 1_000_000
"""The rows of one question in its circular orders have indexes that differ by this."""


def items(data: Data) -> Iterator[Item]:
    """An item a row of the TSV: index, hint, question, A … D, answer, category, image (base64).

    A row whose `image` is another row's index shows that row's picture. Raises DataError.
    """
    # only a few pictures' worth of memory at once: rows that share a picture follow each other or name its row
    known: dict[str, bytes] = {}
    for at, row in rows(data.path, "\t"):
        index, asked, given = need(row, at, "index", "question", "image")
        shown = known.get(given) if len(given) < 16 else None
        if shown is None:
            shown = picture(row, at)
            known[index] = shown
        choices = [words for letter in "ABCD" if (words := row.get(letter, "")) and words.lower() != "nan"]
        hint, answer = row.get("hint", ""), row.get("answer", "")
        if answer and answer not in "ABCD"[: len(choices)]:
            raise DataError(f"{at}: answer: {answer!r} is none of the {len(choices)} choices")
        yield Item(
            id=index,
            prompt=FORM.format(
                hint=hint if hint and hint.lower() != "nan" else "N/A", question=asked, options=listed(choices)
            ),
            entry=Entry(index, shown, at),
            answers=(answer,) if answer else (),
            answer=answer,
            options=letters(len(choices)),
            category=row.get("category", ""),
        )


def circular(answers: Sequence[Answer]) -> Mapping[str, float]:
    """The share of questions of which every order in the file is answered right."""
    questions: dict[int, bool] = {}
    for answer in answers:
        try:
            question = int(answer.item.id) % CIRCLE
        except ValueError:
            raise DataError(f"MMBench: index {answer.item.id!r} is no number") from None
        questions[question] = questions.get(question, True) and right(answer) == 1
    return {"circular_accuracy": sum(questions.values()) / len(questions)}


BENCHMARKS = [
    Benchmark(
        name="mmbench",
        title="MMBench",
        split="dev",
        table="not in the paper (Qwen-VL's repository)",
        file="mmbench/mmbench_dev_20230712.tsv",
        where="mmbench_dev_20230712.tsv from github.com/open-compass/MMBench",
        form=FORM,
        items=items,
        kind="rank",
        note='the lowest mean loss among " A", " B", …',
        each={"accuracy": right},
        whole={"circular": circular},
    ),
]
