"""Colours of paper and ink that keep enough contrast to be read (WCAG 2.1's ratio of relative luminance)."""

from __future__ import annotations

import colorsys
import random

Colour = tuple[int, int, int]
"""Blue, green, red."""

ENOUGH = 4.0
"""Least ratio between text and what is behind it; WCAG asks 4.5 of body text and 3 of large text."""


def luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1."""
    blue, green, red = (
        value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in colour
    )
    return 0.0722 * blue + 0.7152 * green + 0.2126 * red


def ratio(one: Colour, other: Colour) -> float:
    """The contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def of_paper(rng: random.Random) -> Colour:
    """White, off-white or a light colour; seldom a dark one."""
    if rng.random() < 0.09:
        return _hsv(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.35))
    if rng.random() < 0.75:
        return _hsv(rng.uniform(0.08, 0.17), rng.uniform(0.0, 0.12), rng.uniform(0.9, 1.0))
    return _hsv(rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.75, 1.0))


def of_ink(rng: random.Random, paper: Colour, vivid: float) -> Colour:
    """A colour that shows on `paper`; with probability `vivid` not near black or white."""
    dark = luminance(paper) > 0.18
    for _ in range(8):
        if rng.random() < vivid:
            found = _hsv(rng.random(), rng.uniform(0.4, 1.0), rng.uniform(0.2, 0.7) if dark else rng.uniform(0.7, 1.0))
        else:
            value = int(rng.uniform(0, 75) if dark else rng.uniform(200, 255))
            found = (value, value, value)
        if ratio(found, paper) >= ENOUGH:
            return found
    return (0, 0, 0) if dark else (255, 255, 255)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)
