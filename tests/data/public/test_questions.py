"""The question sets in their published forms: what each annotation says, and the record that it becomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import Entry, read_entries
from qwenvl.data.sources.public.question import MOST_IN_AN_ENTRY, Answer, most_confident
from qwenvl.sample import Box, Record

Write = Callable[[str, Any], Path]


def picture(path: Path) -> Path:
    """A small picture, its folders with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.new("RGB", (100, 80), "white").save(path)
    return path


def the_record(spec: str) -> Record:
    (record,) = open_source(spec, strict=True)
    return record


def the_entry(spec: str) -> Entry:
    (entry,) = read_entries(spec)
    return entry


def said(*answers: str) -> list[Answer]:
    """Answers as "yes:two": confidence, text."""
    return [Answer(*reversed(answer.split(":"))) for answer in answers]


@pytest.mark.parametrize(
    ("answers", "best", "chosen"),
    [
        (said("maybe:net", "maybe:net", "maybe:net", "yes:racket"), "net", "racket"),
        (said("yes:a", "yes:b", "maybe:b", "no:a", "no:a"), "", "b"),
        (said("yes:a", "yes:b", "no:b"), "a", "b"),
        (said("yes:a", "yes:b"), "b", "b"),
        (said("yes:a", "yes:b"), "", "a"),
        (said(":x", ":y", ":y"), "", "y"),
        (said("yes:", "yes: ", "no:a"), "", "a"),
        (said("yes:", "yes: "), "", ""),
        (
            [Answer("race", "yes", "racing"), Answer("race", "yes", "racing"), Answer("race", "yes", "race")],
            "",
            "racing",
        ),
        ([], "", ""),
    ],
)
def test_the_most_confident_answer(answers: list[Answer], best: str, chosen: str) -> None:
    assert most_confident(answers, best) == chosen


def vqa(written: Write, coco: Path, **changed: Any) -> Path:
    """VQAv2's two files, the annotations in another order; two questions of the fixture's picture, one of another."""
    questions = [
        {"image_id": 9, "question": "What is it?", "question_id": 90},
        {"image_id": 9, "question": "How many?", "question_id": 91},
        {"image_id": 8, "question": "Who?", "question_id": 80},
    ]
    answers = [{"answer": "cat", "answer_confidence": "maybe", "answer_id": i} for i in range(1, 4)]
    answers.append({"answer": "lion", "answer_confidence": "yes", "answer_id": 4})
    annotations = [
        {
            "question_id": n,
            "image_id": n // 10,
            "multiple_choice_answer": "cat",
            "question_type": "what",
            "answers": answers,
        }
        for n in (91, 80, 90)
    ]
    annotations[2] |= changed
    written("v2_mscoco_train2014_annotations.json", {"info": {}, "annotations": annotations})
    return written(
        "v2_OpenEnded_mscoco_train2014_questions.json", {"data_subtype": "train2014", "questions": questions}
    )


def test_vqav2_joins_questions_with_their_annotations(written: Write, coco: Path) -> None:
    first, other = read_entries(f"vqav2:{vqa(written, coco)}")
    assert [(q.id, q.text, q.answer, q.kind) for q in first.questions] == [
        ("90", "What is it?", "lion", "what"),
        ("91", "How many?", "lion", "what"),
    ]
    assert first.questions[0].answers == ("cat", "cat", "cat", "lion")
    assert (other.image, other.split) == ("COCO_train2014_000000000008.jpg", "train")


def test_vqav2_finds_cocos_pictures_and_counts_the_missing(written: Write, coco: Path) -> None:
    report = BadRows()
    (record,) = open_source(f"vqav2:{vqa(written, coco)}", report=report)
    assert [(qa.question, qa.answer) for qa in record.qas] == [("What is it?", "lion"), ("How many?", "lion")]
    assert (report.good, report.count) == (1, 1)
    assert "COCO_train2014_000000000008.jpg" in report.first and "images=" in report.first


def test_a_bad_annotation_costs_its_question_alone(written: Write, coco: Path) -> None:
    report = BadRows()
    path = vqa(written, coco, answers=[{"answer": "cat", "answer_confidence": "sure"}])
    first, _ = read_entries(f"vqav2:{path}", report, strict=False)
    assert [q.id for q in first.questions] == ["91"]
    assert "answers[0].answer_confidence" in report.first and "question 90" in report.first


def test_a_question_without_annotation_is_reported(written: Write, coco: Path) -> None:
    report = BadRows()
    list(read_entries(f"vqav2:{vqa(written, coco, question_id=7)}", report, strict=False))
    assert report.count == 1 and "90 has no annotation" in report.first


def test_test_splits_have_questions_and_nothing_to_learn(written: Write, coco: Path) -> None:
    path = vqa(written, coco)
    path.with_name("v2_mscoco_train2014_annotations.json").unlink()
    assert [q.answers for entry in read_entries(f"vqav2:{path}") for q in entry.questions] == [()] * 3
    with pytest.raises(DataError, match="keeps its answers back"):
        list(open_source(f"vqav2:{path}"))


def test_numbers_need_a_form_of_names(written: Write, coco: Path) -> None:
    path = written("questions.json", {"questions": [{"image_id": 9, "question": "?", "question_id": 1}]})
    with pytest.raises(DataError, match="pictures=COCO_val2014"):
        list(read_entries(f"vqa:{path}"))
    assert the_entry(f"vqa:{path}?pictures=a/{{image_id:05d}}.png").image == "a/00009.png"
    with pytest.raises(DataError, match="expected a name with"):
        list(read_entries(f"vqa:{path}?pictures=a.png"))


def test_an_id_without_letters_is_a_name_where_pictures_are_not_cocos(written: Write, coco: Path) -> None:
    row = {"image_id": "1234567890123456", "question": "?", "question_id": 1}
    assert the_entry(f"vqa-text:{written('val.json', {'questions': [row]})}").image == "1234567890123456.jpg"


def test_textvqa_as_others_wrote_it(written: Write, coco: Path) -> None:
    picture(coco / "0a1b.jpg")
    answers = [{"answer": words, "answer_confidence": "yes"} for words in ("nokia", "the nokia", "nokia")]
    written("t_val_annotations_vqa_format.json", {"annotations": [{"question_id": 1, "answers": answers}]})
    row = {"question": "what brand?", "image_id": "0a1b", "question_id": 1}
    record = the_record(f"vqa-text:{written('t_val_questions_vqa_format.json', {'questions': [row]})}?split=val")
    assert (record.qas[0].answer, record.qas[0].reads_text) == ("nokia", True)


def test_questions_of_a_picture_are_joined_up_to_a_bound(written: Write, coco: Path) -> None:
    rows = [{"imgname": "a.png", "query": f"What is {n}?", "label": n} for n in range(MOST_IN_AN_ENTRY + 1)]
    assert [len(e.questions) for e in read_entries(f"chartqa:{written('train_human.json', rows)}")] == [64, 1]


def test_gqa(written: Write, coco: Path) -> None:
    row = {"question": "Is it dark?", "imageId": "77", "answer": "no", "fullAnswer": "No, it is not."}
    row |= {"types": {"structural": "verify"}}
    path = written("train_balanced_questions.json", {"0123": row, "0124": {"question": "?", "imageId": "78"}})
    picture(coco / "images" / "77.jpg")
    first, second = read_entries(f"gqa:{path}")
    assert [(q.id, q.answer, q.kind) for q in first.questions] == [("0123", "no", "verify")]
    assert second.questions[0].answers == ()
    assert next(open_source(f"gqa:{path}?answer=full")).qas[0].answer == "No, it is not."


def test_gqa_in_parts_names_the_part(written: Write, coco: Path) -> None:
    (coco / "parts").mkdir()
    for part in range(2):
        row = {"question": "?", "imageId": str(part), "answer": "no" if part == 0 else [3]}
        written(f"parts/train_all_questions_{part}.json", {str(part): row})
    report = BadRows()
    assert len(list(read_entries(f"gqa:{coco / 'parts'}", report, strict=False))) == 1
    assert "train_all_questions_1.json:1 (row 1): answer" in report.first


def test_vizwiz(written: Write, coco: Path) -> None:
    answers = [{"answer": "unanswerable", "answer_confidence": "maybe"}, {"answer": "soup", "answer_confidence": "yes"}]
    row = {"image": "VizWiz_val_1.jpg", "question": "What is this? ", "answers": answers, "answerable": 1}
    picture(coco / "VizWiz_val_1.jpg")
    record = the_record(f"vizwiz:{written('val.json', [row])}")
    assert (record.id, record.qas[0].question, record.qas[0].answer) == ("VizWiz_val_1", "What is this?", "soup")
    assert record.meta == {"answerable": 1}


def test_textvqa(written: Write, coco: Path) -> None:
    row = {"question_id": 5, "image_id": "ab", "question": "what?", "answers": ["a", "b", "b"], "set_name": "train"}
    picture(coco / "train_images" / "ab.jpg")
    record = the_record(f"textvqa:{written('TextVQA_0.5.1_train.json', {'data': [row]})}?split=train")
    assert (record.qas[0].answer, record.qas[0].reads_text) == ("b", True)


def test_ocrvqa(written: Write, coco: Path) -> None:
    book = {"imageURL": "http://x/y/51.gif", "questions": ["Title?", "Author?"], "answers": ["A", "B"], "split": 1}
    bad = {**book, "answers": ["A"]}
    path = written("dataset.json", {"0011": book, "0012": bad, "0013": {**book, "split": 9}})
    report = BadRows()
    picture(coco / "images" / "0011.gif")
    (record,) = open_source(f"ocrvqa:{path}", report=report)
    assert [(qa.question, qa.answer, qa.reads_text) for qa in record.qas] == [
        ("Title?", "A", True),
        ("Author?", "B", True),
    ]
    assert (report.count, dict(report.fields)) == (2, {"answers": 1, "split": 1})


def test_docvqa_and_infographicvqa(written: Write, coco: Path) -> None:
    row = {
        "questionId": 1,
        "question": "Which?",
        "image": "documents/p_1.png",
        "answers": ["UC", "uc"],
        "data_split": "val",
    }
    picture(coco / "p_1.png")
    assert the_record(f"docvqa:{written('val_v1.0.json', {'data': [row]})}").qas[0].answer == "UC"
    local = {
        "questionId": 2,
        "question": "Which?",
        "image_local_name": "3.jpeg",
        "answers": ["7"],
        "answer_type": ["a", "b"],
    }
    entry = the_entry(f"infographicvqa:{written('infographicsVQA_train_v1.0.json', {'data': [local]})}")
    assert (entry.image, entry.split, entry.questions[0].kind) == ("3.jpeg", "train", "a, b")


def test_docvqa_without_pictures_is_read_and_makes_no_record(written: Write, coco: Path) -> None:
    rows = [{"questionId": n, "question": "Which?", "answers": ["UC"]} for n in (1, 2)]
    path = written("docvqa_val_qa.json", rows)
    assert [len(entry.questions) for entry in read_entries(f"docvqa:{path}")] == [1, 1]
    with pytest.raises(DataError, match="names no picture"):
        list(open_source(f"docvqa:{path}"))


def test_chartqa(written: Write, coco: Path) -> None:
    rows = [
        {"imgname": "1.png", "query": "How much?", "label": 3.0},
        {"imgname": "1.png", "query": "Who?", "label": "We"},
    ]
    picture(coco / "png" / "1.png")
    record = the_record(f"chartqa:{written('test_human.json', rows)}")
    assert [qa.answer for qa in record.qas] == ["3", "We"]
    assert the_entry(f"chartqa:{coco / 'test_human.json'}?split=test").questions[1].id == "test_human-2"


def test_dvqa_keeps_the_place_of_the_answer(written: Write, coco: Path) -> None:
    row = {"question": "Which bar?", "question_id": 4, "image": "bar_train_1.png", "answer": "no"}
    rows = [{**row, "answer_bbox": box} for box in ([10, 20, 30, 5], [-1, -1, -1, -1], [])]
    entry = the_entry(f"dvqa:{written('val_easy_qa.json', rows)}?split=val_easy")
    assert [question.box for question in entry.questions] == [Box(10, 20, 40, 25), None, None]


def test_ai2d(written: Write, coco: Path) -> None:
    (coco / "questions").mkdir()
    asked = {
        "What eats grass?": {
            "abcLabel": False,
            "answerTexts": ["fox", "hare"],
            "correctAnswer": 1,
            "questionId": "1.png-0",
        },
        "What is A?": {"abcLabel": True, "answerTexts": ["a", "b"], "correctAnswer": 0, "questionId": "1.png-1"},
        "Bad?": {"abcLabel": True, "answerTexts": ["a", "b"], "correctAnswer": 2, "questionId": "1.png-2"},
    }
    written("questions/1.png.json", {"imageName": "1.png", "questions": asked})
    (coco / "ai2d_test_ids.csv").write_text("2\n3\n")
    picture(coco / "images" / "1.png")
    picture(coco / "abc_images" / "1.png")
    report = BadRows()
    first, second = open_source(f"ai2d:{coco}?split=train", report=report)
    assert (first.qas[0].question, first.qas[0].answer) == (
        "Question: What eats grass?\nOptions: A. fox\nB. hare",
        "B",
    )
    assert second.images[0].name == "abc_images/1.png"
    assert report.count == 1 and "questions[2].correctAnswer" in report.first and "1.png.json" in report.first


def test_scienceqa(written: Write, coco: Path) -> None:
    problem = {"question": "Which?", "choices": ["x", "y"], "answer": 0, "hint": "Look.", "split": "train"}
    path = written("problems.json", {"1": {**problem, "image": "image.png"}, "2": {**problem, "image": None}})
    picture(coco / "images" / "train" / "1" / "image.png")
    report = BadRows()
    (record,) = open_source(f"scienceqa:{path}", strict=True, report=report)
    assert record.qas[0].question == "Context: Look.\nQuestion: Which?\nOptions: A. x\nB. y"
    assert record.qas[0].answer == "A"
    assert any("1 problems without a picture" in message for message in report.messages)
    assert [entry.id for entry in read_entries(f"scienceqa:{path}?textual=true")] == ["1", "2"]


def test_synthdog(coco: Path) -> None:
    picture(coco / "train" / "image_0.jpg")
    truth = json.dumps({"gt_parse": {"text_sequence": "漢字 words"}})
    rows = [{"file_name": "image_0.jpg", "ground_truth": truth}, {"file_name": "image_1.jpg", "ground_truth": "{}"}]
    (coco / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = BadRows()
    (record,) = open_source(f"synthdog:{coco}?split=train", report=report)
    assert (record.qas[0].answer, record.qas[0].reads_text) == ("漢字 words", True)
    assert "train/metadata.jsonl:2: ground_truth.gt_parse: missing" in report.first
