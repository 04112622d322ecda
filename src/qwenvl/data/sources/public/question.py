"""What the question sets have in common: the choice of the answer to learn, questions of one picture joined, and values
out of their rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from qwenvl.data.sources.fields import shown, text_of
from qwenvl.data.sources.public.entry import At, Entry, Question
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.report import RowError, Spot
from qwenvl.sample import Box

MOST_IN_AN_ENTRY = 64
"""Questions of one picture that are joined at most: more begin another entry."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One annotator's answer: `confidence` is "yes", "maybe", "no" or "" where nobody asked; `raw` is as it was typed,
    where `text` was brought into another form.
    """

    text: str
    confidence: str = ""
    raw: str = ""


def most_confident(answers: Sequence[Answer], best: str = "") -> str:
    """The answer to learn: the one that annotators are most confident of, as the paper has it for VQAv2 ("based on the
    maximum confidence", appendix A). "" where there is none but blanks.

    The paper says no more, so: the answer that most annotators gave with "yes". Between equals the one with more
    "maybe", then the one given more often, then `best` (which the set itself calls the most frequent), then the one
    given first. Sets without confidences: the one given most often, then first. Of OK-VQA's answers, whose words are
    cut to their stems, it is the form that was typed most often.
    """
    votes: dict[str, list[int]] = {}
    for answer in answers:
        if words := answer.text.strip():
            counts = votes.setdefault(words, [0, 0, 0])
            counts[0] += answer.confidence == "yes"
            counts[1] += answer.confidence == "maybe"
            counts[2] += 1
    if not votes:
        return ""
    best = best.strip()
    chosen = max(votes, key=lambda words: (votes[words], words == best))
    raws = Counter(a.raw.strip() for a in answers if a.raw.strip() and a.text.strip() == chosen)
    return raws.most_common(1)[0][0] if raws else chosen


def question_of(
    row: Row,
    field: str,
    answers: Sequence[Answer],
    id: str,
    best: str = "",
    kind: object = "",
    reads_text: bool = False,
    box: Box | None = None,
) -> Question:
    """The question under `field` with the annotators' `answers`, of which `most_confident` is the one to learn.

    Raises RowError.
    """
    return Question(
        text=text_of(row, field).strip(),
        answer=most_confident(answers, best),
        answers=tuple(answer.text for answer in answers),
        id=id,
        reads_text=reads_text,
        kind=kind if isinstance(kind, str) else "",
        box=box,
    )


def joined(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries of one picture that follow each other as one, with all their questions: a picture is stored and opened
    once for them.
    """
    waiting: list[Entry] = []
    for entry in entries:
        first = waiting[0] if waiting else entry
        same = (entry.image, entry.split, entry.at.file) == (first.image, first.split, first.at.file)
        if waiting and (not same or not first.image or len(waiting) == MOST_IN_AN_ENTRY):
            yield _one(waiting)
            waiting = []
        waiting.append(entry)
    if waiting:
        yield _one(waiting)


def _one(entries: list[Entry]) -> Entry:
    return replace(entries[0], questions=tuple(question for entry in entries for question in entry.questions))


def placed(path: Path, rows: Iterable[tuple[Spot, Row | RowError]], reading: Reading) -> Iterator[tuple[At, Row]]:
    """The rows of a file with their places; those that can not be read are reported."""
    for spot, row in rows:
        at = At(str(path), spot)
        if isinstance(row, RowError):
            reading.bad(at, row)
        else:
            yield at, row


def tails(name: str) -> tuple[str, ...]:
    """A picture's name, and what is left of it without its first folders: people unpack sets in their own way."""
    parts = PurePosixPath(name).parts
    return tuple("/".join(parts[first:]) for first in range(min(len(parts), 8))) or (name,)


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
    if (
        not isinstance(value, str)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    ):
        return str(int(value)) if value == int(value) else str(value)
    return text_of({where: value}, where)


def answer_of(row: Row, field: str) -> tuple[Answer, ...]:
    """The one answer under `field`, a text or a number; none where the row has none. Raises RowError."""
    value = row.get(field)
    return () if value is None else (Answer(words_of(value, field).strip()),)


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
