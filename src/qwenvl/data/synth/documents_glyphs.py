"""Words and characters drawn once and kept: a page is set from cached masks, bounded in bytes."""

from __future__ import annotations

import functools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from qwenvl.data.synth.documents_fonts import FontFace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.uint8]

SIZES = tuple(sorted({round(9 * 1.11**step) for step in range(28)}))
"""Pixels per em that are drawn: few enough that pages share what was drawn before."""

_MOST_BYTES = 80 << 20
_OVERHEAD = 300  # of an entry's Python objects


@dataclass(frozen=True, slots=True)
class Ink:
    """What a word or character leaves on the page: `mask` [height, width] uint8, cut to the ink.

    (`dx`, `dy`) is its top-left corner from the pen's place on the base line, in pixels; `advance` is how far the pen
    goes. Blanks have an empty mask.
    """

    mask: Mask
    dx: int
    dy: int
    advance: float


class _Cache:
    """Least recently used inks, up to a number of bytes."""

    def __init__(self) -> None:
        self._inks: OrderedDict[tuple[Any, ...], Ink] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[Any, ...]) -> Ink | None:
        found = self._inks.get(key)
        if found is not None:
            self._inks.move_to_end(key)
        return found

    def put(self, key: tuple[Any, ...], ink: Ink) -> None:
        self._inks[key] = ink
        self._bytes += ink.mask.nbytes + _OVERHEAD
        while self._bytes > _MOST_BYTES:
            _, gone = self._inks.popitem(last=False)
            self._bytes -= gone.mask.nbytes + _OVERHEAD


_CACHE = _Cache()


def ink(face: FontFace, size: int, text: str, turned: bool = False) -> Ink:
    """`text` in one piece, kerned, in `face` at `size` pixels per em; `turned` a quarter to the right, about the middle
    of its em square, as marks are in vertical lines.
    """
    key = (face.file, face.number, size, text, turned)
    found = _CACHE.get(key)
    if found is None:
        found = _turned(ink(face, size, text), size) if turned else _drawn(face, size, text)
        _CACHE.put(key, found)
    return found


def _drawn(face: FontFace, size: int, text: str) -> Ink:
    # a single character has nothing to be shaped with, which in large fonts takes most of the time
    font = face.at(size, shaped=len(text) > 1)
    advance = _hanzi_width(face, size) if _FIRST <= text <= _LAST and len(text) == 1 else font.getlength(text)
    # strokes may lie out of the em square
    pad = size // 2 + 4
    base = pad + size
    canvas = Image.new("L", (int(advance) + 2 * pad, base + pad))
    ImageDraw.Draw(canvas).text((pad, base), text, fill=255, font=font, anchor="ls")
    drawn = np.asarray(canvas)
    # the faintest edge of a stroke is nothing that an eye would draw a box around
    x, y, width, height = cv2.boundingRect(cv2.threshold(drawn, _FAINT, 255, cv2.THRESH_BINARY)[1])
    return Ink(drawn[y : y + height, x : x + width].copy(), x - pad, y - base, advance)


_FAINT = 23
_FIRST, _LAST = "\u4e00", "\u9fff"


@functools.lru_cache(maxsize=1024)
def _hanzi_width(face: FontFace, size: int) -> float:
    """That of all hanzi: they stand in squares."""
    return face.at(size, shaped=False).getlength("一")


def _turned(upright: Ink, size: int) -> Ink:
    """The em square of Chinese fonts reaches from 0.88 em above the base line to 0.12 em below."""
    height, _ = upright.mask.shape
    top = upright.dy + round(0.88 * size)
    dx = size - top - height
    dy = upright.dx - round(0.88 * size)
    return Ink(np.ascontiguousarray(np.rot90(upright.mask, -1)), dx, dy, float(size))


@functools.lru_cache(maxsize=4096)
def blank(face: FontFace, size: int) -> float:
    """How wide a blank is."""
    return face.at(size).getlength(" ")


def quantised(size: float) -> int:
    """The nearest of `SIZES`."""
    return min(SIZES, key=lambda known: abs(known - size))
