"""The reference repository's list form of a text: [{"image": …}, {"text": …}, {"ref": …, "box": …}] ⇄ tagged text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import cast

from qwenvl.sample import Image, Part, Region, Text
from qwenvl.text.markup import cells_text
from qwenvl.text.messages import tagged_parts

_STRICT = re.compile(r"<(ref|box|quad|img)>(.*?)</\1>", re.DOTALL)


def from_list_format(elements: Iterable[dict[str, object]]) -> str:
    """A list of {"image"}, {"text"}, {"ref", "box" or "quad"} as text; pictures are numbered "Picture 1:", no space.

    Values stand in the text as they are: for those of people who are not to write tags, use `parts_from_list`. Raises
    ValueError naming the element that is none of these.
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


def parts_from_list(elements: Iterable[dict[str, object]], load: Callable[[object], Image]) -> tuple[Part, ...]:
    """The same list as parts for `Chat.ask` or a `Turn`: values are words and places, whatever they spell.

    `load` makes an `Image` of what stands under "image". Places are in the last picture before them. Raises ValueError
    naming the element that is none of the form's, or whose places are not whole numbers 0…999.
    """
    parts: list[Part] = []
    images: list[Image] = []
    for number, element in enumerate(elements):
        if "image" in element:
            images.append(load(element["image"]))
            parts.append(images[-1])
        elif "text" in element:
            parts.append(Text(str(element["text"])))
        else:
            parts += _region(element, images, f"element {number} of the list form")
    return tuple(parts)


def _region(element: dict[str, object], images: Sequence[Image], where: str) -> list[Part]:
    places = "".join(tag for key in ("box", "quad") if key in element for tag in _tagged(key, element[key]))
    found = tagged_parts(f"<ref></ref>{places}", images)
    if "ref" not in element and not places:
        raise ValueError(f"{where} has none of image, text, ref, box, quad: {element!r}")
    if len(found) != 1 or not isinstance(found[0], Region):
        raise ValueError(f"{where}: {places[:80]!r} is no place: expected whole numbers 0…999, 4 of a box, 8 of a quad")
    return [replace(found[0], phrase=str(element["ref"]) if "ref" in element else None)]


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
