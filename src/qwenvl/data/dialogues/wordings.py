"""The words around annotations in joined conversations: packaged, or the user's own in their place."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from qwenvl.sample import Language, Part, Text
from qwenvl.typed import ConfigError, nearest, read_yaml

_FILE = "assets/dialogue_wordings.yaml"


class Wordings:
    """Wordings by name ("describe.one") and language, each a choice of texts with places such as {it}."""

    def __init__(self, found: Mapping[str, Mapping[Language, tuple[str, ...]]]) -> None:
        self._found = found

    def pick(self, name: str, language: Language, rng: random.Random) -> str:
        """One of the wordings."""
        choice = self._found[name][language]
        return choice[int(rng.random() * len(choice))]

    def say(
        self, name: str, language: Language, rng: random.Random, **values: str | int | tuple[Part, ...]
    ) -> tuple[Part, ...]:
        """One of the wordings with its places filled; what fills a place is never looked through for other places."""
        return fill(self.pick(name, language, rng), values)


def fill(form: str, values: Mapping[str, str | int | tuple[Part, ...]]) -> tuple[Part, ...]:
    """A wording as parts: {name} becomes the text or parts of that name, other braces stay."""
    parts: list[Part] = []
    for piece in re.split("({(?:" + "|".join(values) + ")})", form) if values else [form]:
        found: str | int | tuple[Part, ...] = values.get(piece[1:-1], piece) if piece.startswith("{") else piece
        for part in found if isinstance(found, tuple) else (Text(str(found)),):
            last = parts[-1] if parts else None
            if isinstance(part, Text) and isinstance(last, Text):
                parts[-1] = Text(last.text + part.text)
            elif not isinstance(part, Text) or part.text:
                parts.append(part)
    return tuple(parts)


def load_wordings(path: str | None = None) -> Wordings:
    """The packaged wordings, those of a YAML file of the same form in their place. Raises ConfigError."""
    packaged = _flat(read_yaml(Path(str(resources.files("qwenvl") / _FILE))), _FILE)
    if path is None:
        return Wordings(packaged)
    if not Path(path).is_file():
        raise ConfigError(f"wordings: there is no file {path}")
    own = _flat(read_yaml(Path(path)), path)
    for name, languages in own.items():
        if name not in packaged:
            known = list(packaged)
            raise ConfigError(f"{path}: unknown wording {name!r}{nearest(name, known)}; there are {', '.join(known)}")
        for language, choice in languages.items():
            _check(choice, packaged[name][language][0], f"{path}: {name}.{language}")
        packaged[name] = {**packaged[name], **languages}
    return Wordings(packaged)


def _check(choice: tuple[str, ...], like: str, where: str) -> None:
    """Each wording needs the places of the packaged one: without {it} nobody could know what is asked for."""
    for mark in ("{it}", "{place}", "{question}", "{n}"):
        missing = next((text for text in choice if (mark in like) != (mark in text)), None)
        if missing is not None:
            raise ConfigError(f"{where}: {missing!r} must {'have' if mark in like else 'not have'} {mark}, as {like!r}")


def _flat(data: Mapping[str, Any], where: str) -> dict[str, dict[Language, tuple[str, ...]]]:
    found: dict[str, dict[Language, tuple[str, ...]]] = {}
    for kind, forms in data.items():
        for form, languages in _mapping(forms, f"{where}: {kind}").items():
            name = f"{kind}.{form}"
            found[name] = {}
            for language, choice in _mapping(languages, f"{where}: {name}").items():
                if language not in ("en", "zh"):
                    raise ConfigError(f"{where}: {name}: expected the languages en and zh, found {language!r}")
                if not isinstance(choice, list) or not choice or not all(isinstance(c, str) and c for c in choice):
                    raise ConfigError(f"{where}: {name}.{language}: expected a list of texts, found {choice!r}")
                found[name]["en" if language == "en" else "zh"] = tuple(choice)
    return found


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {value!r}")
    return value
