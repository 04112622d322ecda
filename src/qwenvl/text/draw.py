"""Boxes and quads drawn on a picture, each with its phrase; Chinese labels are drawn with the bundled font."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qwenvl.assets.fonts import font
from qwenvl.sample import Region

if TYPE_CHECKING:
    from PIL import Image as PILImage
    from PIL import ImageDraw

# Ten colours that stay apart from one another on photographs, also for most colour-blind people.
_PALETTE = (
    *((230, 25, 75), (0, 110, 220), (0, 150, 70), (245, 130, 48), (145, 30, 180)),
    *((0, 170, 190), (240, 50, 230), (128, 96, 0), (255, 215, 0), (70, 70, 70)),
)
_LABEL_LENGTH = 40

Point = tuple[float, float]


def draw_regions(
    picture: PILImage.Image, regions: Sequence[Region], longest: int | None = None, labels: bool = True
) -> PILImage.Image:
    """A copy of `picture` (RGB) with every box and quad of `regions` outlined and named, one colour per phrase.

    Coordinates are pixels of `picture`; what lies outside is drawn at its edge. A picture whose longer side is under
    `longest` pixels is enlarged to it first, so that small ones stay readable. With `labels` False the phrases are not
    written.
    """
    from PIL import Image as PILImageModule
    from PIL import ImageDraw

    scale = max(1.0, longest / max(picture.size)) if longest else 1.0
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = picture.convert("RGB")
    canvas = canvas.resize(size, PILImageModule.Resampling.BICUBIC) if size != picture.size else canvas.copy()
    pen = ImageDraw.Draw(canvas)
    width = max(1, round(max(size) / 250))
    colours: dict[str | None, tuple[int, int, int]] = {}
    places: list[tuple[list[Point], str, tuple[int, int, int]]] = []
    for region in regions:
        colour = colours.setdefault(region.phrase, _PALETTE[len(colours) % len(_PALETTE)])
        corners = [[(b.x0, b.y0), (b.x1, b.y0), (b.x1, b.y1), (b.x0, b.y1)] for b in region.boxes]
        corners += [list(quad.points) for quad in region.quads]
        for points in corners:
            if all(math.isfinite(value) for point in points for value in point):
                places.append(([_inside(p, scale, size) for p in points], region.phrase or "", colour))
    for points, _, colour in places:
        pen.line([*points, points[0], points[1]], fill=colour, width=width, joint="curve")
    if labels:  # after all outlines, so that none crosses a label
        for points, phrase, colour in places:
            _label(pen, points, phrase, colour, size)
    return canvas


def _inside(point: Point, scale: float, size: tuple[int, int]) -> Point:
    return min(max(point[0] * scale, 0.0), size[0] - 1.0), min(max(point[1] * scale, 0.0), size[1] - 1.0)


def _label(
    pen: ImageDraw.ImageDraw, points: list[Point], phrase: str, colour: tuple[int, int, int], size: tuple[int, int]
) -> None:
    """The phrase on a ground of the region's colour, above its top-left corner, or inside where there is no room."""
    text = " ".join(phrase.split())
    if not text:
        return
    if len(text) > _LABEL_LENGTH:
        text = text[: _LABEL_LENGTH - 1] + "…"
    face = font(max(10, round(max(size) / 32)), text)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=face)
    wide, high = right - left + 4, bottom - top + 4
    x = min(p[0] for p in points)
    y = min(p[1] for p in points)
    x = max(0.0, min(x, size[0] - wide))
    y = y - high if y >= high else min(y, max(0.0, size[1] - high))
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 150
    pen.text((x + 2 - left, y + 2 - top), text, font=face, fill=(255, 255, 255) if dark else (0, 0, 0))
