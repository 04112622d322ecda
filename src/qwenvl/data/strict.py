"""Truncated pictures are refused, whatever other code told Pillow."""

from __future__ import annotations

import threading

from PIL import ImageFile


class _Strict:
    """While anybody is within, Pillow refuses truncated files: others set its switch for the whole process."""

    def __init__(self) -> None:
        self._lock, self._within, self._before = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


STRICT = _Strict()
"""`with STRICT:` around whatever decodes."""
