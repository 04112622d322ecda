"""ScienceQA as published: `problems.json`, an object of multiple-choice problems, half of them with a picture."""

from __future__ import annotations

from pathlib import Path

from qwenvl.data.sources.fields import list_of, shown, text_of
from qwenvl.data.sources.public.json_stream import member_rows
from qwenvl.data.sources.public.question import LETTERS, Entries, Question, entries_of, id_of, words_of
from qwenvl.data.sources.report import RowError
from qwenvl.data.sources.rows import Row

_META = ("subject", "topic", "category", "skill", "grade", "task", "lecture", "solution")


def entries(path: Path) -> Entries:
    """The problems of the file, with and without a picture (`Question.pictures` is empty then). Pictures lie in
    `<split>/<id>/image.png`, perhaps below `images`; pictures of choices are not read: the choices say "(a)", "(b)".
    """

    def parse(row: Row) -> Question:
        id, choices = id_of(row, "id"), [words_of(c, "choices") for c in list_of(row, "choices")]
        right = row.get("answer")
        if right is not None and (type(right) is not int or not 0 <= right < len(choices) <= len(LETTERS)):
            raise RowError("answer", f"{shown(right)} is none of the {len(choices)} choices")
        split, hint = text_of(row, "split"), row.get("hint")
        name = text_of(row, "image") if row.get("image") else ""
        return Question(
            id=id,
            pictures=(f"{split}/{id}/{name}", f"images/{split}/{id}/{name}") if name else (),
            question=text_of(row, "question").strip(),
            choices=tuple(choices),
            choice=right,
            context=hint.strip() if isinstance(hint, str) else "",
            split=split,
            meta={field: row[field] for field in _META if isinstance(row.get(field), str)},
        )

    return entries_of(member_rows(path, "id"), parse)
