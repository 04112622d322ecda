"""Backgrounds of scenes: flat colours, gradients, noise, and parts of real photographs, all muted so that things stand
out.
"""

from __future__ import annotations

import functools
import random

import numpy as np
from PIL import Image

from qwenvl.data.synth.scenes_bundled import sklearn_datasets
from qwenvl.data.synth.scenes_world import pick

Colour = tuple[int, int, int]


def background(rng: random.Random, size: int) -> tuple[Image.Image, str]:
    """A background and its kind: flat, gradient, noise, or part of a real photograph, softened so that things stand
    out.
    """
    draw = rng.random()
    ground = _muted(rng)
    if draw < 0.25:
        return Image.new("RGB", (size, size), ground), "flat"
    if draw < 0.5:
        other = _muted(rng, ground)
        return Image.composite(
            Image.new("RGB", (size, size), ground), Image.new("RGB", (size, size), other), pick(rng, _ramps(size))
        ), "gradient"
    picture = Image.new("RGB", (size, size), ground)
    if draw < 0.65:
        noise = pick(rng, _noises(size))
        x, y = int(rng.random() * (noise.width - size)), int(rng.random() * (noise.height - size))
        return Image.blend(picture, noise.crop((x, y, x + size, y + size)), 0.12 + 0.2 * rng.random()), "noise"
    photo = pick(rng, _photographs(size))
    x, y = int(rng.random() * (photo.width - size)), int(rng.random() * (photo.height - size))
    return Image.blend(picture, photo.crop((x, y, x + size, y + size)), 0.35 + 0.4 * rng.random()), "photo"


def _muted(rng: random.Random, near: Colour | None = None) -> Colour:
    """A colour of little saturation, light or dark; with `near`, one not too far from it in lightness."""
    if near is not None:
        light = min(240, max(15, sum(near) / 3 + (rng.random() - 0.5) * 130))
    else:  # mostly dark or light: on a middle grey the middle colours would hardly show
        draw = rng.random()
        light = (
            15 + 75 * rng.random() if draw < 0.4 else 160 + 80 * rng.random() if draw < 0.8 else 90 + 70 * rng.random()
        )
    spread = min(55.0, 0.5 * light + 5, 0.5 * (255 - light) + 5)
    return (
        int(min(255, max(0, light + (rng.random() * 2 - 1) * spread))),
        int(min(255, max(0, light + (rng.random() * 2 - 1) * spread))),
        int(min(255, max(0, light + (rng.random() * 2 - 1) * spread))),
    )


@functools.lru_cache(maxsize=8)
def _ramps(size: int) -> tuple[Image.Image, ...]:
    """Grey ramps: across, down, both diagonals and from the middle."""
    y, x = np.mgrid[0:size, 0:size] / max(1, size - 1)
    ramps = (x, y, (x + y) / 2, (x + 1 - y) / 2, np.minimum(1, np.hypot(x - 0.5, y - 0.5) * 1.4))
    return tuple(Image.fromarray((255 * ramp).astype(np.uint8)) for ramp in ramps)


@functools.lru_cache(maxsize=8)
def _noises(size: int) -> tuple[Image.Image, ...]:
    """Coloured noise of three grain sizes, twice the picture's side, the same in every run."""
    random_numbers = np.random.Generator(np.random.PCG64(20230824))
    pictures = []
    for grain in (1, 3, 8):
        side = -(-2 * size // grain)
        small = Image.fromarray(random_numbers.integers(0, 256, (side, side, 3), dtype=np.uint8))
        pictures.append(small.resize((side * grain, side * grain), Image.Resampling.BICUBIC))
    return tuple(pictures)


@functools.lru_cache(maxsize=4)
def _photographs(size: int) -> tuple[Image.Image, ...]:
    """scikit-learn's two bundled photographs at three scales each, upright and mirrored."""
    pictures = []
    for pixels in sklearn_datasets().load_sample_images().images:
        photo = Image.fromarray(pixels)
        for times in (1.4, 2.2, 3.5):
            scale = times * size / min(photo.size)
            scaled = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
            pictures += [scaled, scaled.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return tuple(pictures)
