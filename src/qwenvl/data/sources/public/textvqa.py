"""TextVQA as published: `TextVQA_0.5.1_train.json`, with ten answers a question and no confidences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.fields import text_of
from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import answers_of, id_of, joined, placed, question_of, split_in
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Options


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The questions of a file, those of a picture together; the test split has no answers."""
    return joined(_entries(path, reading))


def _entries(path: Path, reading: Reading) -> Iterator[Entry]:
    split = split_in(path)
    for at, row in placed(path, list_rows(path, "data"), reading):
        with reading.row(at):
            id, image = id_of(row, "question_id"), text_of(row, "image_id")
            given = row.get("set_name")
            question = question_of(row, "question", answers_of(row, "answers"), id, reads_text=True)
            names = (f"{image}.jpg", f"train_images/{image}.jpg", f"test_images/{image}.jpg")
            meta = {"classes": row["image_classes"]} if isinstance(row.get("image_classes"), list) else {}
            own = given if isinstance(given, str) else split
            yield Entry(f"{path.stem}-{id}", names[0], at, own, others=names[1:], questions=(question,), meta=meta)


FORMATS = [
    Format("textvqa", "TextVQA_0.5.1_train.json and the like, pictures: Open Images (textvqa.org)", entries),
]
