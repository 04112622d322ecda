"""Parquet with the pictures' bytes, as img2dataset and Hugging Face write it, row group by row group."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs.files import open_file, size_of
from qwenvl.data.sources.pairs.parquet_salvage import salvaged
from qwenvl.data.sources.pairs.table import BATCH_BYTES, BATCH_ROWS, pictures_of, plan, table_pairs
from qwenvl.data.sources.pairs.unit import BadPair, Columns, Ids, Unit
from qwenvl.data.sources.report import DataError

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*", b"MM\0*")


def read_parquet(unit: Unit, columns: Columns) -> Iterator[Pair | BadPair]:
    """The pairs of the unit's row groups. A group that is damaged costs its rows from there on, told once; of a
    truncated file come the groups that are whole, where another shard of its folder tells how they are laid out.
    """
    import pyarrow as pa

    ids = Ids(unit)
    with open_file(unit.path) as file:
        rest = None
        try:
            table = opened(file)
        except (OSError, pa.ArrowException) as error:
            passed_on(error)
            whole = salvaged(unit.path, file, functools.partial(_fits, columns))
            if whole is None:
                size = f"{size_of(file) or 0:,} bytes without a table of contents ({_short(error)})"
                yield ids.bad("(rest)", "truncated shard", size)
                return
            rest = f"after {whole.rows:,} rows in {whole.groups:,} whole row groups, {whole.lost:,} bytes are lost"
            table = opened(whole.file)
        yield from _groups(unit, table, columns, ids)
        if rest is not None:
            yield ids.bad("(rest)", "truncated shard", rest)


def _fits(columns: Columns, file: Any, group: int) -> bool:
    """Whether a group that was salvaged is what it should be: all words are UTF-8, most pictures begin as such."""
    import pyarrow as pa

    pictures = known = 0
    try:
        table = opened(file)
        found = plan(table.schema_arrow, columns, "")
        about = table.metadata.row_group(group)
        for batch in table.iter_batches(_rows(about), [group], found.names, use_threads=False):
            batch.validate(full=True)
            images = [image for image in pictures_of(batch.column(found.image))[0] if image]
            pictures += len(images)
            known += sum(image.startswith(_BEGINNINGS) for image in images)
    except (OSError, pa.ArrowException, DataError) as error:
        passed_on(error)
        return False
    return 2 * known > pictures or not pictures


def _groups(unit: Unit, table: Any, columns: Columns, ids: Ids) -> Iterator[Pair | BadPair]:
    import pyarrow as pa

    try:
        found = plan(table.schema_arrow, columns, unit.path)
    except DataError as error:
        yield ids.bad("(rest)", "other columns", str(error))
        return
    first = 0
    for group in range(unit.begin, table.num_row_groups if unit.end is None else unit.end):
        about = table.metadata.row_group(group)
        done = 0
        try:
            for batch in table.iter_batches(_rows(about), [group], found.names, use_threads=False):
                yield from table_pairs(batch, found, columns, first + done, ids)
                done += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            passed_on(error)
            lost = f"row group {group}: {about.num_rows - done:,} of {about.num_rows:,} rows"
            yield ids.bad("(damage)", "damaged shard", f"{lost} can not be read ({_short(error)})")
        first += about.num_rows


def opened(file: Any) -> Any:
    """pyarrow's view of a file; pages are read as they are needed, their check sums compared where there are any."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, buffer_size=1 << 16, pre_buffer=False, page_checksum_verification=True)


def row_group_sizes(path: str) -> list[int]:
    """Bytes of each row group, none where the file can not be read (that is told when it is its turn)."""
    import pyarrow as pa

    with open_file(path) as file:
        try:
            meta = opened(file).metadata
        except (OSError, pa.ArrowException) as error:
            passed_on(error)
            return []
        return [meta.row_group(group).total_byte_size for group in range(meta.num_row_groups)]


def schema_of(path: str) -> Any:
    """The schema; None where the file can not be read."""
    import pyarrow as pa

    with open_file(path) as file:
        try:
            return opened(file).schema_arrow
        except (OSError, pa.ArrowException) as error:
            passed_on(error)
            return None


def passed_on(error: Exception) -> None:
    """Raise what the system says (a read that failed); what pyarrow says of the content has no number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _rows(group: Any) -> int:
    """How many rows to read at once."""
    each = max(group.total_byte_size // max(group.num_rows, 1), 1)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // each))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
