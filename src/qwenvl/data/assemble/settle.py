"""The plan of a corpus, made of all ledgers by SQL: no copies, as many samples as wanted, equal pictures joined.

What comes out depends on the ledgers and the recipe alone, not on threads or memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qwenvl.data.assemble.layout import DROPPED, Layout
from qwenvl.data.assemble.ledger import COUNTS
from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.clean.rules.near_duplicates import NearDuplicates
from qwenvl.data.clean.setwide import MEMORY_MIB, opened
from qwenvl.data.whole import whole, write_json
from qwenvl.sample import Task

SAME_PAIR, NEAR, ENOUGH = "same pair", "near duplicate", "enough samples"
"""The rules on the whole set: the same pictures with the same words; `SourcePlan.near_duplicates`; counts."""

PLAN = pa.schema(
    [
        ("shard", pa.int32()),
        ("home", pa.int64()),
        ("row", pa.int64()),
        ("unit", pa.int32()),
        ("place", pa.int64()),
        *((f"take_{task}", pa.int32()) for task in COUNTS),
    ]
)
"""A row for each record that goes into the corpus, sorted: its shard, the first record with its picture (`home`),
itself (both counted over all ledgers), its unit and place there, and how many samples each task takes of it.
"""

_DROPPED = pa.schema([(name, pa.string()) for name in ("id", "source", "rule", "why", "winner")])
_ROWS = 50_000


def settle(layout: Layout, recipe: BuildRecipe, units: int, memory_mib: int = MEMORY_MIB) -> None:
    """Write the plan, `dropped.parquet`, and last what was counted: shards, and by source what was left out and why."""
    with opened(layout.work / ".spill", memory_mib) as database:
        _open(database, [layout.ledger(number) for number in range(units)])
        database.execute("SET VARIABLE names = $names", {"names": [source.name for source in recipe.sources]})
        _same_pairs(database)
        _near(database, recipe.near_distance)
        _limit(database, recipe)
        _homes(database, recipe.rows_per_shard)
        with whole(layout.plan) as draft:
            _write(database, "SELECT * FROM plan ORDER BY home, row", PLAN, draft)
        with whole(layout.out / DROPPED) as draft:
            _write(database, _DROPPED_SQL, _DROPPED, draft)
        counted = _counted(database, recipe)
    write_json(layout.settled, counted)


def _open(database: Any, ledgers: Sequence[Path]) -> None:
    """The view `rows` over all ledgers with rows counted over all, the tables `units` and `gone`, the view `kept`."""
    counts = [pq.read_metadata(path).num_rows for path in ledgers]
    before = [sum(counts[:i]) for i in range(len(counts))]
    database.execute("CREATE TABLE units (unit BIGINT, before BIGINT)")
    database.execute("INSERT INTO units SELECT unnest(range(len($b))), unnest($b)", {"b": before})
    database.execute("SET VARIABLE ledgers = $paths", {"paths": [str(path) for path in ledgers]})
    database.execute(
        "CREATE VIEW rows AS SELECT before + p.row AS row, unit, p.* EXCLUDE (row, file_index) "
        "FROM (SELECT *, file_index FROM read_parquet(getvariable('ledgers'))) p JOIN units ON unit = p.file_index"
    )
    database.execute("CREATE TABLE gone (row BIGINT, rule VARCHAR, why VARCHAR, winner BIGINT)")
    database.execute("CREATE VIEW kept AS SELECT * FROM rows WHERE rule IS NULL AND row NOT IN (SELECT row FROM gone)")


def _same_pairs(database: Any) -> None:
    database.execute(f"""
        INSERT INTO gone
        WITH first AS (
            SELECT picture, content, min(row) AS winner FROM kept GROUP BY ALL HAVING count(*) > 1
        )
        SELECT row, '{SAME_PAIR}', 'the same pictures and words stand in another record', winner
        FROM kept JOIN first ON kept.content = first.content AND kept.picture IS NOT DISTINCT FROM first.picture
        WHERE row <> winner""")


def _near(database: Any, distance: int) -> None:
    if not database.execute("SELECT EXISTS (FROM kept WHERE phash IS NOT NULL)").fetchone()[0]:
        return
    for select in NearDuplicates(distance).drops(database):
        database.execute(
            f"CREATE TEMP TABLE near_gone AS SELECT row, why || ' (' || value || ' bits away)' AS why, winner "
            f"FROM ({select})"
        )
        database.execute(f"INSERT INTO gone SELECT row, '{NEAR}', why, winner FROM near_gone")


def _limit(database: Any, recipe: BuildRecipe) -> None:
    """The table `taken`: how many samples each task takes of each record, after the limits of source and task."""
    columns = ", ".join(f"{COUNTS[task]} AS take_{task}" for task in COUNTS)
    database.execute(f"CREATE TABLE taken AS SELECT row, source, lot, {columns} FROM kept")
    for index, source in enumerate(recipe.sources):
        for task, use in source.tasks.items():
            if use.samples is not None:
                _cut(database, task, use.samples, f"source = {index}")
    for task, plan in recipe.tasks.items():
        if plan.samples is not None:
            _cut(database, task, plan.samples, "TRUE")
    total = " + ".join(f"take_{task}" for task in COUNTS)
    database.execute(
        f"INSERT INTO gone SELECT row, '{ENOUGH}', 'its tasks have as many samples as the recipe wants', NULL "
        f"FROM taken WHERE {total} = 0"
    )


def _cut(database: Any, task: Task, samples: int, where: str) -> None:
    """Take at most `samples` of a task, from as many records as possible: the same number of each, as far as it has
    so many, and one more of those whose lots come first.
    """
    take = f"take_{task}"
    having = dict(
        database.execute(f"SELECT {take}, count(*) FROM taken WHERE {where} AND {take} > 0 GROUP BY {take}").fetchall()
    )
    each, rest = even_share(having, samples)
    if each is None:
        return
    database.execute(f"""
        UPDATE taken SET {take} = {each} + (CASE WHEN more.place <= {rest} THEN 1 ELSE 0 END) FROM (
            SELECT row, row_number() OVER (ORDER BY lot, row) AS place FROM taken WHERE {where} AND {take} > {each}
        ) more WHERE taken.row = more.row""")


def even_share(having: Mapping[int, int], samples: int) -> tuple[int | None, int]:
    """How many samples to take of each record, and of how many records that have more to take one more; None where all
    are to be taken. `having` says how many records have how many samples.
    """
    if sum(count * records for count, records in having.items()) <= samples:
        return None, 0
    each = taken = 0
    while True:
        more = sum(records for count, records in having.items() if count > each)
        if taken + more > samples:
            return each, samples - taken
        each, taken = each + 1, taken + more


def _homes(database: Any, rows_per_shard: int) -> None:
    """The table `plan`: records of one equal picture share the first one's home; homes of a unit share shards."""
    takes = ", ".join(f"take_{task}" for task in COUNTS)
    database.execute(f"""
        CREATE TABLE plan AS
        WITH homes AS (
            SELECT row, unit, place, CASE WHEN joins THEN min(row) OVER (PARTITION BY joins, picture) ELSE row END
                AS home
            FROM kept
        ), first AS (
            SELECT row AS home, unit, (row_number() OVER (PARTITION BY unit ORDER BY row) - 1) // {rows_per_shard}
                AS part
            FROM homes WHERE row = home
        ), numbered AS (
            SELECT home, dense_rank() OVER (ORDER BY unit, part) - 1 AS shard FROM first
        )
        SELECT shard, home, homes.row, homes.unit, place, {takes}
        FROM homes JOIN numbered USING (home) JOIN taken ON taken.row = homes.row""")


_DROPPED_SQL = """
    SELECT rows.id, names[rows.source + 1] AS source, coalesce(gone.rule, rows.rule) AS rule,
        coalesce(gone.why, rows.why) AS why, best.id AS winner
    FROM rows, (SELECT getvariable('names') AS names) LEFT JOIN gone ON gone.row = rows.row
        LEFT JOIN rows best ON best.row = gone.winner
    WHERE gone.row IS NOT NULL OR rows.rule IS NOT NULL ORDER BY rows.row"""


def _counted(database: Any, recipe: BuildRecipe) -> dict[str, Any]:
    shards = database.execute("SELECT coalesce(max(shard) + 1, 0) FROM plan").fetchone()[0]
    read = dict(database.execute("SELECT source, count(*) FROM rows GROUP BY source").fetchall())
    dropped = database.execute(
        f"SELECT source, rule, count(*) FROM ({_DROPPED_SQL}) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    joined = dict(
        database.execute(
            "SELECT rows.source, count(*) FROM plan JOIN rows USING (row) WHERE plan.row <> plan.home GROUP BY ALL"
        ).fetchall()
    )
    return {
        "shards": shards,
        "sources": [
            {
                "name": source.name,
                "read": read.get(index, 0),
                "joined": joined.get(index, 0),
                "dropped": {rule: count for name, rule, count in dropped if name == source.name},
            }
            for index, source in enumerate(recipe.sources)
        ],
    }


def _write(database: Any, select: str, schema: Any, draft: Path) -> None:
    """The rows of a SELECT in row groups of a fixed size."""
    waiting = schema.empty_table()
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in database.sql(select).to_arrow_reader(_ROWS):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)])
            while waiting.num_rows >= _ROWS:
                writer.write_table(waiting.slice(0, _ROWS).combine_chunks())
                waiting = waiting.slice(_ROWS)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks())
