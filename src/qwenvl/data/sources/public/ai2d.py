"""AI2D as published: a folder with `questions/*.json` (a file a picture), `images/` and `abc_images/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.fields import list_of, shown, text_of
from qwenvl.data.sources.public.entry import LETTERS, At, Entry, Question
from qwenvl.data.sources.public.question import id_of, joined, words_of
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.data.sources.rows import Row, one_object

TEST_IDS = "ai2d_test_ids.csv"
"""The pictures of the test split, a number a line; the others are for training."""


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of the folder; the split by `ai2d_test_ids.csv` where it is in it or beside it.

    A question about the letters in the picture belongs to the picture whose words were replaced by letters. Raises
    DataError for a folder without questions.
    """
    files = sorted((path / "questions").glob("*.json"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise DataError(f"{path}: no questions/*.json in it; expected AI2D's folder as it is unpacked")
    tested = _tested(path)
    for file in files:
        at = At(str(file), Spot(1))
        with reading.row(at):
            row = one_object(file)
            picture = text_of(row, "imageName")
            split = "" if tested is None else "test" if Path(picture).stem in tested else "train"
            yield from joined(_entries(row, picture, split, at, reading))


def _tested(path: Path) -> frozenset[str] | None:
    file = next((f for f in (path / TEST_IDS, path.parent / TEST_IDS) if f.is_file()), None)
    return frozenset(file.read_text(encoding="utf-8", errors="replace").split()) if file is not None else None


def _entries(row: Row, picture: str, split: str, at: At, reading: Reading) -> Iterator[Entry]:
    asked = row.get("questions")
    if not isinstance(asked, dict):
        raise RowError("questions", f"expected an object of questions, not {shown(asked)}")
    for number, (text, about) in enumerate(asked.items()):
        with reading.row(at):
            question, folder = _question(text, about, f"questions[{number}].")
            yield Entry(question.id, f"{folder}/{picture}", at, split, questions=(question,))


def _question(text: str, about: object, where: str) -> tuple[Question, str]:
    if not isinstance(about, dict):
        raise RowError(where.rstrip("."), f"expected an object, not {shown(about)}")
    choices = tuple(words_of(words, where + "answerTexts") for words in list_of(about, "answerTexts", where))
    right = about.get("correctAnswer")
    if type(right) is not int or not 0 <= right < len(choices) <= len(LETTERS):
        raise RowError(where + "correctAnswer", f"{shown(right)} is none of the {len(choices)} answers")
    question = Question(
        text=text_of({"question": text}, "question", where).strip(),
        answer=LETTERS[right],
        answers=(LETTERS[right],),
        id=id_of(about, "questionId"),
        choices=choices,
    )
    return question, "abc_images" if about.get("abcLabel") is True else "images"


FORMATS = [Format("ai2d", "AI2D's folder as unpacked, with ai2d_test_ids.csv in it (prior.allenai.org)", entries)]
