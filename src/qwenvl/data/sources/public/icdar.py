"""ICDAR's text files, one a picture: `x1,y1,…,x4,y4,text` (2015), with a language before the text (MLT), or a box."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qwenvl.data.sources.public.text_in_picture import ILLEGIBLE, MAX_LINES, Line, Page, corners_of
from qwenvl.data.sources.report import DataError, RowError, Spot

MAX_FILE = 16 << 20
PICTURES = (".jpg", ".png", ".jpeg", ".gif", ".JPG", ".PNG")
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_QUAD = re.compile(",".join([_NUMBER] * 8) + ",(.*)", re.DOTALL)
_BOX = re.compile(r"[,\s]".join([_NUMBER] * 4) + r'[,\s]\s*"(.*)"\s*', re.DOTALL)
_SCRIPTS = "Arabic|Bangla|Chinese|Hindi|Japanese|Korean|Latin|Symbols|Mixed|None"
_SCRIPT = re.compile(rf"({_SCRIPTS}),(.*)", re.DOTALL)


def entries(path: Path, scripts: bool = False) -> Iterator[tuple[Spot, Page | RowError]]:
    """The pages of a folder of `gt_img_1.txt` (2015, 2017, 2019) or `gt_100.txt` and `img_1.txt` (2013).

    With `scripts` a language stands before the text (MLT): it goes into `Page.meta`. The picture has the file's name
    without "gt_". A file with a line that can not be read is left out whole, as the other lines would say that there is
    no more text in the picture. Raises DataError for a folder without such files.
    """
    files = sorted(path.glob("*.txt"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise DataError(f"{path}: no .txt in this folder; expected ICDAR's ground truth, a file a picture")
    for file in files:
        stem = file.stem.removeprefix("gt_")
        try:
            lines, found = _lines(file, scripts)
        except _BadLine as error:
            yield Spot(error.number), RowError(file.name, str(error))
            continue
        yield (
            Spot(1),
            Page(stem, tuple(stem + ending for ending in PICTURES), lines, meta={"scripts": found} if found else {}),
        )


class _BadLine(ValueError):
    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}" if number > 1 else reason)
        self.number = number


def _lines(file: Path, scripts: bool) -> tuple[tuple[Line, ...], list[str]]:
    try:
        if file.stat().st_size > MAX_FILE:
            raise _BadLine(1, f"more than {MAX_FILE >> 20} MB")
        rows = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise _BadLine(1, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise _BadLine(1, f"not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    lines: list[Line] = []
    seen: dict[str, None] = {}
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        if len(lines) >= MAX_LINES:
            raise _BadLine(number, f"more than {MAX_LINES:,} lines")
        *places, words = _parted(row.rstrip("\r"), number)
        if scripts:
            script = _SCRIPT.fullmatch(words)
            if script is None:
                raise _BadLine(number, f"expected a language ({_SCRIPTS.replace('|', ', ')}) before the text")
            seen[script[1]], words = None, script[2]
        try:
            corners = corners_of([float(place) for place in places], "corners")
        except RowError as error:
            raise _BadLine(number, str(error)) from None
        lines.append(Line(words, corners, words.strip() not in ILLEGIBLE))
    return tuple(lines), list(seen)


def _parted(row: str, number: int) -> tuple[str, ...]:
    found = _QUAD.fullmatch(row) or _BOX.fullmatch(row)
    if found is None:
        raise _BadLine(number, f'expected x1,y1,x2,y2,x3,y3,x4,y4,text or x0,y0,x1,y1,"text", not {row[:60]!r}')
    return found.groups()
