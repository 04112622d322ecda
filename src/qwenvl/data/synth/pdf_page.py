"""A PDF page as a picture and its lines, with PDFium; and the filters of pages (DESIGN §8: the paper's, section A).

Documents come from anywhere: `qwenvl.data.synth.pdf_reader` runs this in a process that may crash or hang.
"""

from __future__ import annotations

import ctypes
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwenvl.data.synth.pages import PageError
from qwenvl.data.synth.pdf_text import Affine, Span, spans
from qwenvl.sample import Quad, TextLine

_FINE = 256
"""PDFium maps points to whole pixels; a mapping so many times finer is exact enough."""

_CONTRAST = 40
"""A line's box whose pixels differ by less in every colour, of 255, shows no text: white on white, or covered."""

_STRANGE = re.compile("[\u0100-\u024f]")
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010fffd]")
_UNKNOWN = re.compile("[\ufffd\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class PageLimits:
    """What pages are kept. The paper names the filters, not their thresholds.

    `long_side` is the picture's longer side in pixels, `max_ratio` the longer by the shorter; `min_text` and
    `max_text` count a page's characters; lines lower than `min_height` pixels can not be read.
    """

    long_side: int = 1000
    max_ratio: float = 3.0
    min_text: int = 20
    max_text: int = 10_000
    min_height: float = 4.0
    quality: int = 90


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was kept: its JPEG, its size in pixels, and its lines in the order of the document."""

    jpeg: bytes
    width: int
    height: int
    lines: tuple[TextLine, ...]


def open_pdf(source: bytes | str) -> Any:
    """A document from its bytes or a path, for `read_page`. Raises PageError, and ImportError without pypdfium2."""
    pdfium = _pdfium()
    try:
        return pdfium.PdfDocument(source)
    except (pdfium.PdfiumError, OSError, ValueError) as error:
        words = str(error).lower()
        if "password" in words or "security" in words:
            raise PageError("encrypted") from None
        raise PageError("damaged or no PDF") from None


def read_page(document: Any, number: int, limits: PageLimits) -> Page:
    """Page `number`, counted from 0. Raises PageError with the filter that drops it, or what is wrong with it."""
    pdfium = _pdfium()
    try:
        page = document[number]
    except (pdfium.PdfiumError, IndexError):
        raise PageError("damaged page") from None
    text = None
    try:
        width, height = _size(page, limits)
        text = page.get_textpage()
        # boxes of a page of endless text would take long
        if text.count_chars() > 2 * limits.max_text:
            raise PageError("too much text")
        found = list(spans(text.raw, _affine(page, width, height)))
        _check_text(found, limits)
        return _drawn(page, width, height, found, limits)
    except pdfium.PdfiumError:
        raise PageError("damaged page") from None
    finally:
        if text is not None:
            text.close()
        page.close()


def _size(page: Any, limits: PageLimits) -> tuple[int, int]:
    width, height = page.get_size()
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise PageError("page without a size")
    if max(width, height) > limits.max_ratio * min(width, height):
        raise PageError("too long a page")
    scale = limits.long_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _affine(page: Any, width: int, height: int) -> Affine:
    """From the page's own units to pixels, with its rotation and crop box."""
    raw = _pdfium().raw
    x, y = ctypes.c_int(), ctypes.c_int()

    def at(own_x: float, own_y: float) -> tuple[float, float]:
        raw.FPDF_PageToDevice(page.raw, 0, 0, width * _FINE, height * _FINE, 0, own_x, own_y, x, y)
        return x.value / _FINE, y.value / _FINE

    (e, f), (right, down), (left, up) = at(0, 0), at(1000, 0), at(0, 1000)
    return (right - e) / 1000, (down - f) / 1000, (left - e) / 1000, (up - f) / 1000, e, f


def _check_text(found: Sequence[Span], limits: PageLimits) -> None:
    """Raise PageError for the filter that the page's text does not pass."""
    text = "".join(span.text for span in found)
    if len(text) < limits.min_text:
        raise PageError("too little text")
    if len(text) > limits.max_text:
        raise PageError("too much text")
    if _PRIVATE.search(text):
        raise PageError("private-use characters")
    if _UNKNOWN.search(text):
        raise PageError("characters without a meaning")
    if _STRANGE.search(text):
        raise PageError("Latin Extended-A or -B")
    if any(span.hidden for span in found):
        raise PageError("hidden text, as of a scan")
    if any(span.foreign for span in found):
        raise PageError("Chinese in a font that is not embedded")
    if any(span.slanted for span in found):
        raise PageError("slanted text")


def _drawn(page: Any, width: int, height: int, found: Sequence[Span], limits: PageLimits) -> Page:
    from PIL import Image

    pdfium = _pdfium()
    bitmap = pdfium.PdfBitmap.new_native(width, height, pdfium.raw.FPDFBitmap_BGRx, rev_byteorder=True)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        flags = pdfium.raw.FPDF_REVERSE_BYTE_ORDER
        pdfium.raw.FPDF_RenderPageBitmap(bitmap.raw, page.raw, 0, 0, width, height, 0, flags)
        picture = Image.frombuffer("RGB", (width, height), bitmap.buffer, "raw", "RGBX", bitmap.stride, 1)
        lines = _visible(picture, found, limits)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=limits.quality)
    finally:
        bitmap.close()
    return Page(stream.getvalue(), width, height, lines)


def _visible(picture: Any, found: Sequence[Span], limits: PageLimits) -> tuple[TextLine, ...]:
    """The lines that can be seen. Raises PageError where some can be seen in part, or can not be read."""
    import numpy as np

    pixels = np.asarray(picture)
    lines = []
    for span in found:
        xs, ys = [x for x, _ in span.corners], [y for _, y in span.corners]
        x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
        left, right = max(0, int(x0)), min(picture.width, int(x1) + 1)
        top, bottom = max(0, int(y0)), min(picture.height, int(y1) + 1)
        if left >= right or top >= bottom:
            continue
        inside = pixels[top:bottom, left:right]
        # green first: it shows nearly all text
        if not any(np.ptp(inside[:, :, channel]) >= _CONTRAST for channel in (1, 2, 0)):
            continue
        if x0 < -1 or y0 < -1 or x1 > picture.width + 1 or y1 > picture.height + 1:
            raise PageError("text cut off by the page's edge")
        across = span.corners[0][1] == span.corners[1][1]
        # marks such as dashes and dots are low in any size
        if (y1 - y0 if across else x1 - x0) < limits.min_height and any(map(str.isalnum, span.text)):
            raise PageError("text too small to read")
        lines.append(TextLine(span.text, Quad(_within(span.corners, picture.width, picture.height))))
    if sum(len(line.text) for line in lines) < limits.min_text:
        raise PageError("too little text")
    return tuple(lines)


def _within(corners: Any, width: int, height: int) -> Any:
    return tuple((min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in corners)


def _pdfium() -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise ImportError("PDF pages need pypdfium2: pip install 'qwenvl[pdf]'") from error
    return pypdfium2
