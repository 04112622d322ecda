"""The text lines of a PDF page and where they are, from PDFium's text layer.

PDFium gives a page's characters in the order of its content, with line ends where it sees them. Boxes are asked for a
word at a time: a call for each character would take longer than drawing the page.
"""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Rect = tuple[float, float, float, float]
"""Left, bottom, right, top in the page's own units, y up."""

Affine = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f: x' = a·x + c·y + e, y' = b·x + d·y + f."""

HIDDEN = 3
"""The render mode of text that is not painted: what a scanner's software read, beneath the picture of the page."""

_HYPHENS = "\x02\ufffe"
_WORD = re.compile(rf"[^\s{_HYPHENS}]*[{_HYPHENS}]|[^\s{_HYPHENS}]+")
_EASTERN = re.compile("[\u2e80-\uffdc]")
_HALF = re.compile("[\ud800-\udfff]")
_LEADER = re.compile(r"(?:[.·․…]\s*){5,}")
_LINE = re.compile(r"[^\r\n]+")
_GAP = 1.5
"""Parts of a row that are further apart than this many line heights are cells of their own."""

_OVERLAP, _CLOSE, _SPACE = -0.3, 0.7, 0.2
"""Parts that PDFium took for lines of their own are one where they are so close, in heights; with a space from the last
on.
"""

_STRAIGHT = math.radians(1.0)

# Letters that are drawn as one shape, and forms that only old character sets tell from the usual ones. Chinese
# punctuation of full width stays: it is what stands there.
_FORMS = re.compile("[\ufb00-\ufb06\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u2f00-\u2fdf\uf900-\ufaff]")


@dataclass(frozen=True, slots=True)
class Span:
    """A line of text, or a cell of one.

    `corners` are in the pixels of the page's picture, clockwise from the top-left as the text is read. `hidden` text is
    not painted; `slanted` text does not run along an edge of the page, and its corners only enclose it; `foreign` text
    has Chinese, Japanese or Korean characters of a font that is not in the document: what is drawn depends on the
    machine.
    """

    text: str
    corners: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
    hidden: bool = False
    slanted: bool = False
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class _Word:
    begin: int
    end: int
    rect: Rect


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    rect: Rect
    angle: float
    hidden: bool
    foreign: bool


def normal(text: str) -> str:
    """Text as a reader would type it: ligatures and full-width letters and digits as plain ones, composed accents."""
    if _HALF.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", errors="replace")
    text = _FORMS.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text)
    return " ".join(unicodedata.normalize("NFC", text.replace("\x02", "-").replace("\ufffe", "-")).split())


def spans(text_page: Any, to_pixels: Affine) -> Iterator[Span]:
    """The lines of a PDFium text page in the order of its content; `to_pixels` maps the page's units to pixels.

    A line ends where PDFium says so, at a hyphen that breaks a word, and where a part of the row is far from the next;
    what PDFium took apart is joined where it stands close together. Leaders (rows of dots) are left out.
    """
    for cell in _joined(_all_cells(text_page)):
        off = abs(cell.angle - round(cell.angle / (math.pi / 2)) * math.pi / 2)
        corners = _corners(cell.rect, to_pixels, cell.angle)
        yield Span(cell.text, corners, cell.hidden, off > _STRAIGHT, cell.foreign)


def _all_cells(text_page: Any) -> Iterator[_Cell]:
    reader = _Reader(text_page)
    text = reader.text()
    for row in _LINE.finditer(text):
        begin = row.start() + len(row.group()) - len(row.group().lstrip())
        if begin == row.end():
            continue
        angle = reader.angle(begin)
        quarter = _quarter(angle)
        hidden = reader.hidden(begin)
        eastern = _EASTERN.search(row.group())
        foreign = eastern is not None and not reader.embedded(row.start() + eastern.start())
        for first, last in _between_leaders(text, row.start(), row.end()):
            for words in _cells(reader.words(text, first, last, quarter), text, quarter):
                found = normal(" ".join(text[word.begin : word.end] for word in words))
                if found:
                    yield _Cell(found, _union([word.rect for word in words]), angle, hidden, foreign)


def _between_leaders(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    for leader in _LEADER.finditer(text, begin, end):
        yield begin, leader.start()
        begin = leader.end()
    yield begin, end


def _joined(cells: Iterable[_Cell]) -> Iterator[_Cell]:
    """Cells that follow each other on a row without more than a space between them as one."""
    held: _Cell | None = None
    for cell in cells:
        gap = _gap(held, cell) if held else None
        if held is None:
            held = cell
        elif gap is None or not _OVERLAP <= gap <= _CLOSE:
            yield held
            held = cell
        else:
            text = held.text + (" " if gap > _SPACE else "") + cell.text
            rect = _union([held.rect, cell.rect])
            held = _Cell(text, rect, held.angle, held.hidden or cell.hidden, held.foreign or cell.foreign)
    if held:
        yield held


def _gap(cell: _Cell, then: _Cell) -> float | None:
    """How far the second begins behind the first, in heights; None where they are not on a row."""
    quarter = _quarter(cell.angle)
    if quarter != _quarter(then.angle):
        return None
    _, end, low, high = _extent(cell.rect, quarter)
    begin, _, below, above = _extent(then.rect, quarter)
    shared = min(high, above) - max(low, below)
    if shared < 0.5 * min(high - low, above - below) or shared <= 0:
        return None
    return (begin - end) / max(high - low, above - below)


def _quarter(angle: float) -> int:
    return round(angle / (math.pi / 2)) % 4


class _Reader:
    """Calls to PDFium about one text page."""

    def __init__(self, page: Any) -> None:
        self._raw = _raw()
        self._page = page
        self._out = [ctypes.c_double() for _ in range(4)]
        self._refs = [ctypes.byref(value) for value in self._out]

    def text(self) -> str:
        """A character for each of the page's (two for some beyond the first plane); U+FFFD for what has no meaning."""
        count = self._raw.FPDFText_CountChars(self._page)
        if count <= 0:
            return ""
        buffer = (ctypes.c_ushort * (2 * count + 2))()
        length = self._raw.FPDFText_GetText(self._page, 0, count, buffer)
        found = bytes(buffer)[: 2 * max(0, length - 1)].decode("utf-16-le", errors="replace")
        if len(found) != count or "\x00" in found:
            # it left out what has no meaning, so that positions would not be the characters' numbers
            codes = (self._raw.FPDFText_GetUnicode(self._page, number) for number in range(count))
            found = "".join(chr(code) if 0 < code < 0x110000 else "\ufffd" for code in codes)
        return found

    def angle(self, number: int) -> float:
        """How a character is turned, in radians against the clock."""
        with_the_clock = self._raw.FPDFText_GetCharAngle(self._page, number)
        return math.tau - with_the_clock if with_the_clock > 0 else 0.0

    def hidden(self, number: int) -> bool:
        """Whether a character is not painted."""
        part = self._raw.FPDFText_GetTextObject(self._page, number)
        return bool(part) and self._raw.FPDFTextObj_GetTextRenderMode(part) == HIDDEN

    def embedded(self, number: int) -> bool:
        """Whether a character's font is in the document."""
        part = self._raw.FPDFText_GetTextObject(self._page, number)
        font = part and self._raw.FPDFTextObj_GetFont(part)
        return not font or self._raw.FPDFFont_GetIsEmbedded(font) == 1

    def words(self, text: str, begin: int, end: int, quarter: int) -> Iterator[_Word]:
        """The words of a row with their boxes; a "word" that jumps is given in the parts between the jumps."""
        for found in _WORD.finditer(text, begin, end):
            first, last = found.span()
            rects = self._rects(first, last - first)
            if len(rects) > 1 and _jumps(rects, quarter):
                yield from self._parts(first, last, quarter)
            elif rects:
                yield _Word(first, last, _union(rects))

    def _rects(self, begin: int, count: int) -> list[Rect]:
        rects = []
        left, top, right, bottom = self._out
        for number in range(self._raw.FPDFText_CountRects(self._page, begin, count)):
            self._raw.FPDFText_GetRect(self._page, number, *self._refs)
            rects.append((left.value, bottom.value, right.value, top.value))
        return rects

    def _parts(self, begin: int, end: int, quarter: int) -> Iterator[_Word]:
        part: list[Rect] = []
        at = begin
        for number in range(begin, end):
            rects = self._rects(number, 1)
            if rects and part and _jumps([_union(part), *rects], quarter):
                yield _Word(at, number, _union(part))
                part, at = [], number
            part += rects
        if part:
            yield _Word(at, end, _union(part))


def _cells(words: Iterator[_Word], text: str, quarter: int) -> Iterator[list[_Word]]:
    """The words of a row in the parts that a reader sees as one line."""
    row = list(words)
    if not row:
        return
    height = max(_extent(word.rect, quarter)[3] - _extent(word.rect, quarter)[2] for word in row)
    cell = [row[0]]
    around = row[0].rect
    for word in row[1:]:
        broken = text[cell[-1].end - 1] in _HYPHENS
        if broken or _jumps([around, word.rect], quarter, height):
            yield cell
            cell, around = [], word.rect
        cell.append(word)
        around = _union([around, word.rect])
    yield cell


def _jumps(rects: Sequence[Rect], quarter: int, height: float | None = None) -> bool:
    """Whether boxes that follow each other are no line: far apart, back to the left, or above each other."""
    extents = [_extent(rect, quarter) for rect in rects]
    tall = height or max(extent[3] - extent[2] for extent in extents)
    for (begin, end, low, high), (then, _, below, above) in pairwise(extents):
        if then - end > _GAP * tall or then < begin - 0.5 * tall:
            return True
        if min(high, above) - max(low, below) < -0.25 * tall:
            return True
    return False


def _extent(rect: Rect, quarter: int) -> Rect:
    """Begin, end, low, high of a box as the text in it is read, turned by `quarter` quarters against the clock."""
    left, bottom, right, top = rect
    return (
        (left, right, bottom, top),
        (bottom, top, -right, -left),
        (-right, -left, -top, -bottom),
        (-top, -bottom, left, right),
    )[quarter]


def _union(rects: Sequence[Rect]) -> Rect:
    lefts, bottoms, rights, tops = zip(*rects, strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)


def _corners(
    rect: Rect, affine: Affine, angle: float
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]:
    """The box in pixels, its corners named as the text is read."""
    a, b, c, d, e, f = affine
    left, bottom, right, top = rect
    xs = sorted((a * left + c * bottom + e, a * right + c * top + e))
    ys = sorted((b * left + d * bottom + f, b * right + d * top + f))
    around = ((xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1]))
    cos, sin = math.cos(angle), math.sin(angle)
    clockwise = math.atan2(b * cos + d * sin, a * cos + c * sin)
    turn = -round(clockwise / (math.pi / 2)) % 4
    # text that runs down begins at the top right, text that runs up at the bottom left
    return tuple(around[(number - turn) % 4] for number in range(4))  # type: ignore[return-value]


def _raw() -> Any:
    try:
        import pypdfium2.raw
    except ImportError as error:
        raise ImportError("PDF pages need pypdfium2: pip install 'qwenvl[pdf]'") from error
    return pypdfium2.raw
