"""Every value of every reader's rows, replaced by what it should not be: a row is read or reported, never a trace."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import read_entries

ANSWERS = [{"answer": "a", "answer_confidence": "yes", "raw_answer": "a"}]
PROBLEM = {"question": "?", "choices": ["x"], "answer": 0, "hint": "h", "split": "train", "image": "image.png"}
BOOK = {"imageURL": "http://x/1.jpg", "questions": ["?"], "answers": ["a"], "split": 1, "title": "t"}
ABOUT = {"abcLabel": False, "answerTexts": ["a"], "correctAnswer": 0, "questionId": "1-0"}
ITEM = {"polygon": [1, 2, 4, 2, 4, 3, 1, 3], "text": "w", "ignore": False}
GQA = {"question": "?", "imageId": "1", "answer": "a", "fullAnswer": "A", "types": {"structural": "s"}}
DOC = {
    "questionId": 1,
    "question": "?",
    "image": "a/b.png",
    "answers": ["a"],
    "data_split": "val",
    "question_types": ["x"],
}
DVQA = {
    "question_id": 1,
    "question": "?",
    "image": "b.png",
    "answer": "a",
    "answer_bbox": [1, 2, 3, 4],
    "template_id": "t",
}
VIZWIZ = {"image": "b.jpg", "question": "?", "answers": ANSWERS, "answer_type": "other", "answerable": 1}
TEXTVQA = {
    "question_id": 1,
    "image_id": "a",
    "question": "?",
    "answers": ["a"],
    "set_name": "val",
    "image_classes": ["c"],
}
FILES: dict[str, tuple[str, Any]] = {
    "vqa": ("val2014.json", {"questions": [{"question_id": 1, "image_id": 9, "question": "?"}]}),
    "gqa": ("val.json", {"1": GQA}),
    "vizwiz": ("val.json", [VIZWIZ]),
    "textvqa": ("val.json", {"data": [TEXTVQA]}),
    "ocrvqa": ("dataset.json", {"1": BOOK}),
    "docvqa": ("val.json", {"data": [DOC]}),
    "chartqa": ("val_human.json", [{"imgname": "1.png", "query": "?", "label": "a"}]),
    "dvqa": ("val_easy_qa.json", [DVQA]),
    "ai2d": ("questions/1.png.json", {"imageName": "1.png", "questions": {"?": ABOUT}}),
    "scienceqa": ("problems.json", {"1": PROBLEM}),
    "synthdog": ("metadata.jsonl", {"file_name": "a.jpg", "ground_truth": {"gt_parse": {"text_sequence": "t"}}}),
    "ocr": ("labels.json", {"data_list": [{"img_path": "a.jpg", "instances": [ITEM]}]}),
}
WRONG: list[Any] = [
    None,
    True,
    -3,
    1e400,
    "",
    " ",
    "x",
    "\ud800",
    "\0",
    "../../x",
    "y" * 5000,
    "/x",
    [],
    [[]],
    [None],
    {},
    {"a": 1},
]


def changed(value: Any) -> Iterator[Any]:
    """Copies of a value, each with one thing in it replaced or left out."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        for wrong in WRONG:
            yield _with(value, key, wrong)
        less = copy.copy(value)
        del less[key]
        yield less
        if isinstance(value[key], dict | list):
            yield from (_with(value, key, inner) for inner in changed(value[key]))


def _with(value: Any, key: Any, new: Any) -> Any:
    other = copy.copy(value)
    other[key] = new
    return other


def read(spec: str) -> int:
    """Rows read and reported."""
    report = BadRows()
    for open_ in (lambda: read_entries(spec, report, strict=False), lambda: open_source(spec, report=report)):
        try:
            for _ in open_():
                pass
        except DataError as error:
            assert str(error).encode()
            return report.count + report.good + 1
    return report.count + report.good


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_value_is_read_or_reported(tmp_path: Path, name: str) -> None:
    inside, good = FILES[name]
    path = tmp_path / inside
    path.parent.mkdir(exist_ok=True)
    spec = f"{name}:{tmp_path if name == 'ai2d' else path}"
    for value in [good, *changed(good)]:
        path.write_text(json.dumps(value))
        assert read(spec), value


def test_wrong_annotations_are_read_or_reported(tmp_path: Path) -> None:
    questions = tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json"
    questions.write_text(json.dumps(FILES["vqa"][1]))
    row = {"question_id": 1, "question_type": "q", "multiple_choice_answer": "a", "answers": ANSWERS}
    for value in changed({"annotations": [row]}):
        (tmp_path / "v2_mscoco_val2014_annotations.json").write_text(json.dumps(value))
        assert read(f"vqav2:{questions}"), value
