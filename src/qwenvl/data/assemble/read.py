"""The first pass over a unit: reads its records, judges each alone, and keeps what goes on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from qwenvl.data.assemble.held_out import HeldOutPictures
from qwenvl.data.assemble.judge import Judge
from qwenvl.data.assemble.layout import Layout
from qwenvl.data.assemble.ledger import SCHEMA, Ledger
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.units import Unit
from qwenvl.data.shard_writer import ShardWriter
from qwenvl.data.sources import BadRows
from qwenvl.data.whole import whole, write_json
from qwenvl.sample import Record

GROUP, GROUP_BYTES = 64, 64 << 20
"""A row group ends with this many records, or bytes of pictures: what is held in memory at once."""


@dataclass(frozen=True)
class ReadUnit:
    """The work on a unit; `held_out` are the files of the held-out pictures' looks."""

    layout: Layout
    recipe: BuildRecipe
    held_out: tuple[Path, ...]

    def __call__(self, unit: Unit) -> int:
        """Gives how many records were read."""
        layout, number = self.layout, unit.number
        judge = Judge(self.recipe, unit.source, _held_out(self.held_out, self.recipe.held_out.distance))
        bad = BadRows()
        count = kept = size = 0
        waiting: list[Record] = []
        with (
            whole(layout.records(number)) as records_path,
            whole(layout.ledger(number)) as ledger_path,
            ShardWriter(records_path) as shard,
            pq.ParquetWriter(ledger_path, SCHEMA, compression="zstd") as rows,
        ):
            ledger = Ledger(rows)
            for record in unit.records(bad):
                entry, stays = judge(record)
                count += 1
                if stays is not None:
                    entry.place = kept
                    kept += 1
                    waiting.append(stays)
                    size += sum(len(i.source) for i in stays.images if isinstance(i.source, bytes))
                    if len(waiting) == GROUP or size > GROUP_BYTES:
                        shard.add(waiting)
                        waiting, size = [], 0
                ledger.add(entry)
            if waiting:
                shard.add(waiting)
            ledger.flush()
        write_json(layout.read(number), {"read": count, "skipped": bad.count, "messages": bad.messages[:5]})
        return count

    def done(self, unit: Unit) -> bool:
        """Whether the unit was read whole."""
        return self.layout.read(unit.number).exists()


@functools.lru_cache(maxsize=1)
def _held_out(files: Sequence[Path], distance: int) -> HeldOutPictures:
    """Read once in a process."""
    tables = [pq.read_table(path) for path in files]
    return HeldOutPictures(pa.concat_tables(tables) if tables else None, distance)
