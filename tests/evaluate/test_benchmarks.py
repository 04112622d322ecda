"""Each benchmark's form, to the letter: prompt, decoding, options, ids; and where files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwenvl.evaluate.benchmarks.benchmark import Item
from qwenvl.evaluate.benchmarks.refcoco import first_box
from qwenvl.evaluate.benchmarks.registry import GROUPS, UnknownTask, benchmarks, chosen
from qwenvl.evaluate.locate import DataMissing, locate
from qwenvl.sample import Box
from tests.evaluate import worlds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.whole(tmp_path_factory.mktemp("data"))


def items(name: str, root: Path) -> list[Item]:
    one = benchmarks()[name]
    return list(one.items(locate(one, root, {})))


PROMPTS = {
    "vqav2": "What color is it? Tell me. Answer:",
    "refcoco_testA": "<ref>the red star</ref><box>",
    "coco": "Describe the image in English:",
    "scienceqa": "Context: Look.\nQuestion: Which is red?\nOptions: A. the star\nB. the sign\nC. nothing\nAnswer:",
    "mme": "\nIs there a star? Please answer yes or no.",
    "seed": "\nQuestion: Where?\nOptions: A. aa\nB. bb\nC. cc\nD. dd\nAnswer:",
    "mmbench": "Context: N/A\nQuestion: Which?\nOptions: A. one\nB. two\nAnswer:",
    "touchstone": "\nWhat is this?",
    "grit": "<ref>tv</ref><box>",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompt_to_the_letter(name: str, root: Path) -> None:
    assert items(name, root)[0].prompt == PROMPTS[name]


def test_scienceqa_takes_the_pictures_of_the_test_split(root: Path) -> None:
    found = items("scienceqa", root)
    assert [item.id for item in found] == ["1", "4"]
    assert found[0].options == (" A", " B", " C")
    assert found[0].answers == ("B",)
    assert found[1].prompt.startswith("Context: N/A\nQuestion: ")


def test_exams_show_five_examples(root: Path) -> None:
    english = items("mmlu", root)
    assert english[0].prompt.startswith(
        "The following are multiple choice questions (with answers) about college physics.\n\n"
        "Question: What is 0?\nA. w\nB. x\nC. y\nD. z\nAnswer: A\n\nQuestion: What is 1?"
    )
    assert english[0].prompt.endswith("Answer: A\n\nQuestion: What is 0?\nA. w\nB. x\nC. y\nD. z\nAnswer:")
    assert english[0].options == (" A", " B", " C", " D")
    chinese = items("cmmlu", root)
    assert chinese[0].prompt.startswith("问题：红色0\nA. 一\nB. 二\nC. 三\nD. 四\n答案：A\n\n问题：红色1")
    assert chinese[0].prompt.count("答案：") == 6
    assert chinese[0].prompt.endswith("\n答案：")
    assert chinese[0].options == ("A", "B", "C", "D")
    assert [item.answers[0] for item in chinese] == ["A", "B", "C"]


def test_captions_come_with_their_pictures(root: Path) -> None:
    found = items("coco", root)
    assert [item.id for item in found] == ["1", "2"]
    assert found[0].answers == ("a green picture", "a green picture of nothing")


def test_circular_orders_count_together(root: Path) -> None:
    from qwenvl.evaluate.benchmarks.benchmark import Answer
    from qwenvl.evaluate.benchmarks.mmbench import circular

    first, second = items("mmbench", root)
    assert first.entry is not None and second.entry is not None and first.entry.image == second.entry.image
    assert circular([Answer(first, "A"), Answer(second, "B")]) == {"circular_accuracy": 1.0}
    assert circular([Answer(first, "A"), Answer(second, "A")]) == {"circular_accuracy": 0.0}


def test_seed_leaves_videos_out(root: Path) -> None:
    (only,) = items("seed", root)
    assert (only.id, only.category, only.answers) == ("7", "Instance Location", ("B",))


def test_expressions_share_a_box(root: Path) -> None:
    found = items("refcoco_testA", root)
    assert [item.phrase for item in found] == ["the red star", "star"]
    assert all(item.box == Box(6, 4, 36, 24) for item in found)


def test_decoding_of_the_reference() -> None:
    known = benchmarks()
    limits = {name: (one.decoding.max_new_tokens, one.decoding.min_new_tokens) for name, one in known.items()}
    for name in ("nocaps", "flickr30k", "coco"):
        assert limits[name] == (30, 8)
    for name in ("vqav2", "okvqa", "gqa", "vizwiz", "textvqa", "ai2d"):
        assert limits[name] == (10, 0)
    for name in ("docvqa", "infographicvqa", "chartqa_human", "chartqa_augmented", "ocrvqa"):
        assert limits[name] == (100, 0)
    assert limits["refcocog_test"] == limits["grit"] == (28, 10)
    assert all(one.decoding.temperature == 0 for one in known.values() if one.kind in ("generate", "refer"))
    assert known["mme"].decoding.top_p == 0.01


def test_names_and_groups() -> None:
    known = benchmarks()
    assert [name for name, one in known.items() if name != one.name] == []
    assert sum(one.format in ("refcoco", "refcoco+", "refcocog") for one in known.values()) == 8
    assert chosen(["refcocog", "scenes", "refcocog_val"]) == ["refcocog_val", "refcocog_test", "scenes"]
    for group in GROUPS:
        assert chosen([group])
    with pytest.raises(UnknownTask, match="did you mean 'refcoco'"):
        chosen(["refcocoo"])


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("(0,0),(999,999)</box>", Box(0, 0, 60, 40)),
        ("(100,200),(300,400)</box><box>(1,1),(2,2)", Box(60 * 100 / 999, 8000 / 999, 18000 / 999, 16000 / 999)),
        ("no box", None),
        ("(1,2),(3)", None),
        ("(1,2),(a,b)</box>", None),
        ("(1,2", None),
        ("(" * 5000, None),
    ],
)
def test_first_box(text: str, box: Box | None) -> None:
    found = first_box(text, (60, 40))
    assert (found is None) == (box is None)
    if found is not None and box is not None:
        assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((box.x0, box.y0, box.x1, box.y1))


def test_a_missing_file_names_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"visualqa\.org.*--data vqav2=PATH"):
        locate(benchmarks()["vqav2"], tmp_path, {})


def test_a_file_of_ones_own(tmp_path: Path, root: Path) -> None:
    file = root / "refcoco/refcoco_testA.json"
    found = locate(benchmarks()["refcoco_val"], tmp_path, {"refcoco_val": f"{file}?images={root / 'coco'}"})
    assert (found.path, found.pictures) == (file, (root / "coco",))
    other = locate(benchmarks()["refcoco_val"], tmp_path, {"refcoco_val": f"refcocog:{file}?boxes=xyxy"})
    assert (other.format, other.query) == ("refcocog", "boxes=xyxy")
