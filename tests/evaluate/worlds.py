"""Tiny files in the published forms of benchmarks: what the harness is tried on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

COLOURS = ("red", "green", "blue", "white", "black", "yellow")


def write(path: Path, content: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def picture(path: Path, number: int = 0) -> Path:
    """A picture of 60 × 40 pixels in one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.new("RGB", (60, 40), COLOURS[number % len(COLOURS)]).save(path)
    return path


def vqav2(root: Path, split: str = "val2014", count: int = 5, first: int = 1) -> None:
    """Questions, annotations and pictures of VQAv2."""
    questions, annotations = [], []
    for number in range(first, first + count):
        picture(root / f"coco/{split}/COCO_{split}_{number:012d}.jpg", number)
        asked = "What color is it?" + " Tell me." * (number % 3)
        questions.append({"image_id": number, "question": asked, "question_id": 10 * number})
        answers = [
            {"answer": "red" if i < 5 else "blue", "answer_confidence": "yes", "answer_id": i} for i in range(10)
        ]
        annotations.append(
            {
                "image_id": number,
                "question_id": 10 * number,
                "question_type": "what color",
                "multiple_choice_answer": "red",
                "answers": answers,
            }
        )
    write(root / f"vqav2/v2_OpenEnded_mscoco_{split}_questions.json", {"questions": questions})
    write(root / f"vqav2/v2_mscoco_{split}_annotations.json", {"annotations": annotations})


def refcoco(root: Path) -> None:
    """Two expressions of one box, [x, y, w, h]."""
    picture(root / "coco/train2014/COCO_train2014_000000000007.jpg")
    row = {"img_id": "COCO_train2014_000000000007", "sents": ["the red star", "star"], "bbox": [6, 4, 30, 20]}
    write(root / "refcoco/refcoco_testA.json", [row | {"height": 40, "width": 60}])


def captions(root: Path) -> None:
    """COCO's form of two pictures with two captions each."""
    images = [{"id": n, "file_name": picture(root / f"coco/val2017/{n}.jpg", n).name} for n in (1, 2)]
    annotations = [
        {"image_id": n, "id": 10 * n + i, "caption": f"a {COLOURS[n]} picture {'of nothing' * i}"}
        for n in (2, 1)
        for i in range(2)
    ]
    write(root / "coco/annotations/captions_val2017.json", {"images": images, "annotations": annotations})


def scienceqa(root: Path) -> None:
    """Three problems of the test split, one of them without a picture, and one of training."""
    problems = {}
    for id, split, shown in (("1", "test", True), ("2", "test", False), ("3", "train", True), ("4", "test", True)):
        problems[id] = {
            "question": "Which is red?",
            "choices": ["the star", "the sign", "nothing"],
            "answer": 1,
            "hint": "Look." if id == "1" else "",
            "image": "image.png" if shown else None,
            "split": split,
            "subject": "natural science",
        }
        if shown:
            picture(root / f"scienceqa/{split}/{id}/image.png")
    write(root / "scienceqa/problems.json", problems)


def mme(root: Path) -> None:
    """Two questions about each of two pictures of one subtask."""
    lines = []
    for n in (1, 2):
        picture(root / f"mme/images/existence/{n}.jpg", n)
        lines += [f"{n}.jpg\tIs there a star? Please answer yes or no.\tYes", f"{n}.jpg\tIs there a sign?\tNo"]
    (root / "mme/existence.txt").write_text("\n".join(lines), encoding="utf-8")


def cmmlu(root: Path) -> None:
    """One subject with six examples and three questions."""
    for folder, count in (("dev", 6), ("test", 3)):
        rows = [f"{n},红色{n},一,二,三,四,{'ABCD'[n % 4]}" for n in range(count)]
        path = root / f"cmmlu/{folder}/agronomy.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",Question,A,B,C,D,Answer\n" + "\n".join(rows), encoding="utf-8")


def mmlu(root: Path) -> None:
    """One subject, without a head."""
    for folder, count in (("dev", 5), ("test", 2)):
        path = root / f"mmlu/{folder}/college_physics_{folder}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(f'"What is {n}?",w,x,y,z,{"ABCD"[n % 4]}' for n in range(count)), encoding="utf-8")


def seed(root: Path) -> None:
    """A question about a picture and one about a video."""
    picture(root / "seed/one.jpg")
    asked = {"question": "Where?", "answer": "B", "data_id": "one", **{f"choice_{c}": c * 2 for c in "abcd"}}
    rows = [asked | {"question_id": "7", "question_type_id": 4}, asked | {"question_id": "8", "question_type_id": 11}]
    write(root / "seed/SEED-Bench.json", {"questions": rows})


def mmbench(root: Path) -> None:
    """One question in two circular orders; the second row names the first one's picture."""
    shown = base64.b64encode(picture(root / "mmbench/one.png").read_bytes()).decode()
    head = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image")
    rows = [
        head,
        ("5", "Which?", "nan", "one", "two", "", "", "A", "logic", shown),
        ("1000005", "Which?", "nan", "two", "one", "", "", "B", "logic", "5"),
    ]
    (root / "mmbench/mmbench_dev_20230712.tsv").write_text("\n".join(map("\t".join, rows)), encoding="utf-8")


def touchstone(root: Path) -> None:
    """One question."""
    shown = base64.b64encode(picture(root / "touchstone/one.png").read_bytes()).decode()
    head = ("index", "image", "question", "human_annotation", "gpt4_ha_answer", "category", "task_name")
    row = ("0", shown, "What is this?", "A red picture.", "It is red.", "basic", "description")
    (root / "touchstone/touchstone_20230831.tsv").write_text("\t".join(head) + "\n" + "\t".join(row), encoding="utf-8")


def grit(root: Path) -> None:
    """One sample as GRIT's files nest it, one flat."""
    picture(root / "grit/images/one.png")
    nested = {"input": {"image_path": "images/one.png", "task_query": "tv"}, "gt": {"bboxes": [[6, 4, 36, 24]]}}
    flat = {"example_id": "r2", "image_id": "images/one.png", "task_query": "the tv", "bboxes": [[6, 4, 36, 24]]}
    write(root / "grit/ablation/refexp.json", [nested, flat])


def whole(root: Path) -> Path:
    """A data folder with all of them."""
    for make in (vqav2, refcoco, captions, scienceqa, mme, cmmlu, mmlu, seed, mmbench, touchstone, grit):
        make(root)
    return root
