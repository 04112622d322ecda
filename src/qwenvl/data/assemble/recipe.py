"""The recipe of a corpus: its sources and tasks, how many samples, what is left out; YAML, checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from qwenvl.data.clean.rules.near_duplicates import FARTHEST
from qwenvl.sample import Task
from qwenvl.tasks.wording import EXACT, Wording, load_wording
from qwenvl.typed import ConfigError, find_recipe, from_dict, read_yaml, to_dict

KIND = "corpus"
"""The folder of the packaged recipes."""


@dataclass(frozen=True)
class TaskUse:
    """What a source gives to a task: at most `samples` of its samples (all, without it)."""

    samples: int | None = None


@dataclass(frozen=True)
class SourcePlan:
    """One set: where it is, which tasks it gives, and rules of its own.

    `spec` is what `qwenvl.data.sources.open_source` takes; `{root}` in it is the recipe's root, and `*` in a
    path stands for several files, each a unit of work (so is each shard of a folder of shards).
    `min_side` replaces the recipe's for this set. `near_duplicates` drops those of its pictures that look like a better
    one of its own or of another such set; without it equal pictures are joined and similar ones are left alone.
    `published` are the set's pairs before and after cleaning in the paper, for the card.
    """

    name: str
    spec: str
    tasks: dict[Task, TaskUse]
    min_side: int | None = None
    near_duplicates: bool = False
    published: tuple[int, ...] = ()


@dataclass(frozen=True)
class TaskPlan:
    """A task's part of the corpus.

    At most `samples` of it are kept, spread over its sources as they have them. `weight` is how often training draws
    it beside the others; all tasks have one or none has (then it is the number of samples). `published` is the paper's
    number of samples.
    """

    samples: int | None = None
    weight: float | None = None
    published: int | None = None


@dataclass(frozen=True)
class Resolution:
    """Pictures whose side is under `min_side` pixels are left out; `side` says which one. 0 keeps all."""

    min_side: int = 0
    side: Literal["shorter", "longer"] = "shorter"


@dataclass(frozen=True)
class HeldOut:
    """Test pictures that training must not see, as specs of sources.

    A picture goes if its bytes equal one of theirs, or its perceptual hash is within `distance` bits of theirs.
    """

    sources: tuple[str, ...] = ()
    distance: int = 4


@dataclass(frozen=True)
class Packing:
    """How the card packs samples, to say how full rows get: tokens a row, slots a picture.

    `tokenizer` is a folder with a tokenizer or a `qwen.tiktoken` file; without one, the packaged nano model's.
    """

    sequence: int = 2048
    slots: int = 256
    tokenizer: str | None = None


@dataclass(frozen=True)
class BuildRecipe:
    """All that decides what a corpus holds.

    `root` stands for `{root}` in the specs. With `skip_missing` sets that are not there are left out and named on the
    card. `near_distance` is the distance in bits for the sources with `near_duplicates`. `wording` is a file of
    paraphrases of the prompts (`qwenvl.tasks.wording`); it goes into the corpus. `rows_per_shard` are pictures.
    """

    name: str
    sources: tuple[SourcePlan, ...]
    about: str = ""
    root: str = "."
    seed: int = 0
    tasks: dict[Task, TaskPlan] = field(default_factory=dict)
    resolution: Resolution = field(default_factory=Resolution)
    held_out: HeldOut = field(default_factory=HeldOut)
    near_distance: int = 4
    wording: str | None = None
    packing: Packing = field(default_factory=Packing)
    skip_missing: bool = False
    rows_per_shard: int = 1000

    @property
    def used(self) -> tuple[Task, ...]:
        """The tasks that some source gives, in the order of the sources."""
        return tuple(dict.fromkeys(task for source in self.sources for task in source.tasks))

    def spec(self, text: str) -> str:
        """A spec with the root in its place."""
        return text.replace("{root}", self.root)

    def min_side(self, source: SourcePlan) -> int:
        """The smallest side for a source, in pixels."""
        return self.resolution.min_side if source.min_side is None else source.min_side

    def words(self) -> Wording:
        """The prompts' words. Raises ConfigError where the file can not be used."""
        return EXACT if self.wording is None else load_wording(Path(self.spec(self.wording)))

    def plain(self) -> dict[str, Any]:
        """Everything as JSON values, with the words that a file gave."""
        found: dict[str, Any] = to_dict(self)
        return found | {"wording": self.words().plain()}


def load_build_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> BuildRecipe:
    """Read a recipe by its packaged name ("stage2") or its path, then apply `key.sub=value` overrides.

    A source is addressed by its name: `sources.coco.spec=my.jsonl`. Raises ConfigError.
    """
    path = find_recipe(str(name_or_path), KIND)
    recipe = from_dict(BuildRecipe, read_yaml(path, overrides), path.name)
    _check(recipe, path.name)
    if recipe.wording and not Path(recipe.wording).is_absolute() and "{root}" not in recipe.wording:
        recipe = replace(recipe, wording=str(path.parent / recipe.wording))
    recipe.words()
    return recipe


def _check(recipe: BuildRecipe, where: str) -> None:
    if not recipe.sources:
        raise ConfigError(f"{where}: 'sources' is empty; a corpus needs at least one")
    names = [source.name for source in recipe.sources]
    for source in recipe.sources:
        at = f"{where}: source {source.name!r}"
        if not re.fullmatch(r"[\w.+-]{1,100}", source.name):
            raise ConfigError(f"{at}: a name has letters, digits and . + - _")
        if names.count(source.name) > 1:
            raise ConfigError(f"{at}: two sources have this name; each needs one of its own")
        if not source.tasks:
            raise ConfigError(f"{at}: 'tasks' is empty; name those that it is for, such as caption: {{}}")
        for task, use in source.tasks.items():
            _at_least(use.samples, 1, f"{at}: tasks.{task}.samples")
        _at_least(source.min_side, 0, f"{at}: min_side")
        if len(source.published) not in (0, 2):
            raise ConfigError(f"{at}: published: expected [pairs before, pairs after cleaning]")
    for task, wanted in recipe.tasks.items():
        if task not in recipe.used:
            raise ConfigError(f"{where}: tasks.{task}: no source gives this task")
        _at_least(wanted.samples, 1, f"{where}: tasks.{task}.samples")
        if wanted.weight is not None and not 0 < wanted.weight < 1e12:
            raise ConfigError(f"{where}: tasks.{task}.weight: expected a number above 0, found {wanted.weight}")
    weighted = [task for task in recipe.used if (plan := recipe.tasks.get(task)) and plan.weight is not None]
    if weighted and len(weighted) < len(recipe.used):
        without = next(task for task in recipe.used if task not in weighted)
        raise ConfigError(f"{where}: tasks.{without}.weight is missing: give every task a weight, or none")
    _at_least(recipe.resolution.min_side, 0, f"{where}: resolution.min_side")
    _at_least(recipe.rows_per_shard, 1, f"{where}: rows_per_shard")
    _at_least(recipe.packing.slots, 1, f"{where}: packing.slots")
    _at_least(recipe.packing.sequence, recipe.packing.slots + 3, f"{where}: packing.sequence")
    for name, bits in (("held_out.distance", recipe.held_out.distance), ("near_distance", recipe.near_distance)):
        if not 0 <= bits <= FARTHEST:
            raise ConfigError(f"{where}: {name}: expected 0 to {FARTHEST} bits, found {bits}")


def _at_least(value: int | None, least: int, where: str) -> None:
    if value is not None and value < least:
        raise ConfigError(f"{where}: expected {least} or more, found {value}")
