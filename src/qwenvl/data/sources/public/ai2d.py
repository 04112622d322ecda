"""AI2D as published: a folder with `questions/*.json` (a file a picture), `images/` and `abc_images/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.fields import list_of, shown, text_of
from qwenvl.data.sources.public.question import LETTERS, Entries, Question, id_of, words_of
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.data.sources.rows import Row, one_object

TEST_IDS = "ai2d_test_ids.csv"
"""The pictures of the test split, a number a line; the others are for training."""


def entries(path: Path) -> Entries:
    """The questions of the folder, a picture's one after the other; the split by `ai2d_test_ids.csv` where it is there.

    A question about the letters in the picture belongs to the picture whose words were replaced by letters. Raises
    DataError for a folder without questions.
    """
    files = sorted((path / "questions").glob("*.json"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise DataError(f"{path}: no questions/*.json in it; expected AI2D's folder as it is unpacked")
    tested = _tested(path)
    for file in files:
        try:
            row = one_object(file)
            picture = text_of(row, "imageName")
            split = "" if tested is None else "test" if Path(picture).stem in tested else "train"
            found = list(_questions(row, picture, split))
        except RowError as error:
            yield Spot(1), RowError(error.field, f"{error.reason} (questions/{file.name})")
            continue
        for question in found:
            yield Spot(1), question


def _tested(path: Path) -> frozenset[str] | None:
    file = next((f for f in (path / TEST_IDS, path.parent / TEST_IDS) if f.is_file()), None)
    return frozenset(file.read_text(encoding="utf-8").split()) if file is not None else None


def _questions(row: Row, picture: str, split: str) -> Iterator[Question]:
    asked = row.get("questions")
    if not isinstance(asked, dict):
        raise RowError("questions", f"expected an object of questions, not {shown(asked)}")
    for number, (question, about) in enumerate(asked.items()):
        where = f"questions[{number}]."
        if not isinstance(about, dict):
            raise RowError(where.rstrip("."), f"expected an object, not {shown(about)}")
        choices = [words_of(words, where + "answerTexts") for words in list_of(about, "answerTexts", where)]
        right = about.get("correctAnswer")
        if type(right) is not int or not 0 <= right < len(choices) <= len(LETTERS):
            raise RowError(where + "correctAnswer", f"{shown(right)} is none of the {len(choices)} answers")
        folder = "abc_images" if about.get("abcLabel") is True else "images"
        yield Question(
            id=id_of(about, "questionId"),
            pictures=(f"{folder}/{picture}",),
            question=text_of({"question": question}, "question", where).strip(),
            choices=tuple(choices),
            choice=right,
            split=split,
        )
