"""What is read and what comes of it: a unit of work (a shard, or a part of a big one), column names, a pair that can't
be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from qwenvl.data.pair import Pair

Kind = Literal["tar", "parquet", "jsonl", "arrow"]

MAX_PICTURE = 32 << 20
"""A picture of more encoded bytes is reported, not read."""

MAX_WORDS = 4 << 20
"""Bytes of a caption or of a row of JSON that are read at most."""

_MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class Unit:
    """A shard, or a part of one that is too big: lines that begin at bytes `begin` to `end` of a JSONL file, row groups
    `begin` to `end` of a Parquet file (None: to the end).

    `number` counts the units of an input from 0; the same input gives the same numbers. `stem` names the unit among
    those of its `source`; without one it is the file's name without ending.
    """

    number: int
    path: str
    kind: Kind
    source: str
    begin: int = 0
    end: int | None = None
    stem: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns (or JSON fields) that hold the picture, the caption, the key and the address.

    An empty one is looked for under the usual names. In tars `caption`, `key` and `url` are fields of the pair's
    .json; a `caption` named here goes before the .txt.
    """

    image: str = ""
    caption: str = ""
    key: str = ""
    url: str = ""


USUAL: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "jpg", "png", "webp", "jpeg", "img", "images", "file_name", "image_path", "path"),
    "caption": ("caption", "text", "txt", "TEXT", "Caption", "sentence"),
    "key": ("key", "id", "uid", "image_id", "__key__"),
    "url": ("url", "URL", "image_url"),
}
"""Under which names a column is looked for, the first that is there."""


@dataclass(frozen=True, slots=True)
class BadPair:
    """What could not be read: a pair, or the rest of a shard. `why` is short and has no numbers, so that equal reasons
    count together; `detail` says what is known.
    """

    id: str
    source: str
    why: str
    detail: str


class Ids:
    """Gives ids "<source>/<stem>/<key>" of one unit, each once: a key that comes again gets "#2", "#3", …

    Keys come from files of others: what can't be printed, "..", and a leading "/" are taken out of them.
    """

    def __init__(self, unit: Unit) -> None:
        self.source = unit.source
        self._prefix = f"{unit.source}/{unit.stem or PurePosixPath(unit.path).stem}/"
        self._given: dict[str, int] = {}

    def __call__(self, key: str) -> str:
        if not key.isprintable() or ".." in key or len(key) > _MAX_KEY or key[:1] in ("/", "."):
            key = _tame(key)
        if key not in self._given:
            self._given[key] = 1
            return self._prefix + key
        number = self._given[key]
        while (again := f"{key}#{(number := number + 1)}") in self._given:
            pass
        self._given[key] = number
        self._given[again] = 1
        return self._prefix + again

    def bad(self, key: str, why: str, detail: str) -> BadPair:
        """What could not be read, under an id of its own."""
        return BadPair(self(key), self.source, why, detail)


def _tame(key: str) -> str:
    parts = [part for part in key.split("/") if part not in ("", ".", "..")]
    return "".join(c if c.isprintable() else "�" for c in "/".join(parts))[:_MAX_KEY] or "_"


@dataclass(slots=True)
class Found:
    """One pair as a file has it, before it is looked at: `trouble` is (why, detail) of what kept its parts from being
    read.
    """

    key: str
    image: bytes | None
    caption: Any
    name: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    trouble: tuple[str, str] | None = None


def judged(found: Found, ids: Ids) -> Pair | BadPair:
    """The pair, or why it is none: one rule for all formats.

    A picture that is missing, empty or too large and a caption that is no text are bad; no caption at all (None) is a
    pair without one, which the rules judge.
    """
    if found.trouble is not None:
        return ids.bad(found.key, *found.trouble)
    if found.image is None:
        said = str(found.meta.get("error_message") or found.meta.get("status") or "")[:200]
        if said and said != "success":
            return ids.bad(found.key, "not downloaded", said)
        return ids.bad(found.key, "no picture", "there is no picture in this row")
    if not found.image:
        return ids.bad(found.key, "empty picture", "the picture has no bytes at all")
    if len(found.image) > MAX_PICTURE:
        return ids.bad(found.key, "picture too large", f"{len(found.image):,} bytes, more than {MAX_PICTURE:,}")
    if found.caption is not None and not isinstance(found.caption, str):
        kind = type(found.caption).__name__
        return ids.bad(found.key, "caption is no text", f"expected a text, not {kind}: {str(found.caption)[:100]}")
    return Pair(ids(found.key), ids.source, found.image, found.caption, found.name, found.meta)
