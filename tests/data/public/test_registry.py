"""Specs of public sources: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import formats, read_entries
from qwenvl.data.sources.public.registry import parse

Write = Callable[[str, Any], Path]
ROW = {"img_id": "COCO_train2014_000000000009_0", "sents": "the man", "bbox": [10, 20, 30, 40]}


def test_a_spec_has_a_format_a_path_and_options(coco: Path) -> None:
    (coco / "refcoco+_val.json").write_text("[]")
    source = parse(f"refcoco+:{coco}/refcoco+_val.json?images=/a+b/c%26d&split=val")
    assert (source.format.name, source.path) == ("refcoco+", coco / "refcoco+_val.json")
    assert source.options == {"images": "/a+b/c&d", "split": "val", "boxes": "auto", "instances": ""}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("refcocco:x.json", "unknown format 'refcocco' (did you mean 'refcoco'?); there are"),
        ("refcoco:{}?imges=a", "no option 'imges' (did you mean 'images'?); it has boxes, instances, images, split"),
        ("refcoco:{}?boxes=xyxz", "boxes must be one of auto, xywh, xyxy, not 'xyxz' (did you mean 'xyxy'?)"),
        ("refcoco:nowhere.json", "nowhere.json: no such file or folder; refcoco is RefCOCO expressions"),
        ("refcoco:{}?images=nowhere", "no folder nowhere for the pictures"),
    ],
)
def test_what_is_wrong_with_a_spec_is_said_at_once(written: Write, spec: str, said: str) -> None:
    path = written("rows.json", [ROW])
    with pytest.raises(DataError) as error:
        open_source(spec.replace("{}", str(path)))
    assert said in str(error.value)


def test_a_file_with_a_colon_in_its_name_is_a_file(written: Write, coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written("refcoco:x.jsonl", [{"text": "words"}])
    monkeypatch.chdir(coco)
    assert [record.texts for record in open_source("refcoco:x.jsonl")] == [("words",)]


def test_a_split_that_is_not_there_is_an_error_that_names_those_that_are(written: Write) -> None:
    path = written("refcoco_testA.json", [ROW])
    assert len(list(read_entries(f"refcoco:{path}?split=testA"))) == 1
    with pytest.raises(DataError, match="no row of split 'val'; there are testA"):
        list(read_entries(f"refcoco:{path}?split=val"))


def test_a_missing_picture_costs_its_row(written: Write) -> None:
    path = written("rows.json", [ROW, ROW | {"img_id": "COCO_train2014_000000000010_0"}])
    bad = BadRows()
    assert len(list(open_source(f"refcoco:{path}", report=bad))) == 1
    assert (bad.good, bad.count) == (1, 1)
    assert f"{path}:1 (row 2): image: no COCO_train2014_000000000010.jpg" in bad.first
    with pytest.raises(DataError, match=r"row 2.*images=…"):
        list(open_source(f"refcoco:{path}", strict=True))


def test_no_usable_row_at_all_is_an_error(written: Write) -> None:
    path = written("rows.json", [ROW | {"bbox": None}])
    with pytest.raises(DataError, match=r"no usable row \(1 skipped; the first: .*bbox: missing"):
        list(open_source(f"refcoco:{path}"))


def test_every_format_says_what_it_is_and_each_option_too() -> None:
    for name, one in formats().items():
        assert name == one.name
        assert len(one.about) > 20
        assert all(option.about for option in one.options.values())


def test_the_documentation_lists_every_format() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    assert [name for name in formats() if f"| `{name}` |" not in page] == []
