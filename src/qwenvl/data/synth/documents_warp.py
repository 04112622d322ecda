"""How a flat page gets into the picture: a bend like a book's page, then a perspective; exact both ways for points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from qwenvl.sample import Box, Quad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Pixels = NDArray[np.uint8]

_STEP = 8  # the map is computed at every so many pixels and interpolated: it is off by less than 0.01 pixel
_SAMPLES = 9


@dataclass(frozen=True, slots=True)
class Warp:
    """Maps points of a page to points of a picture of `size` (width, height).

    First (x, y) → (x, y + height · sin(2π x / length + phase)), where `bend` is (height, length, phase), then the
    projective 3×3 `matrix`. Points are in pixels, (0, 0) the corner of the first pixel.
    """

    size: tuple[int, int]
    matrix: Floats
    bend: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def forward(self, points: Floats) -> Floats:
        """Where points [N, 2] of the page come to lie in the picture."""
        bent: Floats = np.stack([points[:, 0], points[:, 1] + self._rise(points[:, 0])], axis=1)
        return _project(self.matrix, bent)

    def inverse(self, points: Floats) -> Floats:
        """Where points [N, 2] of the picture come from."""
        bent = _project(np.asarray(np.linalg.inv(self.matrix), np.float64), points)
        return np.stack([bent[:, 0], bent[:, 1] - self._rise(bent[:, 0])], axis=1)

    def quads(self, boxes: Floats) -> Floats:
        """The corners [N, 4, 2] of boxes [N, 4] (x0, y0, x1, y1) of the page: clockwise from the top-left, around all
        of the box and no larger than its bend asks for.
        """
        x0, y0, x1, y1 = boxes.T
        if self.bend[0]:
            # the chord of the bend carries the quad, and what the bend leaves it by widens it
            share = np.linspace(0.0, 1.0, _SAMPLES)
            across = x0[:, None] + (x1 - x0)[:, None] * share
            rise = self._rise(across)
            chord = rise[:, :1] + (rise[:, -1:] - rise[:, :1]) * share
            above, below = (rise - chord).min(axis=1), (rise - chord).max(axis=1)
            left, right = rise[:, 0], rise[:, -1]
        else:
            above = below = left = right = np.zeros_like(x0)
        corners = np.stack(
            [x0, y0 + left + above, x1, y0 + right + above, x1, y1 + right + below, x0, y1 + left + below], axis=1
        )
        return _project(self.matrix, corners.reshape(-1, 2)).reshape(-1, 4, 2)

    def apply(self, page: Pixels, onto: Pixels | None = None, fill: tuple[int, int, int] = (0, 0, 0)) -> Pixels:
        """The page [H, W] or [H, W, 3] in the picture. What it does not cover shows `onto` (which is changed), or
        `fill`.
        """
        width, height = self.size
        xs = (np.arange(-1, width // _STEP + 2) + 0.5) * _STEP
        ys = (np.arange(-1, height // _STEP + 2) + 0.5) * _STEP
        grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        # a pixel's middle is at half, and OpenCV counts from the middle of the first
        source = (self.inverse(grid) - 0.5).reshape(len(ys), len(xs), 2).astype(np.float32)
        full = cv2.resize(source, (len(xs) * _STEP, len(ys) * _STEP), interpolation=cv2.INTER_LINEAR)
        full = full[_STEP : _STEP + height, _STEP : _STEP + width]
        coarse, fine = cv2.convertMaps(full, None, cv2.CV_16SC2)
        mode = cv2.BORDER_CONSTANT if onto is None else cv2.BORDER_TRANSPARENT
        found = cv2.remap(page, coarse, fine, cv2.INTER_LINEAR, dst=onto, borderMode=mode, borderValue=fill)
        return np.asarray(found, np.uint8)

    def _rise(self, x: NDArray[np.floating]) -> Floats:
        height, length, phase = self.bend
        if not height:
            return np.zeros_like(x)
        return np.asarray(height * np.sin(2 * np.pi * x / length + phase), np.float64)


def upright(size: tuple[int, int]) -> Warp:
    """No change: the page is the picture."""
    return Warp(size, np.eye(3))


def between(size: tuple[int, int], corners: Floats, page: tuple[int, int]) -> Floats:
    """The projective matrix that takes the corners of a page of (width, height) to `corners` [4, 2]."""
    width, height = page
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(flat, corners.astype(np.float32)), np.float64)


def quad_of(corners: Floats) -> Quad:
    """Corners [4, 2] as a `Quad`, to a tenth of a pixel."""
    a, b, c, d = ((round(float(x), 1), round(float(y), 1)) for x, y in corners)
    return Quad((a, b, c, d))


def inside(corners: Floats, size: tuple[int, int]) -> bool:
    """Whether corners lie within the picture."""
    return bool((corners >= 0).all() and (corners[:, 0] <= size[0]).all() and (corners[:, 1] <= size[1]).all())


def box_of(corners: Floats) -> Box:
    """The smallest box around corners [N, 2]."""
    return Box(*(float(value) for value in (*corners.min(axis=0), *corners.max(axis=0))))


def _project(matrix: Floats, points: Floats) -> Floats:
    found = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(found[:, :2] / found[:, 2:], np.float64)
