"""Records in a shuffled, resumable order → Samples of the stage's tasks → packed batches.

Everything follows from (seed, position): the state is a handful of counters, and a run continued from a saved state
sees the batches that an uninterrupted one would have seen. There is one stream of rows, whoever reads it: every rank
and every worker plans all of it, which takes words alone, and joins and decodes only the rows that are its own. So
neither the number of ranks nor that of workers changes the order, and no sample is lost or repeated when they do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwenvl.data.mixture import Mixture, Part, Share
from qwenvl.data.pack import Group, Packer, join, row_images
from qwenvl.data.pixel_cache import PixelCache
from qwenvl.sample import Task
from qwenvl.tasks import EXACT, TASKS, Wording
from qwenvl.text.render import IGNORED, Example, render
from qwenvl.text.tokenizer import QwenTokenizer


@dataclass(frozen=True)
class Settings:
    """What a stage asks of its batches. Sizes in pixels, tokens and rows.

    `rows` counts over all ranks; rank `rank` of `world` gets every `world`-th of them.
    """

    tasks: Mapping[Task, Share]
    image_size: int
    slots_per_image: int
    sequence: int
    rows: int
    seed: int
    buffer: int = 64
    rank: int = 0
    world: int = 1
    wording: Wording = EXACT


@dataclass
class Batch:
    """A micro-batch as arrays. B rows of L tokens, N distinct pictures of S × S pixels, K runs of slots.

    `segments` and `branches` are `qwenvl.data.pack.Row`'s, 0 where padded. `supervised` counts the supervised tokens of
    all ranks' rows, `runs` their pictures as they stand in the text: the loss is divided by these. `state` continues
    right after this batch.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    segments: NDArray[np.int16]
    branches: NDArray[np.int16]
    pixels: NDArray[np.uint8]
    image_index: NDArray[np.int64]
    tasks: list[Task]
    samples: int
    supervised: int
    runs: int
    state: dict[str, Any] = field(repr=False)


def without_pictures(example: Example) -> Example:
    """The same words without `<img>`, slots and `</img>`: what a language model sees of the tasks."""
    hidden = {i for slot in example.slots for i in range(slot.start - 1, slot.start + slot.length + 1)}
    kept = [i for i in range(len(example.ids)) if i not in hidden]
    return replace(example, ids=[example.ids[i] for i in kept], labels=[example.labels[i] for i in kept], slots=())


class Batches:
    """The endless batches of one stage over weighted sources; iterate it, or continue from a batch's `state`."""

    def __init__(
        self,
        parts: Sequence[Part],
        tokenizer: QwenTokenizer,
        settings: Settings,
        state: Mapping[str, Any] | None = None,
        pixels: PixelCache | None = None,
    ) -> None:
        """`pixels` are decoded pictures that other stages' batches may share."""
        self._settings, self._tokenizer = settings, tokenizer
        self._mixture = Mixture(parts, str(settings.seed), state["positions"] if state else None)
        # sorted: every draw for a task moves the next one's, and a recipe may name its tasks in any order
        self._tasks = [sorted((settings.tasks if part.tasks is None else part.tasks).items()) for part in parts]
        self._packer = Packer(settings.sequence, settings.buffer)
        self._pixels = PixelCache() if pixels is None else pixels
        self._draws: dict[int, tuple[int, int]] = {}
        self._next = 0
        self._ready: list[list[Group]] = []
        if state:
            self._restore(state)

    def __iter__(self) -> Iterator[Batch]:
        return self.every()

    def every(self, step: int = 1, first: int = 0) -> Iterator[Batch]:
        """Every `step`-th batch from number `first` on, counted from 0; those between are planned and not made."""
        for number, rows in enumerate(self._planned()):
            if number % step == first:
                yield self._batch(rows)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Samples that fitted no row, by reason."""
        return self._packer.dropped

    @property
    def pixels(self) -> PixelCache:
        """The decoded pictures that are kept."""
        return self._pixels

    def _planned(self) -> Iterator[list[list[Group]]]:
        idle = 0
        while True:
            while len(self._ready) < self._settings.rows:
                idle = 0 if self._draw() else idle + 1
                if idle > 10_000:
                    raise ValueError(
                        f"the last 10,000 records gave no sample for the tasks {', '.join(self._settings.tasks)} "
                        f"(dropped so far: {dict(self._packer.dropped) or 'none'}): check the data's fields, "
                        f"the tasks' shares, or the sequence length of {self._settings.sequence}"
                    )
            rows, self._ready = self._ready[: self._settings.rows], self._ready[self._settings.rows :]
            yield rows

    def _draw(self) -> bool:
        number = self._next
        self._next += 1
        self._draws[number] = self._mixture.draw()
        made = self._make(number)
        for examples in made.values():
            self._ready.extend(self._packer.plan(examples, number))
        return bool(made)

    def _make(self, number: int) -> dict[Task, list[Example]]:
        """The samples of draw `number`: a function of the seed and the number alone."""
        part, position = self._draws[number]
        record = self._mixture.record(part, position)
        rng = random.Random(f"{self._settings.seed}/make{number}")
        made: dict[Task, list[Example]] = {}
        for task, share in self._tasks[part]:
            if rng.random() >= share.share:
                continue
            samples = TASKS[task](record, rng, share.questions, self._settings.wording)
            if samples:
                examples = [render(s, self._tokenizer, self._settings.slots_per_image) for s in samples]
                made[task] = examples if share.pictures else [without_pictures(e) for e in examples]
        return made

    def _batch(self, everywhere: list[list[Group]]) -> Batch:
        rows = [join(groups) for groups in islice(everywhere, self._settings.rank, None, self._settings.world)]
        groups = [group for row in everywhere for group in row]
        shape = (len(rows), self._settings.sequence)
        ids = np.full(shape, self._tokenizer.eos_id, np.int64)
        labels = np.full(shape, IGNORED, np.int64)
        positions = np.zeros(shape, np.int64)
        segments, branches = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
        for i, row in enumerate(rows):
            count = len(row.ids)
            ids[i, :count], labels[i, :count], positions[i, :count] = row.ids, row.labels, row.positions
            segments[i, :count], branches[i, :count] = row.segments, row.branches
        pictures, index = row_images(rows)
        return Batch(
            ids, labels, positions, segments, branches,
            self._pixels.stacked(pictures, self._settings.image_size), np.asarray(index, np.int64),
            [row.task for row in rows], sum(row.samples for row in rows),
            sum(group.supervised for group in groups), sum(group.runs for group in groups), self.state(),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Counters and the names of what waits in the packer and behind it; plain JSON values."""
        waiting = {task: [_name(group) for group in groups] for task, groups in self._packer.waiting.items()}
        ready = [[groups[0].task, [_name(group) for group in groups]] for groups in self._ready]
        needed = {group.draw for groups in self._packer.waiting.values() for group in groups}
        needed.update(group.draw for groups in self._ready for group in groups)
        self._draws = {draw: self._draws[draw] for draw in sorted(needed)}
        return {
            "next": self._next,
            "positions": list(self._mixture.positions),
            "waiting": waiting,
            "ready": ready,
            "draws": [[draw, *place] for draw, place in self._draws.items()],
            "dropped": dict(self._packer.dropped),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._next = state["next"]
        self._draws = {draw: (part, position) for draw, part, position in state["draws"]}
        made = {draw: self._make(draw) for draw in self._draws}

        def group(task: Task, draw: int, indices: list[int]) -> Group:
            (found,) = self._packer.groups([made[draw][task][i] for i in indices], draw)
            found.indices = tuple(indices)
            return found

        for task, names in state["waiting"].items():
            self._packer.waiting[task] = [group(task, *name) for name in names]
        self._ready = [[group(task, *name) for name in names] for task, names in state["ready"]]
        self._packer.dropped.clear()
        self._packer.dropped.update(state["dropped"])


def _name(group: Group) -> tuple[int, tuple[int, ...]]:
    return group.draw, group.indices
