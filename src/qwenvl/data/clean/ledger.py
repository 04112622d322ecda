"""The ledger of a unit: a row for every pair that was read, what was measured, and what became of it.

Columns: row (in the unit), id, source, url, kept, rule, why, value (what dropped it), caption (as it would be kept),
original (as it was read, null if unchanged), changed (the rules that changed it), characters (of the caption), width,
height, digest, phash (null where no set rule needs them), and for every rule m_<rule>, the number that it measured, and
w_<rule>, the word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qwenvl.data.clean.judge import Seen, Values
from qwenvl.data.clean.rule import Rule, Value

_TEXT = pa.string()
_COLUMNS = (
    ("row", pa.int64()), ("id", _TEXT), ("source", _TEXT), ("url", _TEXT), ("kept", pa.bool_()), ("rule", _TEXT),
    ("why", _TEXT), ("value", _TEXT), ("caption", _TEXT), ("original", _TEXT), ("changed", pa.list_(_TEXT)),
    ("characters", pa.int32()), ("width", pa.int32()), ("height", pa.int32()), ("digest", pa.uuid()),
    ("phash", pa.uint64()),
)  # fmt: skip
_ROWS_PER_GROUP = 8192


class LedgerWriter:
    """Writes a ledger to `path`, block by block; use it with `with`."""

    def __init__(self, path: Path, rules: Sequence[Rule]) -> None:
        measured = [(f"{letter}_{rule.name}", kind) for rule in rules for letter, kind in _KINDS]
        self._schema = pa.schema([*_COLUMNS, *measured])
        self._rules = [rule.name for rule in rules]
        self._waiting: list[Any] = []
        self._rows = self._in_file = 0
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")

    def add(self, block: Sequence[Seen], measured: Mapping[str, Values]) -> None:
        """The rows of a block."""
        pairs = [seen.pair for seen in block]
        captions = [pair.caption if pair else None for pair in pairs]
        columns: list[Any] = [
            range(self._rows, self._rows + len(block)),
            [seen.id for seen in block],
            [seen.source for seen in block],
            [_url(pair.meta) if pair else None for pair in pairs],
            [seen.rule is None for seen in block],
            [seen.rule for seen in block],
            [seen.why for seen in block],
            [seen.value for seen in block],
            captions,
            [seen.original if seen.changed else None for seen in block],
            [seen.changed for seen in block],
            [None if caption is None else len(caption) for caption in captions],
            [seen.size[0] if seen.size else None for seen in block],
            [seen.size[1] if seen.size else None for seen in block],
            [bytes.fromhex(seen.digest) if seen.digest else None for seen in block],
            [seen.phash for seen in block],
        ]
        for name in self._rules:
            columns += _split(measured[name])
        arrays = [pa.array(values, kind) for values, kind in zip(columns, self._schema.types, strict=True)]
        self._waiting.append(pa.record_batch(arrays, schema=self._schema))
        self._rows += len(block)
        if self._rows - self._in_file >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema).combine_chunks())
        self._waiting, self._in_file = [], self._rows

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                if self._waiting:
                    self._flush()
                self._writer.close()
        finally:
            self._file.close()


_KINDS = (("m", pa.float64()), ("w", _TEXT))


def _split(values: Values) -> tuple[list[float | None], list[str | None]]:
    """Numbers and words apart, truths among the words."""
    if all(type(value) is float for value in values):
        return [_finite(value) for value in values], [None] * len(values)
    return [_number(value) for value in values], [_word(value) for value in values]


def _number(value: Value) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value)
    return None


def _finite(value: Any) -> float | None:
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _word(value: Value) -> str | None:
    return str(value) if isinstance(value, str | bool) else None


def _url(meta: Mapping[str, Any]) -> str | None:
    url = meta.get("url")
    return url if isinstance(url, str) else None
