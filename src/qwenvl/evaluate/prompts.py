"""From an item to what the model is shown: the picture, the words behind it, and the examples before it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from qwenvl.data.images import ImageError, load_image
from qwenvl.data.sources.fields import Pictures
from qwenvl.data.sources.public.entry import Entry
from qwenvl.data.sources.report import DataError, RowError
from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Item
from qwenvl.sample import Image, Part, Region, Sample, Special, Task, Text, Turn
from qwenvl.text.chatml import dialogue_sample

Shown = tuple[Item, Image | None]
"""An item with its picture."""


class Opener:
    """Opens the pictures of entries, in the first of some folders that has them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [Pictures(folder, allow_absolute=True) for folder in folders]
        self._found: dict[str, Path] = {}

    def path(self, entry: Entry) -> Path | None:
        """Where an entry's picture lies; None where it is not there, or in the annotation itself."""
        if isinstance(entry.image, bytes):
            return None
        if entry.image in self._found:
            return self._found[entry.image]
        try:
            for pictures in self._folders:
                for name in (entry.image, *entry.others):
                    if name and (path := pictures.path(name, "image")).is_file():
                        self._found[entry.image] = path
                        return path
        except RowError as error:
            raise DataError(f"{entry.at}: {error}") from None
        except OSError:  # a name that is too long
            return None
        return None

    def has(self, entry: Entry) -> bool:
        """Whether there is such a picture."""
        return isinstance(entry.image, bytes) or self.path(entry) is not None

    def open(self, entry: Entry) -> Image:
        """The picture; only its header is read here. Raises DataError where it is missing or none."""
        path = None if isinstance(entry.image, bytes) else self.path(entry)
        if path is None and not isinstance(entry.image, bytes):
            raise DataError(f"{entry.at}: {self.missing(entry)}")
        try:
            return load_image(path if path is not None else entry.image, name=entry.id)
        except ImageError as error:
            raise DataError(f"{entry.at}: image: {error}") from None

    def missing(self, entry: Entry) -> str:
        """What to say of a picture that is not there."""
        folders = ", ".join(str(pictures.root) for pictures in self._folders)
        return f"no picture {entry.image!r} in {folders}; name the folder that holds the pictures with ?images="


def sample_of(benchmark: Benchmark, item: Item, image: Image | None, shots: Sequence[Shown] = ()) -> Sample:
    """What the model is shown; `shots` are examples, each written as prompt, space, answer, without anything between.

    In chat the picture has no number before it, as in the reference's evaluation of MME.
    """
    if benchmark.kind == "chat":
        turn = Turn("user", (*_picture(image), Text(item.prompt)))
        return dialogue_sample([turn], source=benchmark.name, id=item.id, reply=True, first_picture=None)
    parts: list[Part] = []
    for example, picture in shots:
        parts += [*_picture(picture), Text(f"{example.prompt} {example.answer}")]
    parts += _picture(image)
    if benchmark.kind == "refer":
        parts += (Region(item.phrase), Special("<box>"))
    else:
        parts.append(Text(item.prompt))
    tasks: dict[str, Task] = {"refer": "referring", "rank": "vqa", "generate": "vqa"}
    return Sample(tuple(parts), tasks[benchmark.kind], benchmark.name, item.id)


def _picture(image: Image | None) -> tuple[Part, ...]:
    return () if image is None else (image,)


def examples_for(item: Item, train: Sequence[Item], count: int, seed: int, tested: frozenset[str]) -> list[Item]:
    """`count` examples from the training split for an item, drawn by `seed` and the item alone: the same whatever the
    batches, workers and ranks.

    Examples without an answer and those whose picture is among `tested` (the pictures asked about) are left out.
    """
    rng = random.Random(f"{seed}/{item.id}")
    found: list[Item] = []
    taken: set[int] = set()
    # drawn one by one: of half a million training items a few are needed
    while len(found) < count and len(taken) < len(train):
        number = rng.randrange(len(train))
        if number in taken:
            continue
        taken.add(number)
        if train[number].answer and picture_of(train[number]) not in tested:
            found.append(train[number])
    if len(found) < count:
        raise DataError(f"only {len(found)} of {count} examples: the training split has {len(train)} usable items")
    return found


def picture_of(item: Item) -> str:
    """The name by which an item's picture is known in several splits; "" where it has none of its own."""
    if item.entry is None or isinstance(item.entry.image, bytes):
        return ""
    return item.entry.image
