"""The ledger of a unit: a row for every pair that was read, what was measured, and what became of it.

Columns: row (in the unit), id, source, url, kept, rule, why, value (what dropped it), caption (as it would be kept),
original (as it was read, null if unchanged), changed (the rules that changed it), characters (of the caption), width,
height, digest, phash (null where no set rule needs them), and for every rule m_<rule>, the number that it measured, and
w_<rule>, the word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
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
        self._file = pa.OSFile(str(path), "wb")
        unique = ("row", "id", "url", "caption", "original", "digest", "phash")
        repeated = [name for name in self._schema.names if name not in unique]
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd", use_dictionary=repeated)

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
            columns += _split(measured[name].spread(len(block)))
        arrays = [
            values if isinstance(values, pa.Array) else pa.array(values, kind)
            for values, kind in zip(columns, self._schema.types, strict=True)
        ]
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
_NUMBERS, _WORDS = frozenset((float, type(None))), frozenset((str, type(None)))


def _split(values: Sequence[Value]) -> tuple[Any, Any]:
    """Numbers and words apart, as columns; truths are among the words, numbers that are none are null."""
    kinds = frozenset(map(type, values))
    if kinds <= _WORDS:
        return pa.nulls(len(values), pa.float64()), pa.array(values, _TEXT)
    if kinds <= _NUMBERS:
        words = pa.nulls(len(values), _TEXT)
        numbers = values
    else:
        words = pa.array([str(value) if isinstance(value, str | bool) else None for value in values], _TEXT)
        numbers = [_number(value) for value in values]
    column = pa.array(numbers, pa.float64())
    return pc.if_else(pc.is_finite(column), column, None), words


def _number(value: Value) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def _url(meta: Mapping[str, Any]) -> str | None:
    url = meta.get("url")
    return url if isinstance(url, str) else None
