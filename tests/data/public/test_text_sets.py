"""Text in pictures: corners brought in order, ICDAR's files, and the forms of one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import read_entries
from qwenvl.data.sources.public.text_in_picture import quad_of
from qwenvl.data.sources.report import RowError
from qwenvl.sample import Quad

Write = Callable[[str, Any], Path]
CORNERS = Quad(((10, 20), (40, 20), (40, 30), (10, 30)))


@pytest.mark.parametrize(
    "given",
    [
        [10, 20, 40, 30],
        [10, 20, 40, 20, 40, 30, 10, 30],
        [[10, 20], [40, 20], [40, 30], [10, 30]],
        [10, 20, 10, 30, 40, 30, 40, 20],
        [10, 30, 40, 30, 40, 20, 10, 20],
        [10, 20, 20, 19, 30, 19, 40, 20, 40, 30, 30, 29, 20, 29, 10, 30],
    ],
)
def test_corners_run_clockwise_from_the_texts_top_left(given: list[Any]) -> None:
    assert quad_of(given, "box") == CORNERS


def test_text_that_stands_on_its_head_keeps_its_first_corner() -> None:
    assert quad_of([40, 30, 10, 30, 10, 20, 40, 20], "box").points[0] == (40, 30)


@pytest.mark.parametrize("given", [None, "box", [1, 2, 3], [1, 2, 3, float("nan")], [5, 5, 5, 9], [1] * 8, [1] * 10])
def test_what_are_no_corners_is_said(given: Any) -> None:
    with pytest.raises(RowError):
        quad_of(given, "box")


def icdar(folder: Path, name: str, text: str) -> None:
    (folder / f"gt_{name}.txt").write_text(text, encoding="utf-8-sig")
    PILImage.new("RGB", (100, 80)).save(folder / f"{name}.jpg")


def test_icdar_of_2015_with_illegible_text_and_commas(tmp_path: Path) -> None:
    icdar(tmp_path, "img_1", "10,20,40,20,40,30,10,30,Hello, you\r\n50,50,60,50,60,60,50,60,###\r\n")
    (entry,) = read_entries(f"icdar:{tmp_path}")
    assert entry.meta == {"illegible": [[50, 50, 60, 50, 60, 60, 50, 60]]}
    (record,) = open_source(f"icdar:{tmp_path}")
    assert [(line.text, line.quad) for line in record.lines] == [("Hello, you", CORNERS)]


@pytest.mark.parametrize("row", ['10, 20, 40, 30, "Hello"', '10 20 40 30 "Hello"'])
def test_icdar_of_2013(tmp_path: Path, row: str) -> None:
    icdar(tmp_path, "img_1", row)
    (record,) = open_source(f"icdar:{tmp_path}")
    assert [(line.text, line.quad) for line in record.lines] == [("Hello", CORNERS)]


def test_icdar_mlt_has_scripts(tmp_path: Path) -> None:
    icdar(tmp_path, "img_1", "10,20,40,20,40,30,10,30,Chinese,漢字")
    (record,) = open_source(f"icdar:{tmp_path}?scripts=true")
    assert (record.lines[0].text, record.meta) == ("漢字", {"scripts": ["Chinese"]})


def test_a_line_that_can_not_be_read_costs_its_picture_and_is_named(tmp_path: Path) -> None:
    icdar(tmp_path, "img_1", "10,20,40,20,40,30,10,30,Hello")
    icdar(tmp_path, "img_2", "10,20,40,20,40,30,10,30,Hello\n10,20,word")
    report = BadRows()
    assert [record.id for record in open_source(f"icdar:{tmp_path}", report=report)] == ["img_1"]
    assert "gt_img_2.txt:2: expected x1,y1" in report.first


ITEM = {"polygon": [10, 20, 40, 20, 40, 30, 10, 30], "bbox": [10, 20, 40, 30], "bbox_label": 0, "text": "Hello"}
FORMS: dict[str, str] = {
    "mmocr": json.dumps({"metainfo": {}, "data_list": [{"img_path": "x/a.jpg", "instances": [ITEM]}]}, indent=1),
    "wildreceipt": json.dumps({"file_name": "x/a.jpg", "annotations": [{"box": ITEM["polygon"], "text": "Hello"}]}),
    "paddle": "x/a.jpg\t"
    + json.dumps([{"transcription": "Hello", "points": [[10, 20], [40, 20], [40, 30], [10, 30]]}]),
}
CROPS: dict[str, str] = {
    "mmocr": json.dumps({"metainfo": {}, "data_list": [{"img_path": "a.jpg", "instances": [{"text": "Hello"}]}]}),
    "lines": '{"filename": "a.jpg", "text": "Hello"}\n',
    "labels": "a.jpg Hello\n",
    "icdar": 'a.jpg, "Hello"\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_one_file_give_the_same_line(tmp_path: Path, form: str) -> None:
    PILImage.new("RGB", (100, 80)).save(tmp_path / "a.jpg")
    (tmp_path / "labels").write_text(FORMS[form])
    (record,) = open_source(f"ocr:{tmp_path / 'labels'}")
    assert [(line.text, line.quad) for line in record.lines] == [("Hello", CORNERS)]


@pytest.mark.parametrize("form", CROPS)
def test_a_crop_is_its_whole_picture(tmp_path: Path, form: str) -> None:
    PILImage.new("RGB", (100, 80)).save(tmp_path / "a.jpg")
    (tmp_path / "labels").write_text(CROPS[form])
    (record,) = open_source(f"ocr:{tmp_path / 'labels'}")
    assert record.lines[0].quad == Quad(((0, 0), (100, 0), (100, 80), (0, 80)))


def test_ignored_and_wordless_places_are_kept_apart(written: Write) -> None:
    items = [ITEM, {**ITEM, "ignore": True}, {"polygon": ITEM["polygon"]}]
    (entry,) = read_entries(f"ocr:{written('a.json', {'data_list': [{'img_path': 'a.jpg', 'instances': items}]})}")
    assert (len(entry.lines), len(entry.meta["illegible"])) == (1, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a.jpg", "a picture's name, a space and its text"),
        ("a.jpg\t[{]", "expected a JSON list"),
        ('a.jpg\t[{"points": [1, 2, 3, 4]}]', "[0].transcription: missing"),
        ('{"file_name": "a.jpg", "annotations": [{"text": "x", "box": [1, 2]}]}', "annotations[0].box"),
        ('{"file_name": "a.jpg", "annotations": [3]}', "annotations[0]: expected an object"),
        ("a.jpg \x00\xff", "row"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "labels").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as error:
        list(open_source(f"ocr:{tmp_path / 'labels'}"))
    assert "labels" in str(error.value) and (said in str(error.value) or said == "row")
