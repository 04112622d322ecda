"""What the question sets have in common: an annotated question, the choice of the answer to learn, and its record.

A reader gives `Question`s without opening a picture; `records` joins those of one picture to a `Record`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from qwenvl.data.sources.fields import Pictures, language_of, shown, text_of
from qwenvl.data.sources.report import RowError, Spot
from qwenvl.sample import QA, Box, Image, Record

MOST_IN_A_RECORD = 64
"""Questions of one picture that are joined at most: more begin another record."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Answer:
    """One annotator's answer: `confidence` is "yes", "maybe", "no" or "" where nobody asked; `raw` is as it was typed,
    where `text` was brought into another form.
    """

    text: str
    confidence: str = ""
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One annotated question, as a set has it.

    `pictures` are the names under which the picture may lie, the usual one first; none for a question without one.
    `answers` are all, in their order, with repeats; none in a test split. `choice` is the place of the right one among
    `choices`. `box` is where the answer stands, in pixels. `best` is the answer that the set itself calls the most
    frequent. `meta` holds what else a row says, plain JSON values.
    """

    id: str
    pictures: tuple[str, ...]
    question: str
    answers: tuple[Answer, ...] = ()
    choices: tuple[str, ...] = ()
    choice: int | None = None
    context: str = ""
    box: Box | None = None
    split: str = ""
    best: str = ""
    reads_text: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers' texts, in their order, with repeats: what the metrics compare with."""
        return tuple(answer.text for answer in self.answers)


Entries = Iterator[tuple[Spot, Question | RowError]]
"""What a reader of questions gives: where each stands, and the question or why it can not be read."""


def most_confident(question: Question) -> str:
    """The answer to learn: the one that annotators are most confident of, as the paper has it for VQAv2 ("based on the
    maximum confidence", appendix A). "" where there is none but blanks.

    The paper says no more, so: the answer that most annotators gave with "yes". Between equals the one with more
    "maybe", then the one given more often, then the one that the set calls the most frequent, then the one given first.
    Sets without confidences: the one given most often, then first.
    """
    sure, half, given = Counter[str](), Counter[str](), Counter[str]()
    for answer in question.answers:
        if words := answer.text.strip():
            given[words] += 1
            sure[words] += answer.confidence == "yes"
            half[words] += answer.confidence == "maybe"
    if not given:
        return ""
    best = question.best.strip()
    chosen = max(given, key=lambda words: (sure[words], half[words], given[words], words == best))
    raws = Counter(a.raw.strip() for a in question.answers if a.raw.strip() and a.text.strip() == chosen)
    return raws.most_common(1)[0][0] if raws else chosen


def asked(question: Question) -> QA:
    """The question as it is learnt. Raises RowError where there is no answer.

    One with choices is asked as the reference's evaluation of ScienceQA does: "Context: … Question: … Options: A. …",
    a line each, without the context where there is none; its answer is the letter.
    """
    if not question.choices:
        answer = most_confident(question)
        if not answer:
            raise RowError("answers", "there is none to learn; a test split comes without its answers")
        return QA(question.question, answer, language_of({}, question.question), question.reads_text)
    if question.choice is None:
        raise RowError("answer", "there is none to learn; a test split comes without its answers")
    options = [f"{letter}. {words}" for letter, words in zip(LETTERS, question.choices, strict=False)]
    lines = [f"Context: {question.context}"] if question.context else []
    lines += [f"Question: {question.question}", f"Options: {options[0]}", *options[1:]]
    language = language_of({}, question.question)
    return QA("\n".join(lines), LETTERS[question.choice], language, question.reads_text)


def records(
    entries: Entries, pictures: Pictures, source: str, split: str = ""
) -> Iterator[tuple[Spot, Record | RowError]]:
    """Layer two: a record for each run of questions of one picture, of `split` alone where it is named.

    A question that can not be learnt is a RowError in its place; the picture is opened once for its run.
    """
    waiting: list[Question] = []
    qas: list[QA] = []
    begin, image = Spot(1), None
    for spot, entry in entries:
        if isinstance(entry, RowError):
            yield spot, entry
            continue
        if split and entry.split != split:
            continue
        if waiting and (entry.pictures != waiting[0].pictures or len(waiting) == MOST_IN_A_RECORD):
            yield begin, _record(waiting, qas, image, source)
            waiting, qas = [], []
        try:
            qa = asked(entry)
            if not waiting:
                begin, image = spot, open_first(pictures, entry.pictures)
        except RowError as error:
            yield spot, error
            continue
        waiting.append(entry)
        qas.append(qa)
    if waiting:
        yield begin, _record(waiting, qas, image, source)


def _record(questions: list[Question], qas: list[QA], image: Image | None, source: str) -> Record:
    first = questions[0]
    meta: dict[str, Any] = {"questions": [question.id for question in questions]}
    if first.split:
        meta["split"] = first.split
    return Record(first.id, source, (image,) if image is not None else (), qas=tuple(qas), meta=meta)


def open_first(pictures: Pictures, names: tuple[str, ...]) -> Image:
    """The first of the pictures that is there. Raises RowError."""
    if not names:
        raise RowError("image", "missing: a question without a picture is no visual question")
    there = next((name for name in names if pictures.path(name, "image").is_file()), names[0])
    return pictures.open(there, "image")


def tails(name: str) -> tuple[str, ...]:
    """A picture's name, and what is left of it without its first folders: people unpack sets in their own way."""
    parts = PurePosixPath(name).parts
    return tuple("/".join(parts[first:]) for first in range(min(len(parts), 8))) or (name,)


def entries_of(rows: Iterable[tuple[Spot, dict[str, Any] | RowError]], parse: Any) -> Entries:
    """The questions that `parse` makes of rows; it may raise RowError."""
    for spot, row in rows:
        if isinstance(row, RowError):
            yield spot, row
            continue
        try:
            yield spot, parse(row)
        except RowError as error:
            yield spot, error


def id_of(row: dict[str, Any], *names: str) -> str:
    """The number or text under the first of `names` that is there. Raises RowError."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return text_of(row, name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None:
            raise RowError(name, f"expected a number or a text, not {shown(value)}")
    raise RowError(names[0], "missing")


def words_of(value: Any, where: str) -> str:
    """A text, or a number as people write it (some sets have 3 and 3.0 for answers). Raises RowError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(int(value)) if value == int(value) else str(value)
    return text_of({where: value}, where)


def answers_of(row: dict[str, Any], name: str) -> tuple[Answer, ...]:
    """The answers of a list of texts; none where the row has no such list. Raises RowError."""
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RowError(name, f"expected a list of texts, not {shown(value)}")
    return tuple(Answer(words_of(item, f"{name}[{index}]")) for index, item in enumerate(value))


def split_in(path: Path, *known: str) -> str:
    """The first of the splits that stands in a file's name; "" where none does."""
    stem = path.stem.lower()
    return next((name for name in known or ("train", "val", "testdev", "test") if name in stem), "")
