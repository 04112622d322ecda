"""Lines of text with corners in one file: MMOCR's JSON, WildReceipt's and PaddleOCR's lines, labels of word crops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from qwenvl.data.sources.fields import list_of, shown, text_of
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import tails
from qwenvl.data.sources.public.text_in_picture import ILLEGIBLE, MAX_LINES, Line, Page, corners_of
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.data.sources.rows import Row, read_rows

MAX_LABEL = 16 << 20
Pages = Iterator[tuple[Spot, Page | RowError]]


def entries(path: Path) -> Pages:
    """The pages of a file, whose form is told from its content:

    * one object with `data_list` (MMOCR 1): detection, spotting, or crops of words; `ignore` marks the illegible;
    * objects a line: `file_name` with `annotations` of `box` and `text` (WildReceipt); `filename` and `text` (crops);
    * other lines: `picture<tab>[{"transcription", "points"}]` (PaddleOCR), or `picture text` (crops).

    The picture may lie under its whole name or under the end of it. Raises DataError where the file can not be
    read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if not head:
        raise DataError(f"{path}: the file is empty")
    if head[:1] != b"{":
        return _parsed(_labels(path), _label)
    if b'"data_list"' in head or head.split(b"\n", 1)[0].strip() == b"{":
        return _parsed(list_rows(path, "data_list"), _mmocr)
    return _parsed(read_rows(path), _object)


def _parsed(rows: Iterator[tuple[Spot, Row | RowError]], parse: Callable[[Row, Spot], Page]) -> Pages:
    for spot, row in rows:
        try:
            if isinstance(row, RowError):
                raise row
            yield spot, parse(row, spot)
        except RowError as error:
            yield spot, error


def _page(name: str, lines: list[Line], spot: Spot) -> Page:
    if len(lines) > MAX_LINES:
        raise RowError("lines", f"{len(lines):,}, more than {MAX_LINES:,}")
    return Page(f"{PurePosixPath(name).stem}-{spot.row or spot.line}", tails(name), tuple(lines))


def _mmocr(row: Row, spot: Spot) -> Page:
    lines = []
    for index, item in enumerate(list_of(row, "instances")):
        where = f"instances[{index}]"
        if not isinstance(item, dict):
            raise RowError(where, f"expected an object, not {shown(item)}")
        place = next(((name, item[name]) for name in ("polygon", "quad", "box", "bbox") if item.get(name)), None)
        corners = corners_of(place[1], f"{where}.{place[0]}") if place else None
        # a set for detection alone has places and no words
        words = text_of(item, "text", where + ".") if item.get("text") else ""
        lines.append(Line(words, corners, bool(words) and item.get("ignore") is not True and words not in ILLEGIBLE))
    return _page(text_of(row, "img_path"), lines, spot)


def _object(row: Row, spot: Spot) -> Page:
    if "annotations" not in row:
        return _page(text_of(row, "filename"), [Line(text_of(row, "text"), None)], spot)
    lines = []
    for index, item in enumerate(list_of(row, "annotations")):
        where = f"annotations[{index}]"
        if not isinstance(item, dict):
            raise RowError(where, f"expected an object, not {shown(item)}")
        words = item.get("text")
        if not isinstance(words, str):
            raise RowError(f"{where}.text", "missing" if words is None else f"expected a text, not {shown(words)}")
        lines.append(Line(words, corners_of(item.get("box"), f"{where}.box"), words.strip() not in ILLEGIBLE))
    return _page(text_of(row, "file_name"), lines, spot)


def _label(row: Row, spot: Spot) -> Page:
    name, rest = row["picture"], row["label"]
    if not rest.startswith("["):
        return _page(name, [Line(text_of({"text": rest}, "text"), None)], spot)
    try:
        found: Any = json.loads(rest)
    except (ValueError, RecursionError):
        raise RowError("", f"expected a JSON list after the picture, not {rest[:60]!r}") from None
    lines = []
    for index, item in enumerate(found):
        where = f"[{index}]"
        if not isinstance(item, dict) or not isinstance(item.get("transcription"), str):
            raise RowError(where, f"expected an object with a transcription, not {shown(item)}")
        words = item["transcription"]
        lines.append(Line(words, corners_of(item.get("points"), f"{where}.points"), words.strip() not in ILLEGIBLE))
    return _page(name, lines, spot)


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
            name, _, rest = line.partition("\t") if "\t" in line else line.partition(" ")
            if name.endswith(",") and rest[:1] == rest[-1:] == '"':  # ICDAR's crops: word_1.png, "text"
                name, rest = name[:-1], rest[1:-1].replace('\\"', '"')
            if not rest.strip():
                yield (
                    Spot(number),
                    RowError("", f"expected a picture's name, a tab or a space, and its text: {line[:60]!r}"),
                )
                continue
            yield Spot(number), {"picture": name, "label": rest.strip()}
