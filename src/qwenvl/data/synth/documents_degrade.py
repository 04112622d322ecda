"""What happens to a picture between the page and the file: shadow, blur, grain, grey, JPEG; in steps of uint8."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import cv2
import numpy as np

from qwenvl.data.synth.documents_paper import cut, noise, stretched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


def shade(rng: random.Random, picture: Pixels) -> Pixels:
    """Uneven light over the picture, maybe with the soft shadow of something beside it; never darker than a half."""
    height, width = picture.shape[:2]
    corners = np.array([[rng.uniform(0.72, 1.0) for _ in range(2)] for _ in range(2)], np.float32)
    light = cv2.resize(corners, (32, 32), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        shadow = np.ones((32, 32), np.float32)
        middle, half = (rng.uniform(0, 32), rng.uniform(0, 32)), rng.uniform(6, 18)
        corners_ = cv2.boxPoints((middle, (half, rng.uniform(20, 60)), rng.uniform(0, 180)))
        cv2.fillConvexPoly(shadow, corners_.astype(np.int32), rng.uniform(0.6, 0.85))
        light *= cv2.GaussianBlur(shadow, (0, 0), rng.uniform(0.8, 3))
    full = stretched(np.clip(255 * light, 128, 255).astype(np.uint8), (width, height))
    return np.asarray(cv2.multiply(picture, cv2.cvtColor(full, cv2.COLOR_GRAY2BGR), scale=1 / 255), np.uint8)


def under(rng: random.Random, picture: Pixels, corners: NDArray[np.float64]) -> None:
    """The shadow that a sheet with these corners throws on what it lies on; changes `picture`."""
    height, width = picture.shape[:2]
    small = np.full((height // 8 + 1, width // 8 + 1), 255, np.uint8)
    offset = np.array([rng.uniform(-6, 6), rng.uniform(-6, 6)])
    cv2.fillConvexPoly(small, ((corners + offset) / 8).astype(np.int32), int(rng.uniform(70, 190)))
    soft = stretched(cv2.GaussianBlur(small, (0, 0), rng.uniform(0.7, 2.5)), (width, height))
    cv2.multiply(picture, cv2.cvtColor(soft, cv2.COLOR_GRAY2BGR), dst=picture, scale=1 / 255)


def blur(rng: random.Random, picture: Pixels, smallest: float) -> Pixels:
    """Out of focus or moved a little, as far as text `smallest` pixels high bears."""
    most = 0.042 * smallest
    if rng.random() < 0.75:
        sigma = rng.uniform(0.3, max(0.35, most))
        side = 3 if sigma < 0.8 else 5
        return np.asarray(cv2.GaussianBlur(picture, (side, side), sigma), np.uint8)
    length = rng.randint(2, max(2, round(2.2 * most)))
    size = (length, 1) if rng.random() < 0.5 else (1, length)
    return np.asarray(cv2.blur(picture, size), np.uint8)


def grain(rng: random.Random, picture: Pixels) -> Pixels:
    """The noise of a sensor, and a little more or less light and contrast."""
    height, width = picture.shape[:2]
    tile = cut(rng, noise(), (width, height))
    strength, gain = rng.uniform(0.06, 0.42), rng.uniform(0.88, 1.06)
    level = 255 * (1 - gain) * rng.random() - 128 * strength
    return np.asarray(cv2.addWeighted(picture, gain, tile, strength, level), np.uint8)


def jpeg(picture: Pixels, quality: int) -> bytes:
    """The encoded file, BGR or grey. Raises ValueError for a picture that JPEG can not hold."""
    good, found = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f"a picture of {picture.shape[1]} by {picture.shape[0]} pixels can not be written as JPEG")
    return bytes(found)
