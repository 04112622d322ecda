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
    """Squashed pictures by what they are and their size, until there is no more room.

    Those of another size go then, of an earlier stage; else what is held stays: an epoch meets every picture once, so
    the ones held longest are as good as any, and of a corpus twice as large as the room half is found.
    """

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
            found = np.asarray(squashed(image, size), np.uint8)
            if self._make_room(found.nbytes, size):
                self._pixels[key] = found
                self._held += found.nbytes
        return found

    def stacked(self, images: Sequence[Image], size: int) -> NDArray[np.uint8]:
        """(N, size, size, 3), a new array. Raises ImageError."""
        pixels = np.empty((len(images), size, size, 3), np.uint8)
        for place, image in zip(pixels, images, strict=True):
            place[:] = self.squashed(image, size)
        return pixels

    def _make_room(self, needed: int, size: int) -> bool:
        while self._held + needed > self.limit:
            oldest = next(iter(self._pixels), None)
            if oldest is None or oldest[1] == size:
                return False
            self._held -= self._pixels.pop(oldest).nbytes
        return True
