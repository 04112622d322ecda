"""Pictures from outside: what is taken, what is refused and how that is said."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from qwenvl.data.images import ImageError, encode, load_image


def encoded(size: tuple[int, int] = (20, 10), form: str = "PNG", orientation: int = 1) -> bytes:
    picture = PILImage.new("RGB", size, (200, 30, 30))
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, form, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_bytes_paths_and_data_uris(form: str, tmp_path: Path) -> None:
    content = encoded(form=form)
    path = tmp_path / "picture with a space 图.bin"
    path.write_bytes(content)
    uri = "data:image/x;base64," + base64.b64encode(content).decode()
    for source in (content, path, uri):
        image = load_image(source, verify=True)
        assert (image.width, image.height) == (20, 10)
        assert image.pil().size == (20, 10) and image.pil().mode == "RGB"
    assert load_image(path).source == path and load_image(content).key == load_image(uri).key


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_upright_picture(orientation: int) -> None:
    image = load_image(encoded(form="JPEG", orientation=orientation))
    assert image.pil().size == (image.width, image.height) == ((20, 10) if orientation < 5 else (10, 20))


def test_decoded_pictures_and_arrays() -> None:
    picture = PILImage.new("L", (7, 5))
    assert load_image(picture).pil().mode == "RGB"
    for shape in ((5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)):
        image = load_image(np.zeros(shape, np.uint8), "array")
        assert (image.width, image.height, image.name) == (7, 5, "array") and image.pil().size == (7, 5)
    for wrong in (
        np.zeros((5, 7)),
        np.zeros((5, 7, 2), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((0, 7), np.uint8),
        3,
    ):
        with pytest.raises(ImageError):
            load_image(wrong)  # type: ignore[arg-type]


def saved(picture: PILImage.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def palette() -> PILImage.Image:
    picture = PILImage.new("P", (2, 1))
    picture.putpalette([0, 0, 200, 0, 0, 0])
    picture.putdata([0, 1])
    return picture


@pytest.mark.parametrize(
    "content",
    [
        saved(PILImage.fromarray(np.array([[[0, 0, 200, 255], [0, 0, 0, 0]]], np.uint8))),
        saved(PILImage.fromarray(np.array([[[0, 0, 200, 255], [0, 0, 0, 0]]], np.uint8)), "WEBP", lossless=True),
        saved(palette(), transparency=1),
        saved(palette(), "GIF", transparency=1),
        saved(palette().convert("RGB"), transparency=(0, 0, 0)),
    ],
    ids=["rgba", "webp", "palette", "gif", "colour key"],
)
def test_what_is_transparent_is_white(content: bytes) -> None:
    assert np.asarray(load_image(content, verify=True).pil())[0].tolist() == [[0, 0, 200], [255, 255, 255]]


def test_half_transparent_grey_is_mixed_with_white() -> None:
    picture = PILImage.fromarray(np.array([[[100, 128], [100, 255], [0, 0]]], np.uint8), "LA")
    for image in (load_image(picture), load_image(saved(picture))):
        pixels = np.asarray(image.pil())[0]
        assert pixels[1:].tolist() == [[100] * 3, [255] * 3] and abs(int(pixels[0, 0]) - 177) <= 1
    assert np.asarray(load_image(encode(load_image(picture))).pil())[0, 2, 0] > 240


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_cut(form: str) -> None:
    grey = PILImage.fromarray(np.array([[0, 255, 256, 32768, 65535]], np.uint16))
    pixels = np.asarray(load_image(saved(grey, form), verify=True).pil())
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255] and (pixels == pixels[:, :, :1]).all()


def test_cmyk_becomes_the_colours_that_were_meant() -> None:
    red = PILImage.new("CMYK", (16, 16), (0, 255, 255, 0))
    for form in ("JPEG", "TIFF"):
        pixel = np.asarray(load_image(saved(red, form)).pil())[8, 8].astype(int)
        assert np.abs(pixel - [255, 0, 0]).max() < 8


def test_keys_are_kept_and_travel() -> None:
    content = encoded()
    image = load_image(content)
    key = image.key
    assert image.key is key and load_image(content).key == key != load_image(encoded(form="BMP")).key
    for source in (image, load_image(content)):
        again = pickle.loads(pickle.dumps(source))
        assert again.key == key and (again.width, again.height, again.source) == (20, 10, content)
        assert copy.deepcopy(source).key == dataclasses.replace(source, name="other").key == key
    assert dataclasses.replace(image, source=encoded(form="BMP")).key != key
    one = load_image(PILImage.new("RGB", (2, 2)))
    assert one.key == one.key != pickle.loads(pickle.dumps(one)).key


def test_what_is_refused_and_how(tmp_path: Path) -> None:
    cases: list[tuple[object, str]] = [
        (b"", "empty"),
        (b"GIF is a nice word", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "is a folder"),
        ("picture.png", "never opened"),
        ("https://example.org/a.png", "never opened"),
        ("file:///etc/passwd", "never opened"),
        ("data:text/plain;base64,aaaa", "text/plain"),
        ("data:image/png;base64,%%%", "base64"),
    ]
    for source, says in cases:
        with pytest.raises(ImageError, match=says):
            load_image(source)  # type: ignore[arg-type]


def test_a_picture_that_is_cut_off_is_found_by_verify() -> None:
    content = encoded((400, 300), "JPEG")
    content = content[: len(content) // 2]
    load_image(content)
    with pytest.raises(ImageError, match=r"holiday\.jpg: broken picture"):
        load_image(content, "holiday.jpg", verify=True)


def test_size_is_limited_before_anything_is_decoded() -> None:
    with pytest.raises(ImageError, match=r"20×10 is more than 199 pixels"):
        load_image(encoded(), max_pixels=199)
    bomb = encoded((1, 1), "BMP")
    bomb = bomb[:18] + (60_000).to_bytes(4, "little") + (60_000).to_bytes(4, "little") + bomb[26:]
    with pytest.raises(ImageError, match="pixels"):
        load_image(bomb)


def test_encode_keeps_what_is_encoded(tmp_path: Path) -> None:
    content = encoded()
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert encode(load_image(content)) == encode(load_image(path)) == content
    picture = load_image(np.arange(75, dtype=np.uint8).reshape(5, 5, 3))
    assert load_image(encode(picture, "PNG")).pil().tobytes() == picture.pil().tobytes()
    assert encode(picture).startswith(b"\xff\xd8")
    path.unlink()
    with pytest.raises(ImageError, match=r"a\.png"):
        encode(load_image(content).__class__(path, 20, 10))
