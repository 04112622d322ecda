"""Lines of text with corners in one file: MMOCR's JSON, WildReceipt's and PaddleOCR's lines, labels of word crops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from qwenvl.data.sources.fields import list_of, shown, text_of
from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import placed, tails
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Options
from qwenvl.data.sources.public.text_in_picture import WHOLE, Line, page, quad_of
from qwenvl.data.sources.report import RowError, Spot
from qwenvl.data.sources.rows import Row, beginning, read_rows

MAX_LABEL = 16 << 20
"""Bytes of a line of labels that are read at most."""


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The pages of a file, whose form is told from its content:

    * one object with `data_list` (MMOCR 1): detection, spotting, or crops of words; `ignore` marks the illegible;
    * objects a line: `file_name` with `annotations` of `box` and `text` (WildReceipt); `filename` and `text` (crops);
    * other lines: `picture<tab>[{"transcription", "points"}]` (PaddleOCR), or `picture text` (crops).

    The picture may lie under its whole name or under the end of it. Raises DataError where the file can not be read.
    """
    rows, lines_of = _form(path)
    for at, row in placed(path, rows, reading):
        with reading.row(at):
            name, lines = lines_of(row)
            id = f"{PurePosixPath(name).stem}-{at.spot.row or at.spot.line}"
            yield page(id, tails(name), at, lines)


def _form(path: Path) -> tuple[Iterator[tuple[Spot, Row | RowError]], Callable[[Row], tuple[str, list[Line]]]]:
    head = beginning(path)
    if head[:1] != b"{":
        return _labels(path), _label
    if b'"data_list"' in head or head.split(b"\n", 1)[0].strip() == b"{":
        return list_rows(path, "data_list"), _mmocr
    return read_rows(path), _object


def _mmocr(row: Row) -> tuple[str, list[Line]]:
    lines = []
    for item, where in _items(list_of(row, "instances"), "instances"):
        name = next((name for name in ("polygon", "quad", "box", "bbox") if item.get(name)), None)
        quad = quad_of(item[name], f"{where}.{name}") if name else WHOLE
        # a set for detection alone has places and no words
        words = text_of(item, "text", where + ".") if item.get("text") else ""
        lines.append(Line(words, quad, item.get("ignore") is not True))
    return text_of(row, "img_path"), lines


def _object(row: Row) -> tuple[str, list[Line]]:
    if "annotations" not in row:
        return text_of(row, "filename"), [Line(text_of(row, "text"), WHOLE)]
    items = _items(list_of(row, "annotations"), "annotations")
    return text_of(row, "file_name"), [_line(item, "text", "box", where) for item, where in items]


def _label(row: Row) -> tuple[str, list[Line]]:
    name, rest = row["picture"], row["label"]
    if not rest.startswith("[{"):
        return name, [Line(text_of({"text": rest}, "text"), WHOLE)]
    try:
        found = json.loads(rest)
    except (ValueError, RecursionError):
        raise RowError("", f"expected a JSON list after the picture, not {rest[:60]!r}") from None
    return name, [_line(item, "transcription", "points", where) for item, where in _items(found, "")]


def _items(found: list[Any], name: str) -> Iterator[tuple[Row, str]]:
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            raise RowError(f"{name}[{index}]", f"expected an object, not {shown(item)}")
        yield item, f"{name}[{index}]"


def _line(item: Row, words: str, place: str, where: str) -> Line:
    text = "" if item.get(words) == "" else text_of(item, words, where + ".")
    return Line(text, quad_of(item.get(place), f"{where}.{place}"))


def _labels(path: Path) -> Iterator[tuple[Spot, Row | RowError]]:
    """The lines of a file of labels: what stands before the first tab or space, and after it."""
    with path.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(MAX_LABEL), b""), start=1):
            try:
                line = raw.decode("utf-8-sig").strip()
            except UnicodeDecodeError as error:
                yield Spot(number), RowError("", f"not UTF-8 (byte {error.start + 1}); save the file as UTF-8")
                continue
            if not line:
                continue
            name, _, rest = line.partition("\t" if "\t" in line else " ")
            rest = rest.strip()
            if name.endswith(",") and len(rest) > 1 and rest[0] == rest[-1] == '"':  # ICDAR's: word_1.png, "text"
                name, rest = name[:-1], rest[1:-1].replace('\\"', '"')
            if rest:
                yield Spot(number), {"picture": name, "label": rest}
            else:
                yield Spot(number), RowError("", f"expected a picture's name, a space and its text, not {line[:60]!r}")


FORMATS = [
    Format("ocr", "text lines with corners in one file: MMOCR's, WildReceipt's or PaddleOCR's, or word crops", entries)
]
