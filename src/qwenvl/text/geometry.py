"""Pixels of the original picture ⇄ the paper's [0, 1000) grid: one rounding rule, both ways, for boxes and quads.

The paper (arXiv 2308.12966, section 2.3.1) normalises coordinates "within the range [0, 1000)". Here a pixel coordinate
x of a side of `side` pixels is cell floor(1000·x / side), clamped to 0…999, and a cell is its centre (cell + 0.5)·side
/ 1000. So a round trip from pixels moves a corner by at most half a cell (side / 2000), and a round trip from cells
moves nothing.
"""

from __future__ import annotations

import math

from qwenvl.sample import Box, Quad

GRID = 1000
"""Cells per side."""

BoxCells = tuple[int, int, int, int]
"""x0, y0, x1, y1 in 0…999."""

QuadCells = tuple[int, int, int, int, int, int, int, int]
"""x, y of four corners in 0…999, in the order of `Quad.points`."""


def to_grid(value: float, side: float) -> int:
    """The cell 0…999 of a pixel coordinate; what lies outside the picture goes to the nearest cell.

    Raises ValueError when `side` is not positive or `value` is not finite.
    """
    if not side > 0:
        raise ValueError(f"a picture's side must be positive, not {side!r}: give the width or height in pixels")
    if not math.isfinite(value):
        raise ValueError(f"a coordinate must be a finite number of pixels, not {value!r}")
    if value <= 0:
        return 0
    return min(int(GRID * value / side), GRID - 1) if value < side else GRID - 1


def from_grid(cell: float, side: float) -> float:
    """The centre of a cell, in pixels of a side of `side` pixels."""
    return (cell + 0.5) * side / GRID


def box_to_grid(box: Box, width: float, height: float) -> BoxCells:
    """The cells of a box's two corners in a picture of `width` × `height` pixels."""
    return to_grid(box.x0, width), to_grid(box.y0, height), to_grid(box.x1, width), to_grid(box.y1, height)


def box_from_grid(cells: BoxCells, width: float, height: float) -> Box:
    """The box between two cells' centres, in pixels."""
    x0, y0, x1, y1 = cells
    return Box(from_grid(x0, width), from_grid(y0, height), from_grid(x1, width), from_grid(y1, height))


def quad_to_grid(quad: Quad, width: float, height: float) -> QuadCells:
    """The cells of a quad's four corners, in their order."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad.points
    return (
        *(to_grid(ax, width), to_grid(ay, height), to_grid(bx, width), to_grid(by, height)),
        *(to_grid(cx, width), to_grid(cy, height), to_grid(dx, width), to_grid(dy, height)),
    )


def quad_from_grid(cells: QuadCells, width: float, height: float) -> Quad:
    """The quad between four cells' centres, in pixels."""
    ax, ay, bx, by, cx, cy, dx, dy = cells
    return Quad(
        (
            (from_grid(ax, width), from_grid(ay, height)),
            (from_grid(bx, width), from_grid(by, height)),
            (from_grid(cx, width), from_grid(cy, height)),
            (from_grid(dx, width), from_grid(dy, height)),
        )
    )


def area(box: Box) -> float:
    """Square pixels of a box; 0 where its corners are swapped."""
    return max(0.0, box.x1 - box.x0) * max(0.0, box.y1 - box.y0)


def iou(a: Box, b: Box) -> float:
    """Intersection over union in 0…1; 0 where both are empty."""
    inside = area(Box(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)))
    union = area(a) + area(b) - inside
    return inside / union if union > 0 else 0.0
