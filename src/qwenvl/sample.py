"""The types that flow: what a source yields (`Record`) and what the renderer turns into tokens (`Sample`).

Coordinates are floats in **pixels of the original picture**, x to the right, y down, the origin at the top-left corner
of the first pixel. The integers in [0, 1000) of the paper (section 2.3.3) exist only in `qwenvl.text.geometry` and the
strings it makes. Nothing here imports torch or the data engine.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image as PILImage

Task = Literal["caption", "vqa", "grounding", "referring", "grounded_caption", "ocr", "text", "dialogue"]
"""The paper's tasks: the names of `qwenvl.tasks`. `vqa` includes OCR-VQA (same form); `grounding` is a caption with
boxes; `referring` is phrase → box; `grounded_caption` is box → description; `dialogue` is stage 3's ChatML.
"""

Language = Literal["en", "zh"]

EXIF_ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-parallel rectangle in pixels of the original picture; `x1`, `y1` lie outside it."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Quad:
    """Four corners in pixels, clockwise from the top-left as the text is read."""

    points: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]

    @property
    def box(self) -> Box:
        """The smallest `Box` around the four corners."""
        xs, ys = [p[0] for p in self.points], [p[1] for p in self.points]
        return Box(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A picture whose size is known and whose pixels are decoded late.

    `source` is encoded bytes, a path, or a decoded PIL picture. `width` and `height` are in pixels **after** the EXIF
    orientation is applied: they are what boxes refer to. Make one with `qwenvl.data.images.load_image`, which checks
    and limits what it opens; `key` says whether two are the same picture (a pack encodes equal keys once).
    """

    source: bytes | Path | PILImage.Image
    width: int
    height: int
    name: str = ""
    _digest: str = field(default="", init=False, repr=False)

    @property
    def key(self) -> str:
        """Identity of the picture: a digest of its bytes (computed once), its path, or the decoded object's id.

        A picture that `prepared` made of bytes is known by them still.
        """
        if self._digest or isinstance(self.source, bytes):
            if isinstance(self.source, bytes) and not self._digest:
                digest = hashlib.blake2b(self.source, digest_size=16).hexdigest()
                object.__setattr__(self, "_digest", digest)
            return self._digest
        # an id means something in this process alone, so it is not kept: a pickle would carry it into another
        return str(self.source) if isinstance(self.source, Path) else f"pil-{id(self.source)}"

    def pil(self) -> PILImage.Image:
        """Decode to RGB of eight bits, upright: the one place that decides what a model and a person see of a picture.

        Transparent pixels, of palettes too, are laid on white. Grey of 16 bits is scaled to 8; CMYK and other colour
        spaces are converted as Pillow does it, without colour profiles. Raises OSError when the bytes are no picture.
        """
        from PIL import Image as PILImageModule

        if isinstance(self.source, PILImageModule.Image):
            found = rgb(self.source)
            return found.copy() if found is self.source else found
        return rgb(PILImageModule.open(io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source))


def prepared(image: Image, pixels: PILImage.Image) -> Image:
    """`image` with pixels that are decoded and resized already: size and, where it came as bytes, `key` stay as they
    were, so boxes mean what they meant and the picture is still known as the same.
    """
    made = Image(pixels, image.width, image.height, image.name)
    if isinstance(image.source, bytes):
        object.__setattr__(made, "_digest", image.key)
    return made


def upright(picture: PILImage.Image) -> PILImage.Image:
    """A picture turned as its EXIF orientation says; the picture itself where there is nothing to turn."""
    from PIL import ImageOps

    return picture if picture.getexif().get(EXIF_ORIENTATION, 1) == 1 else ImageOps.exif_transpose(picture)


def rgb(picture: PILImage.Image) -> PILImage.Image:
    """A picture as `Image.pil` gives it; the picture itself, decoded, where it is so already: a copy takes time."""
    from PIL import Image as PILImageModule

    picture = upright(picture)
    if picture.mode.startswith("I"):
        # Pillow would cut 16-bit grey at 255, which leaves a white picture
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("RGB")
    if picture.has_transparency_data:
        white = PILImageModule.new("RGBA", picture.size, "white")
        white.alpha_composite(picture.convert("RGBA"))
        return white.convert("RGB")
    if picture.mode == "RGB":
        picture.load()
        return picture
    return picture.convert("RGB")


@dataclass(frozen=True, slots=True)
class Text:
    """Plain words, never a special token, whatever they spell. `supervised` is blue in the paper's figure."""

    text: str
    supervised: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """A phrase and where it is: `<ref>phrase</ref><box>…</box>…` or with `<quad>`.

    `phrase` None writes the boxes alone; no boxes and no quads writes the phrase alone. `image` counts the sample's
    pictures from 0: the one whose pixels the coordinates are in. The phrase and the places are supervised apart, as in
    referring grounding.
    """

    phrase: str | None
    boxes: tuple[Box, ...] = ()
    quads: tuple[Quad, ...] = ()
    image: int = 0
    phrase_supervised: bool = False
    supervised: bool = False


@dataclass(frozen=True, slots=True)
class Special:
    """A control token that only code writes, such as `<|endoftext|>` or `<|im_start|>`."""

    token: str
    supervised: bool = False


Part = Image | Text | Region | Special


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to learn from or to answer, as typed parts in reading order."""

    parts: tuple[Part, ...]
    task: Task
    source: str = ""
    id: str = ""

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures in the order in which they stand in the text."""
        return tuple(part for part in self.parts if isinstance(part, Image))


@dataclass(frozen=True, slots=True)
class QA:
    """A question about the picture and its answer; `reads_text` marks those that need reading (the paper's ocr-vqa)."""

    question: str
    answer: str
    language: Language = "en"
    reads_text: bool = False


@dataclass(frozen=True, slots=True)
class Phrase:
    """A name or expression and every box it refers to. `referring` says that it singles out what it names.

    `description` is what a grounded caption of the box says, to follow "<ref>This</ref><box>…</box>": " is a red star".
    """

    text: str
    boxes: tuple[Box, ...]
    language: Language = "en"
    referring: bool = True
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption; `spans` are (start, end, boxes) of grounded ranges of `text`'s characters, in order, disjoint."""

    text: str
    language: Language = "en"
    spans: tuple[tuple[int, int, tuple[Box, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text in the picture, with its corners in pixels."""

    text: str
    quad: Quad


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a dialogue: parts without control tokens; Regions and Images stand among the words."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One picture (or several) and what is known about it: what sources yield and cleaning judges.

    All annotations but `dialogues` refer to the first picture. `texts` are documents without a picture. `meta` holds
    what a source knows beside (scores, addresses, attributes): plain JSON values.
    """

    id: str
    source: str
    images: tuple[Image, ...] = ()
    captions: tuple[Caption, ...] = ()
    qas: tuple[QA, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    lines: tuple[TextLine, ...] = ()
    texts: tuple[str, ...] = ()
    dialogues: tuple[tuple[Turn, ...], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
