"""Draws a document: chooses page, layout and view, sets the text, finds each line's quad, draws, spoils the picture.

What is too small, cut off or out of the picture is left out before anything is drawn, so no text is seen without a
quad.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from qwenvl.data.synth.documents_colour import ENOUGH, Colour, of_ink, of_paper, ratio
from qwenvl.data.synth.documents_degrade import blur, grain, jpeg, shade, under
from qwenvl.data.synth.documents_fonts import FontFace
from qwenvl.data.synth.documents_layout import LAYOUTS, downwards, poster
from qwenvl.data.synth.documents_paper import Photos, ground, sheet, tinted
from qwenvl.data.synth.documents_setting import Line
from qwenvl.data.synth.documents_sheet import BODY, HEAD, NOTE, SMALLEST, Sheet
from qwenvl.data.synth.documents_text import TextSource
from qwenvl.data.synth.documents_warp import Warp, between, inside, quad_of, upright
from qwenvl.sample import Language, TextLine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Floats = NDArray[np.float64]

ASPECTS = (0.71, 0.71, 0.71, 0.77, 1.0, 1.41, 1.33, 1.78, 0.5, 0.56)
"""Width by height: paper of the two standards, screens, receipts, telephones."""

VIEWS = {"flat": 0.26, "scan": 0.2, "photo": 0.36, "over": 0.18}
"""How a page is seen: as it is, on a scanner, photographed on a table; `over` has the text on the picture itself."""

_SHARING, _SHARED = 128, 6
"""So many pages that follow one another are set in so many faces: what was drawn for one serves the next."""


@dataclass(frozen=True)
class Look:
    """What pages are made of: faces by language, text, photographs; `long_side` and `smallest` are pixels."""

    faces: dict[Language, tuple[FontFace, ...]]
    source: TextSource
    photos: Photos
    long_side: tuple[int, int]
    smallest: int


@dataclass(frozen=True)
class Document:
    """A drawn document: the JPEG, its size, the lines in reading order, what it is."""

    jpeg: bytes
    size: tuple[int, int]
    lines: tuple[TextLine, ...]
    language: Language
    layout: str
    view: str


def draw(look: Look, seed: int, index: int, dropped: Counter[str]) -> Document | None:
    """Document number `index`: the same whenever it is asked for. None where no text fits on it."""
    rng = random.Random(f"documents {seed} {index}")
    language = rng.choice(sorted(look.faces))
    size = _size(rng, look.long_side)
    layouts = [layout for layout in LAYOUTS if layout is not downwards or language == "zh"]
    layout = rng.choices(layouts, [LAYOUTS[one] for one in layouts])[0]
    view = rng.choices(list(VIEWS), list(VIEWS.values()))[0]
    if view == "over":
        # long texts are hard to read on a photograph
        layout = poster if rng.random() < 0.8 else layout
    page_size, warp = _seen(rng, view, size)
    every = look.faces[language]
    faces = random.Random(f"faces {seed} {index // _SHARING}").sample(every, min(_SHARED, len(every)))
    page = Sheet(rng, look.source, language, faces, every, *page_size, look.smallest, dropped)
    layout(page)
    kept, quads = readable(page.lines, page_size, warp, look.smallest * SMALLEST[language], dropped)
    if not kept:
        return None
    photo = look.photos.draw(rng, seed, index)
    if view == "over":
        picture = _over(rng, kept, page_size, warp, photo)
    else:
        picture = _on_paper(rng, page, kept, warp, view, photo)
    picture = _spoiled(rng, picture, view, min(_height(line, quad) for line, quad in zip(kept, quads, strict=True)))
    lines = tuple(TextLine(line.text, quad_of(quad)) for line, quad in zip(kept, quads, strict=True))
    quality = rng.randint(55, 95)
    return Document(jpeg(picture, quality), size, lines, language, layout.__name__, view)


def readable(
    lines: Sequence[Line], page: tuple[int, int], warp: Warp, smallest: float, dropped: Counter[str]
) -> tuple[list[Line], list[Floats]]:
    """The lines that are whole in the picture and large enough to be read, with their corners [4, 2] there."""
    kept: list[Line] = []
    quads: list[Floats] = []
    if not lines:
        return kept, quads
    corners = warp.quads(np.array([line.box for line in lines], np.float64))
    for line, quad in zip(lines, corners, strict=True):
        x0, y0, x1, y1 = line.box
        if x0 < 0 or y0 < 0 or x1 > page[0] or y1 > page[1] or not inside(quad, warp.size):
            dropped["line: not whole in the picture"] += 1
        elif _height(line, quad) < smallest:
            dropped["line: too small to read"] += 1
        else:
            kept.append(line)
            quads.append(quad)
    return kept, quads


def stamp(lines: Sequence[Line], page: tuple[int, int]) -> Pixels:
    """The ink of lines, [height, width], 255 where it is full."""
    mask = np.zeros((page[1], page[0]), np.uint8)
    for line in lines:
        for one, x, y in line.inks:
            height, width = one.mask.shape
            place = mask[y : y + height, x : x + width]
            np.maximum(place, one.mask, out=place)
    return mask


def _size(rng: random.Random, long_side: tuple[int, int]) -> tuple[int, int]:
    longest = rng.randint(*long_side)
    aspect = rng.choice(ASPECTS)
    return (longest, round(longest / aspect)) if aspect > 1 else (round(longest * aspect), longest)


def _height(line: Line, quad: Floats) -> float:
    """The line's size after the warp: that of its em, not of its ink, since "on" is as readable as "high"."""
    x0, y0, x1, y1 = line.box
    # across the line, at its narrower end
    if line.vertical:
        seen, flat = min(math.dist(quad[0], quad[1]), math.dist(quad[3], quad[2])), x1 - x0
    else:
        seen, flat = min(math.dist(quad[0], quad[3]), math.dist(quad[1], quad[2])), y1 - y0
    return line.size * seen / flat


def _seen(rng: random.Random, view: str, size: tuple[int, int]) -> tuple[tuple[int, int], Warp]:
    """The page's size and how it comes into the picture."""
    width, height = size
    if view == "flat" or (view == "over" and rng.random() < 0.5):
        return size, upright(size)
    if view == "photo":
        shrink = rng.uniform(0.8, 1.06)
        wide = shrink * width * rng.uniform(0.85, 1.0)
        high = shrink * height * rng.uniform(0.85, 1.0)
        jitter, turn = 0.05, rng.gauss(0, 4)
    else:
        wide, high = float(width), float(height)
        jitter, turn = (0.0, rng.gauss(0, 1.2)) if view == "scan" else (0.04, rng.gauss(0, 5))
    angle = math.radians(max(-14.0, min(14.0, turn)))
    corners = []
    for x, y in ((-wide, -high), (wide, -high), (wide, high), (-wide, high)):
        x, y = x / 2 + jitter * wide * rng.uniform(-1, 1), y / 2 + jitter * high * rng.uniform(-1, 1)
        corners.append(
            (
                width / 2 + x * math.cos(angle) - y * math.sin(angle),
                height / 2 + x * math.sin(angle) + y * math.cos(angle),
            )
        )
    page = (max(32, round(wide)), max(32, round(high)))
    bend = (0.0, 1.0, 0.0)
    if view == "photo" and rng.random() < 0.35:
        bend = (rng.uniform(0.002, 0.012) * high, rng.uniform(0.9, 2.2) * wide, rng.uniform(0, 2 * math.pi))
    return page, Warp(size, between(size, np.array(corners), page), bend)


def _on_paper(
    rng: random.Random, page: Sheet, lines: Sequence[Line], warp: Warp, view: str, photo: Pixels | None
) -> Pixels:
    size = (page.width, page.height)
    paper = of_paper(rng)
    made = sheet(rng, size, paper, rng.uniform(0.2, 1.0) if rng.random() < 0.75 else 0.0)
    made = np.ascontiguousarray(made)
    for x0, y0, x1, y1 in page.figures:
        made[y0:y1, x0:x1] = ground(rng, (x1 - x0, y1 - y0), photo if rng.random() < 0.5 else None)
    tones = {tone: of_ink(rng, paper, vivid) for tone, vivid in ((BODY, 0.15), (HEAD, 0.45), (NOTE, 0.2))}
    for x0, y0, x1, y1 in page.rules:
        cv2.line(made, (x0, y0), (x1, y1), tones[NOTE], 1 if size[0] < 900 else 2)
    faded = rng.uniform(0.75, 1.0) if rng.random() < 0.2 else 1.0
    for tone, colour in tones.items():
        _ink_in(made, [line for line in lines if line.tone == tone], colour, paper, faded)
    if view == "flat":
        return made
    if view == "scan":
        edge = rng.choice((paper, (255, 255, 255), (30, 30, 30)))
        return warp.apply(made, fill=edge)
    behind = np.ascontiguousarray(ground(rng, warp.size, photo))
    outline = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], np.float64)
    under(rng, behind, warp.forward(outline))
    return warp.apply(made, behind)


def _over(rng: random.Random, lines: Sequence[Line], page: tuple[int, int], warp: Warp, photo: Pixels | None) -> Pixels:
    """Text on a picture: each tone in a colour that shows everywhere behind its lines, else on a plain ground."""
    made = np.ascontiguousarray(ground(rng, page, photo))
    for tone in (BODY, HEAD, NOTE):
        own = [line for line in lines if line.tone == tone]
        if not own:
            continue
        colour, panel = _colour_over(rng, made, own)
        if panel is not None:
            _panels(made, own, panel)
        _ink_in(made, own, colour, None, 1.0)
    return made if np.array_equal(warp.matrix, np.eye(3)) else warp.apply(made, fill=(20, 20, 20))


def _colour_over(rng: random.Random, picture: Pixels, lines: Sequence[Line]) -> tuple[Colour, Colour | None]:
    """A colour for lines, and that of the ground to lay under them where no colour shows on the picture itself."""
    seen: list[Colour] = []
    for line in lines:
        x0, y0, x1, y1 = line.box
        mean, deviation = cv2.meanStdDev(picture[y0:y1, x0:x1])
        for away in (-1.6, 1.6):
            blue, green, red = (int(min(255, max(0, value))) for value in (mean + away * deviation).ravel())
            seen.append((blue, green, red))
    tries: list[Colour] = [of_ink(rng, seen[0], 0.7) for _ in range(3)]
    for colour in (*tries, (255, 255, 255), (0, 0, 0)):
        if min(ratio(colour, other) for other in seen) >= ENOUGH:
            return colour, None
    panel = of_paper(rng)
    return of_ink(rng, panel, 0.5), panel


def _panels(picture: Pixels, lines: Sequence[Line], colour: Colour) -> None:
    """A plain ground under each line."""
    height, width = picture.shape[:2]
    for line in lines:
        x0, y0, x1, y1 = line.box
        pad = round(0.3 * line.size)
        picture[max(0, y0 - pad) : min(height, y1 + pad), max(0, x0 - pad) : min(width, x1 + pad)] = colour


def _ink_in(picture: Pixels, lines: Sequence[Line], colour: Colour, paper: Colour | None, strength: float) -> None:
    """Draw lines into a picture. Ink that is not full is so only as far as it keeps its contrast to the paper."""
    if not lines:
        return
    x0, y0 = min(line.box[0] for line in lines), min(line.box[1] for line in lines)
    x1, y1 = max(line.box[2] for line in lines), max(line.box[3] for line in lines)
    mask = stamp([line.moved(-x0, -y0) for line in lines], (x1 - x0, y1 - y0))
    if strength < 1.0 and paper is not None:
        blue, green, red = (round(c * strength + p * (1 - strength)) for c, p in zip(colour, paper, strict=True))
        if ratio((blue, green, red), paper) >= ENOUGH:
            colour = (blue, green, red)
    place = picture[y0:y1, x0:x1]
    cv2.multiply(place, cv2.cvtColor(cv2.bitwise_not(mask), cv2.COLOR_GRAY2BGR), dst=place, scale=1 / 255)
    if any(colour):
        cv2.add(place, tinted(mask, colour), dst=place)


def _spoiled(rng: random.Random, picture: Pixels, view: str, smallest: float) -> Pixels:
    """Shadow, blur, grain and grey, each on some pages; flat pages often stay as they are."""
    if view == "flat" and rng.random() < 0.45:
        return picture
    if view != "flat" and rng.random() < 0.55:
        picture = shade(rng, picture)
    if rng.random() < 0.5:
        picture = blur(rng, picture, smallest)
    if rng.random() < 0.7:
        picture = grain(rng, picture)
    if rng.random() < 0.12:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    return picture
