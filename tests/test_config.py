"""Recipes: what is packaged loads; what is wrong is said with its place and the nearest right thing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qwenvl.config import Recipe, load_recipe
from qwenvl.typed import ConfigError, from_dict, packaged_recipes, to_dict


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_load_and_survive_a_round_trip(name: str) -> None:
    recipe = load_recipe(name)
    assert from_dict(Recipe, yaml.safe_load(yaml.safe_dump(to_dict(recipe))), name) == recipe


def test_published_stages_are_the_papers() -> None:
    one, two, three = load_recipe("qwen-vl").stages
    assert (one.trains, one.image_size, one.sequence) == (("vision", "adapter"), 224, 512)
    assert (one.steps, one.warmup) == (50_000, 500)
    assert (two.trains, two.image_size, two.sequence) == (("vision", "adapter", "decoder"), 448, 2048)
    assert (three.trains, three.lr, three.min_lr) == (("adapter", "decoder"), 1e-5, 1e-6)
    assert [s.rows * s.accumulation for s in (one, two, three)] == [30_720, 4096, 128]
    assert all(s.betas == (0.9, 0.98) and s.eps == 1e-6 and s.clip == 1.0 for s in (one, two, three))


def test_overrides_reach_into_lists_by_name() -> None:
    recipe = load_recipe("nano", ["stages.stage1.lr=3e-4", "seed=7", "stages.0.steps=5"])
    stages = {stage.name: stage for stage in recipe.stages}
    assert stages["stage1"].lr == 3e-4 and recipe.seed == 7 and recipe.stages[0].steps == 5


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sed=1", "did you mean 'seed'"),
        ("stages.stage1.lrr=1", "did you mean 'lr'"),
        ("stages.stag1.lr=1", "did you mean 'stage1'"),
        ("stages.stage1.lr=fast", "expected float"),
        ("stages.stage1.optimizer=adam", "did you mean 'adamw'"),
        ("seed", "expected key=value"),
        ("seed=[", "not readable as YAML"),
        ("init=nano", "either"),
        ("stages=[]", "at least one"),
    ],
)
def test_what_is_wrong_is_said(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_recipe("nano", [override])


def test_unknown_recipes_and_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'nano'"):
        load_recipe("nanno")
    with pytest.raises(ConfigError, match="no recipe file"):
        load_recipe(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="YAML"):
        load_recipe(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="mapping"):
        load_recipe(tmp_path / "list.yaml")
