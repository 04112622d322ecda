"""The layouts of documents: which text goes where on a page, in which size; nothing is drawn here.

A layout fills a `Sheet` from the top until it is full. What does not fit is left out whole: nothing is tried without a
bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qwenvl.data.synth.documents_breaking import Atom, atoms, fill, text_of
from qwenvl.data.synth.documents_setting import (
    Align,
    Line,
    Type,
    broken,
    joined,
    paragraph,
    set_downwards,
    set_line,
    upright_text,
)
from qwenvl.data.synth.documents_sheet import BODY, HEAD, NOTE, Sheet
from qwenvl.data.synth.documents_text import clean

_CELLS: tuple[Align, Align] = ("left", "right")


@dataclass
class _Columns:
    """Columns from `top` to `bottom`, and how far they are filled."""

    left: float
    width: float
    gutter: float
    count: int
    top: float
    bottom: float
    number: int = 0
    y: float = 0.0

    @property
    def x(self) -> float:
        """Where the column that is being filled begins."""
        return self.left + self.number * (self.width + self.gutter)

    def room(self, height: float) -> bool:
        """Whether there is room, in this column or the next one, to which it goes over."""
        if self.y + height > self.bottom:
            self.number, self.y = self.number + 1, self.top
        return self.number < self.count


def article(sheet: Sheet) -> None:
    """A title, then paragraphs in one to three columns, flowing from one into the next."""
    rng, inner = sheet.rng, float(sheet.width - 2 * sheet.margin)
    top = float(sheet.margin)
    if rng.random() < 0.8:
        top = _title(sheet, top, inner)
    count = rng.randint(1, 3 if inner > 900 else 2 if inner > 520 else 1)
    gutter = rng.uniform(0.03, 0.06) * inner
    width = (inner - gutter * (count - 1)) / count
    columns = _Columns(sheet.margin, width, gutter, count, top, sheet.height - sheet.margin, y=top)
    if count > 1 and rng.random() < 0.3:
        for number in range(1, count):
            middle = round(sheet.margin + number * (width + gutter) - gutter / 2)
            sheet.rules.append((middle, round(top), middle, sheet.height - sheet.margin))
    look = sheet.type(sheet.body, sheet.body_size(width))
    align: Align = rng.choices(("justify", "left", "centre", "right"), (6, 6, 1, 0.4))[0]
    indent = look.size * rng.choice((0.0, 0.0, 2.0 if sheet.language == "zh" else 1.5))
    between = rng.choice((0.0, 0.4, 0.8)) * look.size
    # a page holds no more paragraphs than this
    for _ in range(60):
        if columns.y > top and rng.random() < 0.12:
            columns.y = _subheading(sheet, look, columns)
        elif rng.random() < 0.06:
            columns.y = _figure(sheet, columns)
        if not _flow(sheet, columns, look, align, indent if align in ("justify", "left") else 0.0):
            return
        columns.y += between
        if rng.random() < 0.015:
            return


def _flow(sheet: Sheet, columns: _Columns, look: Type, align: Align, indent: float) -> bool:
    """Set a paragraph into the columns; whether there is room for more."""
    text, face = sheet.text(sheet.body, sheet.rng.randint(1, 6))
    own = Type(face, look.size, look.pitch, look.tone)
    found = broken(text, own, columns.width, indent)
    if found is None:
        sheet.dropped["paragraph: wider than its column"] += 1
        return True
    for number, line in enumerate(found):
        if not columns.room(look.size):
            return False
        left = indent if number == 0 else 0.0
        last = number == len(found) - 1
        made = set_line(line, own, columns.x + left, columns.y, columns.width - left, align, last)
        if made:
            sheet.lines.append(made)
        columns.y += look.pitch * look.size
    return True


def notice(sheet: Sheet) -> None:
    """A heading and a numbered or marked list; slides and posters too."""
    rng, inner = sheet.rng, sheet.width - 2 * sheet.margin
    y = _title(sheet, float(sheet.margin), inner)
    look = sheet.type(sheet.body, sheet.size(sheet.body_size(inner) * rng.uniform(1, 1.5)))
    kind = rng.choice(("1.", "1)", "-", "•", "（一）" if sheet.language == "zh" else "a)", ""))
    indent = 2.2 * look.size if kind else 0.0
    for number in range(rng.randint(3, 14)):
        text, face = sheet.text(sheet.body, rng.randint(1, 2))
        own = Type(face, look.size, look.pitch, look.tone)
        mark = {"1.": f"{number + 1}.", "1)": f"{number + 1})", "a)": f"{'abcdefghijklmn'[number]})"}.get(kind, kind)
        if kind == "（一）":
            mark = f"（{'一二三四五六七八九十'[number]}）" if number < 10 else ""
            indent = 3.2 * look.size
        lines = paragraph(text, own, sheet.margin + indent, y, inner - indent)
        below = y + len(lines or ()) * look.pitch * look.size
        if not lines or below > sheet.height - sheet.margin:
            # a shorter one may fit
            continue
        if mark and own.face.has(mark):
            first = set_line([Atom((mark,), False)], own, sheet.margin, y, indent, "left")
            lines[:1] = [joined(first, lines[0])] if first else lines[:1]
        sheet.lines += lines
        y = below + rng.uniform(0.1, 0.5) * look.size


def table(sheet: Sheet) -> None:
    """Labels on the left, values on the right, as on receipts and forms; each cell is a line."""
    rng, inner = sheet.rng, sheet.width - 2 * sheet.margin
    y = _title(sheet, float(sheet.margin), inner)
    look = sheet.type(sheet.body, sheet.size(sheet.body_size(inner) * 1.1), pitch=rng.uniform(1.4, 2.2))
    ruled = rng.random() < 0.5
    begin = y
    for _ in range(rng.randint(4, 40)):
        if y + look.pitch * look.size > sheet.height - sheet.margin:
            break
        label, value = (clean(text) for text in sheet.source.pair(rng, sheet.language))
        cells = [text for text in (label, value) if text]
        if not cells or not all(look.face.has(text) for text in cells):
            sheet.dropped["sentence: no font has all its characters"] += len(cells)
            continue
        # both on one row only where they keep apart
        widths = [broken(text, look, inner) for text in cells]
        if any(found is None or len(found) > 1 for found in widths):
            continue
        inset = (look.pitch - 1) / 2 * look.size
        made = [
            set_line(found[0], look, sheet.margin, y + inset, inner, align)
            for found, align in zip((w for w in widths if w), _CELLS, strict=False)
        ]
        row: list[Line] = [line for line in made if line]
        if len(row) == 2 and row[0].box[2] + 1.5 * look.size > row[1].box[0]:
            row = row[:1]
        sheet.lines += row
        y += look.pitch * look.size
        if ruled:
            sheet.rules.append((sheet.margin, round(y), sheet.width - sheet.margin, round(y)))
    if ruled and y > begin and rng.random() < 0.5:
        for x in (sheet.margin // 2, sheet.width - sheet.margin // 2):
            sheet.rules.append((x, round(begin), x, round(y)))


def poster(sheet: Sheet) -> None:
    """A few large lines."""
    rng, inner = sheet.rng, sheet.width - 2 * sheet.margin
    align: Align = rng.choices(("centre", "left", "right"), (4, 2, 1))[0]
    y = sheet.margin + rng.uniform(0, 0.25) * sheet.height
    for number in range(rng.randint(2, 5)):
        text, face = sheet.short(sheet.heading) if number % 2 == 0 else sheet.text(sheet.body, 1)
        big = inner / rng.uniform(6, 14) if number % 2 == 0 else inner / rng.uniform(16, 34)
        look = sheet.type(face, sheet.size(big), HEAD if number % 2 == 0 else BODY, rng.uniform(1.15, 1.4))
        below = sheet.put(text, look, sheet.margin, y, inner, align)
        y = below + (rng.uniform(0.3, 2.0) * look.size if below > y else 0)


def downwards(sheet: Sheet) -> None:
    """Chinese in columns from right to left."""
    rng = sheet.rng
    tall = sheet.height - 2 * sheet.margin
    look = sheet.type(sheet.body, sheet.size(min(tall / rng.uniform(9, 26), sheet.width / 6)))
    gap = rng.uniform(0, 0.12) * look.size
    limit = tall // (look.size + gap)
    x = float(sheet.width - sheet.margin - look.size)
    ruled = rng.random() < 0.3
    for _ in range(40):
        text, face = sheet.text(sheet.body, rng.randint(1, 3))
        text = upright_text(text)
        # Latin letters and odd marks would lie on their side
        if not text or any(ord(c) < 0x2E80 and c not in "—…" for c in text) or not face.has(text):
            continue
        columns = _filled(text, int(limit))
        for column in columns or ():
            if x < sheet.margin:
                return
            made = set_downwards(column, Type(face, look.size, 1.0, look.tone), x, sheet.margin, gap)
            if made:
                sheet.lines.append(made)
            if ruled:
                at = round(x - (look.pitch - 1) * look.size / 2)
                sheet.rules.append((at, sheet.margin, at, sheet.height - sheet.margin))
            x -= look.pitch * look.size


LAYOUTS: dict[Callable[[Sheet], None], float] = {article: 6.0, notice: 2.0, table: 1.5, poster: 1.0, downwards: 1.0}
"""The layouts and how often they come; `downwards` is for Chinese alone."""


def _title(sheet: Sheet, y: float, inner: float) -> float:
    """A heading, maybe with a line of small print and a rule under it; gives the y below."""
    rng = sheet.rng
    text, face = sheet.short(sheet.heading)
    look = sheet.type(face, sheet.size(min(inner / rng.uniform(9, 22), sheet.height / 9)), HEAD, 1.2)
    align: Align = rng.choices(("left", "centre", "right"), (4, 5, 0.6))[0]
    below = sheet.put(text, look, sheet.margin, y, inner, align)
    if below > y and rng.random() < 0.3:
        text, face = sheet.short(sheet.body)
        small = sheet.type(face, sheet.size(look.size * 0.5), NOTE)
        below = sheet.put(text, small, sheet.margin, below, inner, align)
    if below > y and rng.random() < 0.25:
        at = round(below + 0.15 * look.size)
        sheet.rules.append((sheet.margin, at, round(sheet.margin + inner), at))
        below = at + 0.2 * look.size
    return below + (0.4 * look.size if below > y else 0)


def _subheading(sheet: Sheet, body: Type, columns: _Columns) -> float:
    text, face = sheet.short(sheet.heading)
    look = sheet.type(face, sheet.size(body.size * sheet.rng.uniform(1.1, 1.5)), HEAD, 1.25)
    lines = paragraph(text, look, columns.x, columns.y + 0.4 * body.size, columns.width)
    below = columns.y + (0.6 * body.size + len(lines) * look.pitch * look.size if lines else 0)
    # a heading at the foot of a column would head nothing
    if not lines or below + 2 * body.size > columns.bottom:
        return columns.y
    sheet.lines += lines
    return below


def _figure(sheet: Sheet, columns: _Columns) -> float:
    x, y = columns.x, columns.y
    high = sheet.rng.uniform(0.3, 0.8) * columns.width
    if y + high + sheet.smallest > columns.bottom:
        return y
    sheet.figures.append((round(x), round(y), round(x + columns.width), round(y + high)))
    return y + high + 0.5 * sheet.smallest


def _filled(text: str, limit: int) -> list[str] | None:
    """Chinese in columns of `limit` characters, by the rules for line breaks."""
    found = fill(atoms(text), lambda piece: float(len(piece)), 0.0, float(limit))
    return [text_of(line) for line in found] if found else None
