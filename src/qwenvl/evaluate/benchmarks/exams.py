"""What the text-only exams share: five worked questions of the subject, then one to answer by its letter's logit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwenvl.data.sources.public.entry import At
from qwenvl.data.sources.report import DataError
from qwenvl.evaluate.benchmarks.benchmark import Answer, Item
from qwenvl.evaluate.benchmarks.scienceqa import letters, right
from qwenvl.evaluate.benchmarks.tables import need, rows

SHOTS = 5


@dataclass(frozen=True)
class Exam:
    """How an exam is written. `head` stands before everything ({subject}), `question` and `answer` before theirs.

    `before` stands between `answer` and the letter in the examples, and `letter` before the letter that is ranked.
    `columns` are those of its files where these have no head: question, the four choices, the answer.
    """

    head: str
    question: str
    answer: str
    before: str
    letter: str
    names: tuple[str, ...] = ("question", "A", "B", "C", "D", "answer")
    columns: tuple[str, ...] | None = None

    @property
    def form(self) -> str:
        """The prompt, for people."""
        return f"{self.head}[5 examples]{self.question}{{question}}\nA. … D. …\n{self.answer}"

    def asked(self, fields: Sequence[str]) -> str:
        """The question and its choices, up to where the letter is to come."""
        choices = "".join(f"\n{letter}. {words}" for letter, words in zip("ABCD", fields[1:5], strict=True))
        return f"{self.question}{fields[0]}{choices}\n{self.answer}"

    def items(self, subjects: Iterator[tuple[str, Path, Path]]) -> Iterator[Item]:
        """The items of (subject, examples' file, questions' file). Raises DataError."""
        for subject, examples, asked in subjects:
            shots = [fields for _, fields in self._fields(examples)][:SHOTS]
            if len(shots) < SHOTS:
                raise DataError(f"{examples}: {len(shots)} questions; {SHOTS} are shown as examples")
            head = self.head.format(subject=" ".join(subject.split("_")))
            head += "".join(f"{self.asked(shot)}{self.before}{shot[5]}\n\n" for shot in shots)
            for number, (_, fields) in enumerate(self._fields(asked), 1):
                yield Item(
                    id=f"{subject}-{number}",
                    prompt=head + self.asked(fields),
                    answers=(fields[5],),
                    answer=fields[5],
                    options=letters(4, self.letter),
                    category=subject,
                )

    def _fields(self, path: Path) -> Iterator[tuple[At, list[str]]]:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        for at, row in rows(path, ",", self.columns):
            fields = need(row, at, *self.names)
            if fields[5] not in ("A", "B", "C", "D"):
                raise DataError(f"{at}: the answer is {fields[5]!r}; expected A, B, C or D")
            yield at, fields


def by_subject(answers: Sequence[Answer]) -> Mapping[str, float]:
    """The mean of the subjects' accuracies, which the reference reports for the Chinese exams."""
    found: dict[str, list[float]] = {}
    for answer in answers:
        found.setdefault(answer.item.category, []).append(right(answer))
    return {"accuracy_by_subject": sum(sum(each) / len(each) for each in found.values()) / len(found)}


def subjects(folder: Path, split: str, examples: str, ending: str = "") -> Iterator[tuple[str, Path, Path]]:
    """(subject, its file of examples, its file of questions) of a folder, by name. Raises DataError for none."""
    tail = f"{ending and '_' + split}.csv"
    files = sorted((folder / split).glob(f"*{tail}"))
    if not files:
        raise DataError(f"{folder}: no {split}/<subject>{tail} in it")
    for file in files:
        subject = file.name.removesuffix(tail)
        yield subject, folder / examples / f"{subject}{ending and '_' + examples}.csv", file
