"""OCR-VQA as published: `dataset.json`, an object of books with the questions about each cover."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from qwenvl.data.sources.fields import list_of, shown
from qwenvl.data.sources.public.json_stream import member_rows
from qwenvl.data.sources.public.question import Answer, Entries, Question, id_of, words_of
from qwenvl.data.sources.report import RowError
from qwenvl.data.sources.rows import Row

SPLITS = {1: "train", 2: "val", 3: "test"}


def entries(path: Path) -> Entries:
    """The questions of all books, those of a book one after the other; a picture is named by the book's id and the
    ending of its address, as the published download script does.
    """
    for spot, row in member_rows(path, "book"):
        try:
            if isinstance(row, RowError):
                raise row
            found = _questions(row)
        except RowError as error:
            yield spot, error
            continue
        for question in found:
            yield spot, question


def _questions(row: Row) -> list[Question]:
    book = id_of(row, "book")
    asked, answers = list_of(row, "questions"), list_of(row, "answers")
    if len(asked) != len(answers):
        raise RowError("answers", f"{len(answers)} for {len(asked)} questions")
    if row.get("split") not in SPLITS:
        raise RowError("split", f"expected 1 (train), 2 (val) or 3 (test), not {shown(row.get('split'))}")
    names = _names(book, row.get("imageURL"))
    meta = {name: row[name] for name in ("title", "authorName", "genre") if isinstance(row.get(name), str)}
    return [
        Question(
            id=f"{book}-{index}",
            pictures=names,
            question=words_of(question, f"questions[{index}]").strip(),
            answers=(Answer(words_of(answer, f"answers[{index}]").strip()),),
            split=SPLITS[row["split"]],
            reads_text=True,
            meta=meta,
        )
        for index, (question, answer) in enumerate(zip(asked, answers, strict=True))
    ]


def _names(book: str, address: object) -> tuple[str, ...]:
    ending = ""
    if isinstance(address, str):
        try:
            ending = PurePosixPath(urlsplit(address).path).suffix
        except ValueError:
            ending = ""
    ending = ending if re.fullmatch(r"\.[a-zA-Z0-9]{1,5}", ending) else ".jpg"
    return tuple(dict.fromkeys((f"{book}{ending}", f"{book}.jpg")))
