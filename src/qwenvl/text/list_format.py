"""The reference repository's list form of a text: [{"image": …}, {"text": …}, {"ref": …, "box": …}] ⇄ tagged text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import cast

from qwenvl.text.markup import cells_text

_STRICT = re.compile(r"<(ref|box|quad|img)>(.*?)</\1>", re.DOTALL)


def from_list_format(elements: Iterable[dict[str, object]]) -> str:
    """A list of {"image"}, {"text"}, {"ref", "box" or "quad"} as text; pictures are numbered "Picture 1:", no space.

    Raises ValueError naming the element that is none of these.
    """
    out = []
    pictures = 0
    for number, element in enumerate(elements):
        if "image" in element:
            pictures += 1
            out.append(f"Picture {pictures}:<img>{element['image']}</img>\n")
            continue
        known = [key for key in ("text", "ref", "box", "quad") if key in element]
        if not known:
            raise ValueError(f"element {number} of the list form has none of image, text, ref, box, quad: {element!r}")
        for key in known:
            out += [str(element[key])] if key == "text" else _tagged(key, element[key])
    return "".join(out)


def _tagged(key: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [f"<{key}>{value}</{key}>"]
    places = cast("Sequence[Sequence[int]] | Sequence[int]", value)
    if places and isinstance(places[0], int):
        places = cast("Sequence[Sequence[int]]", [places])
    return [f"<{key}>{cells_text(cast('Sequence[int]', place))}</{key}>" for place in places]


def to_list_format(text: str) -> list[dict[str, str]]:
    """A text as a list: one element per tag and per stretch of words. Tags that are not closed stay words."""
    elements: list[dict[str, str]] = []
    at = 0
    for match in _STRICT.finditer(text):
        if match.start() > at:
            elements.append({"text": text[at : match.start()]})
        elements.append({"image" if match[1] == "img" else match[1]: match[2]})
        at = match.end()
    if at < len(text):
        elements.append({"text": text[at:]})
    return elements
