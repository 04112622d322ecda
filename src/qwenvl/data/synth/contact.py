"""A contact sheet: some of a run's pictures with the quads of their lines drawn, so that a person sees if they fit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwenvl.assets.fonts import font
from qwenvl.data.record_json import record_from_json
from qwenvl.data.shards import COLUMNS
from qwenvl.data.whole import whole
from qwenvl.sample import Record

if TYPE_CHECKING:
    from PIL import Image as PILImage

SHEET = "contact.png"
_COLUMNS, _ROWS = 4, 3
_CELL, _TITLE, _GAP = 720, 26, 8
_COLOURS = ((230, 25, 75), (0, 110, 220), (0, 150, 70), (240, 110, 0), (160, 30, 190))


def write_sheet(folder: Path, shards: Sequence[Mapping[str, Any]], count: int = _COLUMNS * _ROWS) -> None:
    """Write `contact.png` of `count` records spread evenly over the shards (each with its file and rows).

    Nothing is written where there is no record.
    """
    records = _spread(folder, shards, count)
    if records:
        with whole(folder / SHEET) as draft:
            sheet(records).save(draft, "PNG")


def sheet(records: Sequence[Record]) -> PILImage.Image:
    """The first picture of each record, shrunk into a cell, its lines outlined, its id and number of lines above it.

    Neighbouring lines have different colours, always in the same turn, so that the reading order shows.
    """
    from PIL import Image as PILImageModule
    from PIL import ImageDraw

    columns = min(_COLUMNS, len(records))
    rows = -(-len(records) // columns)
    canvas = PILImageModule.new("RGB", (columns * (_CELL + _GAP), rows * (_CELL + _TITLE + _GAP)), (236, 236, 236))
    pen = ImageDraw.Draw(canvas)
    for number, record in enumerate(records):
        x, y = number % columns * (_CELL + _GAP), number // columns * (_CELL + _TITLE + _GAP)
        title = f"{record.id}  ({len(record.lines)} lines)"
        face = font(16, title)
        while len(title) > 1 and face.getlength(title) > _CELL - 8:
            title = f"…{title[2:]}"
        pen.text((x + 4, y + 4), title, font=face, fill=(40, 40, 40))
        canvas.paste(_drawn(record), (x, y + _TITLE))
    return canvas


def _drawn(record: Record) -> PILImage.Image:
    """A record's picture, at most a cell wide and high, with its lines."""
    from PIL import Image as PILImageModule
    from PIL import ImageDraw

    picture = record.images[0].pil()
    scale = min(1.0, _CELL / max(picture.size))
    # the picture first, the lines after: they stay thin and sharp
    small = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))),
        PILImageModule.Resampling.LANCZOS,
    )
    across, down = small.width / picture.width, small.height / picture.height
    pen = ImageDraw.Draw(small)
    for number, line in enumerate(record.lines):
        corners = [(x * across, y * down) for x, y in line.quad.points]
        if all(math.isfinite(value) for corner in corners for value in corner):
            pen.line([*corners, corners[0]], fill=_COLOURS[number % len(_COLOURS)])
    return small


def _spread(folder: Path, shards: Sequence[Mapping[str, Any]], count: int) -> list[Record]:
    """Records at even distances; a row group is in memory at a time."""
    import pyarrow.parquet as pq

    total = sum(int(shard["rows"]) for shard in shards)
    count = min(count, total)
    wanted = [number * total // count for number in range(count)]
    found: list[Record] = []
    begin = 0
    for shard in shards:
        rows = [row - begin for row in wanted if begin <= row < begin + int(shard["rows"])]
        begin += int(shard["rows"])
        if rows:
            with pq.ParquetFile(folder / shard["file"]) as file:
                found += [_record(file, row) for row in rows]
    return found


def _record(file: Any, row: int) -> Record:
    group = 0
    while row >= file.metadata.row_group(group).num_rows:
        row -= file.metadata.row_group(group).num_rows
        group += 1
    table = file.read_row_group(group, columns=list(COLUMNS), use_threads=False).slice(row, 1)
    id, source, images, record = (table.column(name)[0].as_py() for name in COLUMNS)
    return record_from_json(id, source, json.loads(record), [image["bytes"] for image in images])
