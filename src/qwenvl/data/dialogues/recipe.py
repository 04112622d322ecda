"""The recipe of a corpus of conversations: sources, strategies with their weights, the share of text-only talk."""

from __future__ import annotations

import hashlib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from qwenvl.data.dialogues.llm.settings import LanguageModel
from qwenvl.typed import ConfigError, find_recipe, from_dict, read_yaml, to_dict

KIND = "dialogues"
"""The folder of the packaged recipes."""

Strategy = Literal["as_is", "multi_turn", "several_tasks", "several_pictures", "llm"]
"""How a conversation about pictures is made; see `Strategies`."""

STRATEGIES: tuple[Strategy, ...] = typing.get_args(Strategy)
TEXT = "text"
"""What statistics call the conversations without pictures."""


@dataclass(frozen=True)
class SourceSpec:
    """Where records come from: what `qwenvl.data.sources.open_source` takes, and the folder of its pictures."""

    source: str
    image_root: str | None = None


@dataclass(frozen=True)
class AsIs:
    """The record's own conversations, unchanged."""

    weight: float = 1.0


@dataclass(frozen=True)
class MultiTurn:
    """The questions about a picture joined to conversations of `turns` (fewest, most) exchanges; none is left out."""

    weight: float = 1.0
    turns: tuple[int, int] = (2, 6)


@dataclass(frozen=True)
class SeveralTasks:
    """Captions, questions, places and text of one picture in one conversation of at least two kinds."""

    weight: float = 1.0
    turns: tuple[int, int] = (2, 6)


@dataclass(frozen=True)
class SeveralPictures:
    """Pictures that have something in common in one conversation: comparisons, and questions about "Picture 2"."""

    weight: float = 1.0
    pictures: tuple[int, int] = (2, 3)
    turns: tuple[int, int] = (2, 5)


@dataclass(frozen=True)
class Strategies:
    """Each record gives one strategy's conversations, drawn by weight among those that its annotations allow."""

    as_is: AsIs | None = None
    multi_turn: MultiTurn | None = None
    several_tasks: SeveralTasks | None = None
    several_pictures: SeveralPictures | None = None
    llm: LanguageModel | None = None

    @property
    def weights(self) -> dict[Strategy, float]:
        """The strategies in use."""
        found = {name: getattr(self, name) for name in STRATEGIES}
        return {name: spec.weight for name, spec in found.items() if spec is not None}


@dataclass(frozen=True)
class TextOnly:
    """Conversations without pictures: `share` of all conversations of the corpus (0 to less than 1)."""

    share: float
    sources: tuple[SourceSpec, ...]


@dataclass(frozen=True)
class DialogueRecipe:
    """Everything that decides a corpus of conversations, but where it is written to.

    `max_tokens` bounds a conversation, by an estimate (`qwenvl.data.dialogues.exchanges.tokens`) that counts
    `picture_tokens` a picture. `wordings` is a YAML file whose entries take the place of the packaged ones
    (`assets/dialogue_wordings.yaml`). `buckets` is the number of files into which records are sorted by picture: more
    of them take less memory each.
    """

    name: str
    sources: tuple[SourceSpec, ...]
    strategies: Strategies
    text: TextOnly | None = None
    seed: int = 0
    max_tokens: int = 2048
    picture_tokens: int = 258
    wordings: str | None = None
    rows_per_unit: int = 500
    buckets: int = 256
    samples: int = 3


def load_dialogue_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> DialogueRecipe:
    """Read a recipe by its packaged name or its path, then apply `key.sub=value` overrides. Raises ConfigError."""
    path = find_recipe(str(name_or_path), KIND)
    recipe = from_dict(DialogueRecipe, read_yaml(path, overrides), path.name)
    _check(recipe, path.name)
    return recipe


def identity(recipe: DialogueRecipe) -> dict[str, Any]:
    """What decides a corpus, as plain values: not how, where or for how much the language model is asked."""
    found: dict[str, Any] = to_dict(recipe)
    for key in ("base_url", "key_env", "concurrency", "timeout", "retries", "wait", "give_up", "price", "max_cost",
                "cache"):  # fmt: skip
        (found["strategies"]["llm"] or {}).pop(key, None)
    if recipe.wordings is not None:
        found["wordings"] = hashlib.blake2b(Path(recipe.wordings).read_bytes(), digest_size=16).hexdigest()
    return found


def _check(recipe: DialogueRecipe, where: str) -> None:
    if not recipe.sources:
        raise ConfigError(f"{where}: 'sources' is empty; name at least one source of records with pictures")
    weights = recipe.strategies.weights
    if not weights:
        raise ConfigError(f"{where}: 'strategies' is empty; there are {', '.join(STRATEGIES)}")
    for name, weight in weights.items():
        if not weight > 0:
            raise ConfigError(f"{where}.strategies.{name}.weight: expected more than 0, found {weight:g}")
    for name in STRATEGIES:
        spec = getattr(recipe.strategies, name)
        for key in ("turns", "pictures"):
            if spec is not None and hasattr(spec, key):
                _check_range(getattr(spec, key), 2 if key == "pictures" else 1, f"{where}.strategies.{name}.{key}")
    if recipe.text is not None and not 0 <= recipe.text.share < 1:
        raise ConfigError(f"{where}.text.share: expected 0 or more and less than 1, found {recipe.text.share:g}")
    if recipe.text is not None and not recipe.text.sources:
        raise ConfigError(f"{where}.text.sources: empty; name sources of conversations without pictures")
    least = {"max_tokens": 64, "picture_tokens": 1, "rows_per_unit": 1, "buckets": 1, "samples": 0}
    for key in (f.name for f in fields(recipe) if f.name in least):
        if getattr(recipe, key) < least[key]:
            raise ConfigError(f"{where}.{key}: expected {least[key]} or more, found {getattr(recipe, key)}")
    if recipe.buckets > 512:
        raise ConfigError(f"{where}.buckets: at most 512 files are open at once, found {recipe.buckets}")
    if recipe.strategies.llm is not None:
        recipe.strategies.llm.check(f"{where}.strategies.llm")


def _check_range(found: tuple[int, int], least: int, where: str) -> None:
    if not least <= found[0] <= found[1] <= 50:
        raise ConfigError(f"{where}: expected [fewest, most] from {least} to 50, found {list(found)}")
