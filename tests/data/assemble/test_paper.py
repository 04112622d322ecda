"""The paper's recipes on made-up stand-ins: every source in small, from the dry run to the card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qwenvl.cli import OK, main
from qwenvl.data.assemble.dry_run import dry_run
from qwenvl.data.assemble.recipe import BuildRecipe, load_build_recipe
from qwenvl.sample import Task
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


def stand_in(folder: Path, name: str, tasks: Sequence[Task], seed: int) -> Path:
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
        f"sources.{source.name}.spec={stand_in(folder, source.name, list(source.tasks), number)}"
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
