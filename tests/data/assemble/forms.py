"""Made-up stand-ins for public sets, each in its own form, at the place where a recipe's spec looks for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.assemble.sets import picture

SIZE = (460, 300)
COCO_ID = 9


def stand_in(spec: str, seed: int) -> None:
    """Write the set that `FORMAT:PATH?options` names: one picture that `seed` draws, and what is said of it."""
    name, _, rest = spec.partition(":")
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    path = Path(place.replace("*", "human" if "chartqa" in name else "00000"))
    (path if path.suffix == "" else path.parent).mkdir(parents=True, exist_ok=True)
    _FORMS[name](path, Path(options.get("images", path.parent)), options.get("split", ""), seed)


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _drawn(path: Path, seed: int) -> None:
    if not path.exists():
        picture(path, seed, *SIZE)


def _coco(images: Path, seed: int) -> str:
    name = f"COCO_{images.name}_{COCO_ID:012d}.jpg"
    _drawn(images / name, seed)
    return name


def _vqa(path: Path, images: Path, split: str, seed: int) -> None:
    _coco(images, seed)
    _json(path, {"questions": [{"image_id": COCO_ID, "question": f"What is {seed}?", "question_id": 1}]})
    answers = [{"answer": "lion", "answer_confidence": "yes"}, {"answer": "cat", "answer_confidence": "no"}]
    beside = path.name.replace("OpenEnded_", "").replace("_questions", "_annotations")
    _json(path.with_name(beside), {"annotations": [{"question_id": 1, "answers": answers}]})


def _gqa(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / "77.jpg", seed)
    _json(path, {"1": {"question": "Is it dark?", "imageId": "77", "answer": "no", "fullAnswer": "No."}})


def _dvqa(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / "bar.png", seed)
    row = {"question": "Which bar?", "question_id": 4, "image": "bar.png", "answer": "no", "answer_bbox": [-1] * 4}
    _json(path, [row])


def _ocrvqa(path: Path, images: Path, split: str, seed: int) -> None:
    books = json.loads(path.read_text()) if path.exists() else {}
    _drawn(images / f"{split}.jpg", seed)
    book = {
        "imageURL": "http://x/y.jpg",
        "questions": ["Title?"],
        "answers": ["A"],
        "split": 1 if split == "train" else 3,
    }
    _json(path, books | {split: book})


def _docvqa(path: Path, images: Path, split: str, seed: int) -> None:
    name = f"documents/{path.stem}.png"
    _drawn(images / name, seed)
    _json(path, {"data": [{"questionId": 1, "question": "Which?", "image": name, "answers": ["UC"]}]})


def _textvqa(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / f"{path.stem}.jpg", seed)
    row = {"question_id": 5, "image_id": path.stem, "question": "what?", "answers": ["a", "b", "b"]}
    _json(path, {"data": [row]})


def _chartqa(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / "1.png", seed)
    _json(path, [{"imgname": "1.png", "query": "How much?", "label": "3"}])


def _ai2d(path: Path, images: Path, split: str, seed: int) -> None:
    (path / "questions").mkdir(exist_ok=True)
    name = "1.png" if split == "train" else "2.png"
    (path / "ai2d_test_ids.csv").write_text("2\n")
    _drawn(path / "images" / name, seed)
    asked = {"abcLabel": False, "answerTexts": ["fox", "hare"], "correctAnswer": 1, "questionId": f"{name}-0"}
    _json(path / "questions" / f"{name}.json", {"imageName": name, "questions": {"What eats grass?": asked}})


def _scienceqa(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / "test" / "1" / "image.png", seed)
    row = {"question": "Which?", "choices": ["a", "b"], "answer": 0, "image": "image.png", "split": "test"}
    _json(path, {"1": row})


def _vizwiz(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / "VizWiz_val_1.jpg", seed)
    answers = [{"answer": "soup", "answer_confidence": "yes"}]
    _json(path, [{"image": "VizWiz_val_1.jpg", "question": "What is this?", "answers": answers}])


def _refcoco(path: Path, images: Path, split: str, seed: int) -> None:
    _coco(images, seed)
    row = {"img_id": f"COCO_{images.name}_{COCO_ID:012d}_1", "sents": [f"the dog {seed}"], "bbox": [40, 30, 160, 120]}
    _json(path, [row | {"width": SIZE[0], "height": SIZE[1]}])


def _captions(path: Path, images: Path, split: str, seed: int) -> None:
    if path.name.startswith("dataset_"):
        _drawn(images / "val2014" / "k.jpg", seed)
        _drawn(images / "k.jpg", seed)
        row = {"filename": "k.jpg", "filepath": "val2014", "split": "test", "sentences": [{"raw": "a dog"}], "imgid": 1}
        _json(path, {"images": [row]})
        return
    name = f"{path.stem}.jpg" if path.stem.startswith("nocaps") else _coco(images, seed)
    _drawn(images / name, seed)
    said = [{"image_id": COCO_ID, "id": n, "caption": text} for n, text in enumerate(("a dog", "a dog on a chair"))]
    _json(path, {"images": [{"id": COCO_ID, "file_name": name}], "annotations": said})


def _genome(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / "VG_100K" / "1.jpg", seed)
    region = {"region_id": 1, "image_id": 1, "phrase": "a dog", "x": 40, "y": 30, "width": 160, "height": 120}
    asked = {"image_id": 1, "qa_id": 2, "question": "What is it?", "answer": "A dog."}
    _json(path, [{"id": 1, "regions": [region]} if "region" in path.name else {"id": 1, "qas": [asked]}])


def _grit(path: Path, images: Path, split: str, seed: int) -> None:
    _drawn(images / "g.jpg", seed)
    expression = [2, 5, 0.1, 0.1, 0.5, 0.6, 0.9]
    row = {"key": "1", "caption": "a dog here", "width": SIZE[0], "height": SIZE[1]}
    row |= {"noun_chunks": [expression], "ref_exps": [expression], "jpg": (images / "g.jpg").read_bytes()}
    pq.write_table(pa.Table.from_pylist([row]), path.with_suffix(".parquet"))


Form = Callable[[Path, Path, str, int], None]
_FORMS: dict[str, Form] = {
    "vqav2": _vqa,
    "okvqa": _vqa,
    "gqa": _gqa,
    "dvqa": _dvqa,
    "ocrvqa": _ocrvqa,
    "docvqa": _docvqa,
    "textvqa": _textvqa,
    "chartqa": _chartqa,
    "ai2d": _ai2d,
    "scienceqa": _scienceqa,
    "vizwiz": _vizwiz,
    "coco-captions": _captions,
    "flickr30k": _captions,
    "nocaps": _captions,
    "vg-regions": _genome,
    "vgqa": _genome,
    "grit": _grit,
    "refcoco": _refcoco,
    "refcoco+": _refcoco,
    "refcocog": _refcoco,
}

FORMS = frozenset(_FORMS)
"""The formats that have stand-ins."""
