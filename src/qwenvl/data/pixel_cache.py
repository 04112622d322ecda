"""Decoded pictures, kept in memory as small as the model sees them: decoding costs more than all else of a batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwenvl.data.images import squashed
from qwenvl.sample import Image

PIXEL_CACHE_BYTES = 768 << 20


class PixelCache:
    """Squashed pictures by what they are and their size; the first ones go where there is no more room."""

    def __init__(self, limit: int = PIXEL_CACHE_BYTES) -> None:
        """`limit` in bytes of pixels."""
        self.limit, self._held = limit, 0
        self._pixels: OrderedDict[tuple[str, int], NDArray[np.uint8]] = OrderedDict()

    def squashed(self, image: Image, size: int) -> NDArray[np.uint8]:
        """(size, size, 3), as `qwenvl.data.images.squashed` gives it; not to be changed. Raises ImageError."""
        if not isinstance(image.source, bytes | Path):
            # named by its place in memory, where another may stand once it is gone
            return np.asarray(squashed(image, size), np.uint8)
        key = (image.key, size)
        found = self._pixels.get(key)
        if found is None:
            found = self._pixels[key] = np.asarray(squashed(image, size), np.uint8)
            self._held += found.nbytes
            while self._held > self.limit:
                self._held -= self._pixels.popitem(last=False)[1].nbytes
        return found

    def stacked(self, images: Sequence[Image], size: int) -> NDArray[np.uint8]:
        """(N, size, size, 3), a new array. Raises ImageError."""
        pixels = np.empty((len(images), size, size, 3), np.uint8)
        for place, image in zip(pixels, images, strict=True):
            place[:] = self.squashed(image, size)
        return pixels
