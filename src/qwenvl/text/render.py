"""`Sample` → `Example`: ids, labels and image slots. The only place in the project where a sample becomes tokens.

Each part is encoded on its own, so the border of what is supervised is always a border of tokens, and the ids of a
prompt are the first ids of the training example. Nothing that stands in a `Text` or a phrase can become a special
token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qwenvl.sample import Image, Region, Sample, Special, Task, Text
from qwenvl.text.chatml import REPLY_HEADER
from qwenvl.text.geometry import box_to_grid, quad_to_grid
from qwenvl.text.markup import cells_text
from qwenvl.text.tokenizer import QwenTokenizer

IGNORED = -100
"""The label of what is not supervised."""


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """Where a picture's embeddings go: `length` ids from `start`, the first after `<img>`."""

    start: int
    length: int
    image: Image


@dataclass(frozen=True, slots=True)
class Example:
    """What the model gets. `ids` and `labels` have one length; `labels[i]` is `ids[i]` or -100 (the loss shifts)."""

    ids: list[int]
    labels: list[int]
    slots: tuple[ImageSlot, ...]
    task: Task
    source: str
    id: str


def render(sample: Sample, tokenizer: QwenTokenizer, slots_per_image: int = 256) -> Example:
    """The ids, labels and image slots of a sample; a picture takes `<img>` + `slots_per_image` ids + `</img>`.

    Raises ValueError, naming the sample, where it cannot be written: a region in a picture that is not there, a region
    with neither phrase nor place, a coordinate that is no number, an unknown control token.
    """
    return _render(sample, tokenizer, slots_per_image)[0]


def render_prompt(sample: Sample, tokenizer: QwenTokenizer, slots_per_image: int = 256) -> Example:
    """Everything before the first supervised token: what the model is to answer. Its ids are the first of `render`'s.

    In a dialogue, where control tokens are supervised from the start, it ends where the assistant's last turn begins to
    speak.
    """
    example, starts = _render(sample, tokenizer, slots_per_image)
    end = next((i for i, label in enumerate(example.labels) if label != IGNORED), len(example.ids))
    if sample.task == "dialogue":
        for i in range(len(sample.parts) - 1, 0, -1):
            if sample.parts[i] == Text(REPLY_HEADER) and sample.parts[i - 1] == Special("<|im_start|>", True):
                end = starts[i + 1]
                break
    slots = tuple(slot for slot in example.slots if slot.start < end)
    return Example(example.ids[:end], example.labels[:end], slots, example.task, example.source, example.id)


def texts_of(sample: Sample) -> Iterator[str]:
    """The plain strings that `render` encodes, coordinates included: what a small tokenizer is trained on."""
    for part in sample.parts:
        if isinstance(part, Text):
            yield part.text
        elif isinstance(part, Region):
            if part.phrase is not None:
                yield part.phrase
            for _, cells in _places(part, sample.images, sample):
                yield cells_text(cells)


def _render(sample: Sample, tokenizer: QwenTokenizer, slots_per_image: int) -> tuple[Example, list[int]]:
    """The example and the index at which each part starts (and at the end, the length)."""
    if slots_per_image < 1:
        raise ValueError(f"slots_per_image must be 1 or more, not {slots_per_image}")
    ids = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    labels = [IGNORED] * len(ids)
    slots: list[ImageSlot] = []
    starts: list[int] = []
    images: tuple[Image, ...] | None = None
    encode = tokenizer.encode_cached
    for part in sample.parts:
        starts.append(len(ids))
        if isinstance(part, Text):
            new: Sequence[int] = encode(part.text)
            supervised = part.supervised
        elif isinstance(part, Special):
            try:
                new = (tokenizer.special(part.token),)
            except ValueError as error:
                raise ValueError(f"{_name(sample)}: {error}") from None
            supervised = part.supervised
        elif isinstance(part, Image):
            slots.append(ImageSlot(len(ids) + 1, slots_per_image, part))
            new = (tokenizer.img_start_id, *(tokenizer.image_slot_id,) * slots_per_image, tokenizer.img_end_id)
            supervised = False
        else:
            if images is None:
                images = sample.images
            if part.phrase is not None:
                new = (tokenizer.ref_start_id, *encode(part.phrase), tokenizer.ref_end_id)
                ids += new
                labels += new if part.phrase_supervised else (IGNORED,) * len(new)
            places: list[int] = []
            for is_quad, cells in _places(part, images, sample):
                places.append(tokenizer.quad_start_id if is_quad else tokenizer.box_start_id)
                places += _cell_ids(cells, tokenizer)
                places.append(tokenizer.quad_end_id if is_quad else tokenizer.box_end_id)
            new, supervised = places, part.supervised
        ids += new
        labels += new if supervised else (IGNORED,) * len(new)
    starts.append(len(ids))
    return Example(ids, labels, tuple(slots), sample.task, sample.source, sample.id), starts


def _places(region: Region, images: Sequence[Image], sample: Sample) -> Iterator[tuple[bool, tuple[int, ...]]]:
    """(is a quad, cells) of each place of a region, boxes first."""
    if not region.boxes and not region.quads:
        if region.phrase is None:
            raise ValueError(f"{_name(sample)}: a region has neither phrase nor place; leave it out")
        return
    if not 0 <= region.image < len(images):
        raise ValueError(
            f"{_name(sample)}: the region {region.phrase!r} is in picture {region.image} (counted from 0), "
            f"but the sample has {len(images)}: add the picture or correct Region.image"
        )
    image = images[region.image]
    try:
        for box in region.boxes:
            yield False, box_to_grid(box, image.width, image.height)
        for quad in region.quads:
            yield True, quad_to_grid(quad, image.width, image.height)
    except ValueError as error:
        raise ValueError(f"{_name(sample)}: the region {region.phrase!r}: {error}") from None


def _cell_ids(cells: Sequence[int], tokenizer: QwenTokenizer) -> list[int]:
    """The ids of "(x,y),(x,y)…", from remembered numbers and brackets.

    Equal to encoding the string at once, because the tokenizer cuts text around each digit and each run of punctuation;
    about ten times as fast, and there are too many boxes to remember whole.
    """
    encode = tokenizer.encode_cached
    ids = [*encode("("), *encode(str(cells[0])), *encode(","), *encode(str(cells[1]))]
    for i in range(2, len(cells), 2):
        ids += encode("),(")
        ids += encode(str(cells[i]))
        ids += encode(",")
        ids += encode(str(cells[i + 1]))
    ids += encode(")")
    return ids


def _name(sample: Sample) -> str:
    return f"sample {sample.id or '(no id)'}" + (f" of {sample.source}" if sample.source else "") + f" ({sample.task})"
