"""DocVQA and InfographicVQA as their server gives them: `{"data": [{"questionId", "question", "image", …}, …]}`."""

from __future__ import annotations

from pathlib import Path

from qwenvl.data.sources.fields import shown, text_of
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import Entries, Question, answers_of, entries_of, id_of, split_in, tails
from qwenvl.data.sources.report import RowError
from qwenvl.data.sources.rows import Row


def entries(path: Path) -> Entries:
    """The questions of `train_v1.0.json`, `infographicsVQA_train_v1.0.json` and the like, or of a plain list of such
    rows; the test split has no answers. Every answer counts as right.
    """
    split = split_in(path)

    def parse(row: Row) -> Question:
        given = row.get("data_split")
        return Question(
            id=id_of(row, "questionId", "question_id"),
            pictures=_names(row),
            question=text_of(row, "question").strip(),
            answers=answers_of(row, "answers"),
            split=given if isinstance(given, str) and given else split,
            reads_text=True,
            meta={name: row[name] for name in ("docId", "question_types", "answer_type") if name in row},
        )

    return entries_of(list_rows(path, "data"), parse)


def _names(row: Row) -> tuple[str, ...]:
    """DocVQA names the picture with its folder in the first release's archive; InfographicVQA by its local name."""
    name = row.get("image", row.get("image_local_name"))
    if name is None:
        return ()
    if not isinstance(name, str) or not name.strip():
        raise RowError("image", f"expected the name of a picture, not {shown(name)}")
    return tails(name)
