"""Web pairs as records, uncleaned: LAION, DataComp, Coyo, CC3M, CC12M, SBU as img2dataset or the Hub leave them.

`qwenvl data clean` reads the same and keeps what is worth training on; this is for looking, describing and small sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.pair import Pair
from qwenvl.data.sources.fields import language_of
from qwenvl.data.sources.pairs import BadPair, list_units, read_unit
from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.sample import Caption


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a pair. `path` is a folder, a file or a pattern with *, of tars, Parquet, JSON lines or Arrow."""
    for at, pair in pairs_of(str(path)):
        with reading.row(at):
            if isinstance(pair, BadPair):
                raise RowError("", f"{pair.id}: {pair.why}: {pair.detail}")
            if not (pair.caption or "").strip():
                raise RowError("caption", f"{pair.id} has none")
            text = str(pair.caption).strip()
            yield Entry(pair.id, pair.image, at, captions=(Caption(text, language_of({}, text)),))


def pairs_of(spec: str) -> Iterator[tuple[At, Pair | BadPair]]:
    """The pairs of all units of `spec` with their places, and what could not be read. Raises DataError."""
    # a Path takes one of the two slashes out of an address
    spec = re.sub(r"\A([a-z][a-z0-9+]+):/(?!/)", r"\1://", spec)
    try:
        for unit in list_units(spec):
            for row, pair in enumerate(read_unit(unit), start=1):
                yield At(unit.path, Spot(0, row)), pair
    except OSError as error:
        raise DataError(f"{spec}: {error.strerror or error}") from error


FORMATS = [
    Format("pairs", "image–text pairs: WebDataset tars, Parquet, JSON lines, Hugging Face sets", entries, file=False)
]
