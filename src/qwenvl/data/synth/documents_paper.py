"""What text stands on: sheets of paper, and what lies behind them, from tiles that are made once per process."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from qwenvl.data.images import ImageError, load_image, reduced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Colour = tuple[int, int, int]

PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
_TILE, _SHEET = 512, 1408
_PAPERS, _GROUNDS = 5, 10
_MOST_PHOTOS = 200_000
_PHOTO_SIDE = 1280


class PhotoError(ValueError):
    """A folder of photographs can not be used; the message says why."""


@dataclass(frozen=True)
class Photos:
    """Photographs of the user's folders. Pages with neighbouring numbers share a few, so that few are decoded."""

    paths: tuple[str, ...] = ()

    def draw(self, rng: random.Random, seed: int, index: int) -> Pixels | None:
        """One for page `index`, BGR; None where there are none, or where it can not be read."""
        if not self.paths:
            return None
        few = random.Random(f"photos {seed} {index // _SHARING}").choices(self.paths, k=_SHARED)
        return _photo(rng.choice(few))


_SHARING, _SHARED = 256, 12


def find_photos(folders: Sequence[Path]) -> Photos:
    """The photographs below folders. Raises PhotoError for one that is not there or without any."""
    found: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise PhotoError(f"{folder}: there is no such folder of photographs")
        own = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in PHOTOS and path.is_file())
        if not own:
            raise PhotoError(f"{folder}: holds no photograph ({', '.join(PHOTOS)})")
        found += own
    return Photos(tuple(found[:_MOST_PHOTOS]))


@functools.lru_cache(maxsize=16)
def _photo(path: str) -> Pixels | None:
    try:
        picture = reduced(load_image(Path(path), paths=True), _PHOTO_SIDE // 2).convert("RGB")
    except (ImageError, OSError):
        return None
    picture.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])


def sheet(rng: random.Random, size: tuple[int, int], colour: Colour, texture: float) -> Pixels:
    """Paper of `colour` (BGR), width × height; `texture` from 0, smooth, to 1."""
    if texture <= 0:
        # row by row: NumPy fills pixel by pixel otherwise, at a tenth of the speed
        row = np.tile(np.array(colour, np.uint8), size[0]).reshape(1, size[0], 3)
        return np.repeat(row, size[1], axis=0)
    grain = cut(rng, _papers()[rng.randrange(_PAPERS)], size)
    return tinted(grain, colour, 255 * (1 - texture), texture)


def tinted(grey: Pixels, colour: Colour, level: float = 0.0, gain: float = 1.0) -> Pixels:
    """`colour` times (level + gain · grey) / 255: [H, W, 3] of [H, W], by a table, which is faster than sums."""
    shares = np.clip(level + gain * np.arange(256), 0, 255) / 255
    table = np.round(shares[:, None] * np.array(colour)).astype(np.uint8).reshape(256, 1, 3)
    return np.asarray(cv2.applyColorMap(grey, table), np.uint8)


def ground(rng: random.Random, size: tuple[int, int], photo: Pixels | None) -> Pixels:
    """What is behind a page, width × height, BGR: a part of a photograph, else of a generated surface."""
    if photo is None:
        tile = _grounds()[rng.randrange(_GROUNDS)]
        side = rng.randint(_TILE // 3, _TILE)
        part = cut(rng, tile, (side, min(_TILE, max(8, side * size[1] // size[0]))))
        gain = rng.uniform(0.5, 1.25)
        tint = (*(255 * gain * rng.uniform(0.9, 1.1) for _ in range(3)), 0.0)
        # while it is small
        return stretched(np.asarray(cv2.multiply(part, tint, scale=1 / 255), np.uint8), size)
    height, width = photo.shape[:2]
    share = rng.uniform(0.6, 1.0)
    wide = min(width, int(share * min(width, height * size[0] / size[1])))
    high = min(height, int(wide * size[1] / size[0]))
    return stretched(cut(rng, photo, (max(1, wide), max(1, high))), size)


def cut(rng: random.Random, tile: Pixels, size: tuple[int, int]) -> Pixels:
    """A random part of a tile, maybe mirrored; a tile that is too small is enlarged."""
    width, height = size
    if tile.shape[1] < width or tile.shape[0] < height:
        factor = max(width / tile.shape[1], height / tile.shape[0])
        wide, high = int(tile.shape[1] * factor) + 1, int(tile.shape[0] * factor) + 1
        tile = np.asarray(cv2.resize(tile, (wide, high), interpolation=cv2.INTER_LINEAR), np.uint8)
    x, y = rng.randint(0, tile.shape[1] - width), rng.randint(0, tile.shape[0] - height)
    return tile[y : y + height, x : x + width]


def stretched(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture at another size."""
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)


@functools.cache
def noise() -> Pixels:
    """Grain of mean 128 and standard deviation 24, apart for each colour."""
    made = np.random.default_rng(1).standard_normal((_SHEET, _SHEET, 3), np.float32)
    made *= 24
    made += 128
    return np.clip(made, 0, 255, out=made).astype(np.uint8)


@functools.cache
def _papers() -> tuple[Pixels, ...]:
    """Textures to multiply paper with, [side, side], the brightest 255."""
    random_ = np.random.default_rng(2)
    found = []
    for number in range(_PAPERS):
        fine = _octaves(random_, _SHEET, (1, 2, 6) if number % 2 else (1, 3))
        # stains are faint
        fine += 0.35 * _octaves(random_, _SHEET, () if number % 2 else (60, 250))
        if number == 3:  # fibres
            fine += 0.5 * cv2.GaussianBlur(random_.normal(0, 1, (_SHEET, _SHEET)).astype(np.float32), (1, 9), 2)
        grey = 255 - np.clip(9 * (fine - fine.min() * 0.6), 0, 60)
        found.append(grey.astype(np.uint8))
    return tuple(found)


@functools.cache
def _grounds() -> tuple[Pixels, ...]:
    """Surfaces: wood, cloth, stone, gradients, lights out of focus."""
    random_ = np.random.default_rng(3)
    makers = (_wood, _cloth, _stone, _gradient, _lights)
    return tuple(makers[number % len(makers)](random_) for number in range(_GROUNDS))


def _octaves(random_: np.random.Generator, side: int, scales: Sequence[int]) -> NDArray[np.float32]:
    """Smooth noise at several scales, each of standard deviation about 1."""
    total = np.zeros((side, side), np.float32)
    for scale in scales:
        small = random_.normal(0, 1, (side // scale + 2, side // scale + 2)).astype(np.float32)
        total += cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    return total


def _wood(random_: np.random.Generator) -> Pixels:
    long = cv2.resize(random_.normal(0, 1, (_TILE // 3, 4)).astype(np.float32), (_TILE, _TILE))
    wave = np.sin(3 * cv2.resize(random_.normal(0, 1, (40, 3)).astype(np.float32), (_TILE, _TILE)) + 6 * long)
    grain = 0.5 + 0.12 * wave + 0.05 * long + 0.03 * random_.normal(0, 1, (_TILE, 1))
    dark, light = np.array([20, 45, 85]), np.array([130, 185, 225])
    return _mixed(grain, dark, light)


def _cloth(random_: np.random.Generator) -> Pixels:
    x = np.arange(_TILE)
    period = int(random_.integers(4, 9))
    weave = 0.5 + 0.22 * np.sin(2 * np.pi * x / period)[None] * np.cos(2 * np.pi * x / period)[:, None]
    weave = weave + 0.05 * _octaves(random_, _TILE, (1, 60))
    base = random_.integers(30, 200, 3)
    return _mixed(weave, base * 0.6, np.minimum(255, base * 1.25))


def _stone(random_: np.random.Generator) -> Pixels:
    veins = np.abs(_octaves(random_, _TILE, (8, 24, 80, 160)))
    base = random_.integers(60, 215)
    return _mixed(np.clip(veins / 4, 0, 1), np.full(3, base * 0.55), np.minimum(255, base + random_.integers(0, 40, 3)))


def _gradient(random_: np.random.Generator) -> Pixels:
    corners = random_.integers(20, 240, (2, 2, 3)).astype(np.float32)
    return np.clip(cv2.resize(corners, (_TILE, _TILE)), 0, 255).astype(np.uint8)


def _lights(random_: np.random.Generator) -> Pixels:
    canvas = np.full((_TILE, _TILE, 3), random_.integers(10, 90, 3), np.uint8)
    for _ in range(40):
        centre = tuple(int(value) for value in random_.integers(0, _TILE, 2))
        colour = tuple(int(value) for value in random_.integers(40, 255, 3))
        cv2.circle(canvas, centre, int(random_.integers(8, 60)), colour, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 12), np.uint8)


def _mixed(share: NDArray[np.floating], dark: NDArray[np.generic], light: NDArray[np.generic]) -> Pixels:
    """Colours between two, by the share of the second [side, side]."""
    weight = np.clip(share, 0, 1)[..., None]
    return np.clip(dark * (1 - weight) + light * weight, 0, 255).astype(np.uint8)
