"""`qwenvl data describe`: what it counts, in words and as a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwenvl.cli import main
from qwenvl.data.describe import describe, lines_of
from qwenvl.sample import QA, Box, Caption, Image, Phrase, Quad, Record, Text, TextLine, Turn


def record(width: int = 200) -> Record:
    box = Box(0, 0, 50, 50)
    return Record(
        "a",
        "test",
        (Image(b"", width, 100),),
        (Caption("a dog", spans=((0, 5, (box,)),)), Caption("一只狗", "zh")),
        (QA("what?", "dog"), QA("which?", "dog")),
        (Phrase("dog", (box, Box(0, 0, 200, 100))),),
        (TextLine("狗", Quad(((0, 0), (1, 0), (1, 1), (0, 1)))),),
        dialogues=((Turn("user", (Text("hello"),)), Turn("assistant", (Text("hi"),))),),
    )


def test_counts() -> None:
    found = describe([record(), record(400), Record("t", "test", texts=("words",))])
    assert (found.records, found.pictures, found.without_picture, found.boxes) == (3, 2, 1, 6)
    assert found.kinds == {
        "captions": 4, "grounded captions": 2, "questions": 4, "phrases": 2, "text lines": 2, "conversations": 2,
        "documents": 1,
    }  # fmt: skip
    assert found.languages["captions"] == {"en": 2, "zh": 2}
    width = found.measures["picture's width (pixels)"]
    assert (width.least, width.most, width.total / width.count, width.median) == (200, 400, 300, 200)
    share = found.measures["box's share of the picture (%)"]
    assert (share.least, share.most) == (6.25, 100)
    assert found.common["answers"] == {"dog": 4}
    assert all(sum(one.bins) == one.count for one in found.measures.values())
    assert dict(lines_of(found))["captions"] == "4 (en 50.0 %, zh 50.0 %)"


def test_memory_does_not_grow_with_different_answers() -> None:
    rare = [Record(str(n), "test", qas=(QA("?", f"answer {n}"), QA("?", "dog"))) for n in range(30_000)]
    found = describe(rare)
    assert len(found.common["answers"]) <= 20_001
    assert found.common["answers"]["dog"] == 30_000


def test_the_command_counts_skipped_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "my.jsonl"
    data.write_text('{"text": "words"}\n{"image": "gone.png", "caption": "a dog"}\n')
    page = tmp_path / "page.html"
    assert main(["data", "describe", str(data), "--html", str(page)]) == 0
    said = capsys.readouterr()
    assert "my.jsonl:2" in said.err
    assert [line.split()[-1] for line in said.out.splitlines() if "skipped" in line] == ["1"]
    assert "gone.png" in page.read_text()
    assert main(["data", "describe", "coco-captoins:x.json"]) != 0
    assert "coco-captions" in capsys.readouterr().err
