"""What every reader of a public format is given: rows of its files one at a time, and a place to report bad ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenvl.data.sources.public.entry import At
from qwenvl.data.sources.report import BadRows, DataError, RowError, Spot
from qwenvl.data.sources.rows import read_rows

Row = dict[str, Any]

_ENDINGS = (".json", ".jsonl", ".ndjson", ".parquet")
_BATCH = 256


@dataclass
class Reading:
    """Counts what can not be read in `report`; `strict` ends at the first."""

    report: BadRows
    strict: bool = False

    @contextmanager
    def row(self, at: At) -> Iterator[None]:
        """A RowError within costs this row alone, or with `strict` ends the reading with DataError."""
        try:
            yield
        except RowError as error:
            self.bad(at, error)

    def bad(self, at: At, error: RowError) -> None:
        """Report one row. Raises DataError if strict."""
        if self.strict:
            raise DataError(f"{at}: {error}") from None
        self.report.add(at.file, at.spot, error.field, error.reason)

    def rows(self, path: Path) -> Iterator[tuple[At, Row]]:
        """The rows of a JSON list, JSON lines or Parquet file, or of all of them in a folder, with their places.

        Raises DataError for what is none of these.
        """
        for file in files_of(path):
            for spot, row in _parquet(file) if _is_parquet(file) else read_rows(file):
                at = At(str(file), spot)
                if isinstance(row, RowError):
                    self.bad(at, row)
                else:
                    yield at, row


def files_of(path: Path) -> list[Path]:
    """The file, or a folder's files of rows in the order of their paths (hidden ones left out). Raises DataError."""
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix in _ENDINGS and file.is_file() and not file.name.startswith((".", "_"))
    ]
    # a Hugging Face dataset brings its own descriptions along
    tables = [file for file in files if file.suffix == ".parquet"]
    if not files:
        raise DataError(f"{path}: no file of rows in this folder (expected {', '.join(_ENDINGS)})")
    return tables or files


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _parquet(path: Path) -> Iterator[tuple[Spot, Row | RowError]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH, use_threads=False):
                for values in batch.to_pylist():
                    row += 1
                    yield Spot(0, row), values
    except (OSError, pa.ArrowException) as error:
        yield Spot(0, row + 1), RowError("", f"nothing after it can be read ({' '.join(str(error).split())[:200]})")
