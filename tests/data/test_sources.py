"""Sources: what people bring is read; what is wrong with it is said by file, line and field, and never trained on."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.data.shard_writer import write_shards
from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.sample import Box, Record
from qwenvl.tasks import TASKS

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def test_every_line_of_the_documentation_is_read(lines: Callable[..., Path]) -> None:
    rows = [line.strip() for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("    {")]
    assert len(rows) >= 12
    records = list(open_source(lines(*rows), strict=True))
    assert len(records) == len(rows)
    tasks = {task for record in records for task, samples in TASKS.items() if samples(record, None)}  # type: ignore[arg-type]
    assert tasks == set(TASKS)


def test_each_task(one: Callable[[Any], Record], folder: Path) -> None:
    caption = one({"image": "a.jpg", "caption": "一只狗", "task": "caption"}).captions[0]
    assert (caption.text, caption.language) == ("一只狗", "zh")
    assert one({"image": "a.jpg", "caption": "狗", "language": "en"}).captions[0].language == "en"
    qa = one({"image": "sub/b.png", "question": "Q?", "answer": "A", "reads_text": True}).qas[0]
    assert (qa.question, qa.answer, qa.language, qa.reads_text) == ("Q?", "A", "en", True)
    row = {
        "image": "a.jpg",
        "caption": "a dog and a dog",
        "spans": [{"text": "a dog", "boxes": [[0, 0, 5, 5]]}, {"text": "a dog", "box": [5, 5, 9, 9]}],
    }
    assert [span[:2] for span in one(row).captions[0].spans] == [(0, 5), (10, 15)]
    phrase = one({"image": "a.jpg", "phrase": "the dog", "boxes": [[1, 2, 3, 4.5]], "description": "a dog"}).phrases[0]
    assert phrase.boxes == (Box(1, 2, 3, 4.5),) and phrase.referring and phrase.description == "a dog"
    told = one({"image": "a.jpg", "boxes": [[1, 2, 3, 4]], "description": "a dog"}).phrases[0]
    assert not told.referring and told.description == "a dog"
    record = one(
        {"image": "a.jpg", "lines": [{"text": "x", "quad": [1, 1, 9, 1, 9, 5, 1, 5]}], "id": 7, "meta": {"k": 1}},
    )
    assert record.lines[0].quad.box == Box(1, 1, 9, 5) and record.id == "7" and record.meta == {"k": 1}
    assert one({"text": "words"}).texts == ("words",)


def test_lists_bom_blank_lines_and_data_uris(folder: Path) -> None:
    buffer = io.BytesIO()
    PILImage.new("RGB", (8, 8)).save(buffer, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    rows = [{"text": "one"}, {"image": uri, "caption": "two"}]
    path = folder / "list.json"
    path.write_text("\ufeff" + json.dumps(rows, indent=2), encoding="utf-8")
    assert [record.id for record in open_source(path)] == ["list-1", "list-2"]
    path.write_text("\ufeff" + json.dumps(rows[0]) + "\r\n\r\n" + json.dumps(rows[1]), encoding="utf-8")
    assert [record.id for record in open_source(path)] == ["list-1", "list-3"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"text": "cut', "not JSON"),
        ("[1, 2]", "expected an object"),
        ('"words"', "expected an object"),
        ("[" * 100_000, "not JSON"),
        ({"image": "a.jpg"}, "nothing to learn from"),
        ({"text": " "}, "text: is empty"),
        ({"text": 5}, "text: expected a text, not 5"),
        ('{"text": "half \\ud800"}', "surrogate"),
        ({"caption": "x"}, "image: missing"),
        ({"image": "a.jpg", "caption": None}, "caption: missing"),
        ({"image": 5, "caption": "x"}, "image: expected the path"),
        ({"image": "none.jpg", "caption": "x"}, "no such file"),
        ({"image": "text.jpg", "caption": "x"}, "image: text.jpg: not a picture"),
        ({"image": "broken.jpg", "caption": "x"}, "image: broken.jpg: broken picture"),
        ({"image": "sub", "caption": "x"}, "is a folder"),
        ({"image": "../a.jpg", "caption": "x"}, "leads out of"),
        ({"image": "/etc/passwd", "caption": "x"}, "absolute"),
        ({"image": "C:\\a.jpg", "caption": "x"}, "absolute"),
        ({"image": "https://example.org/a.jpg", "caption": "x"}, "never fetched"),
        ({"image": "file:///etc/passwd", "caption": "x"}, "never fetched"),
        ({"image": "a\0.jpg", "caption": "x"}, "no path"),
        ({"image": "a.jpg", "caption": "x", "language": "de"}, 'language: expected "en" or "zh"'),
        ({"image": "a.jpg", "caption": "x", "task": "captoin"}, 'did you mean "caption"'),
        ({"image": "a.jpg", "caption": "x", "task": "vqa"}, "question: missing"),
        ({"image": "a.jpg", "question": "Q?"}, "answer: missing"),
        ({"image": "a.jpg", "question": "Q?", "answer": "A", "reads_text": 1}, "reads_text: expected true or false"),
        ({"image": "a.jpg", "phrase": "x"}, "boxes: missing"),
        ({"image": "a.jpg", "phrase": "x", "boxes": []}, "boxes: is empty"),
        ({"image": "a.jpg", "phrase": "x", "boxes": [[1, 2, 3]]}, "boxes[0]: expected [x0, y0, x1, y1]"),
        ({"image": "a.jpg", "phrase": "x", "boxes": [[1, 2, 3, 4], [1, 2, 3, "4"]]}, "boxes[1]: expected numbers"),
        ({"image": "a.jpg", "phrase": "x", "boxes": [[1, 2, 3, True]]}, "boxes[0]: expected numbers"),
        ('{"image": "a.jpg", "phrase": "x", "boxes": [[1, 2, 3, NaN]]}', "boxes[0]: expected numbers"),
        ({"image": "a.jpg", "phrase": "x", "boxes": [[5, 2, 3, 4]]}, "swapped corners"),
        ({"image": "a.jpg", "phrase": "x", "boxes": [[3, 2, 3, 4]]}, "no area"),
        ({"image": "a.jpg", "phrase": "x", "boxes": [[0, 0, 101, 50]]}, "outside the picture of 100×100"),
        ({"image": "a.jpg", "phrase": "x", "boxes": [[-3, 0, 10, 50]]}, "outside the picture"),
        ({"image": "a.jpg", "caption": "x", "width": 640}, "width: 640, but the picture's is 100"),
        ({"image": "a.jpg", "caption": "x y", "spans": [{"text": "z", "boxes": [[1, 2, 3, 4]]}]}, "spans[0].text"),
        ({"image": "a.jpg", "caption": "x y", "spans": [{"start": 2, "end": 9, "boxes": [[1, 2, 3, 4]]}]}, "spans[0]"),
        ({"image": "a.jpg", "caption": "x y", "spans": [{"start": -2, "end": 1, "boxes": [[1, 2, 3, 4]]}]}, "spans[0]"),
        ({"image": "a.jpg", "caption": "x y", "spans": ["x"]}, "spans[0]: expected an object"),
        ({"image": "a.jpg", "lines": [{"text": "x"}]}, "lines[0].quad: missing"),
        ({"image": "a.jpg", "lines": [{"text": "x", "quad": [[1, 1], [1, 5], [9, 5], [9, 1]]}]}, "counter-clockwise"),
        ({"image": "a.jpg", "lines": [{"text": "x", "quad": [[1, 1], [9, 1], [9, 5]]}]}, "quad: expected four corners"),
        ({"image": "a.jpg", "qas": [{"question": "Q?"}]}, "qas[0].answer: missing"),
        ({"images": ["a.jpg", "sub/b.png"], "caption": "x"}, "one row a picture"),
        ({"filename": "a.jpg", "text": "x"}, 'call the field "image"'),
        ({"text": "x", "meta": 3}, "meta: expected an object"),
    ],
)  # fmt: skip
def test_a_bad_row_is_reported_by_line_and_field(complaint: Callable[..., str], row: Any, says: str) -> None:
    found = complaint(row)
    assert says in found, found


def test_bytes_that_are_not_utf8(folder: Path) -> None:
    path = folder / "data.jsonl"
    path.write_bytes(b'{"text": "good"}\n{"text": "caf\xe9"}\n')
    report = BadRows()
    assert len(list(open_source(path, report=report))) == 1
    assert "not UTF-8" in report.first


def test_a_link_out_of_the_folder_is_refused(
    complaint: Callable[..., str], lines: Callable[..., Path], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    PILImage.new("RGB", (5, 5)).save(elsewhere / "c.png")
    (folder / "link.png").symlink_to(elsewhere / "c.png")
    assert "leads out of" in complaint({"image": "link.png", "caption": "x"})
    path = lines({"image": str(elsewhere / "c.png"), "caption": "x"}, {"image": "c.png", "caption": "y"})
    assert len(list(open_source(path, strict=True, image_root=elsewhere))) == 2
    assert "leads out of" in complaint({"image": "/etc/hostname", "caption": "x"}, image_root=elsewhere)


def test_rounding_is_forgiven_and_moved_to_the_edge(one: Callable[[Any], Record]) -> None:
    record = one({"image": "a.jpg", "phrase": "x", "boxes": [[-0.3, 0, 100.4, 50]]})
    assert record.phrases[0].boxes == (Box(0, 0, 100, 50),)


def test_a_misspelt_field_is_noted_once_and_strict_stops(lines: Callable[..., Path]) -> None:
    row = {"image": "a.jpg", "caption": "x", "span": []}
    report = BadRows()
    assert len(list(open_source(lines(row, row), report=report))) == 2
    assert len(report.messages) == 1 and 'did you mean "spans"' in report.messages[0] and report.count == 0
    with pytest.raises(DataError, match="unknown"):
        list(open_source(lines(row), strict=True))


def test_nothing_usable_is_an_error(lines: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"no usable row \(2 skipped; the first: .*data\.jsonl:1: text: is empty"):
        list(open_source(lines({"text": ""}, {"text": ""})))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"a,b,c\n1,2,3\n", "not JSON"),
        (b"PAR1....", "Parquet"),
        (b"PK\x03\x04....", "zip"),
        (b'{\n "images": [], "annotations": []\n}', "one JSON object"),
        (b"[", "not closed"),
        (b'[{"text": "x"', "no usable row"),
        (b"\xff\xfe{", "not JSON"),
    ],
)
def test_files_that_are_something_else(folder: Path, content: bytes, says: str) -> None:
    path = folder / "data.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        list(open_source(path))


def test_rows_of_a_list_on_one_line_are_told_apart(folder: Path) -> None:
    path = folder / "list.json"
    path.write_text('[{"text": "one"}, {"text": ""}, {"text": "two"}]', encoding="utf-8")
    report = BadRows()
    records = list(open_source(path, report=report))
    assert len({record.id for record in records}) == 2
    assert report.messages[0].startswith(f"{path}:1 (row 2): text")


def test_a_broken_list_gives_what_stands_before_the_break(folder: Path) -> None:
    path = folder / "list.json"
    path.write_text('[{"text": "one"},\n {"text": "two"},\n {"text": "three" oops}, {"text": "four"}]')
    report = BadRows()
    assert len(list(open_source(path, report=report))) == 2
    assert report.count == 1 and report.first.startswith(f"{path}:3: not JSON")


def test_places_that_do_not_exist(lines: Callable[..., Path], folder: Path) -> None:
    for spec, says in ((folder / "none.jsonl", "no such file"), (folder, "without manifest.json")):
        with pytest.raises(DataError, match=says):
            open_source(spec)
    with pytest.raises(DataError, match="no such folder"):
        open_source(lines({"text": "x"}), image_root=folder / "none")


def test_scenes_and_shards_are_sources(tmp_path: Path) -> None:
    report = BadRows()
    scenes = list(open_source("scenes:val?seed=3&count=4&start=2&size=64", report=report))
    assert [s.id for s in scenes] == [f"scenes-val-3-{i}" for i in range(2, 6)] and scenes[0].images[0].width == 64
    assert report.summary() == "4 rows read, none skipped"
    write_shards(scenes, tmp_path / "shards")
    assert [r.id for r in open_source(tmp_path / "shards")] == [s.id for s in scenes]
    (tmp_path / "shards" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged"):
        list(open_source(tmp_path / "shards"))


@pytest.mark.parametrize(
    "spec", ["scenes:", "scenes:dev", "scenes:train?cuont=3", "scenes:train?count=-1", "scenes:train?size=8"]
)
def test_scene_specs_that_mean_nothing(spec: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"scenes:{spec}")):
        open_source(f"scenes:{spec}")
