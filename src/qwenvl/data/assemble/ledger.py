"""The ledger of a unit: a row for every record read, whether it goes on, and what the plan needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from qwenvl.data.tasked import column_of
from qwenvl.sample import Task
from qwenvl.tasks import TASKS

COUNTS: dict[Task, str] = {task: column_of(task) for task in TASKS}
"""Task → the column that counts a record's samples, here and in the shards."""

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("source", pa.int32()),
        ("rule", pa.string()),
        ("why", pa.string()),
        ("place", pa.int64()),
        ("picture", pa.string()),
        ("content", pa.string()),
        ("joins", pa.bool_()),
        ("phash", pa.uint64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("characters", pa.int32()),
        ("lot", pa.uint64()),
        *((name, pa.int32()) for name in COUNTS.values()),
    ]
)
_ROWS = 8192


@dataclass
class Entry:
    """What was read: `rule` and `why` say what left it out. The rest is known of those that go on.

    `place` counts the records that go on; `picture` and `content` are digests of its pictures and of what is said;
    `joins` means that it has one picture and may be joined to others of the same; `phash` is given where pictures that
    look alike shall go; `lot` is drawn by the seed and the id, and decides who is taken where not all are.
    """

    id: str
    source: int
    rule: str | None = None
    why: str | None = None
    place: int | None = None
    picture: str | None = None
    content: str | None = None
    joins: bool = False
    phash: int | None = None
    width: int | None = None
    height: int | None = None
    characters: int = 0
    lot: int = 0
    counts: dict[Task, int] = field(default_factory=dict)


class Ledger:
    """Writes rows by a `pyarrow.parquet.ParquetWriter` of `SCHEMA`, some thousand at a time; `flush` ends it."""

    def __init__(self, writer: Any) -> None:
        self._writer, self._rows = writer, 0
        self._waiting: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """One row."""
        self._waiting.append(entry)
        if len(self._waiting) == _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        rows = self._waiting
        columns: list[Sequence[Any]] = [range(self._rows, self._rows + len(rows))]
        for name in SCHEMA.names[1 : -len(COUNTS)]:
            columns.append([getattr(entry, name) for entry in rows])
        columns += [[entry.counts.get(task, 0) for entry in rows] for task in COUNTS]
        self._writer.write_table(pa.table([list(column) for column in columns], schema=SCHEMA))
        self._rows += len(rows)
        self._waiting = []
