"""Takes typed values out of a row, or says by field what is wrong: texts, boxes, quads, languages, pictures."""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from qwenvl.data.images import ImageError, load_image
from qwenvl.data.sources.report import RowError
from qwenvl.sample import Box, Image, Language, Quad

SLACK = 0.5
"""Pixels by which a corner may lie outside (others' rounding); it is moved to the edge. More is an error."""

_HANZI = re.compile(r"[㐀-鿿]")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def text_of(row: dict[str, Any], name: str, where: str = "") -> str:
    """A text that is not empty. Raises RowError."""
    value = row.get(name)
    if not isinstance(value, str):
        raise RowError(where + name, "missing" if value is None else f"expected a text, not {shown(value)}")
    if not value.strip():
        raise RowError(where + name, "is empty")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise RowError(where + name, "holds half of a surrogate pair, which is no character")
    return value


def list_of(row: dict[str, Any], name: str, where: str = "") -> list[Any]:
    """A list that is not empty. Raises RowError."""
    value = row.get(name)
    if not isinstance(value, list):
        raise RowError(where + name, "missing" if value is None else f"expected a list, not {shown(value)}")
    if not value:
        raise RowError(where + name, "is empty")
    return value


def language_of(row: dict[str, Any], text: str, where: str = "") -> Language:
    """The row's `language`, or what `text` is written in: Chinese where it has a Chinese character."""
    value = row.get("language")
    if value is None:
        return "zh" if _HANZI.search(text) else "en"
    if value == "en" or value == "zh":
        return "en" if value == "en" else "zh"
    raise RowError(where + "language", f'expected "en" or "zh", not {shown(value)}')


def flag_of(row: dict[str, Any], name: str, otherwise: bool) -> bool:
    """A true or false."""
    value = row.get(name, otherwise)
    if not isinstance(value, bool):
        raise RowError(name, f"expected true or false, not {shown(value)}")
    return value


def boxes_of(row: dict[str, Any], image: Image, where: str = "") -> tuple[Box, ...]:
    """The row's `boxes` (or its one `box`) in pixels, each inside the picture."""
    if "boxes" not in row and "box" in row:
        return (box_from(row["box"], image, where + "box"),)
    return tuple(box_from(b, image, f"{where}boxes[{i}]") for i, b in enumerate(list_of(row, "boxes", where)))


def box_from(value: Any, image: Image, where: str) -> Box:
    """A box [x0, y0, x1, y1] in pixels. Raises RowError for other forms, corners swapped, no area, or outside the
    picture.
    """
    x0, y0, x1, y1 = numbers(value, 4, where, "[x0, y0, x1, y1] in pixels")
    if x1 <= x0 or y1 <= y0:
        raise RowError(where, f"{shown(value)} has no area or swapped corners; expected x0 < x1 and y0 < y1")
    (x0, y0), (x1, y1) = (_inside(x, y, image, where, value) for x, y in ((x0, y0), (x1, y1)))
    return Box(x0, y0, x1, y1)


def quad_from(value: Any, image: Image, where: str) -> Quad:
    """A quad: four corners [[x, y], …] or eight numbers, clockwise from the top-left as the text is read."""
    if isinstance(value, list) and len(value) == 4 and all(isinstance(p, list) and len(p) == 2 for p in value):
        value = [number for point in value for number in point]
    flat = numbers(value, 8, where, "four corners [[x, y], …] in pixels")
    points = [(flat[i], flat[i + 1]) for i in range(0, 8, 2)]
    twice_area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, [*points[1:], points[0]], strict=True))
    if abs(twice_area) < 1e-6:
        raise RowError(where, f"{shown(value)} has no area")
    if twice_area < 0:
        raise RowError(
            where, f"{shown(value)} runs counter-clockwise; expected clockwise from the top-left of the text"
        )
    a, b, c, d = (_inside(x, y, image, where, value) for x, y in points)
    return Quad((a, b, c, d))


def numbers(value: Any, count: int, where: str, form: str) -> list[float]:
    """A list of so many finite numbers. Raises RowError, which says that `form` was expected."""
    if not isinstance(value, list) or len(value) != count:
        raise RowError(where, f"expected {form}, not {shown(value)}")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise RowError(where, f"expected numbers in {form}, not {shown(number)}")
    return [float(number) for number in value]


def _inside(x: float, y: float, image: Image, where: str, value: Any) -> tuple[float, float]:
    if not (-SLACK <= x <= image.width + SLACK and -SLACK <= y <= image.height + SLACK):
        raise RowError(where, f"{shown(value)} lies outside the picture of {image.width}×{image.height} pixels")
    return min(max(x, 0.0), float(image.width)), min(max(y, 0.0), float(image.height))


class Pictures:
    """Opens the pictures that rows name, inside one folder; each is decoded once to see that it is whole.

    `root` is the folder of the data file, or the one that the user named (`allow_absolute`): then an absolute path into
    it is taken too.
    """

    def __init__(self, root: Path, allow_absolute: bool = False) -> None:
        self.root, self.allow_absolute = root.resolve(), allow_absolute
        self._known: OrderedDict[Path, Image | str] = OrderedDict()

    def open(self, name: Any, where: str) -> Image:
        """The picture of a path relative to the root, or of a "data:" URI. Raises RowError."""
        if not isinstance(name, str) or not name.strip():
            raise RowError(where, "missing" if name is None else f"expected the path of a picture, not {shown(name)}")
        try:
            if name.startswith("data:"):
                return load_image(name, name=where, verify=True)
            path = self.path(name, where)
            known = self._known.get(path)
            if known is None:
                try:
                    known = load_image(path, name=name, verify=True)
                except ImageError as error:
                    known = str(error)
                self._known[path] = known
                if len(self._known) > 4096:
                    self._known.popitem(last=False)
        except ImageError as error:
            raise RowError(where, str(error)) from None
        if isinstance(known, str):
            raise RowError(where, known)
        return known

    def has(self, name: str, where: str) -> bool:
        """Whether there is such a file in the root. Raises RowError for a path that leads out of it."""
        try:
            return self.path(name, where).is_file()
        except OSError:  # a name that is too long
            return False

    def path(self, name: str, where: str) -> Path:
        """Where a path relative to the root leads, which is in the root. Raises RowError."""
        if _ADDRESS.match(name):
            raise RowError(
                where, f"{shown(name)} is an address; pictures are never fetched: download it and give its path"
            )
        if "\0" in name:
            raise RowError(where, f"{shown(name)} is no path")
        absolute = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
        if absolute and not self.allow_absolute:
            raise RowError(where, f"{shown(name)} is absolute; give paths relative to the data file, or --image-root")
        try:
            path = (self.root / name).resolve()
        except (OSError, RuntimeError, UnicodeError) as error:
            raise RowError(where, f"{shown(name)} can not be resolved ({error})") from None
        if not path.is_relative_to(self.root):
            raise RowError(
                where, f"{shown(name)} leads out of {self.root}; name the folder that holds it with --image-root"
            )
        return path
