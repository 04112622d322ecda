"""`<ref> <box> <quad> <img>` text ⇄ typed parts: writing it, and reading whatever a model may emit.

The form is that of the paper (section 2.3.2 and figure 4): `<ref>phrase</ref><box>(x0,y0),(x1,y1)</box>`, coordinates
in 0…999. Reading never raises: a tag left open, a third corner, a number beyond 999 or a full-width bracket gives the
best guess, the rest is plain text. Names between `<img>` and `</img>` are only handed on as strings; nothing here opens
what a text names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from qwenvl.sample import Image, Part, Region, Text
from qwenvl.text.geometry import GRID, BoxCells, QuadCells, box_from_grid, quad_from_grid


@dataclass(frozen=True, slots=True)
class TextSpan:
    """Words outside of any tag."""

    text: str


@dataclass(frozen=True, slots=True)
class RegionSpan:
    """A phrase (None where a place stands alone) and its places in cells 0…999; boxes have x0 ≤ x1 and y0 ≤ y1."""

    phrase: str | None
    boxes: tuple[BoxCells, ...] = ()
    quads: tuple[QuadCells, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """A picture; `name` is what stood between the tags (a path, or nothing)."""

    name: str


Span = TextSpan | RegionSpan | ImageSpan

_TAG = re.compile(r"[<＜]\s*(/?)\s*(ref|box|quad|img)\s*[>＞]", re.IGNORECASE)
_CONTROL = re.compile(r"<\|(?:endoftext|im_start|im_end|extra_\d{1,3})\|>|<imgpad>")
_NUMBER = re.compile(r"[-−－]?\d+(?:[.．]\d+)?")
_COORDINATES = re.compile(r"[\s\d()（）\[\]【】,，、;；.．\-−－]*")


# -- writing -------------------------------------------------------------------------------------------------------


def cells_text(cells: Sequence[int]) -> str:
    """Cells as the paper writes them, a pair per corner: "(661,612),(833,812)"."""
    return ",".join(f"({cells[i]},{cells[i + 1]})" for i in range(0, len(cells), 2))


def box_text(cells: BoxCells) -> str:
    """A box without its tags: "(x0,y0),(x1,y1)"."""
    return cells_text(cells)


def quad_text(cells: QuadCells) -> str:
    """A quad without its tags: four corners."""
    return cells_text(cells)


def format_spans(spans: Iterable[Span]) -> str:
    """The text of spans; `format_spans(parse(text)) == text` where `text` is well formed."""
    out = []
    for span in spans:
        if isinstance(span, TextSpan):
            out.append(span.text)
        elif isinstance(span, ImageSpan):
            out.append(f"<img>{span.name}</img>")
        else:
            if span.phrase is not None:
                out.append(f"<ref>{span.phrase}</ref>")
            out += [f"<box>{cells_text(cells)}</box>" for cells in span.boxes]
            out += [f"<quad>{cells_text(cells)}</quad>" for cells in span.quads]
    return "".join(out)


# -- reading -------------------------------------------------------------------------------------------------------


def parse(text: str) -> list[Span]:
    """The spans of a text in order; never raises. Control tokens such as `<|im_end|>` are left out.

    Guesses: a tag that is not closed ends at the next tag (a box at the last character that can be part of
    coordinates); numbers beyond 0…999 go to the nearest cell; two corners of a box in the wrong order are swapped;
    three corners or more become the rectangle around them, as do a quad's if they are not four; fewer than two corners
    are no place. Places belong to the phrase right before them, white space apart. A closing tag alone is dropped.
    """
    reader = _Reader()
    text = _CONTROL.sub("", text)
    tags = list(_TAG.finditer(text))
    at = 0
    for index, tag in enumerate(tags):
        if tag.start() < at:  # inside what an earlier tag took
            continue
        reader.words(text[at : tag.start()])
        at = tag.end()
        if tag[1]:
            continue
        following = tags[index + 1] if index + 1 < len(tags) else None
        inside = text[at : following.start() if following else len(text)]
        name = tag[2].lower()
        closed = following is not None and bool(following[1]) and following[2].lower() == name
        if name == "img":
            if closed:
                reader.close()
                reader.spans.append(ImageSpan(inside))
            else:
                continue  # the tag alone is dropped; its words are read on as text
        elif name == "ref":
            reader.close()
            reader.phrase = inside
        else:
            if not closed:
                found = _COORDINATES.match(inside)
                inside = found[0].rstrip() if found else ""
            reader.place(name, _cells(inside))
        at += len(inside)
        if closed and following is not None:
            at = following.end()
    reader.words(text[at:])
    reader.close()
    return reader.spans


class _Reader:
    """Gathers a phrase and the places after it until something else comes."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.phrase: str | None = None
        self.boxes: list[BoxCells] = []
        self.quads: list[QuadCells] = []
        self.gap = ""

    def words(self, text: str) -> None:
        """Words between tags. White space after a phrase or place waits: it is dropped if another place follows."""
        if not text:
            return
        if self._open and not text.strip():
            self.gap += text
            return
        gap = self.gap
        self.gap = ""
        self.close()
        self._text(gap + text)

    def place(self, name: str, cells: list[int]) -> None:
        """One `<box>` or `<quad>` with its numbers (x, y, x, y, …)."""
        if len(cells) < 4:
            return
        xs, ys = cells[0::2], cells[1::2]
        x0, y0, x1, y1 = min(xs), min(ys), max(xs), max(ys)
        if name == "box":
            if self.quads:  # boxes are written first, so a box after a quad is a region of its own
                self.close()
            self.boxes.append((x0, y0, x1, y1))
        elif len(cells) == 8:
            self.quads.append(cast(QuadCells, tuple(cells)))
        else:
            self.quads.append((x0, y0, x1, y0, x1, y1, x0, y1))
        self.gap = ""

    def close(self) -> None:
        """End the region that is being gathered."""
        if self._open:
            self.spans.append(RegionSpan(self.phrase, tuple(self.boxes), tuple(self.quads)))
        self.phrase, self.boxes, self.quads = None, [], []
        gap, self.gap = self.gap, ""
        self._text(gap)

    @property
    def _open(self) -> bool:
        return self.phrase is not None or bool(self.boxes or self.quads)

    def _text(self, text: str) -> None:
        if not text:
            return
        last = self.spans[-1] if self.spans else None
        if isinstance(last, TextSpan):
            self.spans[-1] = TextSpan(last.text + text)
        else:
            self.spans.append(TextSpan(text))


def _cells(text: str) -> list[int]:
    """The numbers of a place, clamped to 0…999, as complete corners."""
    cells = []
    for match in _NUMBER.finditer(text):
        digits = match[0].replace("．", ".")
        if digits[0] in "-−－":
            cells.append(0)
        else:
            whole = digits.split(".")[0].lstrip("0")
            cells.append(min(int(whole or "0"), GRID - 1) if len(whole) <= 3 else GRID - 1)
    return cells[: len(cells) // 2 * 2]


def to_regions(text: str, width: float, height: float, image: int = 0) -> list[Region]:
    """The regions with a place in a text, in pixels of a picture of `width` × `height`; never raises on the text."""
    regions = []
    for span in parse(text):
        if isinstance(span, RegionSpan) and (span.boxes or span.quads):
            boxes = tuple(box_from_grid(cells, width, height) for cells in span.boxes)
            quads = tuple(quad_from_grid(cells, width, height) for cells in span.quads)
            regions.append(Region(span.phrase, boxes, quads, image))
    return regions


def strip(text: str) -> str:
    """The words of a text without tags, coordinates and pictures."""
    out = []
    for span in parse(text):
        if isinstance(span, TextSpan):
            out.append(span.text)
        elif isinstance(span, RegionSpan):
            out.append(span.phrase or "")
    return "".join(out)


# -- the reference repository's conversations ------------------------------------------------------------------------

_PICTURE = re.compile(r"(?:Picture\s*\d+\s*[:：]\s*)?(?:<img>(?P<name>.*?)</img>|(?P<llava><image>))\n?", re.DOTALL)


def image_names(value: str) -> list[str]:
    """What a conversation's `value` names between `<img>` and `</img>`, in order; "" for each of LLaVA's `<image>`."""
    return [match["name"] or "" for match in _PICTURE.finditer(value)]


def parse_conversation_value(value: str, images: Sequence[Image], first: int = 0) -> tuple[Part, ...]:
    """A `value` of the reference's `from`/`value` conversations (or LLaVA's) as parts, for `chatml.dialogue_sample`.

    `images` are the pictures of the whole conversation, `first` of them in earlier turns; the k-th `<img>…</img>` or
    `<image>` of this value stands for `images[first + k]`. "Picture 1: " before and the line break after a picture are
    left out, since ChatML writes them again. Boxes become pixels of the last picture shown up to there. Raises
    ValueError for a place without any picture, and where a place is not well formed (better not to train on a guess).
    """
    parts: list[Part] = []
    shown = first
    at = 0
    for match in _PICTURE.finditer(value):
        parts += _conversation_parts(value[at : match.start()], images, shown)
        if shown >= len(images):
            raise ValueError(f"the value shows picture {shown + 1}, but only {len(images)} are given")
        parts.append(images[shown])
        shown += 1
        at = match.end()
    parts += _conversation_parts(value[at:], images, shown)
    return tuple(parts)


def _conversation_parts(text: str, images: Sequence[Image], shown: int) -> list[Part]:
    if not _TAG.search(text):
        return [Text(text)] if text else []
    spans = parse(text)
    if format_spans(spans) != text:
        raise ValueError(
            f"tags or coordinates are not well formed in {text[:120]!r}: "
            "expected <ref>…</ref><box>(x0,y0),(x1,y1)</box> with whole numbers 0…999"
        )
    parts: list[Part] = []
    for span in spans:
        if isinstance(span, TextSpan):
            parts.append(Text(span.text))
        elif isinstance(span, RegionSpan):
            if not span.boxes and not span.quads:
                parts.append(Region(span.phrase))
                continue
            if shown < 1:
                raise ValueError(f"a place stands before any picture in {text[:120]!r}: its pixels are unknown")
            image = images[shown - 1]
            region = to_regions(format_spans([span]), image.width, image.height, shown - 1)[0]
            parts.append(region)
    return parts
