"""The last pass: writes a shard of the corpus as the plan says, pictures once, and counts what is in it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qwenvl.data.assemble.join import Joined, Part, join
from qwenvl.data.assemble.layout import Layout
from qwenvl.data.assemble.ledger import COUNTS
from qwenvl.data.assemble.read import GROUP, GROUP_BYTES
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.statistics import Counts, Measure
from qwenvl.data.shard_writer import ShardWriter
from qwenvl.data.whole import whole, write_json
from qwenvl.tasks import TASKS
from qwenvl.text.tokenizer import QwenTokenizer

Row = Mapping[str, Any]
"""A row of the plan."""

_WORDS = ["id", "source", "record"]


@dataclass(frozen=True)
class WriteShard:
    """The work on a shard of the corpus."""

    layout: Layout
    recipe: BuildRecipe

    def __call__(self, number: int) -> int:
        """Gives how many records were written."""
        plan = pq.read_table(self.layout.plan, filters=[("shard", "==", number)]).to_pylist()
        homes = [row for row in plan if row["row"] == row["home"]]
        guests: dict[int, list[Row]] = {}
        for row in plan:
            if row["row"] != row["home"]:
                guests.setdefault(row["home"], []).append(row)
        words = self._words(guests)
        counts = Counts()
        shards = json.loads(self.layout.settled.read_text(encoding="utf-8"))["shards"]
        measure = measure_of(self.recipe, shards)
        extra = {COUNTS[task]: "int32" for task in self.recipe.used}
        with whole(self.layout.shard(number)) as path:
            with ShardWriter(path, extra) as shard:
                waiting: list[Any] = []
                for table, rows in self._groups(homes):
                    made = []
                    for at, row in enumerate(rows):
                        first = _part(table, at, row)
                        parts = [first, *(_part(*words[guest["row"]], guest) for guest in guests.get(row["home"], ()))]
                        joined = join(parts)
                        id = f"{first.source}/{first.id}"
                        counts.add(joined, len(parts))
                        measure.add(counts, id, joined.found)
                        made.append((id, joined))
                    waiting.append(_table(shard.schema, table, made))
                    # where most records were dropped, what is left of a group is too little for one
                    if sum(len(t) for t in waiting) >= GROUP or sum(t.nbytes for t in waiting) > GROUP_BYTES:
                        shard.add_table(pa.concat_tables(waiting).combine_chunks())
                        waiting = []
                if waiting:
                    shard.add_table(pa.concat_tables(waiting).combine_chunks())
            size = path.stat().st_size
        file = {"file": self.layout.shard(number).name, "rows": len(homes), "bytes": size}
        write_json(self.layout.written(number), {"shard": file, "counts": counts.plain()})
        return len(homes)

    def done(self, number: int) -> bool:
        """Whether the shard is whole."""
        return self.layout.written(number).exists()

    def _groups(self, homes: Sequence[Row]) -> Iterator[tuple[Any, list[Row]]]:
        """The homes' rows as they were read, with pictures, a row group at a time."""
        if homes:
            for begin, table, wanted in row_groups(self.layout.records(homes[0]["unit"]), homes, None):
                yield table.take([row["place"] - begin for row in wanted]), wanted

    def _words(self, guests: Mapping[int, Sequence[Row]]) -> dict[int, tuple[Any, int]]:
        """What stands in records that are joined to others, without their pictures: row → table and place in it."""
        by_unit: dict[int, list[Row]] = {}
        for rows in guests.values():
            for row in rows:
                by_unit.setdefault(row["unit"], []).append(row)
        found: dict[int, tuple[Any, int]] = {}
        for unit, rows in by_unit.items():
            rows.sort(key=lambda row: int(row["place"]))
            for begin, table, wanted in row_groups(self.layout.records(unit), rows, _WORDS):
                chosen = table.take([row["place"] - begin for row in wanted])
                found |= {row["row"]: (chosen, at) for at, row in enumerate(wanted)}
        return found


def row_groups(path: Path, rows: Sequence[Row], columns: list[str] | None) -> Iterator[tuple[int, Any, list[Row]]]:
    """Row groups of a unit's records that hold some of `rows` (sorted by place): first place, table, those rows."""
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        at = 0
        for group, (begin, end) in enumerate(pairwise(accumulate(sizes, initial=0))):
            wanted = []
            while at < len(rows) and rows[at]["place"] < end:
                wanted.append(rows[at])
                at += 1
            if wanted:
                yield begin, file.read_row_group(group, columns=columns, use_threads=False), wanted


def _part(table: Any, at: int, row: Row) -> Part:
    id, source, record = (table[name][at].as_py() for name in _WORDS)
    return Part(source, id, json.loads(record), {task: row[f"take_{task}"] for task in TASKS})


def _table(schema: Any, table: Any, made: Sequence[tuple[str, Joined]]) -> Any:
    """Rows of a shard: the pictures as they are, the words of `made`."""
    records = [json.dumps(joined.found, ensure_ascii=False, separators=(",", ":")) for _, joined in made]
    columns = [
        pa.array([id for id, _ in made], pa.string()),
        table["source"],
        table["images"].cast(schema.field("images").type),
        pa.array(records, pa.string()),
    ]
    for name in schema.names[len(columns) :]:
        columns.append(pa.array([joined.counts.get(_TASKS[name], 0) for _, joined in made], pa.int32()))
    return pa.table(columns, schema=schema)


_TASKS = {name: task for task, name in COUNTS.items()}


def measure_of(recipe: BuildRecipe, shards: int) -> Measure:
    """What measures the samples of one of `shards`."""
    packing = recipe.packing
    return Measure(tokenizer_of(packing.tokenizer), packing.slots, packing.sequence, recipe.words(), shards)


@functools.lru_cache(maxsize=2)
def tokenizer_of(path: str | None) -> QwenTokenizer:
    """The tokenizer of a folder or a `qwen.tiktoken` file; without one the packaged nano model's."""
    if path is None:
        return QwenTokenizer.load(Path(str(resources.files("qwenvl") / "models" / "nano")))
    return QwenTokenizer.load(path) if Path(path).is_dir() else QwenTokenizer.from_tiktoken(path)
