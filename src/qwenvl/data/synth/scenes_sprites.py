"""Sprites: shapes, handwritten digits and signs as masks, drawn once and kept.

Masks are drawn at several times their size, scaled down and cut to the ink, so that a box is the mask's own extent. One
`Sprite` is shared by all scenes that hold the same thing.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from qwenvl.assets.fonts import font
from qwenvl.data.synth.scenes_bundled import sklearn_datasets
from qwenvl.data.synth.scenes_world import Split, Thing

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FINE = 4  # masks are drawn this many times larger
_FAINTEST_INK = 40  # coverage (of 255) below which a mask's rim is cut away
_SEEN = [0 if level < _FAINTEST_INK else 255 for level in range(256)]
_FIRM = [min(255, max(0, round((level - 92) * 2.6))) for level in range(256)]  # greys of handwriting to coverage


@dataclass(frozen=True, slots=True)
class Sprite:
    """A thing ready to paste: `mask` in its colour, then `ink` (a sign's text) in black or white; `quad` around that
    text, from the corner.
    """

    mask: Image.Image
    ink: Image.Image | None = None
    quad: tuple[tuple[float, float], ...] = ()


def sprite_of(thing: Thing, split: Split) -> Sprite:
    """The masks of a thing; digits of different splits are written by different hands."""
    if thing.kind == "digit":
        instances = _digit_pool(split)[int(thing.label)]
        return _digit_sprite(instances[thing.instance % len(instances)], thing.pixels)
    if thing.kind == "sign":
        return _sign_sprite(thing.label, thing.pixels, thing.angle)
    return _shape_sprite(thing.shape, thing.fill, thing.pixels, thing.angle)


@functools.lru_cache(maxsize=8192)
def _shape_sprite(shape: str, fill: str, pixels: int, angle: int) -> Sprite:
    side = pixels * _FINE
    solid = _outline(shape, side, angle)
    if fill == "solid":
        return Sprite(_cut(solid.resize((pixels + 4, pixels + 4), Image.Resampling.BOX)))
    line = max(2.0, pixels * 0.085) * _FINE
    # full where a square of that half-width is all inside the shape: the shape less its outline
    inner = solid.filter(ImageFilter.BoxBlur(round(line * 0.8)))
    width, height = solid.size
    if fill == "outlined":
        inside = np.zeros((height, width), np.uint8)
    else:
        y, x = np.mgrid[0:height, 0:width] / _FINE
        period = max(5.0, pixels * 0.19)
        if fill == "striped":
            pattern = ((x + y) / (period * 1.25)) % 1 < 0.5
        else:
            row = np.floor(y / period)
            pattern = (
                np.hypot((x + row % 2 * period / 2) % period - period / 2, y % period - period / 2) < period * 0.31
            )
        inside = np.where(pattern, 255, 45).astype(np.uint8)
    whole, core = np.asarray(solid), np.asarray(inner)
    mask = np.where(core > 250, inside, whole)
    return Sprite(_cut(Image.fromarray(mask.astype(np.uint8)).resize((pixels + 4, pixels + 4), Image.Resampling.BOX)))


def _outline(shape: str, side: int, angle: int) -> Image.Image:
    """A solid shape of `side` pixels, turned, on a canvas with a margin of two final pixels around."""
    margin = 2 * _FINE
    canvas = Image.new("L", (side + 2 * margin, side + 2 * margin), 0)
    pen = ImageDraw.Draw(canvas)
    middle, radius = margin + side / 2, side / 2

    def circle(x: float, y: float, r: float, value: int = 255) -> None:
        pen.ellipse((x - r, y - r, x + r - 1, y + r - 1), fill=value)

    def polygon(points: list[tuple[float, float]]) -> None:
        """Points in units of the radius around the middle, turned by the angle."""
        turn = math.radians(-angle)
        cos, sin = math.cos(turn), math.sin(turn)
        pen.polygon(
            [(middle + radius * (x * cos - y * sin), middle + radius * (x * sin + y * cos)) for x, y in points],
            fill=255,
        )

    def regular(corners: int, inner: float | None = None) -> list[tuple[float, float]]:
        steps = corners if inner is None else 2 * corners
        radii = [1.0 if inner is None or i % 2 == 0 else inner for i in range(steps)]
        return [
            (r * math.sin(2 * math.pi * i / steps), -r * math.cos(2 * math.pi * i / steps)) for i, r in enumerate(radii)
        ]

    if shape == "circle":
        circle(middle, middle, radius)
    elif shape == "ring":
        circle(middle, middle, radius)
        circle(middle, middle, radius * 0.52, 0)
    elif shape == "moon":
        circle(middle, middle, radius)
        circle(middle + radius * 0.55, middle - radius * 0.2, radius * 0.82, 0)
    elif shape == "square":
        polygon([(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)])
    elif shape == "diamond":
        polygon([(0, -1), (0.72, 0), (0, 1), (-0.72, 0)])
    elif shape == "triangle":
        polygon([(0, -0.92), (0.98, 0.82), (-0.98, 0.82)])
    elif shape == "pentagon":
        polygon(regular(5))
    elif shape == "star":
        polygon(regular(5, 0.45))
    elif shape == "cross":
        a = 0.3
        polygon(
            [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]
        )
    else:  # heart: the well-known curve of sines and cosines
        steps = [2 * math.pi * i / 60 for i in range(60)]
        polygon(
            [
                (
                    math.sin(t) ** 3,
                    -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
                )
                for t in steps
            ]
        )
    return canvas


def _cut(mask: Image.Image, ink: Image.Image | None = None) -> Image.Image:
    """A mask cut to the ink that can be seen."""
    return mask.crop(_ink_box(mask))


def _ink_box(mask: Image.Image) -> tuple[int, int, int, int]:
    box = mask.point(_SEEN).getbbox()
    return box or (0, 0, mask.width, mask.height)


@functools.cache
def _digit_pool(split: Split) -> tuple[tuple[int, ...], ...]:
    """Which of scikit-learn's 1,797 handwritten digits a split uses, by digit: eight tenths, one, one."""
    take = {"train": range(8), "val": (8,), "test": (9,)}[split]
    return tuple(
        tuple(i for i, label in enumerate(_digits().target) if label == digit and i % 10 in take) for digit in range(10)
    )


@functools.cache
def _digits() -> Any:
    return sklearn_datasets().load_digits()


@functools.lru_cache(maxsize=16384)
def _digit_sprite(instance: int, pixels: int) -> Sprite:
    """A handwritten digit of 8×8 greys, enlarged to `pixels` and its strokes made firm."""
    grey: NDArray[np.uint8] = np.minimum(255, _digits().images[instance] * 16).astype(np.uint8)
    framed = np.zeros((10, 10), np.uint8)
    framed[1:9, 1:9] = grey
    side = round(pixels * 10 / 8)
    large = Image.fromarray(framed).resize((side, side), Image.Resampling.BICUBIC)
    firm = large.point(_FIRM)
    return Sprite(_cut(firm))


@functools.lru_cache(maxsize=8192)
def _sign_sprite(text: str, pixels: int, angle: int) -> Sprite:
    """A board with a text of `pixels` per em, turned by `angle` degrees counter-clockwise."""
    letters = font(pixels * _FINE, text)
    left, top, right, bottom = (round(v) for v in letters.getbbox(text))
    pad = round(0.28 * pixels) * _FINE
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    turn = math.radians(angle)
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    # the canvas is a whole number of final pixels and even, so that turning and scaling down keep the geometry
    canvas_width = -(-math.ceil(width * cos + height * sin) // (2 * _FINE)) * 2 * _FINE + 2 * _FINE
    canvas_height = -(-math.ceil(width * sin + height * cos) // (2 * _FINE)) * 2 * _FINE + 2 * _FINE
    middle_x, middle_y = canvas_width / 2, canvas_height / 2

    def turned(x: float, y: float) -> tuple[float, float]:
        """Where a point of the upright board comes to lie on the canvas."""
        dx, dy = x - width / 2, y - height / 2
        return (
            middle_x + dx * math.cos(turn) + dy * math.sin(turn),
            middle_y - dx * math.sin(turn) + dy * math.cos(turn),
        )

    board = Image.new("L", (canvas_width, canvas_height), 0)
    outline = [turned(0, 0), turned(width, 0), turned(width, height), turned(0, height)]
    ImageDraw.Draw(board).polygon([(x - 0.5, y - 0.5) for x, y in outline], fill=255)
    ink = Image.new("L", (canvas_width, canvas_height), 0)
    ImageDraw.Draw(ink).text(
        (middle_x - width / 2 + pad - left, middle_y - height / 2 + pad - top), text, font=letters, fill=255
    )
    x0, y0, x1, y1 = _ink_box(ink)
    shift_x, shift_y = width / 2 - middle_x, height / 2 - middle_y
    corners = [turned(x + shift_x, y + shift_y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    if angle:
        ink = ink.rotate(angle, Image.Resampling.BILINEAR)
    final = (canvas_width // _FINE, canvas_height // _FINE)
    board, ink = board.resize(final, Image.Resampling.BOX), ink.resize(final, Image.Resampling.BOX)
    cut = _ink_box(board)
    quad = tuple((x / _FINE - cut[0], y / _FINE - cut[1]) for x, y in corners)
    return Sprite(board.crop(cut), ink.crop(cut), quad)
