"""Decoded pictures that are kept: the same pixels, in bounded memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as PILImage

from qwenvl.data import pixel_cache
from qwenvl.data.images import squashed
from qwenvl.data.pixel_cache import PixelCache
from qwenvl.sample import Image


def picture(shade: int) -> Image:
    file = io.BytesIO()
    PILImage.new("RGB", (20, 10), (shade, 0, 255 - shade)).save(file, "PNG")
    return Image(file.getvalue(), 20, 10)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is decoded, in order."""
    calls: list[tuple[str, int]] = []

    def counted(image: Image, size: int) -> PILImage.Image:
        calls.append((image.key, size))
        return squashed(image, size)

    monkeypatch.setattr(pixel_cache, "squashed", counted)
    return calls


def test_a_picture_is_decoded_once_a_size(decoded: list[tuple[str, int]]) -> None:
    cache = PixelCache()
    for _ in range(2):
        for size in (4, 8):
            found = cache.squashed(picture(7), size)
            assert found.dtype == np.uint8 and np.array_equal(found, np.asarray(squashed(picture(7), size)))
    assert decoded == [(picture(7).key, 4), (picture(7).key, 8)]


def test_what_is_held_stays_where_there_is_no_room(decoded: list[tuple[str, int]]) -> None:
    cache = PixelCache(limit=2 * 4 * 4 * 3)
    for shade in (1, 2, 3, 2, 3, 1):
        cache.squashed(picture(shade), 4)
    assert [key for key, _ in decoded] == [picture(shade).key for shade in (1, 2, 3, 3)]
    # larger than all the room: given all the same, and not kept
    assert cache.squashed(picture(1), 16).shape == (16, 16, 3)


def test_those_of_another_size_make_room(decoded: list[tuple[str, int]]) -> None:
    cache = PixelCache(limit=5 * 4 * 4 * 3)
    for shade, size in ((1, 4), (2, 4), (3, 8), (3, 8), (2, 4), (4, 8)):
        cache.squashed(picture(shade), size)
    assert decoded == [(picture(shade).key, size) for shade, size in ((1, 4), (2, 4), (3, 8), (4, 8))]
    assert cache._held <= cache.limit


def test_decoded_pictures_are_not_kept_by_their_place_in_memory(decoded: list[tuple[str, int]]) -> None:
    cache, held = PixelCache(), PILImage.new("RGB", (8, 8), "red")
    image = Image(held, 8, 8)
    assert cache.squashed(image, 4)[0, 0].tolist() == [255, 0, 0]
    held.paste("blue", (0, 0, 8, 8))
    assert cache.squashed(image, 4)[0, 0].tolist() == [0, 0, 255]
