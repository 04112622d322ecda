"""The work on one unit: the first pass reads, judges and keeps; the last settles what rules on the whole set left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qwenvl.data.clean.judge import Judge, Seen, Values, blocks
from qwenvl.data.clean.layout import Layout
from qwenvl.data.clean.ledger import LedgerWriter
from qwenvl.data.clean.rule import Rule
from qwenvl.data.clean.rules.script import language_of
from qwenvl.data.clean.statistics import Measured, SourceCounts, Statistics, edges
from qwenvl.data.shard_writer import ShardWriter
from qwenvl.data.sources.pairs import Columns, Unit, read_unit
from qwenvl.data.whole import whole, write_json

EXTRA = {"caption": "string", "width": "int32", "height": "int32"}
"""Columns of the kept shards beside those of a record, for the viewer and for SQL."""

_DROPPED = pa.schema([(name, pa.string()) for name in ("id", "source", "rule", "why", "value", "caption", "winner")])


@dataclass(frozen=True)
class FirstPass:
    """Reads a unit and judges its pairs one by one. Without rules on the whole set the unit is settled then."""

    layout: Layout
    rules: tuple[Rule, ...]
    reads: frozenset[str]
    columns: Columns
    settles: bool

    def __call__(self, unit: Unit) -> int:
        """Gives how many pairs were read."""
        layout, number = self.layout, unit.number
        statistics = Statistics()
        counts = statistics.source(unit.source)
        judge = Judge(self.rules, self.reads)
        with (
            whole(layout.survivors(number)) as shard_path,
            whole(layout.ledger(number)) as ledger_path,
            ShardWriter(shard_path, EXTRA) as shard,
            LedgerWriter(ledger_path, self.rules) as ledger,
        ):
            for block in blocks(read_unit(unit, self.columns)):
                measured = judge.judge(block)
                ledger.add(block, measured)
                count_block(counts, block, self.rules, measured)
                _keep(shard, block)
        statistics.check(unit.path)
        write_json(layout.judged(number), statistics.to_json())
        if self.settles:
            LastPass(layout, ())(unit)
        return statistics.read

    def done(self, unit: Unit) -> bool:
        """Whether the first pass over a unit is whole."""
        return self.layout.judged(unit.number).exists()


@dataclass(frozen=True)
class LastPass:
    """Writes a unit's shard without what the rules on the whole set dropped, and says what was dropped."""

    layout: Layout
    set_rules: tuple[str, ...]

    def __call__(self, unit: Unit) -> int:
        """Gives how many pairs were settled."""
        layout, number = self.layout, unit.number
        ledger = pq.read_table(
            layout.ledger(number), columns=["row", "id", "source", "kept", "rule", "why", "value", "caption", "changed"]
        )
        drops = self._drops(number)
        with whole(layout.kept(number)) as path:
            rows = _settle(layout.survivors(number), path, ledger, drops)
            size = path.stat().st_size
        with whole(layout.dropped(number)) as path:
            gone = _dropped(ledger, drops)
            pq.write_table(gone, path, compression="zstd")
        statistics = Statistics.from_json(json.loads(layout.judged(number).read_text(encoding="utf-8")))
        _take(statistics.source(unit.source), ledger, drops)
        statistics.check(unit.path)
        if (statistics.read, statistics.kept, statistics.dropped) != (ledger.num_rows, rows, gone.num_rows):
            raise AssertionError(
                f"{unit.path}: {ledger.num_rows:,} pairs in the ledger, {rows:,} kept, {gone.num_rows:,} dropped, but "
                f"counted were {statistics.read:,}, {statistics.kept:,} and {statistics.dropped:,}"
            )
        shard = {"file": layout.kept(number).name, "rows": rows, "bytes": size}
        # not its path: an address may hold a secret
        about = {"unit": f"{unit.source}/{unit.stem}", "shard": shard}
        write_json(layout.statistics(number), about | statistics.to_json())
        layout.survivors(number).unlink()
        return statistics.read

    def done(self, unit: Unit) -> bool:
        """Whether a unit is settled."""
        return self.layout.statistics(unit.number).exists()

    def _drops(self, number: int) -> Any:
        """What the rules on the whole set dropped of a unit: row, rule, why, value, winner."""
        names = ["row", "rule", "why", "value", "winner"]
        if not self.set_rules:
            return pa.table({name: pa.array([], pa.int64() if name == "row" else pa.string()) for name in names})
        return pq.read_table(self.layout.setwide, columns=names, filters=[("unit", "==", number)], use_threads=False)


def _keep(shard: ShardWriter, block: Sequence[Seen]) -> None:
    kept = [seen.pair for seen in block if seen.rule is None and seen.pair is not None]
    if kept:
        captions = [pair.caption or "" for pair in kept]
        shard.add(
            [pair.record(language_of(caption)) for pair, caption in zip(kept, captions, strict=True)],
            caption=captions,
            width=[pair.size[0] for pair in kept],
            height=[pair.size[1] for pair in kept],
        )


def count_block(
    counts: SourceCounts, block: Sequence[Seen], rules: Sequence[Rule], measured: Mapping[str, Values]
) -> None:
    """Add a block to the statistics. Every pair of a unit is of one source."""
    counts.read += len(block)
    for seen in block:
        for name in seen.changed:
            counts.changed_by[name] = counts.changed_by.get(name, 0) + 1
        if seen.rule is None:
            counts.kept += 1
            counts.changed += bool(seen.changed)
        else:
            counts.drop(seen.rule, seen.why or "")
    for rule in rules:
        counts.measured.setdefault(rule.name, Measured()).add_all(measured[rule.name].values, edges(rule))


def _settle(survivors: Path, path: Path, ledger: Any, drops: Any) -> int:
    """Write the shard without the dropped rows; where there are none it is the same file. Gives its rows."""
    stays = pc.invert(pc.is_in(ledger.filter(ledger["kept"])["row"], value_set=drops["row"]))
    if not drops.num_rows:
        try:
            os.link(survivors, path)
        except OSError:  # a file system without hard links
            shutil.copyfile(survivors, path)
        return len(stays)
    rows = begin = 0
    with pq.ParquetFile(survivors) as before, ShardWriter(path, EXTRA) as shard:
        for group in range(before.num_row_groups):
            table = before.read_row_group(group, use_threads=False)
            left = table.filter(stays.slice(begin, table.num_rows))
            begin += table.num_rows
            rows += left.num_rows
            if left.num_rows:
                shard.add_table(left)
    return rows


def _dropped(ledger: Any, drops: Any) -> Any:
    """All pairs dropped, in the unit's order."""
    alone = ledger.filter(pc.invert(ledger["kept"]))
    alone = alone.append_column("winner", pa.nulls(alone.num_rows, pa.string()))
    late = ledger.select(["row", "id", "source", "caption"]).take(drops["row"])
    for name in ("rule", "why", "value", "winner"):
        late = late.append_column(name, drops[name])
    both = pa.concat_tables([alone.select(["row", *_DROPPED.names]), late.select(["row", *_DROPPED.names])])
    return both.sort_by("row").select(_DROPPED.names).cast(_DROPPED).combine_chunks()


def _take(counts: SourceCounts, ledger: Any, drops: Any) -> None:
    """Move what the rules on the whole set dropped from the kept to the dropped."""
    changed = pc.greater(pc.list_value_length(ledger["changed"]), 0)
    for row, rule, why in zip(*(drops[name].to_pylist() for name in ("row", "rule", "why")), strict=True):
        counts.kept -= 1
        counts.changed -= changed[row].as_py()
        counts.drop(rule, why)
