"""What an input consists of: the shards of a folder, a pattern, a file or a URL, as units in a fixed order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from qwenvl.data.sources.pairs import arrow, parquet
from qwenvl.data.sources.pairs.files import filesystem, is_url
from qwenvl.data.sources.pairs.table import plan
from qwenvl.data.sources.pairs.unit import Columns, Kind, Unit
from qwenvl.data.sources.report import DataError

JSONL_PART = 1 << 20
"""Bytes of a JSONL file in a unit: some thousand lines."""

PARQUET_PART = 512 << 20
"""A bigger Parquet file is cut between its row groups into units of about so many bytes."""

_KINDS: dict[str, Kind] = {
    ".tar": "tar",
    ".tar.gz": "tar",
    ".tgz": "tar",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
}
_MAGIC = re.compile(r"[*?\[]")
_URL_MAGIC = re.compile(r"[*\[]")  # an address may have a "?" of its own
File = tuple[str, int]
"""Path and bytes."""


def list_units(spec: str, source: str | None = None, columns: Columns | None = None) -> list[Unit]:
    """The units of an input, sorted by path and numbered from 0: the same files give the same units.

    `spec` is a folder (searched with its sub-folders), a file, or a pattern with *, ? and **; local or any fsspec URL.
    Shards are told by their endings. A Parquet file beside a tar of the same name is img2dataset's list of it and is
    left out, and so is what begins with "." or "_". Without `source` it is the folder's name; a pattern with a wildcard
    in a folder's place makes each such folder a source of its own ("data/*/*.tar").

    Raises DataError where there is nothing to read or a column can not be found, OSError where it can not be reached.
    """
    columns = columns or Columns()
    base, files = files_of(spec)
    shards = [file for file in files if _ending(file[0]) and not _hidden(file[0], base)]
    tars = {_stem(path) for path, _ in shards if _KINDS[_ending(path)] == "tar"}
    shards = [(path, size) for path, size in shards if not (_ending(path) == ".parquet" and _stem(path) in tars)]
    if not shards:
        raise DataError(_nothing(spec, [path for path, _ in files]))
    units: list[Unit] = []
    stems: set[tuple[str, str]] = set()
    for path, size in sorted(shards):
        own = source or _source(spec, base, path)
        inside = inside_of(path, base if source or not _wild_folder(spec) else _source_folder(spec, base, path))
        stem = _stem(inside) if (own, _stem(inside)) not in stems else without_query(inside)
        stems.add((own, stem))
        units += _parts(Unit(0, path, _KINDS[_ending(path)], own, stem=stem), size)
    _check_columns(units, columns)
    return [replace(unit, number=number) for number, unit in enumerate(units)]


def files_of(spec: str) -> tuple[str, list[File]]:
    """The folder that a spec is about, and all files it names, with their sizes.

    Raises DataError where there is no such file or folder, OSError where it can not be reached.
    """
    return _remote_files(spec) if is_url(spec) else _local_files(spec)


def _local_files(spec: str) -> tuple[str, list[File]]:
    if os.path.isdir(spec):
        return spec.rstrip("/") or "/", list(_below(spec.rstrip("/") or "/"))
    if os.path.isfile(spec):
        return os.path.dirname(spec) or ".", [(spec, os.path.getsize(spec))]
    if not _MAGIC.search(spec):
        raise DataError(f"{spec}: no such file or folder")
    found = glob.glob(spec, recursive=True)
    files = [(path, os.path.getsize(path)) for path in found if os.path.isfile(path)]
    return _before_magic(spec) or ".", files


def _below(folder: str) -> Iterator[File]:
    """All files of a folder; linked folders too, each once."""
    seen = {os.path.realpath(folder)}
    for root, folders, names in os.walk(folder, followlinks=True):
        reals = {name: os.path.realpath(f"{root}/{name}") for name in sorted(folders)}
        folders[:] = [name for name, real in reals.items() if real not in seen]
        seen.update(reals.values())
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path):
                yield path, os.path.getsize(path)


def _remote_files(spec: str) -> tuple[str, list[File]]:
    system, inside = filesystem(spec)
    try:
        if _URL_MAGIC.search(inside):
            found = system.glob(inside, detail=True)
            base = _before_magic(inside)
        elif system.isdir(inside):
            found, base = system.find(inside, detail=True), inside.rstrip("/")
        else:
            found, base = {inside: system.info(inside)}, inside.rpartition("/")[0]
    except FileNotFoundError:
        raise DataError(f"{spec}: no such file or folder") from None
    files = [(name, int(about.get("size") or 0)) for name, about in found.items() if about.get("type") != "directory"]
    return system.unstrip_protocol(base), [(system.unstrip_protocol(name), size) for name, size in files]


def _before_magic(spec: str) -> str:
    """The folder before the first part with a wildcard."""
    parts = spec.split("/")
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return "/".join(parts[:first])


def _ending(path: str) -> str:
    """The ending that tells the kind, "" for what is no shard."""
    lower = without_query(path).lower()
    return next((ending for ending in _KINDS if lower.endswith(ending)), "")


def without_query(path: str) -> str:
    """Without what follows the path in an address: it may be a secret, and goes into no name."""
    return path.partition("?")[0] if is_url(path) else path


def _stem(path: str) -> str:
    return without_query(path)[: -len(_ending(path))]


def _hidden(path: str, base: str) -> bool:
    return any(part.startswith((".", "_")) for part in inside_of(path, base).split("/"))


def inside_of(path: str, base: str) -> str:
    """The path below the folder `base`."""
    return path.removeprefix(base).lstrip("/") if base != "." else path.removeprefix("./")


def _wild_folder(spec: str) -> bool:
    """Whether a pattern has a wildcard in a folder's place ("**" is any depth, so no folder's)."""
    parts = spec.split("/")[:-1]
    return any(_MAGIC.search(part) and part != "**" for part in parts) and not os.path.exists(spec)


def _source_folder(spec: str, base: str, path: str) -> str:
    """The folder of a file that stands where the pattern has its first wildcard."""
    first = inside_of(path, base).split("/")[0]
    return f"{base}/{first}" if base != "." else first


def _source(spec: str, base: str, path: str) -> str:
    if _wild_folder(spec):
        return _source_folder(spec, base, path).rpartition("/")[2]
    folder = base if is_url(base) else os.path.abspath(base)
    return PurePosixPath(folder.partition("://")[2] or folder).name or "pairs"


def _parts(unit: Unit, size: int) -> Iterable[Unit]:
    """The unit, or several where the file is too big for one."""
    if unit.kind == "jsonl":
        begins = list(range(0, max(size, 1), JSONL_PART))
    elif unit.kind == "parquet" and size > PARQUET_PART:
        begins = _group_begins(parquet.row_group_sizes(unit.path), PARQUET_PART)
    else:
        begins = [0]
    if len(begins) == 1:
        return [unit]
    ends = [*begins[1:], None]
    pairs = zip(begins, ends, strict=True)
    return [replace(unit, begin=b, end=e, stem=f"{unit.stem}@{n}") for n, (b, e) in enumerate(pairs)]


def _group_begins(sizes: list[int], part: int) -> list[int]:
    begins, taken = [0], 0
    for number, size in enumerate(sizes):
        if taken and taken + size > part:
            begins.append(number)
            taken = 0
        taken += size
    return begins


def _check_columns(units: list[Unit], columns: Columns) -> None:
    """Say at once that a table has no pictures: look at the first one that can be read."""
    for unit in units:
        if unit.kind in ("parquet", "arrow"):
            schema = parquet.schema_of(unit.path) if unit.kind == "parquet" else arrow.schema_of(unit.path)
            if schema is not None:
                plan(schema, columns, unit.path)
                return


def _nothing(spec: str, seen: list[str]) -> str:
    kinds = ", ".join(_KINDS)
    names = ", ".join(sorted(os.path.basename(path) for path in seen)[:5])
    there = f"; there are {len(seen):,} files ({names}{', …' if len(seen) > 5 else ''})" if seen else ""
    return f"{spec}: no shards (expected files ending in {kinds}){there}"
