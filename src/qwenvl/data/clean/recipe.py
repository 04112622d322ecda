"""A cleaning recipe: a YAML list of rules and their keys, in the order in which they run."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenvl.data.clean.rule import Rule, SetRule
from qwenvl.data.clean.rules import RULES
from qwenvl.typed import ConfigError, find_recipe, from_dict, nearest, override, read_yaml, to_dict

_FILES = "(read from files)"
KIND = "clean"
"""The folder of the packaged recipes."""

OWN = "YOUR_PACKAGE.YOUR_MODULE.YourRule"


@dataclass(frozen=True)
class CleanRecipe:
    """The rules of a run. Those on single pairs run first, those on the whole set after them, each in their order."""

    name: str
    entries: tuple[tuple[str, Rule | SetRule], ...]
    """Each rule with its key in the YAML: its name, or the import path of a class of the user's own."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules on single pairs."""
        return tuple(rule for _, rule in self.entries if isinstance(rule, Rule))

    @property
    def set_rules(self) -> tuple[SetRule, ...]:
        """The rules on the whole set."""
        return tuple(rule for _, rule in self.entries if isinstance(rule, SetRule))

    def plain(self) -> dict[str, Any]:
        """All that decides, as JSON values: every key with its value, and what rules read from files as a digest."""
        return {"name": self.name, "rules": [{key: _plain(rule)} for key, rule in self.entries]}


def load_clean_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> CleanRecipe:
    """Read a recipe by its packaged name ("pretrain") or its path, then apply overrides.

    `rule.key=value` changes a key of a rule, or adds the rule at the end; `rule=null` takes it out, `rule={}` adds it
    as it is. Raises ConfigError.
    """
    path = find_recipe(str(name_or_path), KIND)
    data = read_yaml(path)
    for key in data:
        if key not in ("name", "rules"):
            raise ConfigError(
                f"{path.name}: unknown key {key!r}{nearest(str(key), ['name', 'rules'])}; known: name, rules"
            )
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{path.name}: 'name' is missing: a word that names the recipe")
    fields = _by_rule(data.get("rules"), path.name)
    for text in overrides:
        _apply(fields, text)
    if not fields:
        raise ConfigError(f"{path.name}: 'rules' is empty; a recipe needs at least one")
    return _made(name, fields, path.name)


def recipe_of(plain: Mapping[str, Any], where: str) -> CleanRecipe:
    """The recipe whose `plain` this is; rules that read files read them again. Raises ConfigError."""
    fields = _by_rule(plain["rules"], where)
    return _made(
        plain["name"], {rule: {k: v for k, v in keys.items() if k != _FILES} for rule, keys in fields.items()}, where
    )


def _made(name: str, fields: Mapping[str, Any], where: str) -> CleanRecipe:
    entries = tuple((key, _rule(key, given, where)) for key, given in fields.items())
    _check_names([rule.name for _, rule in entries], where)
    return CleanRecipe(name, entries)


def _by_rule(rules: Any, where: str) -> dict[str, Any]:
    """The list of the YAML as rule → its keys, in order."""
    form = "a list of rules such as `- aspect_ratio: {max: 3.0}`"
    if not isinstance(rules, list):
        raise ConfigError(f"{where}: 'rules': expected {form}, found {rules!r}")
    found: dict[str, Any] = {}
    for number, entry in enumerate(rules):
        entry = {entry: {}} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or len(entry) != 1:
            raise ConfigError(f"{where}: rules[{number}]: expected {form}, found {entry!r}")
        ((key, fields),) = entry.items()
        if key in found:
            raise ConfigError(f"{where}: rules[{number}]: {key} stands in the list twice")
        found[str(key)] = {} if fields is None else fields
    return found


def _apply(fields: dict[str, Any], text: str) -> None:
    dotted, equals, _ = text.partition("=")
    known = [*fields, *RULES]
    key = max((k for k in known if dotted == k or dotted.startswith(f"{k}.")), key=len, default=None)
    if key is None or not equals:
        first = dotted.split(".")[0]
        raise ConfigError(
            f"override {text!r}: expected rule.key=value, such as aspect_ratio.max=2.5, or rule=null to leave it out"
            + (f"; there is no rule {first!r}{nearest(first, known)}" if key is None else "")
        )
    # the path of one's own class has dots that are no keys
    held = {"rule": fields.get(key, {})}
    override(held, "rule" + text[len(key) :], text)
    if held["rule"] is None or held["rule"] is False:
        fields.pop(key, None)
    else:
        fields[key] = held["rule"]


def _rule(key: str, given: Any, where: str) -> Rule | SetRule:
    cls = _own_class(key, where) if "." in key else RULES.get(key)
    if cls is None:
        raise ConfigError(
            f"{where}: there is no rule {key!r}{nearest(key, list(RULES))}; there are {', '.join(RULES)}, "
            f"and your own by their import path ({OWN})"
        )
    if not dataclasses.is_dataclass(cls):
        if given:
            raise ConfigError(f"{where}.{key}: to have keys the class must be a dataclass: @dataclass(frozen=True)")
        return cls()
    try:
        return from_dict(cls, given, f"{where}.{key}")
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:  # what a rule says of its keys
        raise ConfigError(f"{where}.{key}: {error}") from error


def _own_class(key: str, where: str) -> type[Rule] | type[SetRule]:
    module, _, name = key.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, something that it needs is not
        raise ConfigError(
            f"{where}: {key}: there is no module {error.name}; Python must find it: install it, or name its folder in "
            "PYTHONPATH"
        ) from None
    except AttributeError:
        raise ConfigError(f"{where}: {key}: the module {module} has no {name}") from None
    if not (isinstance(found, type) and issubclass(found, Rule | SetRule)):
        raise ConfigError(
            f"{where}: {key}: expected a subclass of qwenvl.data.clean.rule.Rule or SetRule, not {found!r}"
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    missing += [] if isinstance(getattr(found, "name", None), str) else ["name"]
    if missing:
        raise ConfigError(f"{where}: {key}: the class lacks {', '.join(missing)}")
    return found


def _check_names(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{where}: two rules are called {twice[0]!r}; each needs a name of its own")
    odd = [name for name in names if not name.isidentifier() or name == "reading"]
    if odd:
        raise ConfigError(f"{where}: a rule can't be called {odd[0]!r}: use letters, digits and _, and not 'reading'")


def _plain(rule: Rule | SetRule) -> Mapping[str, Any]:
    fields: dict[str, Any] = to_dict(rule) if dataclasses.is_dataclass(rule) else {}
    beside = rule.fingerprint() if isinstance(rule, Rule) else ""
    return fields | ({_FILES: beside} if beside else {})
