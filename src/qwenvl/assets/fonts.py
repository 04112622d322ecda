"""The bundled font: Latin and the 3,755 common Chinese characters of GB 2312, for signs and for labels of boxes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

FONT_PATH = Path(__file__).with_name("NotoSansSC-Bold-subset.otf")
"""A subset of Noto Sans CJK SC Bold (SIL Open Font License 1.1), made by scripts/make_font.py."""

_FALLBACKS = (
    "NotoSansCJK-Bold.ttc",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Bold.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "DejaVuSans-Bold.ttf",
)


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """The bundled font at `size` pixels per em (at least 1).

    Where `text` has characters that the bundled font lacks (rare hanzi, other scripts), a font of the system that has
    more of them is taken if there is one; the rest shows as the font's box. Fonts are cached: do not change the
    returned object.
    """
    bundled = _load(str(FONT_PATH), max(1, int(size)))
    missing = {c for c in text if not c.isspace()} - _bundled_characters()
    if not missing:
        return bundled
    path = _system_font("".join(sorted(missing)))
    return _load(path, max(1, int(size))) if path else bundled


@functools.lru_cache(maxsize=256)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(path, size)


@functools.cache
def _bundled_characters() -> frozenset[str]:
    """What the bundled font has; scripts/make_font.py takes the same sets."""
    hanzi = bytes(byte for row in range(16, 56) for cell in range(1, 95) for byte in (0xA0 + row, 0xA0 + cell))
    ranges = ((0x20, 0x7F), (0xA0, 0x100), (0x3000, 0x3018), (0xFF01, 0xFF5F))
    latin = "".join(chr(code) for first, last in ranges for code in range(first, last))
    return frozenset(hanzi.decode("gb2312", "ignore") + latin + "–—‘’“”…•·×→←↑↓￥￠")


@functools.lru_cache(maxsize=64)
def _system_font(missing: str) -> str | None:
    """The first known font of the system that draws every character of `missing`, else None."""
    from PIL import ImageFont

    for name in _FALLBACKS:
        try:
            candidate = ImageFont.truetype(name, 16)
        except OSError:
            continue
        nothing = _drawn(candidate, "\U000fffff")  # a code point that no font has: what stands for the unknown
        if all(_drawn(candidate, character) != nothing for character in missing):
            return str(candidate.path)
    return None


def _drawn(candidate: ImageFont.FreeTypeFont, character: str) -> bytes:
    """One character's pixels."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (24, 24))
    ImageDraw.Draw(canvas).text((2, 2), character, font=candidate, fill=255)
    return canvas.tobytes()
