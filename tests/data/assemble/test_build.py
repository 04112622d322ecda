"""A corpus from small sets: pictures once, filters, counts, copies; and what its card says."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from qwenvl.data.assemble.layout import prepare
from qwenvl.data.assemble.read import ReadUnit
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.run import build
from qwenvl.data.assemble.settle import even_share
from qwenvl.data.assemble.units import list_units
from qwenvl.data.engine import EngineError
from qwenvl.data.mixture import Mixture, Share
from qwenvl.data.run_folder import RunError
from qwenvl.data.shards import ShardReader
from qwenvl.data.sources import DataError
from qwenvl.data.tasked import parts_of
from qwenvl.tasks import TASKS
from tests.data.assemble.sets import captions, lines, picture, questions, recipe, records

pytest.importorskip("duckdb")


def made(folder: Path, plan: BuildRecipe, **more: Any) -> dict[str, Any]:
    return build(plan, folder / "out", quiet=True, workers=1, **more)


def dropped(folder: Path) -> list[tuple[str, str]]:
    rows = pq.read_table(folder / "out" / "dropped.parquet").to_pylist()
    return [(row["id"], row["rule"]) for row in rows]


@pytest.mark.usefixtures("here")
def test_a_picture_of_several_sources_is_stored_once(tmp_path: Path) -> None:
    captions(tmp_path, "cap", range(6))
    questions(tmp_path, "ask", range(3, 8))
    plan = recipe(
        tmp_path,
        {"name": "cap", "spec": f"{tmp_path}/cap.jsonl", "tasks": {"caption": {}}},
        {"name": "ask", "spec": f"{tmp_path}/ask.jsonl", "tasks": {"vqa": {}}},
    )
    card = made(tmp_path, plan)
    found = records(tmp_path / "out")
    assert len(found) == len({record.images[0].key for record in found}) == 8
    assert [len(TASKS["caption"](r, random.Random(0))) for r in found] == [1] * 6 + [0, 0]
    assert [len(TASKS["vqa"](r, random.Random(0))) for r in found] == [0, 0, 0, 2, 2, 2, 2, 2]
    assert found[4].images[0].source == (tmp_path / "p4.jpg").read_bytes()
    joined = found[4].meta["qwenvl.joined"]
    assert [(part["source"], part["id"]) for part in joined] == [("cap", "c4"), ("ask", "ask-2")]
    assert (card["samples"], card["pictures"], card["joined"]) == (6 + 10, 8, 3)
    # what the mixing of training reads without reading a record
    counts = pq.read_table(tmp_path / "out" / "00000.parquet", columns=["n_caption", "n_vqa"]).to_pydict()
    assert counts["n_caption"] == [1] * 6 and counts["n_vqa"] == [0, 0, 0, 2, 2, 2]


@pytest.mark.usefixtures("here")
def test_a_source_gives_samples_to_its_tasks_alone(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 1)
    box = {"start": 2, "end": 5, "boxes": [[10, 10, 40, 40]]}
    row = {"image": "a.jpg", "caption": "a dog here", "spans": [box], "question": "what?", "answer": "x"}
    lines(tmp_path / "grit.jsonl", row)
    captions(tmp_path, "cap", range(1, 2))
    (tmp_path / "p1.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    plan = recipe(
        tmp_path,
        {"name": "grit", "spec": f"{tmp_path}/grit.jsonl", "tasks": {"grounding": {}}},
        {"name": "cap", "spec": f"{tmp_path}/cap.jsonl", "tasks": {"caption": {}}},
    )
    made(tmp_path, plan)
    (record,) = records(tmp_path / "out")
    says = {task: make(record, random.Random(0)) for task, make in TASKS.items()}
    assert {task: len(samples) for task, samples in says.items() if samples} == {"caption": 1, "grounding": 1}
    assert says["caption"][0].parts[2].text == "cap sees 1"  # type: ignore[union-attr]


@pytest.mark.usefixtures("here")
def test_small_pictures_are_left_out_by_the_side_that_the_recipe_says(tmp_path: Path) -> None:
    sizes = {"small": (90, 60), "flat": (120, 60), "large": (120, 100)}
    for name, (width, height) in sizes.items():
        picture(tmp_path / f"{name}.jpg", len(name), width, height)
    lines(tmp_path / "a.jsonl", *({"image": f"{n}.jpg", "caption": n, "id": n} for n in sizes))
    source = {"name": "a", "spec": f"{tmp_path}/a.jsonl", "tasks": {"caption": {}}}
    for more, kept in (
        ({"resolution": {"min_side": 100}}, {"large"}),
        ({"resolution": {"min_side": 100, "side": "longer"}}, {"flat", "large"}),
        ({"resolution": {"min_side": 100}, "sources": [source | {"min_side": 0}]}, {"small", "flat", "large"}),
    ):
        plan = recipe(tmp_path, source, **more)
        card = made(tmp_path, plan, fresh=True)
        assert {r.id for r in records(tmp_path / "out")} == {f"a/{name}" for name in kept}
        assert card["sources"][0]["dropped"].get("resolution", 0) == 3 - len(kept)


@pytest.mark.usefixtures("here")
def test_held_out_pictures_are_found_at_another_size_and_quality(tmp_path: Path) -> None:
    captions(tmp_path, "train", range(10))
    for seed in (2, 5, 7):
        picture(tmp_path / "test" / f"t{seed}.jpg", seed, 150, 100, quality=60)
    lines(tmp_path / "test" / "t.jsonl", *({"image": f"t{s}.jpg", "caption": "x", "id": f"t{s}"} for s in (2, 5, 7)))
    plan = recipe(
        tmp_path,
        {"name": "train", "spec": "{root}/train.jsonl", "tasks": {"caption": {}}},
        root=str(tmp_path),
        held_out={"sources": ["{root}/test/t.jsonl"]},
    )
    made(tmp_path, plan)
    assert dropped(tmp_path) == [("c2", "held out"), ("c5", "held out"), ("c7", "held out")]
    rows = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert rows[1]["why"].startswith("looks like the held-out t5 (")


@pytest.mark.usefixtures("here")
def test_copies_of_pairs_and_of_looks(tmp_path: Path) -> None:
    for name, size in (("a", (96, 64)), ("b", (192, 128)), ("c", (96, 64))):
        picture(tmp_path / f"{name}.jpg", 1 if name != "c" else 2, *size)
    rows = [("1", "a", "one"), ("2", "a", "one"), ("3", "a", "two"), ("4", "b", "big"), ("5", "c", "one")]
    lines(tmp_path / "s.jsonl", *({"id": i, "image": f"{p}.jpg", "caption": text} for i, p, text in rows))
    source = {"name": "s", "spec": f"{tmp_path}/s.jsonl", "tasks": {"caption": {}}}
    card = made(tmp_path, recipe(tmp_path, source))
    assert dropped(tmp_path) == [("2", "same pair")]
    assert [[c.text for c in r.captions] for r in records(tmp_path / "out")] == [["one", "two"], ["big"], ["one"]]
    assert card["joined"] == 1
    made(tmp_path, recipe(tmp_path, source | {"near_duplicates": True}), fresh=True)
    assert dropped(tmp_path) == [("1", "near duplicate"), ("2", "same pair"), ("3", "near duplicate")]
    winners = pq.read_table(tmp_path / "out" / "dropped.parquet")["winner"].to_pylist()
    assert winners == ["4", "1", "4"]


@pytest.mark.usefixtures("here")
def test_the_same_words_twice_about_a_picture_are_one_sample(tmp_path: Path) -> None:
    captions(tmp_path, "one", range(2))
    rows = ({"image": f"p{s}.jpg", "captions": [{"caption": "one sees 0"}, {"caption": f"new {s}"}]} for s in range(2))
    lines(tmp_path / "two.jsonl", *rows)
    names = ("one", "two")
    card = made(
        tmp_path,
        recipe(tmp_path, *({"name": n, "spec": f"{tmp_path}/{n}.jsonl", "tasks": {"caption": {}}} for n in names)),
    )
    texts = [[c.text for c in record.captions] for record in records(tmp_path / "out")]
    assert texts == [["one sees 0", "new 0"], ["one sees 1", "one sees 0", "new 1"]]
    assert (card["twice"], card["samples"]) == (1, 5)
    assert card["tasks"][0]["sources"] == {"one": 2, "two": 3}


@pytest.mark.parametrize(
    ("use", "tasks", "cap", "vqa"),
    [({"samples": 7}, {}, 10, 7), ({}, {"vqa": {"samples": 5}, "caption": {"samples": 4}}, 4, 5), ({}, {}, 10, 30)],
)
@pytest.mark.usefixtures("here")
def test_counts_are_met_exactly(
    tmp_path: Path, use: dict[str, int], tasks: dict[str, dict[str, int]], cap: int, vqa: int
) -> None:
    captions(tmp_path, "cap", range(10))
    questions(tmp_path, "ask", range(10), each=3)
    plan = recipe(
        tmp_path,
        {"name": "cap", "spec": f"{tmp_path}/cap.jsonl", "tasks": {"caption": {}}},
        {"name": "ask", "spec": f"{tmp_path}/ask.jsonl", "tasks": {"vqa": use}},
        tasks=tasks,
    )
    card = made(tmp_path, plan)
    assert {task["name"]: task["samples"] for task in card["tasks"]} == {"caption": cap, "vqa": vqa}
    found = records(tmp_path / "out")
    asked = [len(TASKS["vqa"](record, random.Random(0))) for record in found]
    assert sum(asked) == vqa
    # of all pictures, as far as the samples go
    assert sum(map(bool, asked)) == min(10, vqa)
    assert sum(len(TASKS["caption"](record, random.Random(0))) for record in found) == cap


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mixed(folder: Path) -> BuildRecipe:
    captions(folder, "cap", range(12))
    questions(folder, "ask", range(6, 18))
    return recipe(
        folder,
        {"name": "cap", "spec": f"{folder}/c*.jsonl", "tasks": {"caption": {}}},
        {"name": "ask", "spec": f"{folder}/ask.jsonl", "tasks": {"vqa": {"samples": 9}}},
        rows_per_shard=5,
    )


def test_the_corpus_is_the_same_with_any_number_of_workers_and_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = mixed(tmp_path)
    build(plan, tmp_path / "one", quiet=True, workers=1)
    build(plan, tmp_path / "two", quiet=True, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list((tmp_path / "one").glob("0*.parquet"))) > 2

    listing = list_units(plan)
    layout = prepare(tmp_path / "three", plan, listing, fresh=False)
    ReadUnit(layout, plan, ())(listing.units[0])
    begun = layout.records(0).stat().st_mtime_ns
    monkeypatch.setattr("qwenvl.data.assemble.run.write_manifest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(plan, tmp_path / "three", quiet=True, workers=1)
    assert layout.records(0).stat().st_mtime_ns == begun  # what was done is not done again
    monkeypatch.undo()
    build(plan, tmp_path / "three", quiet=True, workers=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


@pytest.mark.usefixtures("here")
def test_another_recipe_or_input_is_refused(tmp_path: Path) -> None:
    plan = mixed(tmp_path)
    made(tmp_path, plan)
    made(tmp_path, plan)  # it is done: nothing happens
    with pytest.raises(RunError, match=r"another recipe \(rows_per_shard: 5 there, 1000 now\).*--fresh"):
        made(tmp_path, recipe(tmp_path, *json.loads((tmp_path / "recipe.yaml").read_text())["sources"]))
    captions(tmp_path, "cap", range(3))
    with pytest.raises(RunError, match="another input"):
        made(tmp_path, mixed_again(tmp_path))


def mixed_again(folder: Path) -> BuildRecipe:
    """The same recipe, without writing its sets anew."""
    sources = json.loads((folder / "recipe.yaml").read_text())["sources"]
    return recipe(folder, *sources, rows_per_shard=5)


@pytest.mark.usefixtures("here")
def test_all_missing_sources_are_named_at_once_or_left_out(tmp_path: Path) -> None:
    captions(tmp_path, "cap", range(3))
    sources = [
        {"name": name, "spec": f"{{root}}/{file}", "tasks": {"caption": {}}}
        for name, file in (("cap", "cap.jsonl"), ("sbu", "sbu.jsonl"), ("cc3m", "cc3m/*.jsonl"))
    ]
    with pytest.raises(DataError, match=r"(?s)2 sources.*sbu: .*sbu.jsonl.*cc3m: .*skip_missing=true"):
        made(tmp_path, recipe(tmp_path, *sources, root=str(tmp_path)))
    card = made(tmp_path, recipe(tmp_path, *sources, root=str(tmp_path), skip_missing=True))
    assert card["missing"] == ["sbu", "cc3m"] and card["samples"] == 3
    assert "Not there when it was made: sbu, cc3m." in (tmp_path / "out" / "card.md").read_text()


@pytest.mark.usefixtures("here")
def test_scenes_are_held_out_too(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    source = {"name": "scenes", "spec": "scenes:train?count=6", "tasks": {"caption": {}}}
    card = made(tmp_path, recipe(tmp_path, source, held_out={"sources": ["scenes:train?count=2&start=3"]}))
    assert card["sources"][0]["dropped"] == {"held out": 2}


def test_a_format_that_there_is_not_is_no_missing_set(tmp_path: Path) -> None:
    source = {"name": "x", "spec": "refcocco:x.json", "tasks": {"referring": {}}}
    with pytest.raises(DataError, match=r"unknown format 'refcocco' \(did you mean 'refcoco'\?\)"):
        list_units(recipe(tmp_path, source, skip_missing=True))


@pytest.mark.usefixtures("here")
def test_bad_rows_and_broken_pictures_are_counted_and_told(tmp_path: Path) -> None:
    captions(tmp_path, "cap", range(3))
    with (tmp_path / "cap.jsonl").open("a") as file:
        file.write('{"image": "gone.jpg", "caption": "x"}\n{"image": "p1.jpg"}\nno json\n')
    card = made(tmp_path, recipe(tmp_path, {"name": "c", "spec": f"{tmp_path}/cap.jsonl", "tasks": {"caption": {}}}))
    assert (card["samples"], card["sources"][0]["skipped"]) == (3, 3)
    assert "cap.jsonl:4" in card["messages"][0] and "gone.jpg" in card["messages"][0]


@pytest.mark.usefixtures("here")
def test_the_card_puts_counts_beside_the_papers(tmp_path: Path) -> None:
    captions(tmp_path, "cap", range(4))
    source = {"name": "cap", "spec": f"{tmp_path}/cap.jsonl", "tasks": {"caption": {}}, "published": [2000, 280]}
    made(tmp_path, recipe(tmp_path, source, about="A <b>try</b>.", tasks={"caption": {"published": 19_700_000}}))
    text = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert "| caption | 4 | 100.0 % | 100.0 % | 19,700,000 | 100.0 % | 4 | en 100 % | cap |" in text
    assert "| cap | 4 | 4 | 100.0 % | 2,000 | 280 | 14.0 % | caption 4 |" in text
    page = (tmp_path / "out" / "card.html").read_text(encoding="utf-8")
    assert "19,700,000" in page and "A &lt;b&gt;try&lt;/b&gt;." in page and "data:image/" in page
    drawn = (tmp_path / "out" / "samples" / "caption.html").read_text(encoding="utf-8")
    assert "cap sees 3" in drawn and drawn.count("<article>") == 4
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["meta"]["tasks"]["caption"] == {"samples": 4, "records": 4, "weight": 4.0}


def test_a_test_split_without_answers_is_held_out_all_the_same(tmp_path: Path) -> None:
    captions(tmp_path, "train", range(4))
    rows = [{"image_id": f"p{seed}", "question": "?", "question_id": seed} for seed in (1, 2, 9)]
    (tmp_path / "test.json").write_text(json.dumps({"data": rows}), encoding="utf-8")
    plan = recipe(
        tmp_path,
        {"name": "train", "spec": f"{tmp_path}/train.jsonl", "tasks": {"caption": {}}},
        held_out={"sources": [f"textvqa:{tmp_path}/test.json"]},
    )
    card = made(tmp_path, plan)
    assert dropped(tmp_path) == [("c1", "held out"), ("c2", "held out")]
    assert [(held["pictures"], held["skipped"]) for held in card["held_out"]] == [(2, 1)]
    text = (tmp_path / "out" / "card.md").read_text()
    assert "Pictures held out for tests: 2 (1 rows of their sets could not be read)." in text
    (tmp_path / "test.json").write_text(json.dumps({"data": rows[2:]}), encoding="utf-8")
    with pytest.raises(EngineError, match=r"test\.json: not one picture of this held-out set could be opened.*p9"):
        made(tmp_path, plan, fresh=True)


@pytest.mark.usefixtures("here")
def test_the_manifest_says_how_often_training_draws_a_task(tmp_path: Path) -> None:
    captions(tmp_path, "cap", range(8))
    questions(tmp_path, "ask", range(6, 10))
    sources = (
        {"name": "cap", "spec": f"{tmp_path}/cap.jsonl", "tasks": {"caption": {}}},
        {"name": "ask", "spec": f"{tmp_path}/ask.jsonl", "tasks": {"vqa": {}}},
    )
    for tasks, weights in (({"caption": {"weight": 1}, "vqa": {"weight": 3}}, (1.0, 3.0)), ({}, (8.0, 8.0))):
        card = made(tmp_path, recipe(tmp_path, *sources, tasks=tasks), fresh=True)
        noted = ShardReader(tmp_path / "out").meta["tasks"]
        assert noted == {
            "caption": {"samples": 8, "records": 8, "weight": weights[0]},
            "vqa": {"samples": 8, "records": 4, "weight": weights[1]},
        }
        assert [task["drawn"] for task in card["tasks"]] == [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize(
    ("having", "samples", "share"),
    [
        ({3: 10}, 30, (None, 0)),
        ({3: 10}, 29, (2, 9)),
        ({3: 10}, 7, (0, 7)),
        ({1: 5, 100: 2}, 50, (22, 1)),
        ({}, 5, (None, 0)),
    ],
)
def test_samples_are_taken_evenly(having: dict[int, int], samples: int, share: tuple[int | None, int]) -> None:
    assert even_share(having, samples) == share


@pytest.mark.usefixtures("here")
def test_training_draws_the_tasks_by_their_weights(tmp_path: Path) -> None:
    captions(tmp_path, "cap", range(9))
    questions(tmp_path, "ask", range(8, 10))
    plan = recipe(
        tmp_path,
        {"name": "cap", "spec": f"{tmp_path}/cap.jsonl", "tasks": {"caption": {}}},
        {"name": "ask", "spec": f"{tmp_path}/ask.jsonl", "tasks": {"vqa": {}}},
        tasks={"caption": {"weight": 1.0}, "vqa": {"weight": 3.0}},
    )
    made(tmp_path, plan)
    corpus = ShardReader(tmp_path / "out")
    parts = parts_of(corpus, {"caption": Share(1.0, 1), "vqa": Share(1.0, 1)})
    mixture = Mixture(parts, "seed")
    drawn = [mixture.draw() for _ in range(36)]
    seen = [(*(parts[part].tasks or ()), mixture.record(part, position)) for part, position in drawn]
    assert [task for task, _ in seen].count("vqa") == 27
    assert all(TASKS[task](record, random.Random(0)) for task, record in seen)
    assert len({record.id for task, record in seen if task == "caption"}) == 9
