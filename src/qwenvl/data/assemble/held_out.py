"""Held-out pictures: what they look like, and whether a picture is one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qwenvl.data.assemble.layout import Layout
from qwenvl.data.assemble.units import Unit
from qwenvl.data.clean.phash import SIDE, phash
from qwenvl.data.images import ImageError, encode, reduced_grey
from qwenvl.data.sources import BadRows, DataError
from qwenvl.data.whole import whole, write_json
from qwenvl.sample import Image

_SCHEMA = pa.schema([("id", pa.string()), ("digest", pa.string()), ("phash", pa.uint64())])


def look_of(image: Image) -> int | None:
    """The perceptual hash of a picture; None where it shows nothing to compare. Raises ImageError."""
    return phash(reduced_grey(image, SIDE))


def encoded(image: Image) -> Image:
    """The picture as bytes, which can be moved and compared. Raises ImageError."""
    if isinstance(image.source, bytes):
        return image
    return Image(encode(image), image.width, image.height, image.name)


def looks_of(pictures: Iterable[tuple[str, Image]]) -> Any:
    """A table of the distinct pictures, given with their ids: id, digest, phash. Raises ImageError."""
    rows: dict[str, tuple[str, int | None]] = {}
    for id, picture in pictures:
        image = encoded(picture)
        if image.key not in rows:
            rows[image.key] = (id, look_of(image))
    columns = [[id for id, _ in rows.values()], list(rows), [look for _, look in rows.values()]]
    return pa.table(columns, schema=_SCHEMA)


@dataclass(frozen=True)
class Look:
    """The work on a held-out unit: hashes its pictures."""

    layout: Layout

    def __call__(self, unit: Unit) -> int:
        """Gives how many pictures were looked at. Raises DataError where there are none: nothing would be held out."""
        bad = BadRows()
        table = looks_of(unit.pictures(bad))
        if not table.num_rows:
            first = f"; the first row: {bad.first}" if bad.first else ""
            raise DataError(f"{unit.path}: not one picture of this held-out set could be opened{first}")
        with whole(self.layout.held(unit.number)) as path:
            pq.write_table(table, path)
        told = {"spec": unit.path, "pictures": table.num_rows, "skipped": bad.count, "first": bad.first}
        write_json(self.layout.looked(unit.number), told)
        return int(table.num_rows)

    def done(self, unit: Unit) -> bool:
        """Whether the unit's looks are there."""
        return self.layout.looked(unit.number).exists()


class HeldOutPictures:
    """All held-out pictures, sixteen bytes each and their names."""

    def __init__(self, looks: Any, distance: int) -> None:
        """`looks` is a table of `looks_of`, or None."""
        table = _SCHEMA.empty_table() if looks is None else looks
        self._ids = table["id"].to_pylist()
        self._digests = {digest: row for row, digest in enumerate(table["digest"].to_pylist())}
        seen = table["phash"].is_valid().to_numpy()
        self._rows = np.flatnonzero(seen)
        self._looks = table["phash"].drop_null().to_numpy().astype(np.uint64)
        self._distance = distance

    def __len__(self) -> int:
        return len(self._digests)

    def match(self, image: Image, look: int | None) -> str | None:
        """Why a picture (of bytes, with its `look_of`) is one of them, or None: "equals refcoco-17" and the like."""
        row = self._digests.get(image.key)
        if row is not None:
            return f"equals the held-out {self._ids[row]}"
        if look is None or not len(self._looks):
            return None
        away = np.bitwise_count(self._looks ^ np.uint64(look))
        nearest = int(away.argmin())
        if away[nearest] > self._distance:
            return None
        return f"looks like the held-out {self._ids[self._rows[nearest]]} ({away[nearest]} bits away)"


def checked_look(image: Image) -> tuple[int | None, str | None]:
    """The look of a picture, and why it can not be decoded."""
    try:
        return look_of(image), None
    except ImageError as error:
        return None, str(error)
