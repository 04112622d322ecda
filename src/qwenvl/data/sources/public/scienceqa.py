"""ScienceQA as published: `problems.json`, an object of multiple-choice problems, half of them with a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.fields import list_of, shown, text_of
from qwenvl.data.sources.public.entry import LETTERS, At, Entry, Question
from qwenvl.data.sources.public.json_stream import member_rows
from qwenvl.data.sources.public.question import id_of, placed, words_of
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.report import RowError

_META = ("subject", "topic", "category", "skill", "grade", "task", "lecture", "solution")


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The problems of the file. Pictures lie in `<split>/<id>/image.png`, perhaps below `images`; those of choices are
    not read: the choices say "(a)", "(b)".
    """
    left_out = 0
    for at, row in placed(path, member_rows(path, "id"), reading):
        with reading.row(at):
            if not row.get("image") and not options["textual"]:
                left_out += 1
                continue
            yield _entry(row, at)
    if left_out:
        reading.report.note(str(path), at.spot, f"{left_out:,} problems without a picture are left out (textual=true)")


def _entry(row: Row, at: At) -> Entry:
    id, choices = id_of(row, "id"), tuple(words_of(choice, "choices") for choice in list_of(row, "choices"))
    right, hint = row.get("answer"), row.get("hint")
    if right is not None and (type(right) is not int or not 0 <= right < len(choices) <= len(LETTERS)):
        raise RowError("answer", f"{shown(right)} is none of the {len(choices)} choices")
    split = text_of(row, "split")
    name = f"{split}/{id}/{text_of(row, 'image')}" if row.get("image") else ""
    answer = LETTERS[right] if right is not None else ""
    question = Question(
        text=text_of(row, "question").strip(),
        answer=answer,
        answers=(answer,) if answer else (),
        id=id,
        choices=choices,
        context=hint.strip() if isinstance(hint, str) else "",
    )
    meta = {field: row[field] for field in _META if isinstance(row.get(field), str)}
    return Entry(id, name, at, split, None, (f"images/{name}",) if name else (), questions=(question,), meta=meta)


FORMATS = [
    Format(
        "scienceqa",
        "ScienceQA's problems.json and its images folder (scienceqa.github.io)",
        entries,
        {"textual": Option(False, "problems without a picture too: for evaluation, as they make no record")},
    )
]
