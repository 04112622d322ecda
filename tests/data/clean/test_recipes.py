"""The packaged recipes name rules that exist and keys that they have, and every rule says what a recipe needs."""

import dataclasses
from importlib import resources

import pytest
import yaml

from qwenvl.data.clean.rule import Rule
from qwenvl.data.clean.rules import RULES
from qwenvl.typed import ConfigError, from_dict

FOLDER = resources.files("qwenvl") / "recipes" / "clean"


@pytest.mark.parametrize("name", ["pretrain", "academic"])
def test_packaged_recipes_can_be_made(name: str) -> None:
    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert data["name"] == name
    made = [from_dict(RULES[key], fields, key) for entry in data["rules"] for key, fields in entry.items()]
    assert len({rule.name for rule in made}) == len(made) == len(data["rules"])


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_rules_are_frozen_dataclasses_with_rising_bins(rule: type[Rule]) -> None:
    assert dataclasses.is_dataclass(rule) and rule.__dataclass_params__.frozen
    assert rule.__doc__ and not rule.__doc__.startswith(f"{rule.__name__}(")
    bins = getattr(rule, "bins", ())
    assert list(bins) == sorted(set(bins))


@pytest.mark.parametrize("key", ["bins", "name", "too_low", "mni"])
def test_what_is_no_key_of_a_rule_is_said(key: str) -> None:
    with pytest.raises(ConfigError, match="known: min, max, sources"):
        from_dict(RULES["size"], {key: 1}, "recipe")
