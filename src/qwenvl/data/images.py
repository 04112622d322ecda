"""Takes a picture in from outside: checks what it is, limits its size before decoding, and gives an `Image`; and
squashes pictures to the model's square, for training and answering alike.

How its pixels become RGB (transparency, 16 bits, CMYK, orientation) is decided by `qwenvl.sample.Image.pil` alone.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from qwenvl.data.strict import STRICT
from qwenvl.sample import EXIF_ORIENTATION, Image, rgb, upright

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Source = Image | bytes | bytearray | memoryview | Path | str | PILImage.Image | NDArray[np.generic]

MAX_PIXELS = 64_000_000
"""Pictures of more pixels are refused unless a caller allows them: a small file can decode to gigabytes."""

MAX_BYTES = 256 << 20
"""Encoded pictures of more bytes are refused unless a caller allows them: room for 64 million pixels without loss."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "TGA")
"""What is opened. Not EPS, PDF and the like, for which Pillow starts other programs, nor ICO, whose pictures it decodes
before it tells their size.
"""

_DATA_URI = re.compile(
    r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.ASCII | re.IGNORECASE
)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)


class ImageError(ValueError):
    """Something is not a picture that can be used; the message says what, where and what would be right."""


def load_image(
    source: Source,
    name: str = "",
    *,
    verify: bool = False,
    paths: bool = False,
    fetch: Callable[[str], bytes] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Image:
    """An `Image` from encoded bytes, a path, a PIL picture, an array, or a "data:" URI; an `Image` comes back as it is.

    What a text names is never opened: a plain string is refused unless it is a "data:" URI. With `paths` it is a path,
    for strings that the caller of a library names itself. An "http://" or "https://" address is only taken with
    `fetch`, which gets the address and gives the bytes; limits on time, size and hosts are its own.

    An array is (height, width) or (height, width, channels) with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)
    channels: uint8, bool, floats in 0…1 or uint16, of which the upper eight bits are taken.

    Only the header is read: the pixels are decoded when they are needed, or here and then dropped with `verify`. The
    size is the upright one. Decoded (`Image.pil`, always RGB of eight bits):

    * the EXIF orientation is applied, for decoded PIL pictures too;
    * transparency (RGBA, LA, palettes, a PNG's transparent colour) is laid on white;
    * palettes, grey, grey with alpha and 1-bit pictures become the colours they stand for;
    * grey of 16 bits is divided by 256, 16-bit colour by the decoder; floating point (TIFF) is taken as 0…255 and cut;
    * CMYK, YCbCr and LAB are converted as Pillow does it, without colour profiles;
    * of an animation or a file of several pages the first picture is taken.

    Raises ImageError, naming `name` (or the path or address), for what is no picture, is cut off, too large
    (`max_pixels`, checked before decoding; `max_bytes`, before reading) or has no pixels.
    """
    if isinstance(source, Image):
        return source
    label = name or (str(source) if isinstance(source, Path) else "the picture")
    if isinstance(source, str):
        if _ADDRESS.match(source):
            label = name or source[:200]
            source = _fetched(source, fetch, label)
        elif paths and source[:5].lower() != "data:":
            source = Path(source)
            label = name or str(source)
        else:
            source = _data_uri(source, label, max_bytes)
    if isinstance(source, PILImage.Image):
        width, height = _upright(source)
        _check_size(width, height, max_pixels, label)
        return Image(source, width, height, name)
    if isinstance(source, bytes | bytearray | memoryview):
        if not len(source):
            raise ImageError(f"{label}: empty, no bytes at all")
        _check_bytes(len(source), max_bytes, label)
        content: bytes | Path = bytes(source)
    elif isinstance(source, Path):
        content = source
        _check_file(source, max_bytes, label)
    else:
        return _from_array(source, name, label, max_pixels)
    with _decoding(label, max_pixels), PILImage.open(_stream(content), formats=_formats()) as picture:
        # before the orientation is asked for, which for a PNG decodes it
        _check_size(picture.width, picture.height, max_pixels, label)
        width, height = _upright(picture)
        if verify:
            picture.load()
    return Image(content, width, height, name)


def squashed(image: Image | PILImage.Image, size: int) -> PILImage.Image:
    """The picture as RGB, upright, squashed to `size` by `size` pixels (bicubic; the aspect ratio is not kept).

    The one rule by which the model sees a picture, as in the reference's pre-processing. Raises ImageError where the
    picture can not be decoded.
    """
    picture = _rgb(image)
    # Pillow would copy it
    same = picture.size == (size, size)
    return picture if same else picture.resize((size, size), PILImage.Resampling.BICUBIC)


def reduced(image: Image | PILImage.Image, size: int) -> PILImage.Image:
    """The picture as RGB, upright, for a quick resize to `size`: a JPEG is decoded at a half, a quarter or an eighth.

    Its sides stay at least twice `size` then; other pictures come whole. Raises ImageError as `squashed` does.
    """
    if isinstance(image, PILImage.Image) or isinstance(image.source, PILImage.Image):
        return _rgb(image)
    with _decoding(_label(image), MAX_PIXELS), PILImage.open(_stream(image.source), formats=_formats()) as picture:
        picture.draft("RGB", (2 * size, 2 * size))
        return rgb(picture)


def reduced_grey(image: Image, size: int) -> PILImage.Image:
    """As `reduced`, in grey of eight bits: of a JPEG the brightness alone is decoded, to its last byte all the same."""
    if isinstance(image.source, PILImage.Image):
        return _rgb(image).convert("L")
    with _decoding(_label(image), MAX_PIXELS), PILImage.open(_stream(image.source), formats=_formats()) as picture:
        picture.draft("L", (2 * size, 2 * size))
        if picture.mode != "L" or picture.has_transparency_data:
            return rgb(picture).convert("L")
        picture.load()
        return upright(picture)


def _rgb(image: Image | PILImage.Image) -> PILImage.Image:
    if isinstance(image, PILImage.Image):
        image = Image(image, image.width, image.height)
    with _decoding(_label(image), MAX_PIXELS):
        return image.pil()


def _label(image: Image) -> str:
    return image.name or (str(image.source) if isinstance(image.source, Path) else "the picture")


def _stream(content: bytes | Path) -> io.BytesIO | Path:
    return io.BytesIO(content) if isinstance(content, bytes) else content


@contextmanager
def _decoding(label: str, max_pixels: int) -> Iterator[None]:
    """Whatever a decoder raises comes out as one ImageError, whatever other code told Pillow to tolerate."""
    try:
        with STRICT:
            yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{label}: not a picture in a known format (known: {', '.join(FORMATS[:7])}, …)") from None
    except PILImage.DecompressionBombError:
        raise ImageError(f"{label}: more than {max_pixels:,} pixels; scale it down or raise the limit") from None
    except Exception as error:  # decoders raise nearly anything on broken files: OSError, SyntaxError, struct.error, …
        raise ImageError(f"{label}: broken picture ({type(error).__name__}: {error})") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    PILImage.init()
    return tuple(name for name in FORMATS if name in PILImage.OPEN)


def encode(image: Image, format: str = "JPEG", quality: int = 95) -> bytes:
    """The picture as encoded bytes: as they are for bytes and paths, else in `format`.

    JPEG of quality 95 without colour subsampling decodes more than twice as fast as PNG (6,000 pictures of 96 px a
    core-second); "PNG" keeps every pixel. Raises ImageError where a path can not be read.
    """
    if isinstance(image.source, bytes):
        return image.source
    if isinstance(image.source, Path):
        try:
            return image.source.read_bytes()
        except OSError as error:
            raise ImageError(f"{image.source}: {error.strerror or error}") from error
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": quality, "subsampling": 0} if format == "JPEG" else {}
    image.pil().save(buffer, format, **options)
    return buffer.getvalue()


def _upright(picture: PILImage.Image) -> tuple[int, int]:
    """Width and height after the EXIF orientation (values 5 to 8 are turned by a quarter)."""
    turned = picture.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (picture.height, picture.width) if turned else (picture.width, picture.height)


def _check_size(width: int, height: int, max_pixels: int, label: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{label}: has no pixels ({width}×{height})")
    if width * height > max_pixels:
        raise ImageError(
            f"{label}: {width}×{height} is more than {max_pixels:,} pixels; scale it down or raise the limit"
        )


def _check_bytes(count: int, max_bytes: int, label: str) -> None:
    if count > max_bytes:
        raise ImageError(f"{label}: {count:,} bytes are more than {max_bytes:,}; make it smaller or raise the limit")


def _check_file(path: Path, max_bytes: int, label: str) -> None:
    try:
        if not path.is_file():
            raise ImageError(f"{label}: " + ("is a folder, not a picture" if path.is_dir() else "no such file"))
        _check_bytes(path.stat().st_size, max_bytes, label)
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"{label[:200]}: can not be opened ({error})") from error


def _fetched(address: str, fetch: Callable[[str], bytes] | None, label: str) -> bytes:
    if fetch is None:
        raise ImageError(
            f"{label}: an address is never opened unless the caller gives `fetch`, a function from address to bytes"
        )
    try:
        content = fetch(address)
    except Exception as error:  # a fetcher is the caller's own code and may raise anything
        raise ImageError(f"{label}: could not be fetched ({type(error).__name__}: {error})") from error
    if not isinstance(content, bytes):
        raise ImageError(f"{label}: `fetch` must give bytes, not {type(content).__name__}")
    return content


def _data_uri(text: str, label: str, max_bytes: int) -> bytes:
    """The bytes of a "data:" URI."""
    head = _DATA_URI.match(text[:256])
    if head is None:
        raise ImageError(
            f'{label}: expected a "data:" URI; text is never opened as a path or an address (give a Path or bytes)'
        )
    _check_bytes(len(text) * 3 // 4, max_bytes + 256, label)
    if head["type"] and not head["type"].lower().startswith("image/"):
        raise ImageError(f'{label}: the "data:" URI is {head["type"]}, not an image')
    body = text[head.end() :]
    if not head["base64"]:
        return unquote_to_bytes(body)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f'{label}: the "data:" URI is not base64 ({error})') from error


def _from_array(source: Any, name: str, label: str, max_pixels: int) -> Image:
    import numpy as np

    if getattr(source, "shape", None) is None:
        raise ImageError(f"{label}: expected bytes, a Path, a PIL picture or an array, not {type(source).__name__}")
    array = np.asarray(source)
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; this one looks like (channels, height, width): transpose it" if channels_first else ""
        raise ImageError(f"{label}: expected an array (height, width[, 1 to 4]), not {array.shape}{hint}")
    _check_size(array.shape[1], array.shape[0], max_pixels, label)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise ImageError(
                f"{label}: an array of {array.dtype} holds values in 0…1, not {array.min():g}…{array.max():g}; "
                "divide it or give uint8"
            )
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"{label}: expected an array of uint8, bool, uint16 or floats in 0…1, not {array.dtype}")
    picture = PILImage.fromarray(np.ascontiguousarray(array))
    return Image(picture, picture.width, picture.height, name)
