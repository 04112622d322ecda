"""Draws scenes: things find places over a background where they fit and show, and are pasted as cached masks.

A scene costs a background and a few pastes. Nothing is tried without a bound: what finds no place is left out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from qwenvl.data.synth.scenes_backgrounds import background
from qwenvl.data.synth.scenes_sprites import Sprite, sprite_of
from qwenvl.data.synth.scenes_world import (
    COLOURS,
    HELD_OUT,
    Split,
    Thing,
    pick,
    random_things,
    reading_order,
)
from qwenvl.sample import Box, Quad

Colour = tuple[int, int, int]

_ENOUGH = 54.0  # least contrast (see _contrast) of a thing to what is behind it
_TRIES = 14  # places tried for one thing before the scene goes without it
_LIGHT_BOARDS = frozenset({"yellow", "white", "orange", "pink"})


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawn picture and its things in reading order; `size` is its side in pixels, `background` its kind."""

    picture: Image.Image
    things: tuple[Thing, ...]
    size: int
    background: str


def draw_scene(rng: random.Random, split: Split, size: int, held_out: bool = False) -> Scene:
    """Draw a scene of one to five things; with `held_out` one of them is a colour–shape pair that only the test set
    has.
    """
    wanted = random_things(rng, size / 96, held_out)
    ground, kind = background(rng, size)
    cells = _cells(ground)
    for _ in range(5):  # a few backgrounds, until the forced colour shows on one
        if not held_out or _contrast(COLOURS[wanted[0].colour][1], _mean(cells)) > _ENOUGH:
            break
        ground, kind = background(rng, size)
        cells = _cells(ground)
    placed: list[Thing] = []
    for thing in wanted:
        sprite = sprite_of(thing, split)
        found = _place(rng, thing, sprite, placed, cells, size)
        if found is not None:
            paste(ground, found, sprite, rng)
            placed.append(found)
    if not placed:  # nothing found a place with contrast: a picture of one thing on a plain ground
        thing = wanted[0]
        ground, kind = Image.new("RGB", (size, size), _opposite(COLOURS[thing.colour][1])), "flat"
        sprite = sprite_of(thing, split)
        placed = [_at(thing, sprite, (size - sprite.mask.width) // 2, (size - sprite.mask.height) // 2)]
        paste(ground, placed[0], sprite, rng)
    return Scene(ground, tuple(reading_order(placed, size)), size, kind)


def redraw(rng: random.Random, things: tuple[Thing, ...], split: Split, size: int) -> Scene:
    """Draw things at the places they already have over a new background: the second picture of "what differs?"."""
    for _ in range(8):
        ground, kind = background(rng, size)
        cells = _cells(ground)
        if all(_worst_contrast(thing.colour, thing.box, cells, size) > _ENOUGH for thing in things):
            break
    else:
        ground, kind = Image.new("RGB", (size, size), (136, 138, 140)), "flat"
    for thing in things:
        paste(ground, thing, sprite_of(thing, split), rng)
    return Scene(ground, things, size, kind)


def refitted(thing: Thing, others: Sequence[Thing], split: Split, size: int) -> Thing | None:
    """A thing whose shape was changed, boxed anew around the same middle; None if it does not fit there."""
    sprite = sprite_of(thing, split)
    width, height = sprite.mask.size
    x, y = round(thing.centre[0] - width / 2), round(thing.centre[1] - height / 2)
    if x < 0 or y < 0 or x + width > size or y + height > size:
        return None
    if any(_overlap(x, y, width, height, t.box) > 0.05 * min(width * height, t.area) for t in others):
        return None
    return _at(thing, sprite, x, y)


def paste(picture: Image.Image, thing: Thing, sprite: Sprite, rng: random.Random) -> None:
    """Draw one thing at the place its box says, its colour varied a little."""
    corner = (int(thing.box.x0), int(thing.box.y0))
    red, green, blue = COLOURS[thing.colour][1]
    shift = rng.random
    colour = (
        max(0, min(255, red + int(19 * shift()) - 9)),
        max(0, min(255, green + int(19 * shift()) - 9)),
        max(0, min(255, blue + int(19 * shift()) - 9)),
    )
    picture.paste(colour, corner, sprite.mask)
    if sprite.ink is not None:
        picture.paste((10, 10, 10) if thing.colour in _LIGHT_BOARDS else (250, 250, 250), corner, sprite.ink)


def _place(
    rng: random.Random, thing: Thing, sprite: Sprite, placed: list[Thing], cells: list[Colour], size: int
) -> Thing | None:
    """The thing at a random place where it fits, barely overlaps and shows; recoloured if its colour shows nowhere;
    else None.
    """
    width, height = sprite.mask.size
    room_x, room_y = size - width - 2, size - height - 2
    if room_x < 0 or room_y < 0:
        return None
    fits: list[Box] = []
    enough = _ENOUGH if thing.kind == "sign" or (thing.kind == "shape" and thing.fill == "solid") else 1.25 * _ENOUGH
    for _ in range(_TRIES):
        x, y = 1 + int(rng.random() * (room_x + 1)), 1 + int(rng.random() * (room_y + 1))
        if any(
            x < t.box.x1 + 1 and t.box.x0 < x + width + 1 and y < t.box.y1 + 1 and t.box.y0 < y + height + 1
            and _overlap(x, y, width, height, t.box) > 0.03 * min(width * height, t.area)
            for t in placed
        ):  # fmt: skip
            continue
        here = Box(x, y, x + width, y + height)
        if _worst_contrast(thing.colour, here, cells, size) > enough:
            return _at(thing, sprite, x, y)
        fits.append(here)
        if len(fits) == 4:
            break
    if not fits or thing.held_out:
        return None
    here = fits[0]
    allowed = [
        colour
        for colour in COLOURS
        if (colour, thing.shape) not in HELD_OUT and _worst_contrast(colour, here, cells, size) > enough
    ]
    if not allowed:
        return None
    return _at(replace(thing, colour=pick(rng, allowed)), sprite, int(here.x0), int(here.y0))


def _at(thing: Thing, sprite: Sprite, x: int, y: int) -> Thing:
    quad = None
    if sprite.quad:
        a, b, c, d = ((x + px, y + py) for px, py in sprite.quad)
        quad = Quad((a, b, c, d))
    return replace(thing, box=Box(x, y, x + sprite.mask.width, y + sprite.mask.height), quad=quad)


def _overlap(x: float, y: float, width: float, height: float, box: Box) -> float:
    return max(0.0, min(x + width, box.x1) - max(x, box.x0)) * max(0.0, min(y + height, box.y1) - max(y, box.y0))


def _cells(picture: Image.Image) -> list[Colour]:
    """The picture as 8×8 mean colours, row by row."""
    small = picture.resize((8, 8), Image.Resampling.BOX).tobytes()
    return [(small[i], small[i + 1], small[i + 2]) for i in range(0, 192, 3)]


def _mean(cells: list[Colour]) -> Colour:
    return sum(c[0] for c in cells) // 64, sum(c[1] for c in cells) // 64, sum(c[2] for c in cells) // 64


def _worst_contrast(colour: str, box: Box, cells: list[Colour], size: int) -> float:
    """The least contrast between a colour and the cells under a box."""
    x0, y0 = int(8 * box.x0 / size), int(8 * box.y0 / size)
    x1, y1 = int(8 * (box.x1 - 1) / size), int(8 * (box.y1 - 1) / size)
    own = COLOURS[colour][1]
    step_x, step_y = max(1, (x1 - x0 + 1) // 2), max(1, (y1 - y0 + 1) // 2)
    return min(
        _contrast(own, cells[8 * y + x]) for y in range(y0, y1 + 1, step_y) for x in range(x0, x1 + 1, step_x)
    )  # fmt: skip


def _contrast(a: Colour, b: Colour) -> float:
    """Distance of two colours, green weighing most and blue least as in the eye; black to white is 255."""
    return math.sqrt((2 * (a[0] - b[0]) ** 2 + 4 * (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2) / 7)


def _opposite(colour: Colour) -> Colour:
    return (225, 225, 225) if sum(colour) < 384 else (45, 45, 45)
