"""Rows of Arrow tables as pairs: which columns hold what, and pictures as bytes or as Hugging Face's {bytes, path}."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs.unit import USUAL, BadPair, Columns, Found, Ids, judged
from qwenvl.data.sources.pairs.words import WordsError, key_of, text, with_url
from qwenvl.data.sources.report import DataError

BATCH_BYTES = 8 << 20
"""How much is read at once, about."""

BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What the columns of a table hold. `meta` are the others that JSON can hold."""

    image: str
    caption: str
    meta: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The columns to read."""
        return [self.image, *([self.caption] if self.caption else []), *self.meta]


def plan(schema: Any, columns: Columns, path: str) -> Plan:
    """Find the columns. Raises DataError where there is no picture, or a named column is missing."""
    import pyarrow.types as types

    there: list[str] = schema.names
    for what in ("image", "caption", "key", "url"):
        given = getattr(columns, what)
        if given and given not in there:
            raise DataError(f"{path}: no column {given!r} for the {what}; its columns are {', '.join(there)}")
    pictures = [name for name in there if _holds_pictures(schema.field(name).type)]
    image = columns.image or next((name for name in (*_features(schema), *USUAL["image"]) if name in pictures), "")
    if not image and len(pictures) == 1:
        image = pictures[0]
    if not image:
        raise DataError(
            f"{path}: no column with pictures' bytes among {', '.join(there)}; name it, or download the pictures with "
            "img2dataset if these are addresses"
        )
    if image not in pictures:
        raise DataError(
            f"{path}: the column {image!r} is {schema.field(image).type}; expected bytes or {{bytes, path}}"
        )
    caption = columns.caption or next((name for name in USUAL["caption"] if name in there), "")
    meta = (n for n in there if n not in (image, caption) and not _holds_pictures(schema.field(n).type))
    fit = (
        n for n in meta if not (types.is_binary(schema.field(n).type) or types.is_large_binary(schema.field(n).type))
    )
    return Plan(image, caption, tuple(fit))


def _features(schema: Any) -> list[str]:
    """The columns that Hugging Face's notes in the schema call pictures."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [name for name, feature in noted.items() if feature.get("_type") == "Image"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return []


def _holds_pictures(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind):
        return types.is_struct(kind.value_type) and _holds_pictures(kind.value_type)
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_pictures(kind.field(index).type)
    return types.is_binary(kind) or types.is_large_binary(kind)


def table_pairs(batch: Any, plan: Plan, columns: Columns, first: int, ids: Ids) -> Iterator[Pair | BadPair]:
    """The pairs of a record batch whose first row is row `first` of the unit."""
    images, names = pictures_of(batch.column(plan.image))
    captions = _values(batch.column(plan.caption)) if plan.caption else [None] * batch.num_rows
    metas = _metas(batch, plan.meta)
    for row, (image, name, caption, meta) in enumerate(zip(images, names, captions, metas, strict=True), first):
        key = key_of(meta, columns.key, str(row))
        trouble = None
        if isinstance(caption, bytes):
            try:
                caption = text(caption)
            except WordsError as error:
                trouble = (error.why, str(error))
        yield judged(Found(key, image, caption, name, with_url(meta, columns.url), trouble), ids)


def pictures_of(column: Any) -> tuple[Sequence[bytes | None], Sequence[str]]:
    """Bytes (None where there are none) and names of a column of pictures; of a list the first."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    if types.is_list(column.type) or types.is_large_list(column.type):
        column = pc.list_element(pc.if_else(pc.equal(pc.list_value_length(column), 0), None, column), 0)
    if not types.is_struct(column.type):
        return column.to_pylist(), [""] * len(column)
    images = pc.struct_field(column, "bytes").to_pylist()
    if column.type.get_field_index("path") < 0:
        return images, [""] * len(column)
    paths = pc.struct_field(column, "path").to_pylist()
    return images, [_base(path) if isinstance(path, str) else "" for path in paths]


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2][:200]


def _metas(batch: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of the other columns as JSON has them: a date or the like as text, a number that is none as null."""
    if not names:
        return [{} for _ in range(batch.num_rows)]
    lists = [_plain(batch.column(name)) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def _plain(column: Any) -> list[Any]:
    import pyarrow.compute as pc
    import pyarrow.types as types

    kind = column.type
    if types.is_floating(kind):
        return pc.if_else(pc.is_finite(column), column, None).to_pylist()
    values = _values(column)
    if types.is_string(kind) or types.is_large_string(kind):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    if types.is_integer(kind) or types.is_boolean(kind):
        return values
    return [_jsonable(value) for value in values]


def _values(column: Any) -> list[Any]:
    """The column's values; a text that is not UTF-8 comes as bytes, something nested with such a text as None."""
    try:
        return column.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError):  # a date may lie outside Python's years
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes() if hasattr(scalar, "as_buffer") else None
    except (ValueError, OverflowError):
        return None


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
