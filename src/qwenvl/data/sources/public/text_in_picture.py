"""What sets of text in pictures have in common: an annotated line, corners put in order, and the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qwenvl.data.sources.fields import Pictures, numbers, shown
from qwenvl.data.sources.public.question import open_first
from qwenvl.data.sources.report import RowError
from qwenvl.sample import Quad, Record, TextLine

Point = tuple[float, float]
ILLEGIBLE = ("###", "*", "####")
"""What annotators write for text that nobody can read: ICDAR's mark, and COCO-Text's and MMOCR's."""

MAX_LINES = 20_000
"""Lines of a picture that are read at most."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text and its corners in pixels, clockwise from the top-left as the text is read; `corners` None is the
    whole picture (a crop of one word). `legible` is False where the annotators could not read it.
    """

    text: str
    corners: tuple[Point, Point, Point, Point] | None
    legible: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """A picture and its lines in the set's order. `pictures` are the names under which it may lie, the usual one
    first.
    """

    id: str
    pictures: tuple[str, ...]
    lines: tuple[Line, ...]
    split: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


def corners_of(value: Any, where: str) -> tuple[Point, Point, Point, Point]:
    """Corners in order, of [x0, y0, x1, y1] (a box), eight numbers, four points, or a polygon of 2n points along the
    text's upper and back along its lower edge (its ends are taken). Raises RowError.

    Corners that run counter-clockwise are turned, and begin then with the one nearest to the picture's top-left, as
    some sets begin at the bottom.
    """
    if isinstance(value, list) and value and all(isinstance(p, list | tuple) and len(p) == 2 for p in value):
        value = [number for point in value for number in point]
    if not isinstance(value, list) or (len(value) not in (4, 8) and (len(value) < 8 or len(value) % 4)):
        raise RowError(where, f"expected four corners in pixels, or 2n points of a polygon, not {shown(value)}")
    flat = numbers(value, len(value), where, "corners in pixels")
    if len(flat) == 4:
        x0, y0, x1, y1 = flat
        return (x0, y0), (x1, y0), (x1, y1), (x0, y1)
    points = list(zip(flat[::2], flat[1::2], strict=True))
    half = len(points) // 2
    a, b, c, d = points[0], points[half - 1], points[half], points[-1]
    if _twice_area([a, b, c, d]) >= 0:
        return a, b, c, d
    turned = [d, c, b, a]
    first = min(range(4), key=lambda i: sum(turned[i]))
    a, b, c, d = turned[first:] + turned[:first]
    return a, b, c, d


def record(page: Page, pictures: Pictures, source: str) -> Record:
    """Layer two: the record of a page. Corners outside the picture are moved to its edge.

    Lines that nobody could read, and those without area in the picture, are left out and counted in `meta` ("unread").
    Raises RowError for a picture that is missing, or one without a line left.
    """
    image = open_first(pictures, page.pictures)
    lines = []
    for line in page.lines:
        width, height = float(image.width), float(image.height)
        corners = line.corners or ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
        a, b, c, d = ((min(max(x, 0.0), width), min(max(y, 0.0), height)) for x, y in corners)
        if line.legible and line.text.strip() and _twice_area([a, b, c, d]) > 1e-6:
            lines.append(TextLine(line.text.strip(), Quad((a, b, c, d))))
    if not lines:
        raise RowError("lines", f"none of {len(page.lines)} can be read or lies in the picture")
    meta: dict[str, Any] = dict(page.meta)
    if len(lines) < len(page.lines):
        meta["unread"] = len(page.lines) - len(lines)
    if page.split:
        meta["split"] = page.split
    return Record(page.id, source, (image,), lines=tuple(lines), meta=meta)


def _twice_area(points: list[Point]) -> float:
    """Positive where the points run clockwise, as y goes down."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, [*points[1:], points[0]], strict=True))
