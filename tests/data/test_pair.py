"""What a pair knows of its picture: the size from the header alone, and pixels that are whole or refused."""

from __future__ import annotations

import io
import random
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageFile

from qwenvl.data.header import upright_size
from qwenvl.data.images import ImageError, load_image
from qwenvl.data.pair import DECODED_SIDE, GREY_SIDE, Pair


def photo(width: int = 60, height: int = 40) -> PILImage.Image:
    """Noise, so that no part of it is like another."""
    return PILImage.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(format: str = "JPEG", size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    photo(*size).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def pair(content: bytes) -> Pair:
    return Pair("a", "b", content, "words")


def exif(orientation: int, endian: str = ">") -> PILImage.Exif:
    tags = PILImage.Exif()
    tags.endian = endian
    tags[0x010F], tags[0x0112] = "a maker of cameras", orientation
    return tags


def variants() -> list[bytes]:
    other = photo(60, 40).rotate(90)
    found = [encoded("JPEG", mode="L"), encoded("JPEG", mode="CMYK"), encoded("JPEG", comment=b"hello")]
    found += [encoded("GIF"), encoded("GIF", save_all=True, append_images=[other], loop=0)]
    found += [encoded("PNG", mode=mode) for mode in ("L", "P", "RGBA", "1")]
    found += [encoded(f, save_all=True, append_images=[other]) for f in ("PNG", "WEBP")]
    found += [encoded("WEBP", lossless=True), encoded("WEBP", mode="RGBA"), encoded("BMP"), encoded("TIFF")]
    xmp = b'<x:xmpmeta><rdf tiff:Orientation="6"/></x:xmpmeta>'
    found += [encoded(f, xmp=xmp) for f in ("JPEG", "WEBP")] + [encoded("JPEG", xmp=b"<x:xmpmeta/>")]
    for orientation in (0, 1, 3, 6, 8, 9):
        for endian in "<>":
            for format in ("JPEG", "PNG", "WEBP"):
                found.append(encoded(format, exif=exif(orientation, endian)))
    found.append(encoded("JPEG", progressive=True, exif=exif(5)))
    return found


def test_sizes_are_pillows() -> None:
    known = 0
    for content in variants():
        image = load_image(content)
        assert pair(content).size == (image.width, image.height)
        known += upright_size(content) is not None
    assert known > len(variants()) / 2
    for orientation, size in ((1, (60, 40)), (3, (60, 40)), (6, (40, 60)), (8, (40, 60))):
        assert upright_size(encoded(exif=exif(orientation))) == size
        assert upright_size(encoded("PNG", exif=exif(orientation))) == size


@pytest.mark.filterwarnings("ignore")
def test_a_broken_header_never_gives_another_size_than_pillow() -> None:
    chance = random.Random(0)
    whole = variants()
    seen = 0
    for _ in range(3000):
        content = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(min(len(content), 600))] = chance.choice((0, 255, chance.randrange(256)))
        size = upright_size(bytes(content))
        if size is None:
            continue
        try:
            image = load_image(bytes(content))
        except ImageError:
            continue
        assert (image.width, image.height) == size, bytes(content)
        seen += 1
    assert seen > 500


def test_every_cut_header_is_refused_or_known() -> None:
    for format in ("JPEG", "PNG", "WEBP", "GIF"):
        content = encoded(format, exif=exif(6)) if format != "GIF" else encoded(format)
        for cut in range(0, 700, 7):
            assert upright_size(content[:cut]) in (None, (60, 40), (40, 60))
    for content in (
        b"",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"\x89PNG\r\n\x1a\n",
        b"hello",
        bytes(100),
    ):
        with pytest.raises(ImageError):
            _ = pair(content).size


def test_a_png_is_not_decoded_for_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PILImage, "open", refuse)
    for format in ("JPEG", "PNG", "WEBP", "GIF"):
        assert pair(encoded(format)).size == (60, 40)


def test_too_many_pixels_are_refused_by_the_header() -> None:
    content = bytearray(encoded("PNG"))
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    for look in ("size", "pixels", "grey"):
        with pytest.raises(ImageError, match="more than 64,000,000 pixels"):
            getattr(pair(bytes(content)), look)


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("format", ["JPEG", "progressive", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("look", ["pixels", "grey"])
def test_truncated_pictures_are_refused(
    look: str, format: str, tolerant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every reduction, whatever somebody told Pillow; and what they told it stays."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    jpeg = format in ("JPEG", "progressive")
    options = {"progressive": True} if format == "progressive" else {}
    for size in ((60, 40), (700, 600), (1500, 1200)) if jpeg else ((60, 40), (150, 140)):
        content = encoded("JPEG" if jpeg else format, size, **options)
        getattr(pair(content), look)
        for cut in (2000, -1000, -1) if jpeg else (len(content) // 2, -40):
            with pytest.raises(ImageError, match="broken picture"):
                getattr(pair(content[:cut]), look)
        assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerant
    if tolerant and format != "WEBP":
        PILImage.open(io.BytesIO(content[: len(content) // 2])).load()  # Pillow by itself takes it


def test_threads_are_strict_too_and_leave_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    broken = encoded(size=(700, 600))[:-1000]
    accepted: list[int] = []

    def work() -> None:
        for _ in range(10):
            try:
                _ = pair(broken).pixels
                accepted.append(1)
            except ImageError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not accepted and ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_pixels_are_small_upright_and_decoded_once(
    format: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    width, height = (1100, 800) if orientation == 1 else (800, 1100)
    buffer = io.BytesIO()
    gradient = PILImage.linear_gradient("L").resize((1100, 800))
    PILImage.merge("RGB", [gradient] * 3).save(buffer, format, exif=exif(orientation))
    found = pair(buffer.getvalue())
    assert found.size == (width, height)
    picture, grey = found.pixels, found.grey
    assert picture.mode == "RGB" and grey.mode == "L"
    for reduced, side in ((picture, DECODED_SIDE), (grey, GREY_SIDE)):
        assert side <= min(reduced.size) < 2 * side
        assert abs(reduced.width / reduced.height - width / height) < 0.05
        whole = np.asarray(PILImage.merge("RGB", [gradient] * 3).convert("L").resize((16, 16)), np.float32)
        upright = whole if orientation == 1 else np.rot90(whole, -1)
        assert np.abs(np.asarray(reduced.convert("L").resize((16, 16)), np.float32) - upright).max() < 6
    monkeypatch.setattr(PILImage, "open", None)
    assert found.pixels is picture and found.grey is grey


def test_grey_does_not_hang_on_pixels() -> None:
    for content in variants():
        first, second = pair(content), pair(content)
        _ = first.pixels
        assert first.grey.tobytes() == second.grey.tobytes()
        assert first.grey.mode == "L" and first.pixels.mode == "RGB"


def test_equal_bytes_have_equal_digests() -> None:
    content = encoded()
    assert pair(content).digest == pair(bytes(content)).digest != pair(content + b"\0").digest
    assert len(pair(content).digest) == 32
