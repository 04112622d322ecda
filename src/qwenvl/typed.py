"""Plain values (of YAML, of overrides) ⇄ frozen dataclasses, checked; a wrong key is told the nearest right one.

A recipe of any kind is read by `find_recipe`, `read_yaml` and `from_dict`.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

T = TypeVar("T")

GROUPS = ("paper",)
"""Folders of training recipes beside those that stand alone."""


class ConfigError(ValueError):
    """A recipe or an override that can't be used; the message says where and how to mend it."""


def packaged_recipes(kind: str = "") -> list[str]:
    """The names of the packaged recipes: those for training, or of a kind such as "clean"."""
    folder = resources.files("qwenvl") / "recipes" / kind
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_recipe(name: str, kind: str = "") -> Path:
    """The file of a recipe: a path, or the name of a packaged one. Raises ConfigError."""
    path = Path(name)
    if path.is_file():
        return path
    # "recipes/paper/stage2.yaml" is where it stands in the package, and "paper/stage2" its name
    inside = name.removeprefix("recipes/").removesuffix(".yaml") if name.startswith("recipes/") else name
    group, _, last = inside.rpartition("/")
    if not kind and group in GROUPS and last in packaged_recipes(group):
        kind, name = group, last
    elif path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"there is no recipe file {name}")
    names = packaged_recipes(kind)
    if name not in names:
        if not kind:
            names += [f"{group}/{last}" for group in GROUPS for last in packaged_recipes(group)]
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, names)}; packaged are: {', '.join(names)}")
    return Path(str(resources.files("qwenvl") / "recipes" / kind / f"{name}.yaml"))


def read_yaml(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, with `key.sub=value` overrides applied.

    An entry of a list is addressed by its `name` or its index: `stages.stage1.lr=3e-4`. Raises ConfigError.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(data, dict):
        found = type(data).__name__
        raise ConfigError(f"{path}: expected a mapping of keys, found {found}")
    for text in overrides:
        override(data, text)
    return data


def to_dict(value: Any) -> Any:
    """A dataclass as plain mappings and lists, for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_dict(item) for key, item in value.items()}
    return [to_dict(item) for item in value] if isinstance(value, list | tuple) else value


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Build the dataclass `cls` from plain values, checking keys and types. Raises ConfigError naming `where`."""
    return typing.cast(T, _convert(cls, data, where))


def nearest(key: str, known: Sequence[str]) -> str:
    """What to say behind a wrong key: " (did you mean 'lr'?)", or nothing where no known one is like it."""
    match = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def override(data: dict[str, Any], text: str, shown: str = "") -> None:
    """Apply one `key.sub=value`, as `read_yaml` does; errors name `shown`, or the text itself. Raises ConfigError."""
    shown = shown or text
    dotted, equals, raw = text.partition("=")
    if not equals:
        raise ConfigError(f"override {shown!r}: expected key=value, such as seed=1")
    keys = dotted.split(".")
    target: Any = data
    for key in keys[:-1]:
        target = _entry(target, key, shown) if isinstance(target, list) else target.setdefault(key, {})
        if not isinstance(target, dict | list):
            raise ConfigError(f"override {shown!r}: {key!r} holds {target!r}, which has no keys below it")
    if isinstance(target, list):
        raise ConfigError(f"override {shown!r}: name a key of the entry, such as {dotted}.steps=100")
    try:
        target[keys[-1]] = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {shown!r}: {raw!r} is not readable as YAML: {error}") from None


def _entry(entries: list[Any], key: str, text: str) -> Any:
    names = [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]
    if key in names:
        return entries[names.index(key)]
    if key.isdecimal() and int(key) < len(entries):
        return entries[int(key)]
    raise ConfigError(f"override {text!r}: no entry {key!r}{nearest(key, names)}; there are: {', '.join(names)}")


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(arg for arg in args if arg is not type(None)), value, where)
    if origin is Literal:
        if value not in args:
            choices = ", ".join(map(str, args))
            raise ConfigError(f"{where}: {value!r} is none of: {choices}{nearest(str(value), [str(a) for a in args])}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        inner = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(inner) != len(value):
            raise ConfigError(f"{where}: expected {len(inner)} values, found {len(value)}")
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a mapping, found {value!r}")
        return {_convert(args[0], k, where): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    return _scalar(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected keys of {kind.__name__}, found {value!r}")
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind) if f.init]
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(str(key), known)}; known: {', '.join(known)}")
    required = [f.name for f in dataclasses.fields(kind)
                if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]  # fmt: skip
    for key in required:
        if key not in value:
            raise ConfigError(f"{where}: the key {key!r} is missing")
    return kind(**{key: _convert(hints[key], item, f"{where}.{key}") for key, item in value.items()})


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str):
        # YAML 1.1 reads 3e-4 (no dot) as a string
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {kind.__name__}, found {value!r}")
    return value
