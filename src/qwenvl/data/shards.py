"""Records on disk: Parquet shards that Hugging Face's viewer, DuckDB and pandas read, with a manifest.

A folder holds `00000.parquet`, `00001.parquet`, … and `manifest.json`. A row is a record: `id`, `source`, `images` (a
list of
`{bytes, path}`, encoded) and `record` (the annotations as JSON). Files are written beside and renamed, the manifest
last, so that what has a manifest is whole.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, TypeVar, overload

from qwenvl.data.images import encode
from qwenvl.data.record_json import record_from_json, record_to_json
from qwenvl.data.whole import whole, write_json
from qwenvl.sample import Record

MANIFEST = "manifest.json"
FORMAT = "qwenvl-shards-1"
COLUMNS = ("id", "source", "images", "record")
ROWS_PER_GROUP = 256

_GROUP_BYTES = 1 << 30  # Arrow counts a column's bytes with 31 bits
_PICTURES = "images.list.element.bytes"
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_FEATURES = {
    "id": {"dtype": "string", "_type": "Value"},
    "source": {"dtype": "string", "_type": "Value"},
    "images": [{"_type": "Image"}],
    "record": {"dtype": "string", "_type": "Value"},
}


T = TypeVar("T")


class ShardError(ValueError):
    """A folder of shards is missing, incomplete or damaged; the message names the file and what to do."""


def write_shards(
    records: Iterable[Record],
    folder: str | Path,
    rows_per_shard: int = 1000,
    meta: Mapping[str, Any] | None = None,
    picture_format: str = "JPEG",
) -> Path:
    """Write records as shards of `rows_per_shard` and the manifest; return its path.

    Shards that the folder already holds are replaced. Pictures that are bytes or paths are copied as they are; decoded
    ones are encoded as
    `picture_format`, JPEG of quality 95 or "PNG". `meta` (JSON values) goes into the manifest. Raises ValueError for
    `rows_per_shard` < 1 and ImportError without pyarrow.
    """
    if rows_per_shard < 1:
        raise ValueError(f"a shard needs at least one row, not rows_per_shard={rows_per_shard}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    stream = iter(records)
    number = 0
    while rows := list(islice(stream, rows_per_shard)):
        write_shard(rows, folder, number, picture_format)
        number += 1
    for stale in folder.glob("*.parquet"):
        if stale.stem.isdigit() and int(stale.stem) >= number:
            stale.unlink()
    return merge_manifest(folder, meta)


def write_shard(records: Sequence[Record], folder: str | Path, number: int, picture_format: str = "JPEG") -> Path:
    """Write one shard, whole or not at all. Processes may write different numbers of a folder; `merge_manifest` ends
    it.
    """
    path = Path(folder) / f"{number:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as draft, ShardWriter(draft) as writer:
        for begin in range(0, len(records), ROWS_PER_GROUP):
            writer.add(records[begin : begin + ROWS_PER_GROUP], picture_format)
    return path


class ShardWriter:
    """Writes a shard to `path`, a row group with each `add`; use it with `with`.

    `extra` are further columns by name, of type "string" or "int32", which the viewer shows and readers of records
    pass over.
    """

    def __init__(self, path: Path, extra: Mapping[str, str] | None = None) -> None:
        pa, pq = _pyarrow()
        self._extra = dict(extra or {})
        picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns = [("id", pa.string()), ("source", pa.string()), ("images", pa.list_(picture)), ("record", pa.string())]
        columns += [(name, getattr(pa, kind)()) for name, kind in self._extra.items()]
        features = _FEATURES | {name: {"dtype": kind, "_type": "Value"} for name, kind in self._extra.items()}
        self.schema = pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})
        words = [name for name in self.schema.names if name != "images"]
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(
            self._file,
            self.schema,
            # the pictures are compressed already: only the words gain from it
            compression={**dict.fromkeys(words, "zstd"), _PICTURES: "none"},
            use_dictionary=["source"],
            # the smallest and the largest picture say nothing, and would be kept whole
            write_statistics=words,
            # a page for a few pictures: they are copied while they are in the cache
            data_page_size=1 << 16,
            write_batch_size=16,
        )

    def add(self, records: Sequence[Record], picture_format: str = "JPEG", **extra: Sequence[Any]) -> None:
        """Write a row group, or several where the pictures are too much for one; `extra` are the further columns'
        values.
        """
        pa, _ = _pyarrow()
        ids, sources, contents, names, annotations, begins = [], [], [], [], [], [0]
        for record in records:
            found, pictures = record_to_json(record)
            ids.append(record.id)
            sources.append(record.source)
            contents += [encode(picture, picture_format) for picture in pictures]
            names += [picture.name or None for picture in pictures]
            begins.append(len(contents))
            annotations.append(_ENCODE(found))
        if len(records) > 1 and sum(map(len, contents)) > _GROUP_BYTES:
            for part in (slice(len(records) // 2), slice(len(records) // 2, None)):
                self.add(records[part], picture_format, **{name: values[part] for name, values in extra.items()})
            return
        fields = list(self.schema.field("images").type.value_type)
        images = pa.ListArray.from_arrays(
            pa.array(begins, pa.int32()),
            pa.StructArray.from_arrays([_joined(contents), pa.array(names, pa.string())], fields=fields),
        )
        columns = [ids, sources, images, annotations, *(extra[name] for name in self._extra)]
        self.add_table(pa.table(columns, schema=self.schema))

    def add_table(self, table: Any) -> None:
        """Write rows of another shard with the same columns as a row group."""
        self._writer.write_table(table)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            # after an error the file is thrown away: closing it would only fail again, on a full disk
            if kind is None:
                self._writer.close()
            # or it closes itself when it is collected, with an error that nobody can catch
            self._writer.is_open = False
        finally:
            self._file.close()


def merge_manifest(folder: str | Path, meta: Mapping[str, Any] | None = None) -> Path:
    """Write the manifest of the shards that are in a folder, which must be numbered without gaps from 0; return its
    path.
    """
    _, pq = _pyarrow()
    folder = Path(folder)
    paths = sorted(folder.glob("[0-9]*.parquet"))
    for number, path in enumerate(paths):
        if path.stem != f"{number:05d}":
            raise ShardError(f"{folder}: shard {number:05d}.parquet is missing; make the corpus again")
    shards: list[dict[str, Any]] = []
    for path in paths:
        groups = _groups(pq.read_metadata(path))
        about = {"rows": sum(rows for rows, _ in groups), "groups": groups}
        shards.append({"file": path.name, **about, "bytes": path.stat().st_size, "blake2b": _digest(path)})
    digest = hashlib.blake2b("".join(str(s["blake2b"]) for s in shards).encode(), digest_size=16).hexdigest()
    return write_manifest(folder, shards, meta, digest)


def write_manifest(
    folder: Path, shards: Sequence[Mapping[str, Any]], meta: Mapping[str, Any] | None = None, digest: str | None = None
) -> Path:
    """Write the manifest of shards that are known: each with its file, rows, bytes and, where they were made, blake2b
    and the rows and bytes of its row groups.
    """
    manifest = {
        "format": FORMAT,
        "columns": list(COLUMNS),
        "rows": sum(int(shard["rows"]) for shard in shards),
        **({"digest": digest} if digest else {}),
        "shards": list(shards),
        "meta": dict(meta or {}),
    }
    write_json(folder / MANIFEST, manifest)
    return folder / MANIFEST


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
            groups = shard.get("groups") or self._opened(path, lambda file: _groups(file.metadata))
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
        pa, pq = _pyarrow()
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
            if not same or ("blake2b" in shard and _digest(path) != shard["blake2b"]):
                raise ShardError(f"{path}: missing or changed since it was written; make the corpus again")


def _joined(contents: Sequence[bytes]) -> Any:
    """A column of bytes, copied once."""
    pa, _ = _pyarrow()
    ends = array("i", [0, *accumulate(map(len, contents))])
    return pa.Array.from_buffers(
        pa.binary(), len(contents), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(contents))]
    )


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


def _groups(metadata: Any) -> list[tuple[int, int]]:
    """The rows and bytes of a shard's row groups."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [(group.num_rows, group.total_byte_size) for group in groups]


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("shards need pyarrow: pip install 'qwenvl[data]'") from error
    return pyarrow, pyarrow.parquet
