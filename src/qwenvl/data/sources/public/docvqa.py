"""DocVQA and InfographicVQA as their server gives them: `{"data": [{"questionId", "question", "image", …}, …]}`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.fields import shown
from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import answers_of, id_of, joined, placed, question_of, split_in, tails
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.data.sources.report import RowError


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of `train_v1.0.json`, `infographicsVQA_train_v1.0.json` and the like, or of a plain list of such
    rows, those of a picture that follow each other together; the test split has no answers.

    Every answer counts as right; the one to learn is that given most often, then first.
    """
    return joined(_entries(path, reading))


def _entries(path: Path, reading: Reading) -> Iterator[Entry]:
    named = split_in(path)
    for at, row in placed(path, list_rows(path, "data"), reading):
        with reading.row(at):
            id, names = id_of(row, "questionId", "question_id"), _names(row)
            split, kinds = row.get("data_split"), row.get("question_types", row.get("answer_type"))
            kind = ", ".join(kind for kind in kinds if isinstance(kind, str)) if isinstance(kinds, list) else ""
            question = question_of(row, "question", answers_of(row, "answers"), id, kind=kind, reads_text=True)
            own = split if isinstance(split, str) and split else named
            yield Entry(f"{path.stem}-{id}", names[0], at, own, others=names[1:], questions=(question,))


def _names(row: Row) -> tuple[str, ...]:
    """DocVQA names a picture with its folder, InfographicVQA by a local name; copies without either have "" here."""
    name = row.get("image", row.get("image_local_name", ""))
    if not isinstance(name, str):
        raise RowError("image", f"expected the name of a picture, not {shown(name)}")
    return tails(name)


FORMATS = [
    Format("docvqa", "DocVQA's train_v1.0.json and the like and its pages (rrc.cvc.uab.es, challenge 17)", entries),
    Format(
        "infographicvqa", "infographicsVQA_train_v1.0.json and its pictures (rrc.cvc.uab.es, challenge 17)", entries
    ),
]
