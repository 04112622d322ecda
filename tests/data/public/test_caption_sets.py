"""COCO, NoCaps, Flickr30k, Flickr30k Entities, Visual Genome, GRIT and web pairs, from small files of their forms."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import read_entries
from qwenvl.sample import Box, Record

Write = Callable[[str, Any], Path]
NAME = "COCO_train2014_000000000009.jpg"
IMAGES = [{"id": 9, "file_name": NAME, "width": 100, "height": 80}, {"id": 8, "file_name": "gone.jpg"}]


def one(spec: str) -> Record:
    report = BadRows()
    (record,) = open_source(spec, report=report)
    return record


def picture(path: Path, size: tuple[int, int] = (100, 80)) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.new("RGB", size, "white").save(path)
    return path.read_bytes()


def test_coco_gives_the_longest_caption_or_all(written: Write) -> None:
    captions = [{"image_id": 9, "caption": text} for text in ("a dog", " a dog on a mat \n", "dog")]
    path = written("captions.json", {"images": IMAGES, "annotations": [*captions, {"image_id": 8, "caption": "x"}]})
    assert [caption.text for caption in one(f"coco-captions:{path}").captions] == ["a dog on a mat"]
    assert len(one(f"coco-captions:{path}?captions=all").captions) == 3
    assert [entry.image for entry in read_entries(f"coco-captions:{path}")] == [NAME, "gone.jpg"]


def test_coco_captions_of_unlisted_pictures_are_reported(written: Write) -> None:
    rows = [{"image_id": 9, "caption": "a dog"}, {"image_id": 5, "caption": "lost"}]
    path = written("captions.json", {"images": IMAGES, "annotations": rows})
    report = BadRows()
    assert len(list(open_source(f"coco-captions:{path}", report=report))) == 1
    assert "5 is none of the file's images" in report.messages[-1]


def test_karpathys_split(written: Write) -> None:
    rows = [
        {"filename": NAME, "filepath": "train2014", "cocoid": 9, "split": split, "sentences": [{"raw": "A dog. "}]}
        for split in ("train", "test")
    ]
    path = written("dataset_coco.json", {"images": rows, "dataset": "coco"})
    assert [entry.split for entry in read_entries(f"coco-captions:{path}")] == ["train", "test"]
    assert one(f"coco-captions:{path}?split=test").captions[0].text == "A dog."


def test_instances_are_a_phrase_a_category_without_crowds(written: Write) -> None:
    boxes = [(1, [10, 20, 30, 40], 0), (2, [0, 0, 9, 9], 0), (1, [50, 10, 20, 20], 0), (1, [0, 0, 99, 79], 1)]
    path = written(
        "instances.json",
        {
            "images": IMAGES,
            "annotations": [{"image_id": 9, "category_id": c, "bbox": b, "iscrowd": crowd} for c, b, crowd in boxes],
            "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "hat"}],
        },
    )
    phrases = {phrase.text: phrase for phrase in one(f"coco-instances:{path}").phrases}
    assert phrases["dog"].boxes == (Box(10, 20, 40, 60), Box(50, 10, 70, 30))
    assert not phrases["hat"].referring


def test_flickr30k_tokens(tmp_path: Path) -> None:
    picture(tmp_path / "10.jpg")
    lines = ["10.jpg#0\tA dog .", "10.jpg#1\tA brown dog runs .", "no tab", "11.jpg#0\tGone ."]
    (tmp_path / "results.token").write_text("\n".join(lines) + "\n")
    report = BadRows()
    (record,) = open_source(f"flickr30k:{tmp_path / 'results.token'}", report=report)
    assert record.captions[0].text == "A brown dog runs ."
    assert "results.token:3" in report.messages[0]


ANNOTATION = """<annotation><size><width>100</width><height>80</height></size>
<object><name>7</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object>
<object><name>7</name><bndbox><xmin>51</xmin><ymin>1</ymin><xmax>60</xmax><ymax>9</ymax></bndbox></object>
<object><name>8</name><scene>1</scene><nobndbox>0</nobndbox></object></annotation>"""


def entities(folder: Path, annotation: str = ANNOTATION) -> Path:
    picture(folder / "images" / "10.jpg")
    for name, text in (
        ("Sentences/10.txt", "[/EN#7/people Two dogs] in [/EN#8/scene a park] see [/EN#0/notvisual it] .\n"),
        ("Annotations/10.xml", annotation),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_flickr30k_entities(tmp_path: Path) -> None:
    folder = entities(tmp_path)
    record = one(f"flickr30k-entities:{folder}?images={folder}/images")
    (caption,) = record.captions
    assert caption.text == "Two dogs in a park see it ."
    assert caption.spans == ((0, 8, (Box(10, 20, 40, 60), Box(50, 0, 60, 9))),)
    assert [phrase.text for phrase in record.phrases] == ["Two dogs"]
    (folder / "test.txt").write_text("11\n10\n")
    report = BadRows()
    spec = f"flickr30k-entities:{folder}?images={folder}/images&ids={folder}/test.txt"
    assert len(list(open_source(spec, report=report))) == 1
    assert "11.txt" in report.first


@pytest.mark.parametrize("annotation", ["<annotation>", '<!DOCTYPE x [<!ENTITY a "b">]><annotation/>'])
def test_flickr30k_entities_that_can_not_be_read(tmp_path: Path, annotation: str) -> None:
    folder = entities(tmp_path, annotation)
    with pytest.raises(DataError, match=r"10\.xml"):
        list(open_source(f"flickr30k-entities:{folder}?images={folder}/images"))


def test_visual_genome(written: Write, coco: Path) -> None:
    picture(coco / "VG_100K_2" / "9.jpg")
    regions = [
        {"region_id": 1, "phrase": "the ear on a giraffe", "x": 10, "y": 20, "width": 30, "height": 40},
        {"region_id": 2, "phrase": "no box"},
    ]
    report = BadRows()
    path = written("region_descriptions.json", [{"id": 9, "regions": regions}])
    (record,) = open_source(f"vg-regions:{path}", report=report)
    (phrase,) = record.phrases
    assert (phrase.text, phrase.boxes, phrase.description) == (
        "the ear on a giraffe", (Box(10, 20, 40, 60),), "the ear on a giraffe",
    )  # fmt: skip
    assert "regions[1]" in report.first
    path = written("qa.json", [{"id": 9, "qas": [{"qa_id": 4, "question": "What?", "answer": "A giraffe."}]}])
    (qa,) = one(f"vgqa:{path}").qas
    assert (qa.question, qa.answer) == ("What?", "A giraffe")


GRIT = {
    "key": "0001",
    "caption": "a dog in a field",
    "width": 200,
    "height": 160,
    "noun_chunks": [[0, 5, 0.1, 0.25, 0.4, 0.75, 0.9], [9, 16, 0.0, 0.5, 1.0, 1.0, 0.8]],
    "ref_exps": [[0, 16, 0.1, 0.25, 0.4, 0.75, 0.9]],
}


def test_grit_keeps_most_boxes_without_nesting(written: Write, coco: Path) -> None:
    picture(coco / "0001.jpg")  # half the annotated size
    record = one(f"grit:{written('grit.jsonl', [GRIT])}")
    assert record.captions[0].spans == ((0, 5, (Box(10, 20, 40, 60),)), (9, 16, (Box(0, 40, 100, 80),)))
    assert [phrase.text for phrase in record.phrases] == ["a dog", "a field"]
    (coco / "0001.json").write_text(json.dumps(GRIT, indent=1))
    assert one(f"grit:{coco / '0001.json'}").captions == record.captions
    (phrase,) = one(f"grit:{coco / 'grit.jsonl'}?labels=ref_exps").phrases
    assert phrase.text == "a dog in a field"


@pytest.mark.parametrize(
    "label", [[0, 99, 0, 0, 1, 1, 1], [0, 5, 0.5, 0, 0.5, 1, 1], [0, 5], "x", [0, 5, None, 0, 1, 1]]
)
def test_grit_with_a_wrong_label(written: Write, label: Any) -> None:
    with pytest.raises(DataError, match=r"noun_chunks\[0\]"):
        list(read_entries(f"grit:{written('grit.json', [GRIT | {'noun_chunks': [label]}])}"))


def test_grit_and_pairs_in_img2datasets_tars(tmp_path: Path) -> None:
    files = {"0001.jpg": picture(tmp_path / "p.jpg"), "0001.txt": b"a dog in a field"}
    files["0001.json"] = json.dumps(GRIT).encode()
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for name, held in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            tar.addfile(info, io.BytesIO(held))
    assert len(one(f"grit:{tmp_path}/*.tar").phrases) == 2
    assert one(f"pairs:{tmp_path}/*.tar").captions[0].text == "a dog in a field"
    with pytest.raises(DataError):
        list(open_source(f"pairs:{tmp_path}/none/*.tar"))
