"""Answers drawn: a picture with its labelled boxes, enlarged where it is too small for a label to be read."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image as PILImage

from qwenvl.sample import Image, Region
from qwenvl.text.draw import draw_regions

READABLE = 480
"""Pictures whose longer side is below this many pixels are enlarged to it before labels are written."""


def draw_answer(image: Image, regions: Sequence[Region], readable: int = READABLE) -> PILImage.Image:
    """The picture as RGB with every box and quad outlined and labelled with its phrase. Coordinates are pixels of
    `image`.

    Raises OSError when the picture can not be decoded.
    """
    return draw_regions(image.pil(), regions, longest=readable)
