"""Writing records as Parquet shards; what they look like and how they are read: `qwenvl.data.shards`."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from qwenvl.data.images import encode
from qwenvl.data.record_json import record_to_json
from qwenvl.data.shards import COLUMNS, FORMAT, MANIFEST, ShardError, digest_of, groups_of, parquet
from qwenvl.data.whole import whole, write_json
from qwenvl.sample import Record

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
        pa, pq = parquet()
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
        pa, _ = parquet()
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
    _, pq = parquet()
    folder = Path(folder)
    paths = sorted(folder.glob("[0-9]*.parquet"))
    for number, path in enumerate(paths):
        if path.stem != f"{number:05d}":
            raise ShardError(f"{folder}: shard {number:05d}.parquet is missing; make the corpus again")
    shards: list[dict[str, Any]] = []
    for path in paths:
        groups = groups_of(pq.read_metadata(path))
        about = {"rows": sum(rows for rows, _ in groups), "groups": groups}
        shards.append({"file": path.name, **about, "bytes": path.stat().st_size, "blake2b": digest_of(path)})
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


def _joined(contents: Sequence[bytes]) -> Any:
    """A column of bytes, copied once."""
    pa, _ = parquet()
    ends = array("i", [0, *accumulate(map(len, contents))])
    return pa.Array.from_buffers(
        pa.binary(), len(contents), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(contents))]
    )
