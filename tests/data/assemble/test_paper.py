"""The paper's recipes on made-up stand-ins: every source in small, from the dry run to the card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qwenvl.cli import OK, main
from qwenvl.data.assemble.dry_run import dry_run
from qwenvl.data.assemble.recipe import BuildRecipe, load_build_recipe
from qwenvl.data.assemble.run import build
from qwenvl.sample import Task
from tests.data.assemble.forms import FORMS, stand_in
from tests.data.assemble.sets import lines, picture, records

pytest.importorskip("duckdb")

BOX = [40, 30, 200, 150]
FIELDS: dict[Task, dict[str, Any]] = {
    "caption": {"caption": "a dog"},
    "vqa": {"question": "what is it?", "answer": "a dog"},
    "grounding": {"caption": "一只狗", "spans": [{"start": 2, "end": 3, "boxes": [BOX]}]},
    "referring": {"phrases": [{"phrase": "the dog", "boxes": [BOX], "description": "a dog"}]},
    "grounded_caption": {"phrases": [{"phrase": "the dog", "boxes": [BOX], "description": "a dog"}]},
    "ocr": {"lines": [{"text": "STOP", "box": BOX}]},
    "text": {"text": "Plain words."},
    "dialogue": {},
}


def rows_of(folder: Path, name: str, tasks: Sequence[Task], seed: int) -> Path:
    """Two records of a source's tasks: one with a picture of its own, one with a picture that all sources share."""
    if "dialogue" in tasks:
        picture(folder / f"{name}.jpg", seed, 460, 300)
        turns = [{"from": "user", "value": f"<img>{name}.jpg</img>what?"}, {"from": "assistant", "value": name}]
        return lines(folder / f"{name}.jsonl", {"id": "1", "conversations": turns})
    said: dict[str, Any] = {}
    for task in tasks:
        said |= FIELDS[task]
    if "text" in tasks:
        return lines(folder / f"{name}.jsonl", said)
    picture(folder / f"{name}.jpg", seed, 460, 300)
    picture(folder / "shared.jpg", 0, 460, 300)
    return lines(folder / f"{name}.jsonl", *({"image": file, **said} for file in (f"{name}.jpg", "shared.jpg")))


def with_stand_ins(folder: Path, name: str) -> list[str]:
    """The overrides that put stand-ins in all sources' places."""
    recipe = load_build_recipe(name)
    made = [
        f"sources.{source.name}.spec={rows_of(folder, source.name, list(source.tasks), number)}"
        for number, source in enumerate(recipe.sources, start=1)
    ]
    picture(folder / "held.jpg", 1, 230, 150)  # looks like the first source's own
    held = lines(folder / "held.jsonl", {"image": "held.jpg", "caption": "x"})
    return [*made, f"held_out.sources=[{held}]"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3"])
def test_the_papers_recipes_run_on_stand_ins(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = with_stand_ins(tmp_path, name)
    recipe: BuildRecipe = load_build_recipe(name, overrides)
    tried = dry_run(recipe, 10)
    assert [found.name for found in tried] == [source.name for source in recipe.sources]
    assert all(set(found.samples) == set(s.tasks) for found, s in zip(tried, recipe.sources, strict=True)
               if found is not tried[0])  # fmt: skip
    assert tried[0].dropped["held out"] == 1 and not any(found.skipped for found in tried)

    arguments = ["data", "build", name, str(tmp_path / "out"), *overrides]
    assert main([*arguments, "--dry-run", "5"]) == OK
    assert not (tmp_path / "out").exists()
    assert main(arguments) == OK
    assert "card.html" in capsys.readouterr().out
    card = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert {"stage1": "| 280,000,000 |", "stage2": "| 24,800,000 |", "stage3": "| 350,000 |"}[name] in card
    found = records(tmp_path / "out")
    keys = [record.images[0].key for record in found if record.images]
    assert len(keys) == len(set(keys))
    if name == "stage2":
        shared = max(found, key=lambda record: len(record.meta.get("qwenvl.joined", ())))
        # of sources that say the same of it one is left
        names = [part["source"] for part in shared.meta["qwenvl.joined"]]
        assert names == ["laion-en", "gqa", "grit", "visual-genome", "synthdog-en"]
        assert set(shared.meta["qwenvl.tasks"]) == set(recipe.used) - {"text"}
        assert all((tmp_path / "out" / "samples" / f"{task}.html").exists() for task in recipe.used)


@pytest.mark.usefixtures("here")
def test_sets_of_the_second_stage_are_read_in_their_own_forms(tmp_path: Path) -> None:
    recipe = load_build_recipe("stage2")
    others = [source.name for source in recipe.sources if source.spec.partition(":")[0] not in FORMS]
    held = [spec for spec in recipe.held_out.sources if spec.partition(":")[0] in FORMS]
    recipe = load_build_recipe(
        "stage2",
        [f"root={tmp_path}", "skip_missing=true", "resolution.min_side=0", f"held_out.sources={json.dumps(held)}"]
        + [f"sources.{name}.spec={tmp_path}/gone" for name in others],
    )
    made = [source for source in recipe.sources if source.name not in others]
    assert len(made) == 15
    for number, source in enumerate(made):
        stand_in(recipe.spec(source.spec), number)
    for number, spec in enumerate(recipe.held_out.sources, start=100):
        # RefCOCO's test pictures are its training pictures here: all that show them must go
        if not spec.startswith("refco"):
            stand_in(recipe.spec(spec), number)
    tried = {found.name: found for found in dry_run(recipe, 10)}
    for source in made:
        assert tried[source.name].samples.keys() == source.tasks.keys(), (source.name, tried[source.name])
        assert not tried[source.name].skipped
    stand_in(recipe.spec("refcoco:{root}/refcoco/refcoco_testA.json?images={root}/coco/train2014"), 0)
    card = build(recipe, tmp_path / "out", quiet=True)
    gone = {source["name"] for source in card["sources"] if source["dropped"].get("held out")}
    assert gone == {"coco", "vqav2", "refcoco", "refcoco+", "refcocog"}
    assert card["samples"] == sum(len(s.tasks) for s in made if s.name not in gone)
