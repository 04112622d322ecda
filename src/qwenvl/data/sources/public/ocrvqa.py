"""OCR-VQA as published: `dataset.json`, an object of books with the questions about each cover."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from qwenvl.data.sources.fields import list_of, shown
from qwenvl.data.sources.public.entry import At, Entry, Question
from qwenvl.data.sources.public.json_stream import member_rows
from qwenvl.data.sources.public.question import id_of, placed, words_of
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.data.sources.report import RowError

SPLITS = {1: "train", 2: "val", 3: "test"}


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a book with all its questions; a picture is named by the book's id and the ending of its address, as the
    published download script does.
    """
    for at, row in placed(path, member_rows(path, "book"), reading):
        with reading.row(at):
            yield _entry(row, at)


def _entry(row: Row, at: At) -> Entry:
    book = id_of(row, "book")
    asked, answers = list_of(row, "questions"), list_of(row, "answers")
    if len(asked) != len(answers):
        raise RowError("answers", f"{len(answers)} for {len(asked)} questions")
    split = row.get("split")
    if type(split) is not int or split not in SPLITS:
        raise RowError("split", f"expected 1 (train), 2 (val) or 3 (test), not {shown(split)}")
    names = _names(book, row.get("imageURL"))
    return Entry(
        id=book,
        image=names[0],
        at=at,
        split=SPLITS[split],
        others=names[1:],
        questions=tuple(
            Question(
                text=words_of(question, f"questions[{index}]").strip(),
                answer=(found := words_of(answer, f"answers[{index}]").strip()),
                answers=(found,),
                id=f"{book}-{index}",
                reads_text=True,
            )
            for index, (question, answer) in enumerate(zip(asked, answers, strict=True))
        ),
        meta={name: row[name] for name in ("title", "authorName", "genre") if isinstance(row.get(name), str)},
    )


def _names(book: str, address: object) -> tuple[str, ...]:
    ending = ""
    if isinstance(address, str):
        try:
            ending = PurePosixPath(urlsplit(address).path).suffix
        except ValueError:
            ending = ""
    ending = ending if re.fullmatch(r"\.[a-zA-Z0-9]{1,5}", ending) else ".jpg"
    return tuple(dict.fromkeys((book + ending, f"images/{book}{ending}", f"{book}.jpg", f"images/{book}.jpg")))


FORMATS = [Format("ocrvqa", "OCR-VQA's dataset.json and its book covers (ocr-vqa.github.io)", entries)]
