"""What becomes of one record: what its source's tasks can use of it, and which rule leaves it out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from qwenvl.data.assemble.held_out import HeldOutPictures, checked_look, encoded
from qwenvl.data.assemble.ledger import Entry
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.images import ImageError
from qwenvl.data.record_json import record_to_json
from qwenvl.sample import Image, Phrase, Record, Task, Turn
from qwenvl.tasks.offered import FIELDS, OFFERED, suitable

RULES = {
    "nothing for its tasks": "it has no annotation that the source's tasks can use",
    "picture": "a picture that can not be decoded",
    "resolution": "a picture that is too small",
    "held out": "a picture of a held-out set",
}
"""The rules on single records, and what each takes."""


class Judge:
    """Judges the records of one source."""

    def __init__(self, recipe: BuildRecipe, source: int, held_out: HeldOutPictures) -> None:
        self._recipe, self._index, self._held_out = recipe, source, held_out
        self._source = recipe.sources[source]
        self._min_side = recipe.min_side(self._source)
        # readers have decoded every picture once already
        self._looks = bool(len(held_out)) or self._source.near_duplicates

    def __call__(self, record: Record) -> tuple[Entry, Record | None]:
        """The record's row in the ledger, and the record as it goes on; None where a rule takes it."""
        entry = Entry(record.id, self._index)
        kept = self._useful(record)
        if kept is None:
            return self._out(entry, "nothing for its tasks")
        try:
            kept = with_pictures(kept)
        except ImageError as error:
            return self._out(entry, "picture", str(error))
        shown = pictures_of(kept)
        why = self._small(shown)
        if why:
            return self._out(entry, "resolution", why)
        looks: list[int | None] = []
        for image in shown:
            look, broken = checked_look(image) if self._looks else (None, None)
            if broken:
                return self._out(entry, "picture", broken)
            why = self._held_out.match(image, look)
            if why:
                return self._out(entry, "held out", why)
            looks.append(look)
        self._describe(entry, kept, shown)
        if self._source.near_duplicates and len(looks) == 1:
            entry.phash = looks[0]
        return entry, kept

    def _out(self, entry: Entry, rule: str, why: str | None = None) -> tuple[Entry, None]:
        entry.rule, entry.why = rule, why or RULES[rule]
        return entry, None

    def _useful(self, record: Record) -> Record | None:
        """The record with what the source's tasks use, and which annotation each of them uses."""
        if "grounded_caption" in self._source.tasks:
            record = replace(record, phrases=tuple(map(_described, record.phrases)))
        places = {task: suitable(record, task) for task in self._source.tasks}
        places = {task: found for task, found in places.items() if found}
        if not places:
            return None
        fields = {FIELDS[task]: getattr(record, FIELDS[task]) for task in places}
        images = record.images if "dialogue" in places else () if set(places) == {"text"} else record.images[:1]
        return Record(record.id, self._source.name, images, **fields, meta={**record.meta, OFFERED: places})

    def _small(self, shown: Iterable[Image]) -> str | None:
        for image in shown:
            sides = (image.width, image.height)
            side = min(sides) if self._recipe.resolution.side == "shorter" else max(sides)
            if side < self._min_side:
                return f"{image.width}×{image.height} is under {self._min_side} pixels"
        return None

    def _describe(self, entry: Entry, kept: Record, shown: list[Image]) -> None:
        found, _ = record_to_json(kept)
        places: dict[Task, list[int]] = found["meta"][OFFERED]
        said = {name: found[name] for name in set(FIELDS.values()) if found[name]}
        keys = [image.key for image in shown]
        entry.picture = digest_of(keys) if len(keys) > 1 else keys[0] if keys else None
        entry.content = digest_of([said, places])
        entry.joins = len(shown) == 1
        if shown:
            entry.width, entry.height = shown[0].width, shown[0].height
        entry.characters = sum(len(caption.text) for caption in kept.captions)
        lot = f"{self._recipe.seed}/{kept.source}/{kept.id}/{entry.content}"
        entry.lot = int(hashlib.blake2b(lot.encode("utf-8", "replace"), digest_size=8).hexdigest(), 16)
        entry.counts = {task: samples_in(task, found) for task, found in places.items()}


def _described(phrase: Phrase) -> Phrase:
    """A phrase without a description is described by its own words: the paper counts the same sets, and as many
    samples of them, for referring and for grounded captioning (table 3).
    """
    return phrase if phrase.description else replace(phrase, description=phrase.text)


def samples_in(task: Task, places: list[int]) -> int:
    """How many samples a task makes of the annotations at `places`: all text lines of a picture are one."""
    return min(1, len(places)) if task == "ocr" else len(places)


def digest_of(value: Any) -> str:
    """A digest of JSON values that does not hang on the order of their keys."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def pictures_of(record: Record) -> list[Image]:
    """The distinct pictures that a record shows, its own first, then those that only its dialogues show."""
    _, images = record_to_json(record)
    return list(images)


def with_pictures(record: Record) -> Record:
    """The record with every picture as bytes, equal ones as one object. Raises ImageError."""
    known: dict[str, Image] = {}

    def one(image: Image) -> Image:
        image = encoded(image)
        return known.setdefault(image.key, image)

    def shown(turn: Turn) -> Turn:
        return Turn(turn.role, tuple(one(part) if isinstance(part, Image) else part for part in turn.parts))

    images = tuple(map(one, record.images))
    dialogues = tuple(tuple(map(shown, turns)) for turns in record.dialogues)
    return replace(record, images=images, dialogues=dialogues)
