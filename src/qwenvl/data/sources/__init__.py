"""Where records come from: the project's JSONL, conversations as people have them, shards, and the scene world.

`open_source` tells the format from the content. What is wrong with a row is reported by file, line and field; see
docs/data.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.shards import MANIFEST, ShardError, ShardReader
from qwenvl.data.sources import conversations, jsonl, scenes
from qwenvl.data.sources.fields import Pictures
from qwenvl.data.sources.public import is_public, open_public
from qwenvl.data.sources.report import BadRows, DataError, RowError, Spot, place
from qwenvl.data.sources.rows import read_rows
from qwenvl.sample import Record

__all__ = ["BadRows", "DataError", "open_source"]


def open_source(
    spec: str | Path,
    strict: bool = False,
    report: BadRows | None = None,
    image_root: str | Path | None = None,
) -> Iterator[Record]:
    """The records of a source: a JSON or JSONL file, a folder of shards, `scenes:train?seed=0&count=1000`, or a public
    dataset, `refcoco:refcoco_testA.json?images=train2014` (`qwenvl.data.sources.public`).

    A row that can not be used (no JSON, a missing or broken picture, a box outside it, …) is counted in `report` and
    skipped; with `strict` the first one raises DataError with the same message. Pictures must lie in the folder of the
    file or below, or in `image_root`. Raises DataError at once for a source that does not exist or is something else,
    and at the end for one without a single usable row.
    """
    report = report if report is not None else BadRows()
    if isinstance(spec, str) and spec.startswith(scenes.PREFIX):
        return _counted(scenes.open_scenes(spec), report)
    if isinstance(spec, str) and is_public(spec):
        return open_public(spec, strict, report, image_root)
    path = Path(spec)
    root = Path(image_root) if image_root is not None else None
    if root is not None and not root.is_dir():
        raise DataError(f"--image-root {root}: no such folder")
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise DataError(
                f"{path}: a folder without {MANIFEST}; expected a JSON or JSONL file, or a folder of shards"
            )
        return _counted(_shards(path), report)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    return _rows(path, strict, report, Pictures(root or path.parent, allow_absolute=root is not None))


def _rows(path: Path, strict: bool, report: BadRows, pictures: Pictures) -> Iterator[Record]:
    rows = read_rows(path)
    file = str(path)

    def records() -> Iterator[Record]:
        good = bad = 0
        first = ""
        for spot, row in rows:
            try:
                if isinstance(row, RowError):
                    raise row
                yield _record(row, pictures, path, spot, strict, report)
                good += 1
                report.good += 1
            except RowError as error:
                if strict:
                    raise DataError(f"{place(file, spot)}: {error}") from None
                bad += 1
                first = first or f"; the first: {place(file, spot)}: {error}"
                report.add(file, spot, error.field, error.reason)
        if not good:
            raise DataError(f"{path}: no usable row ({bad} skipped{first})")

    return records()


def _record(
    row: dict[str, object], pictures: Pictures, path: Path, spot: Spot, strict: bool, report: BadRows
) -> Record:
    given = row.get("id")
    id = str(given) if isinstance(given, str | int) and given != "" else f"{path.stem}-{spot.row or spot.line}"
    if conversations.is_conversation(row):
        return conversations.record_from_row(row, pictures, id, path.name)
    record = jsonl.record_from_row(row, pictures, id, path.name)
    for unknown in jsonl.unknown_fields(row):
        if strict:
            raise RowError("", unknown)
        report.note(str(path), spot, unknown)
    return record


def _counted(records: Iterator[Record], report: BadRows) -> Iterator[Record]:
    for record in records:
        report.good += 1
        yield record


def _shards(path: Path) -> Iterator[Record]:
    try:
        reader = ShardReader(path)
    except ShardError as error:
        raise DataError(str(error)) from error

    def records() -> Iterator[Record]:
        for number in range(len(reader.shards)):
            try:
                yield from reader.read_shard(number)
            except ShardError as error:
                raise DataError(str(error)) from error

    return records()
