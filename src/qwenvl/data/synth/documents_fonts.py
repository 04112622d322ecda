"""The fonts that documents are set in: found on the system and in the user's folders, symbol fonts kept out.

A font is offered to a text only if its character map has every character of it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwenvl.assets.fonts import FONT_PATH
from qwenvl.sample import Language

if TYPE_CHECKING:
    from PIL import ImageFont

SUFFIXES = (".ttf", ".otf", ".ttc", ".otc", ".woff2")
BUNDLED = (FONT_PATH, *sorted(Path(FONT_PATH).with_name("fonts").glob("*.woff2")))
"""Fonts that come with the package, all under the SIL Open Font License."""

_SMALL = 1 << 20  # bytes: what such a font takes when it is open is of no account
_CODES = 0x32000  # hanzi end there
_MOST_FILES, _MOST_BYTES, _MOST_FACES = 4000, 200 << 20, 40
_NOT_FOR_READING = (
    *("symbol", "dingbat", "emoji", "icon", "awesome", "barcode", "braille", "math", "webdings", "wingdings"),
    *("lastresort", "music", "chess", "blank", "tofu", "redacted", "blokk", "ornament"),
)
_FOREIGN = re.compile(r"\b(JP|KR|Mono CJK)\b")
_LATIN = "".join(map(chr, range(0x21, 0x7F)))
COMMON_HANZI = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之"
"""A font that lacks one of these is no Chinese font."""


class FontError(ValueError):
    """There is no font to work with, or a folder of fonts can not be read; the message says which."""


@dataclass(frozen=True)
class FontFace:
    """A face of a font file: `number` counts the faces of a collection, `languages` are those that it can write."""

    file: str
    number: int
    name: str
    languages: tuple[Language, ...]

    def has(self, text: str) -> bool:
        """Whether the character map has every character of `text` that is not white space."""
        there = _characters(self.file, self.number)
        return all(
            (code := ord(character)) < _CODES and there[code >> 3] >> (code & 7) & 1
            for character in text
            if not character.isspace()
        )

    def at(self, size: int, shaped: bool = True) -> ImageFont.FreeTypeFont:
        """The face at `size` pixels per em, with kerning and ligatures if `shaped`. Cached: do not change it."""
        opened = _small if _is_small(self.file) else _large
        return opened(self.file, self.number, size, shaped)


def find_fonts(folders: Sequence[Path] = (), system: bool = True) -> tuple[FontFace, ...]:
    """All faces that can write English or Chinese: the bundled ones, those of `folders`, and the system's.

    Files that are no fonts, and fonts of symbols, are passed over. Raises FontError for a folder that is not there or
    without any usable font.
    """
    found = [face for path in BUNDLED for face in _faces(path)]
    for folder in folders:
        if not folder.is_dir():
            raise FontError(f"{folder}: there is no such folder of fonts")
        own = [face for path in _files([folder]) for face in _faces(path)]
        if not own:
            raise FontError(f"{folder}: holds no font that can write English or Chinese ({', '.join(SUFFIXES)})")
        found += own
    if system:
        found += [face for path in _files(_system_folders()) for face in _faces(path)]
    # the same font may lie in two places
    return tuple({(face.name, face.number): face for face in reversed(found)}.values())[::-1]


def fingerprint(faces: Sequence[FontFace]) -> str:
    """A digest of which fonts there are: what is drawn depends on it."""
    told = "\n".join(f"{face.name} {face.number} {os.path.getsize(face.file)}" for face in faces)
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _system_folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", home / "AppData/Local/Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"]


def _files(folders: Iterable[Path]) -> list[Path]:
    """Font files below folders, in order; not endlessly many, and none that is huge."""
    found: list[Path] = []
    for folder in folders:
        for where, inner, names in os.walk(folder):
            inner.sort()
            for name in sorted(names):
                path = Path(where) / name
                if path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size <= _MOST_BYTES:
                    found.append(path)
                if len(found) >= _MOST_FILES:
                    return found
    return found


def _faces(path: Path) -> Iterator[FontFace]:
    """The faces of a file that can be used."""
    count = 1
    if path.suffix.lower() in (".ttc", ".otc"):
        with path.open("rb") as file:
            head = file.read(12)
        count = min(_MOST_FACES, int.from_bytes(head[8:12], "big")) if head[:4] == b"ttcf" else 0
    for number in range(count):
        try:
            face = _face(path, number)
        # whatever fontTools and FreeType say to a file that is broken
        except Exception:
            continue
        if face is not None:
            yield face


def _face(path: Path, number: int) -> FontFace | None:
    with _tables(str(path), number) as tables:
        name = str(tables["name"].getBestFullName() or path.stem)
        names = " ".join(str(tables["name"].getDebugName(number)) for number in (1, 4, 6, 16))
        family = int(tables["OS/2"].panose.bFamilyType) if "OS/2" in tables else 0
        coloured = any(tag in tables for tag in ("CBDT", "sbix", "COLR", "SVG "))
        characters = _map(tables)
    # Panose 5 is "Latin symbol": pictures at the places of letters
    if family == 5 or coloured or any(word in names.lower().replace(" ", "") for word in _NOT_FOR_READING):
        return None

    def writes(letters: str, sample: str) -> bool:
        return all(ord(letter) in characters for letter in letters) and _shows(path, number, sample)

    languages: list[Language] = []
    # the faces of a collection of Chinese, Japanese and Korean share their Latin letters
    if (number == 0 or ord("的") not in characters) and writes(_LATIN, "AnQ8"):
        languages.append("en")
    # Japanese and Korean forms of hanzi are not the Chinese ones; those of the monospaced faces are the others'
    if not _FOREIGN.search(name) and writes(COMMON_HANZI, "的国来"):
        languages.append("zh")
    return FontFace(str(path), number, name, tuple(languages)) if languages else None


def _shows(path: Path, number: int, characters: str) -> bool:
    """Whether the characters have ink and differ from one another and from the sign for what is missing."""
    from PIL import ImageFont

    face = ImageFont.truetype(str(path), 24, index=number)
    drawn = [bytes(face.getmask(character)) for character in (*characters, "\U000fffff")]
    return len(set(drawn)) == len(drawn) and all(any(ink) for ink in drawn[:-1])


def _tables(path: str, number: int) -> Any:
    from fontTools.ttLib import TTFont

    return TTFont(path, fontNumber=number, lazy=True)


def _map(tables: Any) -> frozenset[int]:
    """The Unicode code points of a font; those that name no character are left out."""
    # names of glyphs, which the map is told in, would take a large font's outlines to be read
    tables.setGlyphOrder([str(number) for number in range(tables["maxp"].numGlyphs)])
    best = tables.getBestCmap() or {}
    return frozenset(code for code in best if code < 0xE000 or unicodedata.category(chr(code)) not in ("Co", "Cn"))


@functools.lru_cache(maxsize=512)
def _characters(path: str, number: int) -> bytes:
    """A bit for each code point: of large fonts a set would take megabytes."""
    bits = bytearray(_CODES // 8)
    with _tables(path, number) as tables:
        for code in _map(tables):
            if code < _CODES:
                bits[code >> 3] |= 1 << (code & 7)
    return bytes(bits)


@functools.cache
def _is_small(path: str) -> bool:
    return os.path.getsize(path) < _SMALL


@functools.lru_cache(maxsize=80)
def _small(path: str, number: int, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    return _open(path, number, size, shaped)


@functools.lru_cache(maxsize=12)  # each takes some 3 MiB
def _large(path: str, number: int, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    return _open(path, number, size, shaped)


def _open(path: str, number: int, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont, features

    engine = ImageFont.Layout.RAQM if shaped and features.check("raqm") else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, size, index=number, layout_engine=engine)
