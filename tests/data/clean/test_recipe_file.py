"""Recipes as files, overrides, rules of one's own; what is wrong with them is said with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwenvl.data.clean.recipe import KIND, CleanRecipe, load_clean_recipe
from qwenvl.data.clean.rules import RULES
from qwenvl.typed import ConfigError, packaged_recipes

TEXT = """
name: mine
rules:
  - size: {min: 64}
  - near_duplicates
  - words: {min: 2}
  - tests.data.clean.odd_rules.Slow: {seconds: 0.5}
  - tests.data.clean.odd_rules.Naive:
"""


def load(tmp_path: Path, text: str = TEXT, *overrides: str) -> CleanRecipe:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_clean_recipe(path, overrides)


def test_rules_come_in_their_order_those_on_the_whole_set_apart(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    assert [rule.name for rule in recipe.rules] == ["size", "words", "slow", "naive"]
    assert [rule.name for rule in recipe.set_rules] == ["near_duplicates"]
    assert recipe.plain()["rules"][1] == {"near_duplicates": {"distance": 4}}
    assert recipe.plain()["rules"][3] == {"tests.data.clean.odd_rules.Slow": {"seconds": 0.5}}


def test_overrides_change_add_and_take_out(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        TEXT,
        "size.min=100",
        "size.sources.web.min=80",
        "words=null",
        "near_duplicates.distance=2",
        "exact_duplicates={}",
        "tests.data.clean.odd_rules.Slow.seconds=0.1",
    )
    plain = {key: fields for entry in recipe.plain()["rules"] for key, fields in entry.items()}
    assert list(plain) == [
        "size",
        "near_duplicates",
        "tests.data.clean.odd_rules.Slow",
        "tests.data.clean.odd_rules.Naive",
        "exact_duplicates",
    ]
    assert plain["size"] == {"min": 100.0, "max": None, "sources": {"web": {"min": 80.0, "max": None}}}
    assert plain["near_duplicates"] == {"distance": 2} and plain["tests.data.clean.odd_rules.Slow"] == {"seconds": 0.1}


@pytest.mark.parametrize("name", packaged_recipes(KIND))
def test_packaged_recipes_are_found_by_name(name: str) -> None:
    assert load_clean_recipe(name).name == name


def one(entry: str) -> str:
    return f"name: mine\nrules:\n  - {entry}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [size]", "'name' is missing"),
        ("name: mine", "'rules': expected a list of rules"),
        ("name: mine\nrules: []", "'rules' is empty"),
        ("name: mine\nrule: []", "unknown key 'rule' (did you mean 'rules'?)"),
        ("- size", "expected a mapping"),
        (one("siez: {}"), "there is no rule 'siez' (did you mean 'size'?)"),
        (one("{size: {}, words: {}}"), "rules[0]: expected a list of rules such as"),
        (one("size: {mim: 3}"), "mine.yaml.size: unknown key 'mim' (did you mean 'min'?)"),
        (one("size: {min: big}"), "mine.yaml.size.min: expected float, found 'big'"),
        (one("size: 200"), "mine.yaml.size: expected keys of Size, found 200"),
        (one("size\n  - size: {min: 3}"), "rules[1]: size stands in the list twice"),
        (one("near_duplicates: {distance: 99}"), "distance is 0 to 8 bits"),
        (one("nowhere.rules.Mine: {}"), "there is no module nowhere; Python must find it"),
        (one("tests.data.clean.odd_rules.Mine: {}"), "the module tests.data.clean.odd_rules has no Mine"),
        (one("tests.data.clean.odd_rules.Path: {}"), "expected a subclass of qwenvl.data.clean.rule.Rule or SetRule"),
        (one("tests.data.clean.odd_rules.Naive: {max: 3}"), "to have keys the class must be a dataclass"),
        (one("qwenvl.data.clean.rule.Rule: {}"), "the class lacks decide, measure, name"),
        (one("size\n  - qwenvl.data.clean.rules.picture.Size: {}"), "two rules are called 'size'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["size", "sise.min=3", "size.min=3=4", "=", "name=other", "size.min={"])
def test_overrides_that_mean_nothing_are_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="size" if "size" in override else "expected rule.key=value"):
        load(tmp_path, TEXT, override)


def test_all_rules_can_be_named(tmp_path: Path) -> None:
    needs = {"clip_score": "{columns: [similarity]}", "blocked_domains": "{domains: [a.example]}"}
    text = "name: all\nrules:\n" + "".join(f"  - {name}: {needs.get(name, '{}')}\n" for name in RULES)
    recipe = load(tmp_path, text)
    assert len(recipe.rules) + len(recipe.set_rules) == len(RULES)
