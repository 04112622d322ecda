"""RefCOCO in every form in which it goes round: the same box and words from each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import read_entries
from qwenvl.sample import Box

Write = Callable[[str, Any], Path]
BOX = Box(10, 20, 40, 60)
NAME = "COCO_train2014_000000000009"
FORMS: dict[str, dict[str, Any]] = {
    "minigpt": {"img_id": f"{NAME}_3", "sents": "the man", "bbox": [10, 20, 30, 40], "width": 100, "height": 80},
    "reference": {"image": f"data/train2014/{NAME}.jpg", "sent": "the man", "bbox": [10, 20, 40, 60]},
    "shikra": {"img_path": f"{NAME}.jpg", "expression": "the man", "bbox": [10, 20, 40, 60]},
    "number": {"image_id": 9, "expressions": ["the man"], "bbox": [10, 20, 30, 40]},
    "hub": {"file_name": f"{NAME}_3.jpg", "answer": ["the man"], "bbox": [10, 20, 30, 40]},
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_box_and_words(written: Write, form: str) -> None:
    (record,) = open_source(f"refcoco:{written('rows.json', [FORMS[form]])}")
    (phrase,) = record.phrases
    assert (phrase.text, phrase.boxes, phrase.referring) == ("the man", (BOX,), True)
    assert record.images[0].name.endswith(f"{NAME}.jpg")


def test_lists_by_split(written: Write) -> None:
    row = FORMS["number"]
    path = written("instances.json", {"val": [row, row], "testA": [row]})
    assert [entry.split for entry in read_entries(f"refcoco:{path}")] == ["val", "val", "testA"]
    (record,) = open_source(f"refcoco:{path}?split=testA")
    assert record.phrases[0].boxes == (BOX,)


def test_refers_references_with_cocos_instances(written: Write, coco: Path) -> None:
    ref = {"ref_id": 3, "ann_id": 7, "file_name": f"{NAME}_7.jpg", "image_id": 9, "split": "testB"}
    path = written("refs.json", [ref | {"sentences": [{"sent": "the man", "raw": "The man"}, {"sent": "he"}]}])
    images = [{"id": 9, "file_name": f"{NAME}.jpg", "width": 200, "height": 160}]
    written("coco.json", {"images": images, "annotations": [{"id": 7, "image_id": 9, "bbox": [20, 40, 60, 80]}]})
    (record,) = open_source(f"refcoco:{path}?instances={coco}/coco.json&split=testB")
    assert [(phrase.text, phrase.boxes) for phrase in record.phrases] == [("the man", (BOX,)), ("he", (BOX,))]
    with pytest.raises(DataError, match="bbox: missing; refer's references need instances="):
        list(read_entries(f"refcoco:{path}"))
    with pytest.raises(DataError, match="nowhere: no such file"):
        list(read_entries(f"refcoco:{path}?instances=nowhere"))


def test_cocos_form_with_an_image_an_expression(written: Write) -> None:
    image = {"id": 0, "file_name": f"{NAME}.jpg", "caption": "the man", "width": 100, "height": 80}
    boxes = [{"image_id": 0, "bbox": [10, 20, 30, 40]}, {"image_id": 5, "bbox": [1, 1, 1, 1]}]
    path = written("finetune_refcoco_val.json", {"images": [image], "annotations": boxes})
    bad = BadRows()
    (record,) = open_source(f"refcoco:{path}?split=val", report=bad)
    assert (record.phrases[0].text, record.phrases[0].boxes) == ("the man", (BOX,))
    assert "row 2): image_id: 5 is none" in bad.first


def test_boxes_may_be_said_to_be_corners(written: Write) -> None:
    row = {"img_id": f"{NAME}_3", "sents": "the man", "bbox": [10, 20, 40, 60]}
    (entry,) = read_entries(f"refcoco:{written('rows.json', [row])}?boxes=xyxy")
    assert entry.phrases[0].boxes == (BOX,)


def test_a_picture_that_was_made_smaller_takes_its_boxes_along(written: Write, coco: Path) -> None:
    PILImage.new("RGB", (50, 40)).save(coco / "train2014" / f"{NAME}.jpg")
    (record,) = open_source(f"refcoco:{written('rows.json', [FORMS['minigpt']])}")
    assert record.phrases[0].boxes == (Box(5, 10, 20, 30),)


def test_a_picture_of_another_shape_is_refused(written: Write, coco: Path) -> None:
    PILImage.new("RGB", (80, 100)).save(coco / "train2014" / f"{NAME}.jpg")
    with pytest.raises(DataError, match="is 80×100 pixels, annotated as 100×80"):
        list(open_source(f"refcoco:{written('rows.json', [FORMS['minigpt']])}", strict=True))


def test_a_box_is_cut_at_the_edge(written: Write) -> None:
    row = FORMS["minigpt"] | {"bbox": [-3, 20, 30, 80]}
    (record,) = open_source(f"refcoco:{written('rows.json', [row])}")
    assert record.phrases[0].boxes == (Box(0, 20, 27, 80),)


@pytest.mark.parametrize("box", [[10, 20, 0, 40], [1, 2, 3], [10, 20, float("nan"), 4], "none", [200, 0, 10, 10]])
def test_a_box_that_is_none_costs_its_row(written: Write, box: Any) -> None:
    path = written("rows.json", [FORMS["minigpt"], FORMS["minigpt"] | {"bbox": box}])
    assert len(list(open_source(f"refcoco:{path}"))) == 1
    with pytest.raises(DataError, match=r"row 2.*box"):
        list(open_source(f"refcoco:{path}", strict=True))


def test_parquet_with_the_pictures_within(coco: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    picture = (coco / "train2014" / f"{NAME}.jpg").read_bytes()
    row = {"image": {"bytes": picture, "path": None}, "answer": ["the man"], "bbox": [10.0, 20.0, 30.0, 40.0]}
    pq.write_table(pa.Table.from_pylist([row, row | {"bbox": None}]), coco / "val-00000-of-00001.parquet")
    (record,) = open_source(f"refcoco:{coco}")
    assert (record.phrases[0].boxes, record.images[0].width) == ((BOX,), 100)
    with pytest.raises(DataError, match=r"val-00000-of-00001.parquet \(row 2\): bbox: missing"):
        list(read_entries(f"refcoco:{coco}"))
