"""The report of benchmarks: our numbers find the paper's, what is missing is told, pictures stay below their root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qwenvl.evaluate.benchmarks.registry import benchmarks
from qwenvl.evaluate.beside import rows
from qwenvl.evaluate.gallery import chosen, inside
from qwenvl.evaluate.published import PUBLISHED
from qwenvl.evaluate.report_tasks import write_task_report
from qwenvl.evaluate.results import Result, ResultsError, read_answers, read_result, read_results

PROTOCOL = {"prompt": "{question} Answer:\n", "decoding": {"max_new_tokens": 10}, "checkpoint": "12ab"}


def score(value: float, n: int = 4) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": n}


def write(out: Path, task: str, split: str, scores: dict[str, Any], answers: list[Any] = [], **more: Any) -> Path:  # noqa: B006
    folder = out / task
    folder.mkdir(parents=True)
    found = {"task": task, "split": split, "items": 4, "expected": 4, "scores": scores, "protocol": PROTOCOL, **more}
    (folder / "result.json").write_text(json.dumps(found))
    lines = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) + "\n" for line in answers]
    (folder / "answers.jsonl").write_text("".join(lines))
    return folder


def answer(number: int, right: bool, **more: Any) -> dict[str, Any]:
    return {"id": number, "prompt": "What?", "answer": f"said {number}", "target": "it", "score": float(right), **more}


@pytest.mark.parametrize(
    ("task", "split", "metrics", "published"),
    [
        ("vqav2", "val", ["vqa_accuracy", "vqa_accuracy_official"], {"vqa_accuracy": 79.5}),
        ("refcoco+_testA", "testA", ["acc@0.5", "mean_iou"], {"acc@0.5": 88.25}),
        ("refcoco", "testB", ["acc@0.5"], {"acc@0.5": 85.34}),
        ("refcocog_test", "test", ["acc@0.5"], {"acc@0.5": 85.48}),
        ("nocaps", "val", ["bleu_4", "cider"], {"cider": 121.4}),
        ("mme", "test", ["total", "perception", "cognition"], {"perception": None, "cognition": None}),
        ("scenes", "test", ["vqa/accuracy"], {}),
        ("chartqa_human", "test", ["relaxed_accuracy"], {}),
    ],
)
def test_each_number_finds_its_column(
    tmp_path: Path, task: str, split: str, metrics: list[str], published: dict[str, float | None]
) -> None:
    found = rows([read_result(write(tmp_path, task, split, {metric: score(0.5) for metric in metrics}))])
    assert [row.metric for row in found] == metrics
    assert {row.metric: row.published.base for row in found if row.published} == published
    assert [row.other_split for row in found] == [task == "vqav2" and row.published is not None for row in found]


def test_charts_are_the_mean_of_their_halves(tmp_path: Path) -> None:
    write(tmp_path, "chartqa_human", "test", {"relaxed_accuracy": score(0.4)})
    write(tmp_path, "chartqa_augmented", "test", {"relaxed_accuracy": score(0.8)})
    (row,) = [row for row in rows(read_results(tmp_path)) if row.published]
    assert row.score["value"] == pytest.approx(0.6) and row.published and row.published.base == 65.7
    assert row.score["high"] - 0.6 == pytest.approx(0.01 / 2**0.5)


def test_the_page_tells_numbers_protocol_gaps_and_answers(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (40, 20), "red").save(pictures / "a.png")
    boxed = {"image": "a.png", "boxes": {"found": [1, 2, 30, 15.5], "true": [0, 0, 20, 10]}}
    answers = [answer(0, True, **boxed), answer(1, False, answer="<script>", category="number")]
    out = tmp_path / "out"
    write(
        out,
        "vqav2",
        "val",
        {"vqa_accuracy": score(0.525)},
        answers,
        published=9,
        categories={"number": {"a": 0.25, "n": 3}},
    )
    write(out, "nocaps", "val", {"cider": score(1.5)})
    write(out, "mme", "test", {"perception": score(0.75)})
    (out / "results.json").write_text(json.dumps({"tasks": ["vqav2", "nocaps", "mme"]}))
    text = write_task_report(out, [pictures]).read_text(encoding="utf-8")
    for told in ("52.5", "51.5–53.5", "79.5", "4 of 9", "paper: test-dev", "150.0", "1500.0", "1487.58", "number"):
        assert told in text, told
    for told in ("{question} Answer:⏎", "max_new_tokens 10", "12ab", f"Not evaluated here: {len(PUBLISHED) - 3} of"):
        assert told in text, told
    # a metric that the paper does not tell stands with its benchmark, and so does its protocol, once
    assert "Not in the paper" not in text and text.count("max_new_tokens 10") == 3
    assert "&lt;script&gt;" in text and "<script>" not in text
    assert 'class="said"' in text and 'width="29.0"' in text and 'class="true"' in text
    assert text.count('<div class="card ') == 2


def test_pictures_are_only_opened_below_their_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for folder in (tmp_path, root):
        Image.new("RGB", (4, 4)).save(folder / "a.png")
    (root / "out.png").symlink_to(tmp_path / "a.png")
    assert (
        inside("a.png", [tmp_path / "none", root]) == inside(str(root / "a.png"), [root]) == (root / "a.png").resolve()
    )
    monkeypatch.chdir(tmp_path)
    assert inside("root/a.png", [Path("root")]) == (root / "a.png").resolve()
    for name in ("../a.png", str(tmp_path / "a.png"), "out.png", "b.png", "", "a\0.png", "http://x/a.png"):
        assert inside(name, [root]) is None, name
    assert inside("a.png", []) is None


def test_shown_answers_do_not_flatter_and_do_not_hang_on_their_order(tmp_path: Path) -> None:
    answers = [answer(i, i % 4 == 0) for i in range(400)]
    first = read_result(write(tmp_path / "a", "x", "", {}, answers))
    second = read_result(write(tmp_path / "b", "x", "", {}, answers[::-1]))
    assert [a.score for a in chosen(first, 8)] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert [a.id for a in chosen(first, 8)] == [a.id for a in chosen(second, 8)]
    few = read_result(write(tmp_path / "c", "x", "", {}, answers[:2]))
    assert sorted(a.id for a in chosen(few, 8)) == ["0", "1"]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, "x", "", {}, [answer(0, True), '{"id": 1, "answ'])
    assert [a.id for a in read_answers(folder)] == ["0"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[]\n", "'id' and 'answer'"),
        ("{\n", "not JSON"),
        (answer(1, True, score=-1), "of 0 or more"),
        (answer(1, True, score="1"), "of 0 or more"),
        (answer(1, True, score=[1]), "of 0 or more"),
        (answer(1, True, boxes=[1, 2, 3, 4]), "true"),
        (answer(1, True, boxes={"found": [1, 2, 3]}), "x0, y0, x1, y1"),
        (answer(1, True, boxes={"found": {"x": 1}}), "x0, y0, x1, y1"),
        (answer(1, True, boxes={"found": "1234"}), "x0, y0, x1, y1"),
        (answer(1, True, boxes={"true": [[1, 2, 3, 1e999]]}), "x0, y0, x1, y1"),
    ],
)
def test_a_bad_answer_is_named(tmp_path: Path, line: Any, told: str) -> None:
    folder = write(tmp_path, "x", "", {}, [answer(0, True), line, answer(2, True)])
    with pytest.raises(ResultsError, match=told) as caught:
        list(read_answers(folder))
    assert "answers.jsonl: line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ('{"task": "x"}', "'scores'"),
        ('{"task": "x", "scores": {"a": "high"}}', "scores.a.value"),
        ('{"task": "x", "scores": {}, "items": -1}', "items"),
        ('{"task": "x", "scores": {}, "categories": {"a": 3}}', "categories.a"),
        ('{"task": "x", "scores": {}, "protocol": []}', "'protocol'"),
    ],
)
def test_a_bad_result_is_named(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "result.json").write_text(content)
    with pytest.raises(ResultsError, match=told):
        read_results(tmp_path)


def test_a_folder_without_results_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ResultsError, match="qwenvl eval --out"):
            read_results(folder)


def test_empty_boxes_are_none(tmp_path: Path) -> None:
    folder = write(tmp_path, "x", "", {}, [answer(0, True, boxes={"found": [], "true": [[0, 0, 1, 1], [1, 1, 2, 2]]})])
    (found,) = read_answers(folder)
    assert found.boxes == () and len(found.truth) == 2


def test_every_benchmark_that_the_paper_tells_finds_its_number() -> None:
    unpublished = {"coco", "infographicvqa", "chartqa_human", "chartqa_augmented"}
    for benchmark in benchmarks().values():
        metrics = [*benchmark.each, *benchmark.whole]
        if not metrics or benchmark.name == "mme":  # whose totals are named above
            continue
        result = Result(
            task=benchmark.name,
            split=benchmark.split,
            items=1,
            expected=1,
            scores={metric: score(0.5) for metric in metrics},
            published=None,
            categories={},
            protocol={},
            unreadable={},
            folder=Path(),
        )
        found = [row for row in rows([result]) if row.published]
        assert len(found) == (benchmark.name not in unpublished), benchmark.name
        assert all(row.metric == metrics[0] for row in found), benchmark.name
