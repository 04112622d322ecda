"""The harness from end to end with a tiny model: every kind of task, resuming, few-shot, ranks, predictions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qwenvl.cli import main
from qwenvl.data.sources.report import DataError
from qwenvl.evaluate import harness
from qwenvl.evaluate.ask import Asking, _example
from qwenvl.evaluate.benchmarks.registry import benchmarks
from qwenvl.evaluate.harness import EvaluationError, Settings, evaluate_tasks, score_predictions, summary
from qwenvl.evaluate.locate import locate
from qwenvl.evaluate.prompts import Opener, examples_for
from qwenvl.evaluate.rank import option_losses
from qwenvl.sample import Sample, Text
from qwenvl.serve import Loaded, load
from qwenvl.serve.engine import inputs
from qwenvl.text.render import render
from tests.evaluate import worlds

TASKS = (
    *("vqav2", "refcoco_testA", "coco", "scienceqa", "mme"),
    *("seed", "mmbench", "touchstone", "grit", "mmlu", "cmmlu"),
)


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return load(tiny_folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = worlds.whole(tmp_path_factory.mktemp("data"))
    worlds.vqav2(root, "train2014", 6, 100)
    return root


def settings(root: Path, out: Path, **more: Any) -> Settings:
    return Settings(out=out, data=root, batch_size=2, quiet=True, **more)


def answers(out: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / task / "answers.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_kind_of_task(loaded: Loaded, root: Path, tmp_path: Path) -> None:
    results = evaluate_tasks(loaded, TASKS, settings(root, tmp_path))
    assert [result["task"] for result in results] == list(TASKS)
    for result in results:
        rows = answers(tmp_path, result["task"])
        assert len(rows) == result["items"] == result["expected"]
        assert result["protocol"]["checkpoint"]
        if result["task"] != "touchstone":
            assert result["scores"]
            for score in result["scores"].values():
                assert score["value"] >= 0
            assert all(row["score"] is not None for row in rows)
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {task["task"] for task in written["tasks"]} == set(TASKS)
    (boxed, _) = answers(tmp_path, "refcoco_testA")
    assert boxed["boxes"]["true"] == [6, 4, 36, 24]
    assert answers(tmp_path, "touchstone")[0]["score"] is None
    assert "touchstone" in summary(results)
    ranked = answers(tmp_path, "scienceqa")[0]
    assert ranked["answer"] == "ABC"[ranked["losses"].index(min(ranked["losses"]))]


def test_a_killed_run_goes_on(loaded: Loaded, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_tasks(loaded, ["vqav2"], settings(root, tmp_path / "whole"))
    whole = answers(tmp_path / "whole", "vqav2")
    asked: list[str] = []
    real = harness.ask

    def killed(asking: Any, batches: Any, workers: int) -> Any:
        for rows in real(asking, batches, workers):
            yield rows
            raise KeyboardInterrupt

    def counted(asking: Any, batches: Any, workers: int) -> Any:
        asked.extend(item.id for batch in batches for item in batch)
        yield from real(asking, batches, workers)

    out = tmp_path / "killed"
    monkeypatch.setattr(harness, "ask", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_tasks(loaded, ["vqav2"], settings(root, out))
    with (out / "vqav2/answers.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "30", "ans')  # the write that the kill cut off
    kept = {json.loads(line)["id"] for line in (out / "vqav2/answers.jsonl").read_text().splitlines()[:-1]}
    assert len(kept) == 2
    monkeypatch.setattr(harness, "ask", counted)
    evaluate_tasks(loaded, ["vqav2"], settings(root, out))
    assert set(asked) == {row["id"] for row in whole} - kept
    assert answers(out, "vqav2") == whole


def test_answers_of_another_protocol_are_not_mixed(loaded: Loaded, root: Path, tmp_path: Path) -> None:
    evaluate_tasks(loaded, ["vqav2"], settings(root, tmp_path))
    with pytest.raises(EvaluationError, match="differing in few_shot"):
        evaluate_tasks(loaded, ["vqav2"], settings(root, tmp_path, few_shot=2))
    assert len(answers(tmp_path, "vqav2")) == 5


def test_answers_do_not_depend_on_batches_or_workers(loaded: Loaded, root: Path, tmp_path: Path) -> None:
    said = []
    for number, (size, workers) in enumerate(((1, 1), (3, 4))):
        out = tmp_path / str(number)
        evaluate_tasks(loaded, ["vqav2"], replace(settings(root, out, few_shot=2), batch_size=size, workers=workers))
        said.append([(row["id"], row["answer"]) for row in answers(out, "vqav2")])
    assert said[0] == said[1]


def test_examples_stand_before_the_question(loaded: Loaded, root: Path) -> None:
    one = benchmarks()["vqav2"]
    data, train_data = locate(one, root, {}), locate(one, root, {}, train=True)
    train, item = list(one.items(train_data)), next(iter(one.items(data)))
    asking = Asking(
        one, loaded.model, loaded.tokenizer, Opener(data.pictures), train, Opener(train_data.pictures), shots=2
    )
    example = _example(asking, item, asking.pictures.open(item.entry))  # type: ignore[arg-type]
    assert len(example.slots) == 3
    text = loaded.tokenizer.decode(example.ids, skip_special=True)
    first, second = examples_for(item, train, 2, 0, frozenset())
    assert text == f"{first.prompt} red{second.prompt} red{item.prompt}"


def test_a_tested_picture_is_no_example(root: Path) -> None:
    one = benchmarks()["vqav2"]
    train = list(one.items(locate(one, root, {}, train=True)))
    tested = frozenset(item.entry.image for item in train[:4] if item.entry and isinstance(item.entry.image, str))
    for number in range(20):
        chosen = examples_for(replace(train[0], id=str(number)), train, 2, 0, tested)
        assert {item.id for item in chosen} == {train[4].id, train[5].id}
    with pytest.raises(DataError, match="only 2 of 3 examples"):
        examples_for(train[0], train, 3, 0, tested)


@torch.inference_mode()
def test_option_losses_are_those_of_training(loaded: Loaded) -> None:
    prompts = [
        render(Sample((Text(text),), "vqa"), loaded.tokenizer, 4) for text in ("Where is the red star? Answer:", "no:")
    ]
    options = [(" A", " yes no", " red star"), (" B", " A")]
    found = option_losses(loaded.model, loaded.tokenizer, prompts, options)
    for prompt, given, losses in zip(prompts, options, found, strict=True):
        for option, loss in zip(given, losses, strict=True):
            more = loaded.tokenizer.encode(option)
            batch = inputs(loaded.model, loaded.tokenizer, [replace(prompt, ids=prompt.ids + more)])
            labels = torch.full_like(batch["input_ids"], -100)
            labels[0, -len(more) :] = torch.tensor(more)
            assert loss == pytest.approx(float(loaded.model(**batch, labels=labels).loss), abs=1e-4)


def test_a_missing_picture_is_told_before_anything_is_asked(loaded: Loaded, tmp_path: Path) -> None:
    worlds.vqav2(tmp_path)
    (tmp_path / "coco/val2014/COCO_val2014_000000000002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 5 items have no picture.*COCO_val2014_000000000002"):
        evaluate_tasks(loaded, ["vqav2"], settings(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_predictions_are_scored_without_a_model(root: Path, tmp_path: Path) -> None:
    file = worlds.write(tmp_path / "said.json", [{"question_id": 10 * n, "answer": "red"} for n in range(1, 5)])
    result = score_predictions("vqav2", file, settings(root, tmp_path))
    assert (result["items"], result["expected"], result["complete"]) == (4, 5, False)
    assert result["scores"]["vqa_accuracy"]["value"] == 1
    assert "4 of 5 items answered" in summary([result])
    box = "(100,100),(600,600)</box>"
    file = worlds.write(tmp_path / "boxes.json", [{"answer": box}, {"answer": "nothing"}])
    result = score_predictions("refcoco_testA", file, settings(root, tmp_path))
    assert result["scores"]["acc@0.5"]["value"] == 0.5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question_id": 10}], "no answer"),
        ([{"question_id": 11, "answer": "red"}], "none of its 1 ids"),
        ([{"question_id": 10, "answer": "red"}] * 2, "a second answer"),
        ([{"answer": "red"}], "1 answers without ids for 5 items"),
    ],
)
def test_predictions_that_do_not_fit(rows: list[dict[str, Any]], message: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        score_predictions("vqav2", worlds.write(tmp_path / "said.json", rows), settings(root, tmp_path))


@pytest.mark.slow
def test_two_ranks_answer_what_one_does(loaded: Loaded, root: Path, tmp_path: Path) -> None:
    evaluate_tasks(loaded, ["vqav2"], settings(root, tmp_path / "one"))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "qwenvl"),
        *("eval", "--model", str(loaded.folder), "--tasks", "vqav2", "--data", str(root), "--batch-size", "2"),
        *("--out", str(tmp_path / "two")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert answers(tmp_path / "two", "vqav2") == answers(tmp_path / "one", "vqav2")
    assert sorted(path.name for path in (tmp_path / "two/vqav2").iterdir()) == [
        "answers.jsonl",
        "protocol.json",
        "result.json",
    ]


def test_a_broken_picture_is_named(loaded: Loaded, tmp_path: Path) -> None:
    worlds.vqav2(tmp_path)
    whole = (tmp_path / "coco/val2014/COCO_val2014_000000000003.jpg").read_bytes()
    (tmp_path / "coco/val2014/COCO_val2014_000000000003.jpg").write_bytes(whole[:-12])
    with pytest.raises(DataError, match="the picture of item 30"):
        evaluate_tasks(loaded, ["vqav2"], settings(tmp_path, tmp_path / "out"))


def test_predictions_do_not_replace_a_models_answers(loaded: Loaded, root: Path, tmp_path: Path) -> None:
    evaluate_tasks(loaded, ["vqav2"], settings(root, tmp_path))
    before = answers(tmp_path, "vqav2")
    file = worlds.write(tmp_path / "said.json", [{"question_id": 10, "answer": "red"}])
    with pytest.raises(EvaluationError, match="another protocol"):
        score_predictions("vqav2", file, settings(root, tmp_path))
    assert answers(tmp_path, "vqav2") == before


def test_a_hugging_face_folder(root: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    shown = worlds.picture(tmp_path / "one.png").read_bytes()
    rows = {
        "image": [{"bytes": shown, "path": "one.png"}] * 2,
        "question": ["What color?", "How many?"],
        "answers": [["red"] * 10, ["two"] * 10],
    }
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "set/validation-00000-of-00001.parquet")
    one = benchmarks()["vqav2"]
    found = list(one.items(locate(one, root, {"vqav2": f"hf:{tmp_path / 'set'}"})))
    assert [item.prompt for item in found] == ["What color? Answer:", "How many? Answer:"]
    assert found[1].answers == ("two",) * 10
    assert found[0].entry is not None and Opener(()).open(found[0].entry).width == 60


def test_the_command_line(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = worlds.write(tmp_path / "said.json", [{"question_id": 10 * n, "answer": "red"} for n in range(1, 6)])
    command = ["eval", "--tasks", "vqav2", "--data", str(root), "--out", str(tmp_path / "out")]
    assert main([*command, "--predictions", str(said)]) == 0
    shown = capsys.readouterr().out
    assert "vqav2 (val): 5 items (the whole split has 214,354)" in shown
    assert "100.00" in shown
    assert main(["eval", "--tasks", "vqav3"]) == 2
    assert "did you mean 'vqav2'" in capsys.readouterr().err
    assert main(["eval", "--limit", "3"]) == 2
    assert "belong to --tasks" in capsys.readouterr().err
