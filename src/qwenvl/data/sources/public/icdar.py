"""ICDAR's text files, one a picture: `x1,y1,…,x4,y4,text` (2015), with a language before the text (MLT), or a box."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.public.text_in_picture import Line, page, quad_of
from qwenvl.data.sources.report import DataError, RowError, Spot

MAX_FILE = 16 << 20
_ENDINGS = (".jpg", ".png", ".jpeg", ".gif", ".JPG", ".PNG")
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?")
_SCRIPTS = "Arabic|Bangla|Chinese|Hindi|Japanese|Korean|Latin|Symbols|Mixed|None"
_SCRIPT = re.compile(rf"({_SCRIPTS}),(.*)", re.DOTALL)


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """The pages of a folder of `gt_img_1.txt` (2015, 2017, 2019, 2013); a picture has the file's name without "gt_".

    A file with a line that can not be read is left out whole: its other lines would say that there is no more text in
    the picture. Raises DataError for a folder without such files.
    """
    files = sorted(path.glob("*.txt"), key=lambda file: (len(file.name), file.name)) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no .txt in this folder; expected ICDAR's ground truth, a file a picture")
    for file in files:
        stem = file.stem.removeprefix("gt_")
        spot = Spot(1)
        try:
            lines, scripts = [], set[str]()
            for number, row in _rows(file):
                spot = Spot(number)
                lines.append(_line(row, scripts if options["scripts"] else None))
            names = tuple(stem + ending for ending in _ENDINGS)
            meta = {"scripts": sorted(scripts)} if scripts else {}
            yield page(stem, names, At(str(file), Spot(1)), lines, meta=meta)
        except RowError as error:
            reading.bad(At(str(file), spot), error)


def _rows(file: Path) -> Iterator[tuple[int, str]]:
    try:
        if file.stat().st_size > MAX_FILE:
            raise RowError("", f"more than {MAX_FILE >> 20} MB")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RowError("", error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise RowError("", f"not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    for number, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            yield number, row.rstrip("\r")


def _line(row: str, scripts: set[str] | None) -> Line:
    *places, words = _parted(row)
    if scripts is not None:
        script = _SCRIPT.fullmatch(words)
        if script is None:
            raise RowError("", f"expected a language ({_SCRIPTS.replace('|', ', ')}) before the text: {words[:60]!r}")
        scripts.add(script[1])
        words = script[2]
    return Line(words, quad_of([float(place) for place in places], "corners"))


def _parted(row: str) -> list[str]:
    """The numbers of a line and its text. Raises RowError."""
    parts = row.split(",", 8)
    if len(parts) == 9 and all(_NUMBER.fullmatch(part.strip()) for part in parts[:8]):
        return parts
    places, quote, words = row.partition('"')
    numbers, words = places.replace(",", " ").split(), words.rstrip()
    if quote and words.endswith('"') and len(numbers) == 4 and all(map(_NUMBER.fullmatch, numbers)):
        return [*numbers, words[:-1]]
    raise RowError("", f'expected x1,y1,x2,y2,x3,y3,x4,y4,text or x0,y0,x1,y1,"text", not {row[:60]!r}')


FORMATS = [
    Format(
        "icdar",
        "a folder of ICDAR's ground truth, gt_img_1.txt, …, and its pictures (rrc.cvc.uab.es)",
        entries,
        {"scripts": Option(False, "a language stands before the text (MLT of 2017 and 2019)")},
    )
]
