"""The whole evaluation: true answers score 1, no answers score 0, and a tiny model's answers make a whole report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from qwenvl.evaluate.benchmarks import scenes
from qwenvl.evaluate.curves import read_metrics, stage_bounds
from qwenvl.evaluate.predict import Item, Prediction, items, predict
from qwenvl.evaluate.report import chosen, write_report
from qwenvl.evaluate.run import Evaluation, evaluate, table
from qwenvl.evaluate.score import MEASURES, correct, score
from qwenvl.sample import QA, Record
from qwenvl.serve import Loaded, load
from qwenvl.serve.chat import answer_parts
from qwenvl.text.render import render
from qwenvl.text.tokenizer import QwenTokenizer


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return load(tiny_folder)


@pytest.fixture(scope="module")
def wanted(loaded: Loaded) -> list[Item]:
    return items(scenes.records(16), loaded.tokenizer, 4)


def said(item: Item, raw: str) -> Prediction:
    return Prediction(item, raw, answer_parts(raw, item.question, item.sample.images))


def true_answer(item: Item, tokenizer: QwenTokenizer) -> str:
    """The true answer as a model would say it: the tokens after the prompt, to where generation stops."""
    ids = render(item.sample, tokenizer, 4).ids[len(item.prompt.ids) :]
    stops = {tokenizer.eos_id, tokenizer.im_end_id}
    return tokenizer.decode(ids[: next(i for i, number in enumerate(ids) if number in stops)])


def test_true_answers_score_one_in_everything(loaded: Loaded, wanted: list[Item]) -> None:
    perfect = [said(item, true_answer(item, loaded.tokenizer)) for item in wanted]
    scores = score(perfect)
    assert set(scores) == set(MEASURES)
    for name, entry in scores.items():
        expected = pytest.approx(1, abs=0.08) if name == "referring/iou" else 1  # corners are moved by half a cell
        assert entry["all"]["value"] == expected, name
        for group in ("seen", "unseen", "en", "zh"):
            assert entry[group]["value"] == expected, (name, group)
    assert all(correct(prediction) for prediction in perfect)
    assert {"count", "colour"} <= set(scores["vqa/accuracy"]["kinds"])


def test_no_answers_score_zero(wanted: list[Item]) -> None:
    silent = [said(item, "") for item in wanted]
    assert {name: entry["all"]["value"] for name, entry in score(silent).items()} == dict.fromkeys(MEASURES, 0)
    assert not any(correct(prediction) for prediction in silent)


def test_an_answer_to_another_item_is_mostly_wrong(loaded: Loaded, wanted: list[Item]) -> None:
    referring = [item for item in wanted if item.task == "referring"]
    shifted = zip(referring, referring[3:] + referring[:3], strict=True)
    scores = score([said(item, true_answer(other, loaded.tokenizer)) for item, other in shifted])
    assert scores["referring/acc@0.5"]["all"]["value"] < 0.4


def test_items_are_the_samples_of_training(wanted: list[Item]) -> None:
    tasks = {item.task for item in wanted}
    assert tasks == set(scenes.PER_SCENE)
    for item in wanted:
        assert item.truth
        assert item.question
        assert item.answer_tokens > 0
        assert item.language == ("zh" if re.search("[\u4e00-\u9fff]", item.question) else "en")
        if item.task == "referring":
            assert sum(len(region.boxes) for region in item.truth) == 1  # type: ignore[union-attr]
        if item.task == "vqa":
            assert not item.question.endswith(("Answer:", "回答："))
    assert {item.unseen for item in wanted if item.task == "referring"} == {True, False}


def test_items_are_deterministic(loaded: Loaded, wanted: list[Item]) -> None:
    again = items(scenes.records(16), loaded.tokenizer, 4)
    assert [item.prompt.ids for item in again] == [item.prompt.ids for item in wanted]


def test_evaluate_and_report(loaded: Loaded, tmp_path: Path) -> None:
    found = evaluate(
        loaded.model,
        loaded.tokenizer,
        scenes.records(3),
        quiet=True,
        settings={"scenes": 3, "split": "test", "seed": 0},
    )
    assert set(found.scores) <= set(MEASURES)
    found.write(tmp_path / "metrics.json")
    saved = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert saved["scores"] == found.scores
    assert sum(saved["items"].values()) == len(found.predictions)
    assert found.value("vqa/accuracy") == saved["scores"]["vqa/accuracy"]["all"]["value"]
    assert found.value("no/such") is None
    text = table(found.scores)
    assert "vqa/accuracy" in text
    assert "✗" in text, "random weights reach no goal"

    log = [
        {"stage": stage, "step": step, "loss": 3 / (step + 1), "loss/vqa": 2 / (step + 1), "samples_per_s": 500,
         "padding": 0.01, "elapsed_s": 10.0 * step + 40 * i}
        for i, stage in enumerate(("stage0", "stage1")) for step in range(4)
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in log) + '{"cut off', encoding="utf-8"
    )
    (tmp_path / "recipe.yaml").write_text("name: <tiny>\n", encoding="utf-8")
    page = write_report(tmp_path, found, [("corpus", 3.0), ("training", 90.0)], model=Path("some/model"))
    text = page.read_text(encoding="utf-8")
    assert "vqa/accuracy" in text
    assert "1 min 33 s" in text
    assert "&lt;tiny&gt;" in text
    assert text.count("data:image/png") > 10
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text), "the page must load nothing"
    assert (tmp_path / "loss.png").is_file()
    assert [stage for stage, _, _ in stage_bounds(read_metrics(tmp_path / "metrics.jsonl"))] == ["stage0", "stage1"]


def test_a_report_without_a_run(loaded: Loaded, wanted: list[Item], tmp_path: Path) -> None:
    predictions = [said(item, "<ref>x</ref><box>(900,900),(10,10)</box>") for item in wanted[:9]]
    found = Evaluation(score(predictions), predictions, {}, 1.0)
    assert "Scores" in write_report(tmp_path / "new" / "folder", found).read_text(encoding="utf-8")


def test_text_of_a_model_is_escaped(loaded: Loaded, wanted: list[Item], tmp_path: Path) -> None:
    predictions = [said(item, "<script>alert(1)</script>") for item in wanted[:9]]
    page = write_report(tmp_path, Evaluation(score(predictions), predictions, {}, 1.0)).read_text(encoding="utf-8")
    assert "<script" not in page


def test_chosen_shows_right_and_wrong_in_proportion(loaded: Loaded, wanted: list[Item]) -> None:
    questions = [item for item in wanted if item.task == "vqa"]
    half = [said(item, true_answer(item, loaded.tokenizer) if i % 2 else "no such") for i, item in enumerate(questions)]
    shown = chosen(half, 6)
    assert [correct(prediction) for prediction in shown] == [True] * 3 + [False] * 3
    assert chosen([]) == []


def test_other_records_can_be_evaluated_too(loaded: Loaded, picture: Path) -> None:
    from qwenvl.data.images import load_image

    record = Record("mine-1", "mine", (load_image(picture),), qas=(QA("Is it red?", "yes"),))
    found = evaluate(loaded.model, loaded.tokenizer, [record], quiet=True)
    assert list(found.scores) == ["vqa/accuracy"]
    assert found.scores["vqa/accuracy"]["kinds"] == {"other": found.scores["vqa/accuracy"]["all"]}


def test_nothing_to_ask_is_said(loaded: Loaded) -> None:
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(loaded.model, loaded.tokenizer, [Record("r", "none", texts=("words",))], quiet=True)


def test_progress_reports_tasks(loaded: Loaded, wanted: list[Item]) -> None:
    seen: list[tuple[str, int]] = []
    vqa = [item for item in wanted if item.task == "vqa"][:5]
    predict(loaded.model, loaded.tokenizer, vqa, 2, lambda task, done: seen.append((task, done)))
    assert seen == [("vqa", 2), ("vqa", 2), ("vqa", 1)]
