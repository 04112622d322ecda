"""Recipes of corpora: the packaged ones are the paper's, and a wrong key is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwenvl.data.assemble.recipe import KIND, load_build_recipe
from qwenvl.data.clean.report import PAPER
from qwenvl.data.sources.public import formats
from qwenvl.typed import ConfigError, packaged_recipes

SOURCE = {"name": "a", "spec": "a.jsonl", "tasks": {"caption": {}}}


def test_the_packaged_recipes_hold_the_papers_tables() -> None:
    assert packaged_recipes(KIND) == ["stage1", "stage2", "stage3"]
    one = load_build_recipe("stage1")
    # table 2, as the report on cleaning has it too
    assert sorted(source.published for source in one.sources) == sorted((int(b), int(a)) for _, b, a, _ in PAPER)
    assert one.tasks["caption"].published == sum(after for _, _, after, _ in PAPER)
    two = load_build_recipe("stage2")
    assert {task: plan.published for task, plan in two.tasks.items()} == {
        "caption": 19_700_000, "vqa": 3_600_000, "grounding": 3_500_000, "referring": 8_700_000,
        "grounded_caption": 8_700_000, "ocr": 24_800_000, "text": 7_800_000,
    }  # fmt: skip
    by_task = {task: {s.name for s in two.sources if task in s.tasks} for task in two.used}
    assert by_task["vqa"] == {"gqa", "vgqa", "vqav2", "dvqa", "ocr-vqa", "docvqa", "textvqa", "chartqa", "ai2d"}
    assert by_task["referring"] == {"grit", "visual-genome", "refcoco", "refcoco+", "refcocog"}
    assert by_task["grounding"] == {"grit"} and len(by_task["ocr"]) == 4
    assert two.resolution.min_side == 448
    assert load_build_recipe("stage3").tasks["dialogue"].published == 350_000


def test_overrides_reach_a_source_by_its_name() -> None:
    recipe = load_build_recipe("stage2", ["root=/sets", "sources.refcoco+.spec=mine.jsonl", "resolution.min_side=0"])
    source = next(source for source in recipe.sources if source.name == "refcoco+")
    assert (source.spec, recipe.resolution.min_side) == ("mine.jsonl", 0)
    assert recipe.spec(recipe.sources[0].spec) == "/sets/clean/laion-en"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "'sources' is empty"),
        ({"sourcs": []}, "unknown key 'sourcs' .did you mean 'sources'"),
        ({"sources": [SOURCE, SOURCE]}, "source 'a': two sources have this name"),
        ({"sources": [SOURCE | {"name": "a/b"}]}, "a name has letters"),
        ({"sources": [SOURCE | {"tasks": {}}]}, "'tasks' is empty"),
        ({"sources": [SOURCE | {"tasks": {"captoin": {}}}]}, "'captoin' is none of.*did you mean 'caption'"),
        ({"sources": [SOURCE | {"tasks": {"caption": {"samples": 0}}}]}, "expected 1 or more, found 0"),
        ({"sources": [SOURCE | {"published": [3]}]}, "pairs before, pairs after"),
        ({"tasks": {"vqa": {}}}, "tasks.vqa: no source gives this task"),
        ({"tasks": {"caption": {"weight": 0}}}, "expected a number above 0"),
        ({"resolution": {"side": "both"}}, "none of: shorter, longer"),
        ({"held_out": {"distance": 9}}, "expected 0 to 8 bits, found 9"),
        ({"packing": {"sequence": 100}}, "packing.sequence: expected 259 or more"),
        ({"wording": "gone.yaml"}, "gone.yaml: can not be read"),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"name": "mine", "sources": [SOURCE], **change}))
    with pytest.raises(ConfigError, match=message):
        load_build_recipe(path)


def test_weights_are_given_to_all_tasks_or_to_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    source = {**SOURCE, "tasks": {"caption": {}, "vqa": {}}}
    path.write_text(json.dumps({"name": "mine", "sources": [source], "tasks": {"vqa": {"weight": 2}}}))
    with pytest.raises(ConfigError, match=r"tasks\.caption\.weight is missing"):
        load_build_recipe(path)
    assert load_build_recipe(path, ["tasks.caption.weight=1"]).tasks["caption"].weight == 1.0


def test_paraphrases_lie_beside_the_recipe_and_decide_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"name": "mine", "sources": [SOURCE], "wording": "words.yaml"}))
    (tmp_path / "words.yaml").write_text("caption: {en: ['Say it: ']}")
    assert load_build_recipe(path).plain()["wording"] == {"caption": {"en": ["Say it: "]}}


def test_the_recipe_of_the_documentation_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "corpus.md").read_text(encoding="utf-8")
    blocks = text.split("```yaml\n")[1:]
    (tmp_path / "mine.yaml").write_text(blocks[0].split("```")[0], encoding="utf-8")
    (tmp_path / "words.yaml").write_text(blocks[1].split("```")[0], encoding="utf-8")
    recipe = load_build_recipe(tmp_path / "mine.yaml")
    assert [source.name for source in recipe.sources] == ["coco", "web", "own"]
    assert set(recipe.words().forms) == {"caption", "vqa", "grounded_caption"}


def test_the_packaged_recipes_name_readers_and_options_that_there_are() -> None:
    known = formats()
    for name in packaged_recipes(KIND):
        recipe = load_build_recipe(name)
        for spec in (*(source.spec for source in recipe.sources), *recipe.held_out.sources):
            if not spec.startswith("{root}"):
                form, _, rest = spec.partition(":")
                options = [pair.partition("=")[0] for pair in rest.partition("?")[2].split("&") if pair]
                assert set(options) <= {"images", "split", *known[form].options}, spec
