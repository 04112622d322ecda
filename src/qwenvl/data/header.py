"""The upright size of a picture from its first bytes, where these leave no doubt: JPEG, PNG, WebP and GIF.

Pillow takes 35 µs to open a JPEG and decodes a whole PNG to look for its orientation; this takes 3 µs. Of a file that
Pillow opens it gives what Pillow would, or nothing: whatever is unusual (several EXIF blocks, an orientation in XMP, a
header cut off) is left to Pillow. Whether the picture behind the header is whole is not looked at.
"""

from __future__ import annotations

import struct

from qwenvl.sample import EXIF_ORIENTATION

_TURNED = (5, 6, 7, 8)
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value of each of TIFF's types."""

_UNKNOWN = 0
"""An orientation that is not plain to see. Valid ones are 1 to 8."""

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PASSED = frozenset((0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))
"""Tables, comments and notes of applications: segments that do not bear on the size."""

_SOS, _APP1 = 0xDA, 0xE1
_u16 = struct.Struct(">H").unpack_from
_frame = struct.Struct(">BHHB").unpack_from


def upright_size(content: bytes) -> tuple[int, int] | None:
    """Width and height after the EXIF orientation; None where Pillow has to say."""
    try:
        if content[:3] == b"\xff\xd8\xff":
            return _jpeg(content)
        if content[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
        if content[:6] in (b"GIF87a", b"GIF89a"):
            return _gif(content)
    except (IndexError, struct.error):  # the header is cut off
        pass
    return None


def _turned(width: int, height: int, orientation: int) -> tuple[int, int] | None:
    if orientation == _UNKNOWN or width < 1 or height < 1:
        return None
    return (height, width) if orientation in _TURNED else (width, height)


def _jpeg(content: bytes) -> tuple[int, int] | None:
    """Segments up to the first scan: one frame header, at most one EXIF block."""
    at, size, orientation, exif = 2, None, 1, False
    while content[at] == 0xFF:
        marker = content[at + 1]
        if marker == _SOS:
            return _turned(*size, orientation) if size else None
        length = _u16(content, at + 2)[0]
        if marker in _SOF:
            bits, height, width, layers = _frame(content, at + 4)
            if size or bits != 8 or layers not in (1, 3, 4):
                return None
            size = (width, height)
        elif marker == _APP1:
            body = content[at + 4 : at + 2 + length]
            if body[:6] == b"Exif\0\0":
                if exif:
                    return None
                exif, orientation = True, _orientation(body[6:])
            elif b"Orientation" in body:
                return None
        elif marker not in _PASSED or length < 2:
            return None
        at += 2 + length
    return None


def _png(content: bytes) -> tuple[int, int] | None:
    """Chunks to the end: an orientation may stand behind the pixels."""
    if content[8:16] != b"\0\0\0\rIHDR":
        return None
    width, height = struct.unpack_from(">II", content, 16)
    at, orientation = 33, 1
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            orientation = _orientation(content[at + 8 : at + 8 + length])
        elif kind in (b"iTXt", b"tEXt", b"zTXt") and _may_turn(content[at + 8 : at + 8 + length]):
            return None
        at += 12 + length
    return _turned(width, height, orientation)


def _may_turn(words: bytes) -> bool:
    """Whether a PNG's text may hold an orientation: an EXIF profile, or XMP that is packed or speaks of one."""
    packed = words[18:19] == b"\1"
    return words.startswith(b"Raw profile") or (
        words.startswith(b"XML:com.adobe.xmp\0") and (packed or b"Orientation" in words)
    )


def _webp(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", content, 26)
        return _turned(width & 0x3FFF, height & 0x3FFF, 1)
    if kind == b"VP8L" and content[20] == 0x2F:
        bits = struct.unpack_from("<I", content, 21)[0]
        return _turned((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1)
    # with EXIF (8) or XMP (4) Pillow looks for the orientation
    if kind == b"VP8X" and not content[20] & 0b1100:
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
        return _turned(width, height, 1) if len(content) >= 30 else None
    return None


def _gif(content: bytes) -> tuple[int, int] | None:
    """The screen, if the first picture does not reach beyond it."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while content[at] == 0x21:
        if content[at + 1] not in (0xF9, 0xFF) or b"XMP" in content[at + 3 : at + 14]:
            return None
        at += 2
        while content[at]:
            at += 1 + content[at]
        at += 1
    if content[at] != 0x2C:
        return None
    left, top, across, down = struct.unpack_from("<HHHH", content, at + 1)
    return _turned(width, height, 1) if left + across <= width and top + down <= height else None


def _orientation(exif: bytes) -> int:
    """The orientation in a TIFF header's first list of tags; 1 where none is given."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 14:
        return _UNKNOWN
    begin = struct.unpack_from(order + "I", exif, 4)[0]
    if begin + 2 > len(exif):
        return _UNKNOWN
    count = struct.unpack_from(order + "H", exif, begin)[0]
    if begin + 2 + 12 * count > len(exif):
        return _UNKNOWN
    found = 1
    entries = struct.iter_unpack(order + "HHII", exif[begin + 2 : begin + 2 + 12 * count])
    for tag, kind, values, value in entries:
        size = values * _BYTES.get(kind, len(exif))
        # Pillow stops at what is broken: what it makes of the rest is its own affair
        if not values or (size > 4 and value + size > len(exif)):
            return _UNKNOWN
        if tag == EXIF_ORIENTATION:
            turn = value >> 16 if order == ">" else value & 0xFFFF
            if found != 1 or kind != 3 or values != 1 or not 1 <= turn <= 8:
                return _UNKNOWN
            found = turn
    return found
