"""Records in a shuffled, resumable order → Samples of the stage's tasks → packed batches.

Everything follows from (seed, position): the state is a handful of counters, and a run continued from a saved state
sees the batches that an uninterrupted one would have seen.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwenvl.data.pack import Group, Packer, Row, join, row_images
from qwenvl.data.pixel_cache import PixelCache
from qwenvl.sample import Record, Task
from qwenvl.tasks import EXACT, TASKS, Wording
from qwenvl.text.render import IGNORED, Example, render
from qwenvl.text.tokenizer import QwenTokenizer


class Shards(Protocol):
    """Records in logical shards; `qwenvl.data.shards.ShardReader` on disk, `MemoryShards` in memory."""

    @property
    def shards(self) -> Sequence[int]:
        """How many records each shard holds."""
        ...

    def read_shard(self, index: int) -> Sequence[Record]:
        """All records of one shard."""
        ...


@dataclass(frozen=True)
class MemoryShards:
    """Records that are already in memory, as one shard."""

    records: list[Record]

    @property
    def shards(self) -> Sequence[int]:
        """How many records each shard holds: here, one entry."""
        return [len(self.records)]

    def read_shard(self, index: int) -> list[Record]:
        """All records."""
        return self.records


@dataclass(frozen=True)
class Share:
    """A task's place in the mixture: the share of records that give it, and how many of its samples share a picture.

    `pictures` false leaves the pictures out of its samples.
    """

    share: float
    questions: int
    pictures: bool = True


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


class Order:
    """The endless order of one source's records: shards shuffled each epoch, records shuffled within a shard."""

    def __init__(self, source: Shards, seed: str, keep: int = 2) -> None:
        self._source, self._seed, self._keep = source, seed, keep
        self._sizes = list(source.shards)
        self._total = sum(self._sizes)
        self._epoch: tuple[int, list[tuple[int, int]]] = (-1, [])
        self._shards: OrderedDict[int, Sequence[Record]] = OrderedDict()

    def record(self, position: int) -> Record:
        """The record at `position`, counted from 0 over all epochs."""
        epoch, index = divmod(position, self._total)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        shard, row = self._epoch[1][index]
        if shard not in self._shards:
            self._shards[shard] = self._source.read_shard(shard)
            if len(self._shards) > self._keep:
                self._shards.popitem(last=False)
        self._shards.move_to_end(shard)
        return self._shards[shard][row]

    def _shuffled(self, epoch: int) -> list[tuple[int, int]]:
        rng = random.Random(f"{self._seed}/epoch{epoch}")
        shards = list(range(len(self._sizes)))
        rng.shuffle(shards)
        order: list[tuple[int, int]] = []
        for shard in shards:
            rows = list(range(self._sizes[shard]))
            rng.shuffle(rows)
            order.extend((shard, row) for row in rows)
        return order


def without_pictures(example: Example) -> Example:
    """The same words without `<img>`, slots and `</img>`: what a language model sees of the tasks."""
    hidden = {i for slot in example.slots for i in range(slot.start - 1, slot.start + slot.length + 1)}
    kept = [i for i in range(len(example.ids)) if i not in hidden]
    return replace(example, ids=[example.ids[i] for i in kept], labels=[example.labels[i] for i in kept], slots=())


class Batches:
    """The endless batches of one stage over weighted sources; iterate it, or continue from a batch's `state`."""

    def __init__(
        self,
        sources: Sequence[tuple[Shards, float]],
        tokenizer: QwenTokenizer,
        settings: Settings,
        state: Mapping[str, Any] | None = None,
        pixels: PixelCache | None = None,
    ) -> None:
        """`pixels` are decoded pictures that other stages' batches may share."""
        self._settings, self._tokenizer = settings, tokenizer
        self._orders = [Order(source, f"{settings.seed}/source{i}") for i, (source, _) in enumerate(sources)]
        self._weights = [weight for _, weight in sources]
        # sorted: every draw for a task moves the next one's, and a recipe may name its tasks in any order
        self._tasks = sorted(settings.tasks.items())
        self._packer = Packer(settings.sequence, settings.buffer)
        self._pixels = PixelCache() if pixels is None else pixels
        self._draws: dict[int, tuple[int, int]] = {}
        self._next = 0
        self._positions = [0] * len(sources)
        self._ready: list[Row] = []
        if state:
            self._restore(state)

    def __iter__(self) -> Iterator[Batch]:
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
            yield self._batch(rows)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Samples that fitted no row, by reason."""
        return self._packer.dropped

    def _draw(self) -> bool:
        number, source = self._next, 0
        if len(self._orders) > 1:
            rng = random.Random(f"{self._settings.seed}/draw{number}")
            source = rng.choices(range(len(self._orders)), self._weights)[0]
        position = self._positions[source]
        self._next += 1
        self._positions[source] += 1
        self._draws[number] = (source, position)
        made = self._make(number)
        for examples in made.values():
            self._ready.extend(self._packer.add(examples, number))
        return bool(made)

    def _make(self, number: int) -> dict[Task, list[Example]]:
        """The samples of draw `number`: a function of the seed and the number alone."""
        source, position = self._draws[number]
        record = self._orders[source].record(position)
        rng = random.Random(f"{self._settings.seed}/make{number}")
        made: dict[Task, list[Example]] = {}
        for task, share in self._tasks:
            if rng.random() >= share.share:
                continue
            samples = TASKS[task](record, rng, share.questions, self._settings.wording)
            if samples:
                examples = [render(s, self._tokenizer, self._settings.slots_per_image) for s in samples]
                made[task] = examples if share.pictures else [without_pictures(e) for e in examples]
        return made

    def _batch(self, everywhere: list[Row]) -> Batch:
        rows = everywhere[self._settings.rank :: self._settings.world]
        supervised = sum(len(row.labels) - row.labels.count(IGNORED) for row in everywhere)
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
        size = self._settings.image_size
        pixels = (
            np.stack([self._pixels.squashed(p, size) for p in pictures])
            if pictures
            else np.zeros((0, size, size, 3), np.uint8)
        )
        return Batch(
            ids, labels, positions, segments, branches, pixels, np.asarray(index, np.int64), [row.task for row in rows],
            sum(row.samples for row in rows), supervised, sum(len(row.slots) for row in everywhere),
            self.state(),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Counters and the names of what waits in the packer and behind it; plain JSON values."""
        waiting = {task: [(g.draw, g.indices) for g in groups] for task, groups in self._packer.waiting.items()}
        ready = [[row.task, row.groups] for row in self._ready]
        needed = {draw for groups in waiting.values() for draw, _ in groups}
        needed.update(draw for row in self._ready for draw, _ in row.groups)
        self._draws = {draw: self._draws[draw] for draw in sorted(needed)}
        return {
            "next": self._next,
            "positions": list(self._positions),
            "waiting": waiting,
            "ready": ready,
            "draws": [[draw, *place] for draw, place in self._draws.items()],
            "dropped": dict(self._packer.dropped),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._next, self._positions = state["next"], list(state["positions"])
        self._draws = {draw: (source, position) for draw, source, position in state["draws"]}
        made = {draw: self._make(draw) for draw in self._draws}

        def group(task: Task, draw: int, indices: list[int]) -> Group:
            (found,) = self._packer.groups([made[draw][task][i] for i in indices], draw)
            found.indices = tuple(indices)
            return found

        for task, names in state["waiting"].items():
            self._packer.waiting[task] = [group(task, *name) for name in names]
        self._ready = [join([group(task, *name) for name in names]) for task, names in state["ready"]]
        self._packer.dropped.clear()
        self._packer.dropped.update(state["dropped"])
