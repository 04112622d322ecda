"""Sources in set shares, each in a shuffled order that needs a bounded part of it in memory.

A source comes in blocks (row groups of shards, some hundred records). Some `spread` blocks are open at a time, each
gives its records over as many stretches, and a stretch mixes one piece of every open block: records of far-apart places
meet, a block is read once an epoch (`spread` - 1 of them twice), and every record comes once an epoch. All follows from
the seed and a position, so that any position can be continued from.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwenvl.sample import Record, Task

SHUFFLE_BYTES = 256 << 20
"""What the blocks of all sources may take in memory: the largest block is the measure, two a source the least."""

SPREAD = 16
"""How many blocks of a source are open at most: 4,000 records where a block holds 256."""


class Source(Protocol):
    """Records in blocks; `qwenvl.data.shards.ShardReader` on disk, `MemoryShards` in memory."""

    @property
    def blocks(self) -> Sequence[tuple[int, int]]:
        """How many records each block holds, and how many bytes."""
        ...

    def read_block(self, index: int) -> Sequence[Record]:
        """All records of one block."""
        ...


@dataclass(frozen=True)
class MemoryShards:
    """Records that are already in memory, as one block."""

    records: list[Record]

    @property
    def blocks(self) -> Sequence[tuple[int, int]]:
        """One block, which takes no further memory."""
        return [(len(self.records), 0)]

    def read_block(self, index: int) -> list[Record]:
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
class Part:
    """A source in a mixture. `weight` is its share of the records drawn, relative to the other parts' weights.

    `tasks` are those that its records give samples of, None for all of the stage's. One source may be several parts:
    the paper's mixture (table 3) is of pairs of task and source.
    """

    source: Source
    weight: float = 1.0
    tasks: Mapping[Task, Share] | None = None


class Mixture:
    """The endless stream of draws from weighted parts: which part gives the next record, and which record that is.

    After any number of draws every part has given its share of them to within one or two records, at any weights:
    the part that is furthest behind its share comes next.
    """

    def __init__(
        self, parts: Sequence[Part], seed: str, positions: Sequence[int] | None = None, memory: int = SHUFFLE_BYTES
    ) -> None:
        """`positions` says how many records each part has given. Raises ValueError for parts that can't be mixed."""
        weights = [part.weight for part in parts]
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
            raise ValueError(f"the weights of a mixture must be 0 or more and not all 0, not {weights}")
        self.positions = list(positions or [0] * len(parts))
        if len(self.positions) != len(parts):
            raise ValueError(
                f"the saved state is of {len(self.positions)} sources, but the mixture has {len(parts)}: "
                "continue with the same data, or start over"
            )
        self._shares = [weight / sum(weights) for weight in weights]
        self._drawn = sum(self.positions)
        self._orders = [Order(part.source, f"{seed}/source{i}", memory // len(parts)) for i, part in enumerate(parts)]
        for number, (order, weight) in enumerate(zip(self._orders, weights, strict=True)):
            if weight and not len(order):
                raise ValueError(f"source number {number} of the mixture has no records")

    def draw(self) -> tuple[int, int]:
        """The number of the part that gives the next record, and that record's position in the part's order."""
        self._drawn += 1
        behind = [share * self._drawn - given for share, given in zip(self._shares, self.positions, strict=True)]
        part = behind.index(max(behind))
        self.positions[part] += 1
        return part, self.positions[part] - 1

    def record(self, part: int, position: int) -> Record:
        """The record that was drawn."""
        return self._orders[part].record(position)


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """What `make` gave for the last `keep` keys. Not functools' cache: that can't go to another process."""

    def __init__(self, make: Callable[[K], V], keep: int) -> None:
        self._make, self._keep = make, keep
        self._held: OrderedDict[K, V] = OrderedDict()

    def __call__(self, key: K) -> V:
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        while len(self._held) >= self._keep:
            # before the next is made: both together would be more than what may be kept
            self._held.popitem(last=False)
        made = self._held[key] = self._make(key)
        return made


class Order:
    """The endless shuffled order of one source's records; `len` counts those of one epoch."""

    def __init__(self, source: Source, seed: str, memory: int = SHUFFLE_BYTES) -> None:
        """`memory` in bytes bounds the blocks that are held; two are at least."""
        self._seed = seed
        about = [(index, rows, size) for index, (rows, size) in enumerate(source.blocks) if rows]
        self._blocks = [index for index, _, _ in about]
        self._rows = np.array([rows for _, rows, _ in about], np.int64)
        largest = max([1, *(size for _, _, size in about)])
        self.spread = max(1, min(SPREAD, len(about), memory // largest - 1))
        self._epoch = _Recent(self._make_epoch, 2)
        # one more than are open: that which a stretch needs no more is the longest unused only when the next one ends
        self._block = _Recent(source.read_block, self.spread + 1)
        self._shuffled = _Recent(self._make_shuffled, 2 * self.spread)
        self._stretch = _Recent(self._make_stretch, 2)

    def __len__(self) -> int:
        return int(self._rows.sum())

    def record(self, position: int) -> Record:
        """The record at `position`, counted from 0 over all epochs."""
        block, row = self.place(position)
        return self._block(block)[row]

    def place(self, position: int) -> tuple[int, int]:
        """The number of the block and the row in it."""
        epoch, index = divmod(position, len(self))
        ends = self._epoch(epoch)[1]
        number = int(np.searchsorted(ends, index, "right"))
        begin = int(ends[number - 1]) if number else 0
        return self._stretch((epoch, number))[index - begin]

    def _make_epoch(self, epoch: int) -> tuple[list[int], NDArray[np.int64]]:
        """The order of the blocks, and where each stretch ends."""
        order = list(range(len(self._blocks)))
        random.Random(f"{self._seed}/epoch{epoch}").shuffle(order)
        rows = self._rows[order]
        sizes = np.zeros_like(rows)
        for piece in range(self.spread):
            sizes += (np.roll(rows, piece) - piece + self.spread - 1) // self.spread
        return order, np.cumsum(sizes)

    def _make_stretch(self, key: tuple[int, int]) -> list[tuple[int, int]]:
        """The records of one stretch: of the blocks before it, in a ring, the piece whose turn it is."""
        epoch, number = key
        order = self._epoch(epoch)[0]
        places: list[tuple[int, int]] = []
        for piece in range(self.spread):
            block = order[(number - piece) % len(order)]
            places += [(self._blocks[block], row) for row in self._shuffled((epoch, block))[piece :: self.spread]]
        random.Random(f"{self._seed}/epoch{epoch}/stretch{number}").shuffle(places)
        return places

    def _make_shuffled(self, key: tuple[int, int]) -> list[int]:
        epoch, block = key
        rows = list(range(int(self._rows[block])))
        random.Random(f"{self._seed}/epoch{epoch}/block{block}").shuffle(rows)
        return rows
