"""One image–text pair while it is judged: bytes and words as they were crawled, each looked at once and late."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image as PILImage

from qwenvl.data.header import upright_size
from qwenvl.data.images import MAX_PIXELS, load_image, reduced, reduced_grey
from qwenvl.sample import Caption, Image, Language, Record

GREY_SIDE = 64
"""What `grey` promises, as DECODED_SIDE does of `pixels`: enough for a perceptual hash, and to see that it decodes."""

DECODED_SIDE = 256
"""What `pixels` promises: a picture whose sides are twice as long or more comes at a whole fraction of its size, its
sides no shorter than this.
"""


@dataclass
class Pair:
    """A web pair: `image` encoded, `caption` as the source has it (None where it has none), `meta` plain JSON values.

    `id` names it among all pairs of all sources; `source` is the name of its set, which thresholds may depend on. What
    is derived (`size`, `digest`, `grey`, `pixels`) is computed on first use and kept; what is no picture raises
    ImageError there. Rules change `caption` through the runner alone.
    """

    id: str
    source: str
    image: bytes
    caption: str | None
    name: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright; the header alone is read."""
        size = upright_size(self.image)
        if size is not None and size[0] * size[1] <= MAX_PIXELS:
            return size
        image = load_image(self.image, self.name or self.id)
        return image.width, image.height

    @cached_property
    def digest(self) -> str:
        """blake2b of the encoded bytes, 16 bytes in hex: equal for exact copies."""
        return hashlib.blake2b(self.image, digest_size=16).hexdigest()

    @cached_property
    def pixels(self) -> PILImage.Image:
        """The picture decoded to its last byte, RGB and upright, reduced to what DECODED_SIDE says."""
        return _few(reduced(self._encoded, DECODED_SIDE // 2), DECODED_SIDE)

    @cached_property
    def grey(self) -> PILImage.Image:
        """The picture decoded to its last byte, grey and upright, reduced to GREY_SIDE: half the time of `pixels`.

        It is the same whether `pixels` was asked for or not, and so is what is made of it.
        """
        return _few(reduced_grey(self._encoded, GREY_SIDE // 2), GREY_SIDE)

    @property
    def _encoded(self) -> Image:
        return Image(self.image, *self.size, self.name or self.id)

    def record(self, language: Language) -> Record:
        """The record that a kept pair becomes."""
        image = Image(self.image, *self.size, self.name)
        return Record(self.id, self.source, (image,), (Caption(self.caption or "", language),), meta=self.meta)


def _few(picture: PILImage.Image, side: int) -> PILImage.Image:
    """Other formats than JPEG come whole, and many pictures are held at once."""
    by = min(picture.size) // side
    return picture.reduce(by) if by > 1 else picture
