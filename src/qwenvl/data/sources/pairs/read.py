"""Reads a unit, whatever its form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs.arrow import read_arrow
from qwenvl.data.sources.pairs.jsonl import read_jsonl
from qwenvl.data.sources.pairs.parquet import read_parquet
from qwenvl.data.sources.pairs.tar import read_tar
from qwenvl.data.sources.pairs.unit import BadPair, Columns, Kind, Unit

_READERS: dict[Kind, Callable[[Unit, Columns], Iterator[Pair | BadPair]]] = {
    "tar": read_tar,
    "parquet": read_parquet,
    "jsonl": read_jsonl,
    "arrow": read_arrow,
}


def read_unit(unit: Unit, columns: Columns | None = None) -> Iterator[Pair | BadPair]:
    """The pairs of a unit in its order, one at a time, and in their places what could not be read.

    The same unit gives the same pairs and ids each time. What is wrong with the content never raises; a file that can
    not be reached does (OSError): that may be mended, and is not the data's fault.
    """
    return _READERS[unit.kind](unit, columns or Columns())
