"""Arrow files, as Hugging Face's `save_to_disk` and its cache hold them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs.files import is_url, open_file
from qwenvl.data.sources.pairs.parquet import passed_on
from qwenvl.data.sources.pairs.table import BATCH_ROWS, plan, table_pairs
from qwenvl.data.sources.pairs.unit import BadPair, Columns, Ids, Unit
from qwenvl.data.sources.report import DataError

_FILE_MAGIC = b"ARROW1"
_END = b"\xff\xff\xff\xff\0\0\0\0"


def read_arrow(unit: Unit, columns: Columns) -> Iterator[Pair | BadPair]:
    """The pairs of a stream or file of Arrow batches, those before the first damage; the rest is told once."""
    import pyarrow as pa

    ids = Ids(unit)
    with open_file(unit.path) as file:
        first = 0
        try:
            schema, batches = opened(file, unit.path)
            found = plan(schema, columns, unit.path)
            for batch in batches:
                batch = _checked(batch.select(found.names))
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    part = batch.slice(start, BATCH_ROWS)
                    yield from table_pairs(part, found, columns, first, ids)
                    first += part.num_rows
            size = file.seek(0, 2)
            file.seek(max(size - len(_END), 0))
            whole = file.read(len(_END)) in (_END, _END[4:]) or _is_file(file)
            problem = "" if whole else "the stream stops without its end mark"
        except DataError as error:
            yield ids.bad("(rest)", "other columns", str(error))
            return
        except (OSError, EOFError, pa.ArrowException) as error:
            passed_on(error)
            problem = " ".join(str(error).split())[:200]
        if problem:
            detail = f"{file.seek(0, 2):,} bytes; nothing after row {first:,} can be read ({problem})"
            yield ids.bad("(rest)", "truncated shard", detail)


def _checked(batch: Any) -> Any:
    """The batch, when no column of it points outside its own bytes. Raises ArrowInvalid: reading it would crash."""
    import pyarrow as pa

    # texts that are no UTF-8 are told one by one: only where they begin and end is checked
    plain = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    for column in batch.columns:
        kind = plain.get(column.type)
        (column.view(kind) if kind else column).validate(full=True)
    return batch


def schema_of(path: str) -> Any:
    """The schema; None where the file can not be read."""
    import pyarrow as pa

    with open_file(path) as file:
        try:
            return opened(file, path)[0]
        except (OSError, EOFError, pa.ArrowException) as error:
            passed_on(error)
            return None


def opened(file: BinaryIO, path: str) -> tuple[Any, Iterator[Any]]:
    """Schema and batches of a stream or a file; a local one is mapped into memory, not copied."""
    import pyarrow as pa

    random = _is_file(file)
    source = file if is_url(path) else pa.memory_map(path)
    if random:
        table = pa.ipc.open_file(source)
        return table.schema, (table.get_batch(number) for number in range(table.num_record_batches))
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)


def _is_file(file: BinaryIO) -> bool:
    file.seek(0)
    random = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    file.seek(0)
    return random
