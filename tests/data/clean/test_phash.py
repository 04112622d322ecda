"""The perceptual hash: near for copies, far for others, the same on every machine."""

from __future__ import annotations

import io
import itertools
import math
import random

import pytest
from PIL import Image as PILImage
from PIL import ImageDraw

from qwenvl.data.clean.phash import phash
from qwenvl.data.pair import Pair

GOLDEN = 0x64521376E69375D1


def drawing(seed: int, size: tuple[int, int] = (400, 300)) -> PILImage.Image:
    """Rectangles on a ramp; another seed, another picture."""
    rng = random.Random(seed)
    picture = PILImage.linear_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        draw.rectangle((x, y, x + rng.randrange(20, 150), y + rng.randrange(20, 150)), fill=colour)
    return picture


def hashed(picture: PILImage.Image, quality: int = 90) -> int:
    """The hash as the engine takes it: of the pixels of an encoded pair."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    found = phash(Pair("x", "s", buffer.getvalue(), "").grey)
    assert found is not None
    return found


def test_copies_are_near_and_others_are_far() -> None:
    pictures = [drawing(seed) for seed in range(20)]
    hashes = [hashed(picture) for picture in pictures]
    for picture, found in zip(pictures, hashes, strict=True):
        copies = {
            "recompressed": hashed(picture, 40),
            "smaller": hashed(picture.resize((220, 165), PILImage.Resampling.LANCZOS)),
            "larger": hashed(picture.resize((1100, 825), PILImage.Resampling.BICUBIC)),
        }
        assert all((found ^ copy).bit_count() <= 6 for copy in copies.values()), copies
    assert min((a ^ b).bit_count() for a, b in itertools.combinations(hashes, 2)) >= 12


@pytest.mark.parametrize("seed", range(5))
def test_the_bits_are_those_of_the_formula(seed: int) -> None:
    tiny = drawing(seed).resize((32, 32)).convert("L")
    waves = [(v, u) for _, u, v in sorted((v + u, u, v) for v in range(12) for u in range(12))][1:65]
    strength = [
        sum(
            tiny.getpixel((x, y)) * math.cos(math.pi * u * (2 * x + 1) / 64) * math.cos(math.pi * v * (2 * y + 1) / 64)
            for x in range(32)
            for y in range(32)
        )
        for v, u in waves
    ]
    median = sorted(strength)[31]
    expected = sum(1 << (63 - i) for i, value in enumerate(strength) if value > median)
    assert phash(tiny) == phash(tiny.convert("RGB")) == expected


def test_the_hash_does_not_change_with_versions() -> None:
    # ledgers made on different machines and days are compared with each other
    assert phash(drawing(0, (320, 320))) == GOLDEN


@pytest.mark.parametrize("colour", ["white", "black", (12, 200, 90)])
def test_a_flat_picture_has_no_hash(colour: str | tuple[int, int, int]) -> None:
    assert phash(PILImage.new("RGB", (300, 200), colour)) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (31, 33), (161, 159)])
def test_any_size_is_hashed_or_flat(size: tuple[int, int]) -> None:
    found = phash(PILImage.radial_gradient("L").resize(size).convert("RGB"))
    assert found is None or 0 <= found < 2**64
