"""Takes a picture in from outside: checks what it is, limits its size before decoding, and gives an `Image`.

How its pixels become RGB (transparency, 16 bits, CMYK, orientation) is decided by `qwenvl.sample.Image.pil` alone.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from qwenvl.sample import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PIXELS = 64_000_000
"""Pictures of more pixels are refused unless a caller allows them: a small file can decode to gigabytes."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "ICO", "TGA")
"""What is opened. Not EPS, PDF and the like, for which Pillow starts other programs."""

_EXIF_ORIENTATION = 0x0112
_DATA_URI = re.compile(
    r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.ASCII | re.IGNORECASE
)


class ImageError(ValueError):
    """Something is not a picture that can be used; the message says what, where and what would be right."""


def load_image(
    source: bytes | Path | PILImage.Image | NDArray[np.uint8] | str,
    name: str = "",
    *,
    verify: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """An `Image` from encoded bytes, a path, a PIL picture, an array (height, width[, 3 or 4]) of uint8, or a "data:"
    URI.

    Only the header is read: the pixels are decoded when they are needed, or here and then dropped with `verify`. The
    size is the upright one (EXIF orientation applied). A plain string is refused unless it is a "data:" URI: what a
    text names is never opened. Raises ImageError, naming `name` (or the path), for what is no picture, is cut off, too
    large (`max_pixels`) or has no pixels.
    """
    label = name or (str(source) if isinstance(source, Path) else "the picture")
    if isinstance(source, str):
        source = _data_uri(source, label)
    if isinstance(source, PILImage.Image):
        width, height = _upright(source)
        _check_size(width, height, max_pixels, label)
        return Image(source, width, height, name)
    if isinstance(source, bytes | bytearray | memoryview):
        content: bytes | Path = bytes(source)
        if not content:
            raise ImageError(f"{label}: empty, no bytes at all")
    elif isinstance(source, Path):
        content = source
        if not source.is_file():
            raise ImageError(f"{label}: " + ("is a folder, not a picture" if source.is_dir() else "no such file"))
    else:
        return _from_array(source, name, label, max_pixels)
    try:
        with PILImage.open(
            io.BytesIO(content) if isinstance(content, bytes) else content, formats=_formats()
        ) as picture:
            width, height = _upright(picture)
            _check_size(width, height, max_pixels, label)
            if verify:
                picture.load()
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{label}: not a picture in a known format (known: {', '.join(FORMATS[:7])}, …)") from None
    except PILImage.DecompressionBombError:
        raise ImageError(f"{label}: more than {max_pixels:,} pixels; scale it down or raise the limit") from None
    except Exception as error:  # decoders raise nearly anything on broken files: OSError, SyntaxError, struct.error, …
        raise ImageError(f"{label}: broken picture ({type(error).__name__}: {error})") from error
    return Image(content, width, height, name)


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
    turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (picture.height, picture.width) if turned else (picture.width, picture.height)


def _check_size(width: int, height: int, max_pixels: int, label: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{label}: has no pixels ({width}×{height})")
    if width * height > max_pixels:
        raise ImageError(
            f"{label}: {width}×{height} is more than {max_pixels:,} pixels; scale it down or raise the limit"
        )


def _data_uri(text: str, label: str) -> bytes:
    """The bytes of a "data:" URI."""
    head = _DATA_URI.match(text[:256])
    if head is None:
        raise ImageError(
            f'{label}: expected a "data:" URI; text is never opened as a path or an address (give a Path or bytes)'
        )
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
    shape, kind = getattr(source, "shape", None), str(getattr(source, "dtype", ""))
    if shape is None:
        raise ImageError(f"{label}: expected bytes, a Path, a PIL picture or an array, not {type(source).__name__}")
    if kind != "uint8" or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{label}: expected an array (height, width[, 3 or 4]) of uint8, not {tuple(shape)} of {kind or 'unknown'}"
        )
    _check_size(shape[1], shape[0], max_pixels, label)
    picture = PILImage.fromarray(source[:, :, 0] if len(shape) == 3 and shape[2] == 1 else source)
    return Image(picture, picture.width, picture.height, name)
