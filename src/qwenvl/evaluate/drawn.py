"""Pictures of a report with places outlined on them, as SVG that holds the pixels."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence

from qwenvl.evaluate import curves
from qwenvl.page import data_uri
from qwenvl.sample import Image, Region

SIDE = 192
"""Pixels a side at which a picture is shown."""


def drawn(image: Image, outlined: str) -> str:
    """A picture, made smaller, under outlines in its own pixels. Raises OSError where it can't be decoded."""
    buffer = io.BytesIO()
    picture = image.pil()
    if max(picture.size) > 2 * SIDE:
        picture.thumbnail((2 * SIDE, 2 * SIDE))
    picture.save(buffer, "PNG")
    size = f'width="{image.width}" height="{image.height}"'
    return (
        f'<svg width="{SIDE}" height="{max(1, round(SIDE * image.height / image.width))}" class="picture" '
        f'viewBox="0 0 {image.width} {image.height}"><image href="{data_uri(buffer.getvalue())}" {size}/>'
        f"{outlined}</svg>"
    )


def outlines(regions: Sequence[Region], number: int, style: str) -> str:
    """The places in picture `number` as SVG; what the model said ("said") on a white halo, each in its own colour."""
    out = []
    for i, region in enumerate(regions):
        if region.image != number:
            continue
        colour = f' style="stroke:{curves.COLOURS[i % len(curves.COLOURS)]}"' if style == "said" else ""
        shapes = [
            f'rect x="{box.x0:.1f}" y="{box.y0:.1f}" width="{max(0.0, box.x1 - box.x0):.1f}" '
            f'height="{max(0.0, box.y1 - box.y0):.1f}"'
            for box in region.boxes
        ]
        shapes += [f'polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in q.points)}"' for q in region.quads]
        for shape in shapes:
            halo = f'<{shape} class="halo"/>' if style == "said" else ""
            tag = shape.split()[0]
            out.append(
                f'{halo}<{shape} class="{style}"{colour}><title>{html.escape(region.phrase or "")}</title></{tag}>'
            )
    return "".join(out)
