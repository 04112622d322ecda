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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from qwenvl.data.images import ImageError, encode, load_image, reduced, squashed


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
    for shape in ((5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)):
        image = load_image(np.zeros(shape, np.uint8), "array")
        assert (image.width, image.height, image.name) == (7, 5, "array") and image.pil().size == (7, 5)
    for wrong, says in (
        (np.full((5, 7), 1.5), r"0…1, not 1\.5…1\.5"),
        (np.full((5, 7), np.nan), "0…1"),
        (np.zeros((5, 7), np.int32), "int32"),
        (np.zeros((3, 50, 70), np.uint8), "transpose"),
        (np.zeros((5, 7, 5), np.uint8), "1 to 4"),
        (np.zeros(5, np.uint8), "1 to 4"),
        (np.zeros((0, 7), np.uint8), "no pixels"),
        (3, "not int"),
    ):
        with pytest.raises(ImageError, match=says):
            load_image(wrong)  # type: ignore[arg-type]
    assert load_image(load_image(picture)).source is picture


def test_arrays_of_every_type_are_the_same_picture() -> None:
    bytes_ = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    for array in (
        bytes_ / 255,
        (bytes_ / 255).astype(np.float32),
        bytes_.astype(np.uint16) * 256 + 3,
        bytes_[::-1][::-1],
    ):
        assert np.array_equal(np.asarray(load_image(array).pil()), bytes_)
    mask = bytes_[:, :, 0] > 127
    assert np.array_equal(np.asarray(load_image(mask).pil())[:, :, 1], mask * 255)
    half = np.array([[[100, 0], [100, 255]]], np.uint8)
    assert np.asarray(load_image(half).pil())[0, :, 0].tolist() == [255, 100]


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


def test_one_bit_grey_and_palettes_without_transparency() -> None:
    for picture in (
        PILImage.new("1", (2, 1), 1),
        PILImage.new("L", (2, 1), 255),
        PILImage.new("LA", (2, 1), (255, 255)),
    ):
        assert np.asarray(load_image(saved(picture)).pil()).tolist() == [[[255] * 3] * 2]
    assert np.asarray(load_image(saved(palette())).pil())[0].tolist() == [[0, 0, 200], [0, 0, 0]]
    tiff = saved(PILImage.fromarray(np.array([[-5.0, 127.0, 300.0]], np.float32)), "TIFF")
    assert np.asarray(load_image(tiff).pil())[0, :, 0].tolist() == [0, 127, 255]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_picture_is_taken(form: str) -> None:
    frames = [PILImage.new("RGB", (16, 8), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, object] = {"lossless": True} if form == "WEBP" else {}
    content = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert getattr(PILImage.open(io.BytesIO(content)), "n_frames", 1) == 3
    image = load_image(content, verify=True)
    assert (image.width, image.height) == (16, 8)
    assert (np.asarray(image.pil()) == [255, 0, 0]).all()


def test_squashing_is_upright_and_names_what_it_can_not_decode() -> None:
    picture = PILImage.new("RGB", (20, 10), "red")
    picture.paste("blue", (0, 0, 10, 10))
    for orientation, corner in ((1, 2), (3, 0), (6, 2), (8, 0)):
        exif = PILImage.Exif()
        exif[0x0112] = orientation
        made = squashed(load_image(saved(picture, exif=exif)), 8)
        assert made.size == (8, 8) and made.getpixel((0, 0))[corner] == 255
    assert squashed(picture, 8).getpixel((0, 0)) == (0, 0, 255)
    cut = encoded((400, 300), "JPEG")
    for shrink in (squashed, reduced):
        with pytest.raises(ImageError, match=r"holiday\.jpg: broken picture"):
            shrink(load_image(cut[: len(cut) // 2], "holiday.jpg"), 8)


def test_a_large_jpeg_is_decoded_smaller_for_a_quick_resize() -> None:
    content = encoded((1600, 800), "JPEG", orientation=6)
    made = reduced(load_image(content), 100)
    assert made.size == (200, 400) and made.mode == "RGB"
    assert reduced(load_image(encoded((1600, 800), "PNG")), 100).size == (1600, 800)


FORMS = {form: encoded((40, 30), form) for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "TGA")}


@given(
    form=st.sampled_from(sorted(FORMS)),
    cut=st.floats(0, 1),
    holes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_are_pictures_or_one_error(form: str, cut: float, holes: list[tuple[float, int]]) -> None:
    content = bytearray(FORMS[form])
    for place, value in holes:
        content[int(place * (len(content) - 1))] = value
    damaged = bytes(content[: round(cut * len(content))])
    try:
        image = load_image(damaged, "it", verify=True, max_pixels=1_000_000)
    except ImageError as error:
        assert str(error).startswith("it: ")
    else:
        assert squashed(image, 4).size == (4, 4)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_every_picture_cut_short_is_found(form: str) -> None:
    noise = PILImage.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    content = saved(noise, form)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        with pytest.raises(ImageError, match="it: "):
            load_image(content[: int(share * len(content))], "it", verify=True)


def test_addresses_need_a_fetcher_and_paths_a_caller(tmp_path: Path) -> None:
    asked: list[str] = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        return encoded()

    assert load_image("https://example.org/a.png", fetch=fetch).width == 20
    assert load_image("HTTP://example.org/a.png", fetch=fetch, paths=True).width == 20
    assert asked == ["https://example.org/a.png", "HTTP://example.org/a.png"]
    with pytest.raises(ImageError, match=r"example\.org/a\.png: an address .* `fetch`"):
        load_image("https://example.org/a.png", paths=True)
    with pytest.raises(ImageError, match=r"example\.org.*could not be fetched \(TimeoutError: slow\)"):
        load_image("https://example.org", fetch=lambda _: (_ for _ in ()).throw(TimeoutError("slow")))
    with pytest.raises(ImageError, match="must give bytes, not str"):
        load_image("https://example.org", fetch=lambda _: "text")  # type: ignore[arg-type,return-value]
    (tmp_path / "a.png").write_bytes(encoded())
    assert load_image(str(tmp_path / "a.png"), paths=True).width == 20
    assert load_image("data:;base64," + base64.b64encode(encoded()).decode(), paths=True).width == 20
    for bad in ("file:///etc/passwd", "nowhere.png", "a\0b", "x" * 5000):
        with pytest.raises(ImageError):
            load_image(bad, paths=True, fetch=fetch)
    assert len(asked) == 2


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
        (b"\0\0\1\0\1\0", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "is a folder"),
        ("picture.png", "never opened"),
        ("https://example.org/a.png", "never opened unless"),
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
    small = {"max_bytes": len(encoded()) - 1}
    for source in (encoded(), "data:image/png;base64," + base64.b64encode(encoded() * 9).decode()):
        with pytest.raises(ImageError, match="bytes are more than"):
            load_image(source, **small)  # type: ignore[arg-type]
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
