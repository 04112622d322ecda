"""Sets paragraphs: text in a face becomes lines of inks at places, each with the box of its ink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from qwenvl.data.synth.documents_breaking import Atom, atoms, fill, text_of
from qwenvl.data.synth.documents_fonts import FontFace
from qwenvl.data.synth.documents_glyphs import Ink, blank, ink

Align = Literal["left", "centre", "right", "justify"]

_ASCENT = 0.88
"""Of the em square above the base line, as in Chinese fonts."""

_LOOSEST = 0.6
"""Ems that justifying may put between two words; a line that would need more stays ragged."""

_TURNED = frozenset("（）《》〈〉【】「」『』〔〕〖〗—…～")
_CORNER = frozenset("，。、")
_MIDDLE = frozenset("；：！？")
_CJK_DIGITS = str.maketrans("0123456789“”‘’", "〇一二三四五六七八九「」『』")


@dataclass(frozen=True, slots=True)
class Type:
    """How text looks: its face, size in pixels per em, line pitch in ems; `tone` numbers the page's colours."""

    face: FontFace
    size: int
    pitch: float
    tone: int = 0

    def width(self, piece: str) -> float:
        """Of a word or character."""
        return ink(self.face, self.size, piece).advance


@dataclass(frozen=True, slots=True)
class Line:
    """A set line: inks with the places of their top-left corners, and the box (x0, y0, x1, y1) around them, in page
    pixels.
    """

    text: str
    inks: tuple[tuple[Ink, int, int], ...]
    box: tuple[int, int, int, int]
    size: int
    tone: int
    vertical: bool = False

    def moved(self, dx: int, dy: int) -> Line:
        """The line elsewhere."""
        x0, y0, x1, y1 = self.box
        inks = tuple((one, x + dx, y + dy) for one, x, y in self.inks)
        return replace(self, inks=inks, box=(x0 + dx, y0 + dy, x1 + dx, y1 + dy))


def broken(text: str, type_: Type, width: float, indent: float = 0.0) -> list[list[Atom]] | None:
    """The paragraph in lines; None where something in it is wider than a line."""
    return fill(atoms(text), type_.width, blank(type_.face, type_.size), width, indent)


def set_line(
    line: Sequence[Atom], type_: Type, x: float, y: float, width: float, align: Align, last: bool = True
) -> Line | None:
    """A line whose em squares begin at `y`, between `x` and `x + width`; the last of a paragraph is not stretched.

    None where nothing of it leaves ink.
    """
    gap = blank(type_.face, type_.size)
    pens: list[tuple[str, float]] = []
    joints: list[int] = []
    pen = 0.0
    for number, atom in enumerate(line):
        if number:
            joints.append(len(pens))
            pen += gap if atom.apart else 0.0
        for piece in atom.pieces:
            if piece != " ":
                pens.append((piece, pen))
            pen += gap if piece == " " else type_.width(piece)
    free = max(0.0, width - pen)
    stretch = free / len(joints) if align == "justify" and not last and joints else 0.0
    if stretch > _LOOSEST * type_.size:
        stretch = 0.0
    begin = x + {"centre": free / 2, "right": free}.get(align, 0.0)
    shifts = dict.fromkeys(joints, stretch)
    base, shift = round(y + _ASCENT * type_.size), 0.0
    inks = []
    for number, (piece, at) in enumerate(pens):
        shift += shifts.get(number, 0.0)
        one = ink(type_.face, type_.size, piece)
        if one.mask.size:
            inks.append((one, round(begin + at + shift) + one.dx, base + one.dy))
    return _line(text_of(line), inks, type_, False)


def paragraph(
    text: str, type_: Type, x: float, y: float, width: float, align: Align = "left", indent: float = 0.0
) -> list[Line] | None:
    """All lines of a paragraph, from `y` downwards; None where something in it is wider than a line."""
    found = broken(text, type_, width, indent)
    if found is None:
        return None
    lines = []
    for number, line in enumerate(found):
        left = indent if number == 0 and align in ("left", "justify") else 0.0
        top = y + number * type_.pitch * type_.size
        made = set_line(line, type_, x + left, top, width - left, align, last=number == len(found) - 1)
        if made:
            lines.append(made)
    return lines


def upright_text(text: str) -> str:
    """Text as it is written downwards: digits and quotation marks in their Chinese forms."""
    return text.translate(_CJK_DIGITS)


def set_downwards(text: str, type_: Type, x: float, y: float, gap: float = 0.0) -> Line | None:
    """A column of hanzi from `y` downwards, its em squares from `x` to `x + size`; marks turned or moved as is usual.

    None where nothing of it leaves ink.
    """
    size = type_.size
    inks = []
    for number, character in enumerate(text):
        one = ink(type_.face, size, character, character in _TURNED)
        high, wide = one.mask.shape
        top = y + number * (size + gap)
        if not one.mask.size:
            continue
        if character in _CORNER:
            left, down = x + 0.92 * size - wide, top + 0.08 * size
        elif character in _MIDDLE:
            left, down = x + (size - wide) / 2, top + (size - high) / 2
        else:
            left = x + (size - one.advance) / 2 + one.dx
            down = top + _ASCENT * size + one.dy
        inks.append((one, round(left), round(down)))
    return _line(text, inks, type_, True)


def joined(first: Line, second: Line) -> Line:
    """Two lines at the same height as one, such as a list's mark and the words after it."""
    (a0, b0, a1, b1), (c0, d0, c1, d1) = first.box, second.box
    box = (min(a0, c0), min(b0, d0), max(a1, c1), max(b1, d1))
    return replace(second, text=f"{first.text} {second.text}", inks=(*first.inks, *second.inks), box=box)


def _line(text: str, inks: list[tuple[Ink, int, int]], type_: Type, vertical: bool) -> Line | None:
    if not inks:
        return None
    box = (
        min(x for _, x, _ in inks),
        min(y for _, _, y in inks),
        max(x + one.mask.shape[1] for one, x, _ in inks),
        max(y + one.mask.shape[0] for one, _, y in inks),
    )
    return Line(text, tuple(inks), box, type_.size, type_.tone, vertical)
