"""GRIT as Kosmos-2 published it: captions whose ranges have boxes, in rows or in what img2dataset made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwenvl.data.clean.nesting import unnested_phrases
from qwenvl.data.sources.fields import language_of, list_of, shown, text_of
from qwenvl.data.sources.pairs import BadPair
from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.public.pairs import pairs_of
from qwenvl.data.sources.public.question import id_of
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.report import RowError, Spot
from qwenvl.data.sources.rows import one_object
from qwenvl.sample import Box, Caption, Phrase

_LISTS = {"both": ("ref_exps", "noun_chunks"), "ref_exps": ("ref_exps",), "noun_chunks": ("noun_chunks",)}


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture: its caption with boxes, none of its phrases within another, as many boxes as possible
    (paper, appendix A.3), and each of those phrases by itself.

    A .json or .jsonl is read as rows, with pictures by `key` in `images`; everything else as pairs.
    """
    if path.suffix in (".json", ".jsonl", ".ndjson") and path.is_file():
        for at, row in _rows(path, reading):
            with reading.row(at):
                yield _entry(row, f"{id_of(row, 'key', 'id')}.jpg", at, options)
        return
    for at, pair in pairs_of(str(path)):
        with reading.row(at):
            if isinstance(pair, BadPair):
                raise RowError("", f"{pair.id}: {pair.why}: {pair.detail}")
            yield _entry({"key": pair.id, **pair.meta, "caption": pair.caption}, pair.image, at, options)


def _rows(path: Path, reading: Reading) -> Iterator[tuple[At, Row]]:
    """The rows of a file, or the one that a .json beside a picture is, as img2dataset writes it."""
    try:
        one = one_object(path)
    except RowError:
        yield from reading.rows(path)
    else:
        yield At(str(path), Spot(1)), one


def _entry(row: Mapping[str, Any], image: str | bytes, at: At, options: Options) -> Entry:
    text = text_of(dict(row), "caption")
    size = _size(row)
    found: dict[tuple[int, int], list[Box]] = {}
    for name in _LISTS[str(options["labels"])]:
        if row.get(name) is None or (isinstance(row[name], Sequence) and not row[name]):
            continue
        for index, label in enumerate(list_of(dict(row), name)):
            start, end, box = _label(label, text, size, f"{name}[{index}]")
            boxes = found.setdefault((start, end), [])
            if box not in boxes:
                boxes.append(box)
    if not found:
        raise RowError("noun_chunks", "missing: the row has no boxes (looked for noun_chunks and ref_exps)")
    ranges = sorted(found)
    kept = [ranges[n] for n in unnested_phrases([(*place, len(found[place])) for place in ranges])]
    language = language_of({}, text)
    return Entry(
        id=f"grit-{id_of(dict(row), 'key', 'id')}",
        image=image,
        at=at,
        size=size,
        captions=(Caption(text, language, tuple((start, end, tuple(found[start, end])) for start, end in kept)),),
        phrases=tuple(Phrase(text[start:end], tuple(found[start, end]), language) for start, end in kept),
    )


def _size(row: Mapping[str, Any]) -> tuple[int, int]:
    """The size that the fractions are turned into pixels of; the picture's own may be smaller."""
    sides = [row.get(name) for name in ("width", "height")]
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        raise RowError("width", f"expected width and height in pixels, not {shown(sides)}")
    return int(sides[0] or 0), int(sides[1] or 0)


def _label(value: Any, text: str, size: tuple[int, int], where: str) -> tuple[int, int, Box]:
    """[start, end, x0, y0, x1, y1, score]: characters, and fractions of the sides."""
    given = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []
    numbers = [float(n) for n in given if isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n)]
    if len(numbers) < 6 or len(numbers) != len(given):
        raise RowError(where, f"expected [start, end, x0, y0, x1, y1, score], not {shown(value)}")
    start, end = int(numbers[0]), int(numbers[1])
    if not 0 <= start < end <= len(text):
        raise RowError(where, f"characters {start} to {end} are none of the caption's {len(text)}")
    x0, y0, x1, y1 = (min(max(n, 0.0), 1.0) * side for n, side in zip(numbers[2:6], size * 2, strict=True))
    if x1 <= x0 or y1 <= y0:
        raise RowError(where, f"{shown(value)} is no box: it has no area or swapped corners")
    return start, end, Box(x0, y0, x1, y1)


FORMATS = [
    Format(
        "grit",
        "GRIT's rows with pictures, or tars and Parquet of img2dataset (huggingface.co/datasets/zzliang/GRIT)",
        entries,
        {"labels": Option("both", "which boxes: of noun phrases, of referring expressions, or both", tuple(_LISTS))},
        file=False,
    )
]
