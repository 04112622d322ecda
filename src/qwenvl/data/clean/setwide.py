"""The second pass: set rules run as SQL over all ledgers, out of core, and what they drop as one Parquet file.

A ledger is one Parquet file of a unit with a row for every pair read. Only the columns that a rule names are read.
What comes out depends on the ledgers and the rules alone: not on threads, memory, or the order in which rows arrive.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qwenvl.data.clean.rule import SetRule
from qwenvl.data.whole import whole

MEMORY_MIB = 192
"""What DuckDB may hold unless told otherwise; the rest goes to disk. A billion pairs run faster with tens of GiB."""

COLUMNS = ("id", "source", "url", "digest", "phash", "caption", "characters", "width", "height")
"""What a ledger must have for the view `kept`, beside `row` and `kept`."""

_ROWS_PER_GROUP = 50_000


class SetRuleError(ValueError):
    """A set rule's SELECT does not run, or gives what can not be carried out; the message names the rule."""


def apply(
    ledgers: Sequence[Path | str],
    rules: Sequence[SetRule],
    out: Path,
    *,
    memory_mib: int = MEMORY_MIB,
    threads: int | None = None,
) -> Path:
    """Run `rules` one after another over `ledgers` (in the order of their units) and write what they drop to `out`.

    `out` gets the columns unit (index into `ledgers`), row (in the unit), rule, why, value (text or null) and winner
    (id of the pair that stays in its place, or null), sorted by unit and row. A winner that a later rule drops
    is followed to the pair that stays in the end. Temporary files lie beside `out` and are removed. Written whole or
    not at all. Raises SetRuleError for a rule at fault, OSError where the disk is full.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with opened(out.with_name(f".{out.name}.spill"), memory_mib, threads) as database:
        open_ledgers(database, ledgers)
        for index, rule in enumerate(rules):
            _run(database, rule, index)
        _follow_winners(database)
        with whole(out) as draft:
            _write(database, [rule.name for rule in rules], draft)
    return out


@contextmanager
def opened(spill: Path, memory_mib: int = MEMORY_MIB, threads: int | None = None) -> Iterator[Any]:
    """A database in memory that puts what is too much into the folder `spill`, which is removed behind it.

    Raises SetRuleError where DuckDB fails in the block, OSError where the disk is full.
    """
    duckdb = _duckdb()
    shutil.rmtree(spill, ignore_errors=True)
    database = duckdb.connect(config=_config(spill, memory_mib, threads))
    try:
        yield database
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise OSError(errno.ENOSPC, "the disk is full", str(spill.parent)) from error
        raise SetRuleError(f"the pass over all ledgers failed: {error}") from error
    finally:
        database.close()
        shutil.rmtree(spill, ignore_errors=True)


def _config(spill: Path, memory_mib: int, threads: int | None) -> dict[str, Any]:
    # nothing is ever fetched: an extension that is missing is an error, not a download
    config: dict[str, Any] = {
        "memory_limit": f"{memory_mib}MiB",
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
    }
    return config | ({"threads": threads} if threads else {})


def open_ledgers(database: Any, ledgers: Sequence[Path | str]) -> None:
    """The table `units`, the view `pairs` over all ledgers with global row numbers, and the empty table `gone`.

    A global row is the number of pairs in the units before plus the row in the unit: dense, so that it fits beside a
    length into 64 bits.
    """
    import pyarrow.parquet as pq

    counts = [pq.read_metadata(path).num_rows for path in map(str, ledgers)]
    before = [0]
    for count in counts:
        before.append(before[-1] + count)
    database.execute("CREATE TABLE units (unit UBIGINT, before BIGINT)")
    if ledgers:
        database.execute(
            "INSERT INTO units SELECT unnest(range(len($before)))::UBIGINT, unnest($before)", {"before": before[:-1]}
        )
    database.execute("CREATE TABLE gone (row BIGINT, rule INTEGER, why VARCHAR, value VARCHAR, winner BIGINT)")
    database.execute("SET VARIABLE ledgers = $paths", {"paths": [str(path) for path in ledgers]})
    if not ledgers:
        nothing = ", ".join(f"NULL AS {name}" for name in COLUMNS)
        database.execute(
            f"CREATE VIEW pairs AS SELECT 0 AS row, 0 AS unit, 0 AS place, TRUE AS kept, {nothing} LIMIT 0"
        )
        return
    database.execute(
        f"CREATE VIEW pairs AS SELECT before + p.row AS row, unit, p.row AS place, kept, {', '.join(COLUMNS)} "
        "FROM read_parquet(getvariable('ledgers')) p JOIN units ON units.unit = p.file_index"
    )


def _run(database: Any, rule: SetRule, index: int) -> None:
    """Add to `gone` what a rule drops; each of its SELECTs sees what the earlier ones left."""
    duckdb = _duckdb()
    try:
        show_kept(database)
        for select in rule.drops(database):
            database.execute(
                "CREATE OR REPLACE TEMP TABLE found AS SELECT row::BIGINT AS row, why::VARCHAR AS why, "
                f"value::VARCHAR AS value, winner::BIGINT AS winner FROM ({select})"
            )
            _check(database, rule)
            database.execute("INSERT INTO gone SELECT row, $index, why, value, winner FROM found", {"index": index})
            show_kept(database)
    except duckdb.OutOfMemoryException as error:
        raise SetRuleError(f"the rule {rule.name} needs more memory than it was given: {error}") from error
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise
        raise SetRuleError(f"the rule {rule.name}: its SELECT does not run: {error}") from error


def show_kept(database: Any) -> None:
    """`kept`: the pairs that the other rules kept and that are not gone yet."""
    gone = database.execute("SELECT EXISTS (FROM gone)").fetchone()[0]
    left = "AND NOT EXISTS (SELECT 1 FROM gone WHERE gone.row = pairs.row)" if gone else ""
    database.execute(f"CREATE OR REPLACE VIEW kept AS SELECT row, {', '.join(COLUMNS)} FROM pairs WHERE kept {left}")


def _check(database: Any, rule: SetRule) -> None:
    """A pair goes once, and who stays in its place is not going too: else winners could run in circles."""
    twice = database.execute("SELECT count(*) - count(DISTINCT row) FROM found").fetchone()[0]
    if twice:
        raise SetRuleError(f"the rule {rule.name} drops {twice} pairs more than once: give each row once (GROUP BY)")
    both = database.execute("SELECT count(*) FROM found WHERE winner IN (SELECT row FROM found)").fetchone()[0]
    if both:
        raise SetRuleError(
            f"the rule {rule.name} gives {both} pairs a winner that it drops as well: name one that stays"
        )


def _follow_winners(database: Any) -> None:
    """Replace a winner that went later by its own winner, until all stay: each round halves the way."""
    while True:
        moved = database.execute(
            "UPDATE gone SET winner = later.winner FROM gone later WHERE gone.winner = later.row"
        ).fetchone()[0]
        if not moved:
            return


def _write(database: Any, names: Sequence[str], draft: Path) -> None:
    """The table `gone` with the winners' ids, in row groups of a fixed size."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    before = np.array([row[0] for row in database.execute("SELECT before FROM units ORDER BY unit").fetchall()])
    reader = database.sql(
        "SELECT gone.row, rule, why, value, best.id AS winner "
        "FROM gone LEFT JOIN pairs best ON best.row = gone.winner ORDER BY gone.row"
    ).to_arrow_reader(_ROWS_PER_GROUP)
    text = pa.string()
    schema = pa.schema(
        [("unit", pa.int32()), ("row", pa.int64()), *((name, text) for name in ("rule", "why", "value", "winner"))]
    )
    waiting = schema.empty_table()
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in reader:
            rows = batch["row"].to_numpy()
            unit = np.searchsorted(before, rows, "right") - 1
            rule = pa.array(names, text).take(batch["rule"])
            columns = [unit.astype(np.int32), rows - before[unit], rule, batch["why"], batch["value"], batch["winner"]]
            waiting = pa.concat_tables([waiting, pa.table(columns, schema=schema)])
            while waiting.num_rows >= _ROWS_PER_GROUP:
                writer.write_table(waiting.slice(0, _ROWS_PER_GROUP).combine_chunks())
                waiting = waiting.slice(_ROWS_PER_GROUP)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks())


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise ImportError("rules over the whole set need DuckDB: pip install 'qwenvl[data]'") from error
    return duckdb
