"""Rows of TSV and CSV files, as some benchmarks come: bounded, with their places."""

from __future__ import annotations

import base64
import binascii
import csv
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from qwenvl.data.sources.public.entry import At
from qwenvl.data.sources.report import DataError, Spot

MAX_FIELD = 64 << 20
"""Characters of one field: a picture stands in it as base64."""

_LIMIT = threading.Lock()


def rows(path: Path, separator: str, columns: Sequence[str] | None = None) -> Iterator[tuple[At, dict[str, str]]]:
    """The rows of a table as texts by column; `columns` are those of a file without a head.

    Raises DataError for what is no text, and for a row with more or fewer fields than columns.
    """
    with _LIMIT:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            names = list(columns) if columns else next(reader, [])
            for row in reader:
                at = At(str(path), Spot(reader.line_num))
                if not row:
                    continue
                if len(row) != len(names):
                    raise DataError(f"{at}: {len(row)} fields; expected {len(names)} ({', '.join(names)})")
                yield at, dict(zip(names, row, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: can not be read as a table: {error}") from None


def need(row: dict[str, str], at: At, *names: str) -> list[str]:
    """The fields of a row. Raises DataError where a column is not there."""
    for name in names:
        if name not in row:
            raise DataError(f"{at}: no column {name!r}; there are {', '.join(row)}")
    return [row[name] for name in names]


def picture(row: dict[str, str], at: At, name: str = "image") -> bytes:
    """The picture that stands in a field as base64. Raises DataError."""
    (text,) = need(row, at, name)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"{at}: {name}: is no base64") from None
