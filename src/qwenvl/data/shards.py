"""Records on disk: Parquet shards that Hugging Face's viewer, DuckDB and pandas read, with a manifest.

A folder holds `00000.parquet`, `00001.parquet`, … and `manifest.json`. A row is a record: `id`, `source`, `images` (a
list of
`{bytes, path}`, encoded) and `record` (the annotations as JSON). Files are written beside and renamed, the manifest
last, so that what has a manifest is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

from qwenvl.data.record_json import record_from_json
from qwenvl.sample import Record

MANIFEST = "manifest.json"
FORMAT = "qwenvl-shards-1"
COLUMNS = ("id", "source", "images", "record")


T = TypeVar("T")


class ShardError(ValueError):
    """A folder of shards is missing, incomplete or damaged; the message names the file and what to do."""


class ShardReader:
    """Reads a folder of shards. `len` counts records; `shards` says how many each shard holds; pictures stay encoded.

    Raises ShardError where the manifest is missing or of another format, or a shard is missing or has other rows than
    it says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        try:
            self.manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ShardError(
                f"{self.folder}: no {MANIFEST}; not a folder of shards, or its making was interrupted"
            ) from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ShardError(f"{path}: can not be read ({error}); make the corpus again") from error
        if not isinstance(self.manifest, dict) or self.manifest.get("format") != FORMAT:
            raise ShardError(f"{path}: not a manifest of the format {FORMAT}")
        self._files = [self.folder / shard["file"] for shard in self.manifest["shards"]]
        self._rows = tuple(int(shard["rows"]) for shard in self.manifest["shards"])

    def __len__(self) -> int:
        return sum(self._rows)

    @property
    def shards(self) -> Sequence[int]:
        """How many records each shard holds."""
        return self._rows

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the writer noted: seed, recipe, skipped rows."""
        meta: Mapping[str, Any] = self.manifest.get("meta", {})
        return meta

    def read_shard(self, index: int) -> Sequence[Record]:
        """All records of shard `index`; each is made when it is asked for, anew each time.

        Raises ShardError for a file that is missing or damaged, and at a record that is.
        """
        path = self._files[index]
        return _Rows(
            path, self._table(path, self._rows[index], lambda file: file.read(list(COLUMNS), use_threads=False))
        )

    @property
    def blocks(self) -> Sequence[tuple[int, int]]:
        """How many records each row group of all shards holds, and how many bytes: what is read at once in training.

        Read from the shards themselves where the manifest does not say. Raises ShardError as `read_shard` does.
        """
        return [(rows, size) for _, _, _, rows, size in self._blocks]

    def read_block(self, index: int, chosen: Any = None) -> Sequence[Record]:
        """The records of a row group, as `read_shard`; `chosen` are the places of those that are wanted."""
        path, group, begin, rows, _ = self._blocks[index]
        table = self._table(path, rows, lambda file: file.read_row_group(group, list(COLUMNS), use_threads=False))
        return _Rows(path, table if chosen is None else table.take(chosen), begin, chosen)

    def numbers(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Further columns of whole numbers by name: a numpy array each, row group by row group. Raises ShardError."""
        last: Path | None = None
        table: Any = None
        for path, _, begin, rows, _ in self._blocks:
            if path != last:
                last, table = path, self._opened(path, lambda file: file.read(list(names), use_threads=False))
                missing = [name for name in names if name not in table.column_names]
                if missing:
                    raise ShardError(f"{path}: has no column {missing[0]}; make the corpus again")
            yield {name: table.column(name).slice(begin, rows).to_numpy() for name in names}

    @cached_property
    def _blocks(self) -> list[tuple[Path, int, int, int, int]]:
        """Of each row group its file, its number there, the row that it begins with, its rows and bytes."""
        blocks = []
        for path, shard in zip(self._files, self.manifest["shards"], strict=True):
            begin = 0
            groups = shard.get("groups") or self._opened(path, lambda file: groups_of(file.metadata))
            for number, (rows, size) in enumerate(groups):
                blocks.append((path, number, begin, int(rows), int(size)))
                begin += int(rows)
            if begin != int(shard["rows"]):
                raise ShardError(f"{path}: {begin} rows, but the manifest says {shard['rows']}; make the corpus again")
        return blocks

    def _table(self, path: Path, rows: int, read: Callable[[Any], Any]) -> Any:
        table = self._opened(path, read)
        if table.num_rows != rows:
            raise ShardError(f"{path}: {table.num_rows} rows, but the manifest says {rows}; make the corpus again")
        return table

    @staticmethod
    def _opened(path: Path, read: Callable[[Any], T]) -> T:
        pa, pq = parquet()
        try:
            with pq.ParquetFile(path) as file:
                return read(file)
        except FileNotFoundError:
            raise ShardError(f"{path}: the shard is missing; make the corpus again") from None
        except (OSError, pa.ArrowException) as error:
            raise ShardError(f"{path}: damaged ({error}); make the corpus again") from error

    def verify(self) -> None:
        """Compare every shard's bytes, and its digest where it has one, with the manifest's. Raises ShardError naming
        the first that differs.
        """
        for path, shard in zip(self._files, self.manifest["shards"], strict=True):
            same = path.is_file() and path.stat().st_size == shard["bytes"]
            if not same or ("blake2b" in shard and digest_of(path) != shard["blake2b"]):
                raise ShardError(f"{path}: missing or changed since it was written; make the corpus again")


class _Rows(Sequence[Record]):
    """A shard's records, kept as they lie in the file.

    Whole ones would be a hundred thousand small objects, which Python's garbage collector walks again and again.
    """

    def __init__(self, path: Path, table: Any, begin: int = 0, chosen: Any = None) -> None:
        self._path, self._columns, self._count = path, [table.column(name) for name in COLUMNS], table.num_rows
        self._begin, self._chosen = begin, chosen

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> Record: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Record]: ...
    def __getitem__(self, row: int | slice) -> Record | Sequence[Record]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        row = range(self._count)[row]
        try:
            id, source, images, record = (column[row].as_py() for column in self._columns)
            return record_from_json(id, source, json.loads(record), [image["bytes"] for image in images])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            place = self._begin + int(row if self._chosen is None else self._chosen[row])
            raise ShardError(
                f"{self._path}: row {place} (counted from 0) is damaged ({error!r}); make the corpus again"
            ) from error


def groups_of(metadata: Any) -> list[tuple[int, int]]:
    """The rows and bytes of a shard's row groups."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [(group.num_rows, group.total_byte_size) for group in groups]


def digest_of(path: Path) -> str:
    """A file's blake2b, as a manifest keeps it."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def parquet() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises ImportError naming the extra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("shards need pyarrow: pip install 'qwenvl[data]'") from error
    return pyarrow, pyarrow.parquet
