"""What sets of text in pictures have in common: an annotated line, corners put in order, and the entry of a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qwenvl.data.sources.fields import numbers, shown
from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.report import RowError
from qwenvl.sample import Quad, TextLine

ILLEGIBLE = ("###", "####", "*")
"""What annotators write for text that nobody can read."""

MAX_LINES = 20_000
"""Lines of a picture that are read at most."""

WHOLE = Quad(((0.0, 0.0), (math.inf, 0.0), (math.inf, math.inf), (0.0, math.inf)))
"""The whole picture, whatever its size, for a crop of one word: places are cut at the picture's edge."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line as annotated; `legible` is False where the annotators could not read it."""

    text: str
    quad: Quad
    legible: bool = True


def page(
    id: str,
    images: tuple[str, ...] | tuple[bytes],
    at: At,
    lines: Iterable[Line],
    split: str = "",
    meta: Mapping[str, Any] | None = None,
) -> Entry:
    """The entry of a page; `images` are the picture's names, the usual one first, or its bytes.

    Places of what nobody could read go into `meta["illegible"]`, as eight numbers each: an
    evaluation must not count them. Raises RowError for too many lines.
    """
    lines = list(lines)
    if len(lines) > MAX_LINES:
        raise RowError("lines", f"{len(lines):,}, more than {MAX_LINES:,}")
    found, illegible = [], []
    for line in lines:
        if line.legible and line.text.strip() and line.text.strip() not in ILLEGIBLE:
            found.append(TextLine(line.text.strip(), line.quad))
        elif line.quad != WHOLE:
            illegible.append([number for point in line.quad.points for number in point])
    if illegible:
        meta = {**(meta or {}), "illegible": illegible}
    first, *others = images
    names = tuple(name for name in others if isinstance(name, str))
    return Entry(id, first, at, split, others=names, lines=tuple(found), meta=meta or {})


def quad_of(value: Any, where: str) -> Quad:
    """A quad of [x0, y0, x1, y1] (a box), eight numbers, four points, or a polygon of 2n points along the text's upper
    and back along its lower edge, whose ends are taken. Raises RowError for other forms and what has no area.

    Corners that run counter-clockwise are turned, and begin then with the one nearest to the picture's top-left: some
    sets begin at the bottom.
    """
    if isinstance(value, list | tuple) and value and all(isinstance(p, list | tuple) and len(p) == 2 for p in value):
        value = [number for point in value for number in point]
    if not isinstance(value, list | tuple) or not (len(value) == 4 or (len(value) >= 8 and len(value) % 4 == 0)):
        raise RowError(where, f"expected four corners in pixels, or 2n points of a polygon, not {shown(value)}")
    flat = numbers(list(value), len(value), where, "corners in pixels")
    if len(flat) == 4:
        x0, y0, x1, y1 = flat
        flat = [x0, y0, x1, y0, x1, y1, x0, y1]
    points = list(zip(flat[::2], flat[1::2], strict=True))
    half = len(points) // 2
    corners = [points[0], points[half - 1], points[half], points[-1]]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, [*corners[1:], corners[0]], strict=True))
    if abs(area) < 1e-6:
        raise RowError(where, f"{shown(value)} has no area")
    if area < 0:
        corners.reverse()
        first = min(range(4), key=lambda i: sum(corners[i]))
        corners = corners[first:] + corners[:first]
    a, b, c, d = corners
    return Quad((a, b, c, d))
