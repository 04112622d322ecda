"""Packs Examples of one task into rows of a fixed length; samples about one picture share its slots.

The paper packs stage 2 by task (section 3.2). A row is filled by an exact knapsack over a bounded buffer: the oldest
group always goes in, so that odd lengths do not starve, then the subset that leaves the least space, looked for from
the oldest on and no further than where a row is full. An image is never cut: groups are whole or, where a group is too
long for a row, its last samples go to a group of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from qwenvl.sample import Image, Task
from qwenvl.text.render import IGNORED, Example, ImageSlot

LOOK = 256
"""How many of the oldest groups a row is filled from: some twenty do where lengths are mixed, no number where all are
equal.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One packed row before padding. All lists have the same length.

    `segments` counts the groups (1, 2, …); `branches` is 0 in what a group's samples share (the picture) and 1, 2, … in
    each sample's own tokens; `groups` names what is inside (`Group.draw`, `Group.indices`); `positions` start at 0 with
    each group and, behind the picture, anew for each sample: with the mask of `qwenvl.train.batch` every sample is
    computed as if it stood alone.
    """

    task: Task
    ids: list[int]
    labels: list[int]
    positions: list[int]
    segments: list[int]
    branches: list[int]
    slots: tuple[ImageSlot, ...]
    samples: int
    groups: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(slots=True)
class Group:
    """Examples that begin with the same picture, so that its `shared` first tokens are written once.

    `length` counts the tokens that they take in a row. `draw` and `indices` name it: which samples of what record draw
    number `draw` gave to `task`. A checkpoint stores these names, not the tokens.
    """

    task: Task
    examples: list[Example]
    shared: int
    draw: int
    indices: tuple[int, ...]
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = self.shared + sum([len(example.ids) - self.shared for example in self.examples])

    @property
    def supervised(self) -> int:
        """How many of its tokens are supervised in a row."""
        total = 0
        for number, example in enumerate(self.examples):
            labels = example.labels[1 if number == 0 else self.shared :]
            total += len(labels) - labels.count(IGNORED)
        return total

    @property
    def runs(self) -> int:
        """How many runs of slots it has in a row."""
        later = sum(slot.start >= self.shared for example in self.examples[1:] for slot in example.slots)
        return len(self.examples[0].slots) + later

    def add(self, example: Example, index: int) -> None:
        """One more example, which begins with the same picture."""
        self.examples.append(example)
        self.indices += (index,)
        self.length += len(example.ids) - self.shared

    def take(self, count: int) -> Group:
        """The first `count` examples as a group of their own; they are no longer in this one."""
        part = Group(self.task, self.examples[:count], self.shared, self.draw, self.indices[:count])
        del self.examples[:count]
        self.indices = self.indices[count:]
        self.length -= part.length - self.shared
        return part


@dataclass
class Packer:
    """Collects groups per task and gives rows of `length` tokens.

    `buffer` is how many groups of a task wait at most; `dropped` counts samples that fit no row, by reason.
    """

    length: int
    buffer: int = 64
    waiting: dict[Task, list[Group]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, examples: Sequence[Example], draw: int) -> list[Row]:
        """Take samples of one task and one record (drawn as number `draw`); give the rows that are ready."""
        return [join(groups) for groups in self.plan(examples, draw)]

    def plan(self, examples: Sequence[Example], draw: int) -> list[list[Group]]:
        """As `add`, each row as the groups that stand in it: for who does not need all of them joined."""
        rows = []
        for group in self.groups(examples, draw):
            waiting = self.waiting.get(group.task)
            if waiting is None:
                waiting = self.waiting[group.task] = []
            waiting.append(group)
            if len(waiting) >= self.buffer:
                rows.append(self._row(waiting))
        return rows

    def flush(self) -> list[Row]:
        """Give all that waits, the last row of a task as full as it is."""
        rows = []
        for waiting in self.waiting.values():
            while waiting:
                rows.append(join(self._row(waiting)))
        return rows

    def groups(self, examples: Sequence[Example], draw: int) -> list[Group]:
        """Join samples of one task that share a picture; a sample longer than a row is dropped and counted."""
        groups: list[Group] = []
        for index, example in enumerate(examples):
            if len(example.ids) > self.length:
                self.dropped[f"{example.task}: longer than {self.length} tokens"] += 1
                continue
            shared = _shared_prefix(groups[-1].examples[0], example) if groups else 0
            if shared and groups[-1].length + len(example.ids) - shared <= self.length:
                groups[-1].add(example, index)
            else:
                groups.append(Group(example.task, [example], _picture_end(example), draw, (index,)))
        return groups

    def _row(self, waiting: list[Group]) -> list[Group]:
        first = waiting.pop(0)
        chosen = fill(self.length - first.length, (group.length for group in islice(waiting, LOOK)))
        picked = [first, *(waiting[index] for index in chosen)]
        for index in reversed(chosen):
            del waiting[index]
        space = self.length - sum([group.length for group in picked])
        part = _split(waiting, space) if space else None
        return [*picked, part] if part else picked


def fill(space: int, lengths: Iterable[int]) -> list[int]:
    """Indices of a subset of `lengths` whose sum is as near to `space` as can be without passing it.

    Subset sum on bit sets. Among equal sums the earlier entries are preferred, which bounds the age of what waits.
    """
    limit = (1 << (space + 1)) - 1
    sums, reach, seen = 1, [1], []
    for length in lengths:
        seen.append(length)
        sums = (sums | sums << length) & limit
        reach.append(sums)
        if sums >> space:
            break
    total = sums.bit_length() - 1
    chosen = []
    for index in range(len(seen) - 1, -1, -1):
        if not reach[index] >> total & 1:
            chosen.append(index)
            total -= seen[index]
    return chosen[::-1]


def _split(waiting: Sequence[Group], space: int) -> Group | None:
    """The longest beginning of a waiting group of several samples that fits into `space`, taken off that group."""
    best, take, longest = None, 0, 0
    for group in islice(waiting, LOOK):
        if len(group.examples) == 1:
            continue
        length = group.shared
        for count, example in enumerate(group.examples[:-1], start=1):
            length += len(example.ids) - group.shared
            if length > space:
                break
            if length > longest:
                best, take, longest = group, count, length
    return None if best is None else best.take(take)


def join(groups: Sequence[Group]) -> Row:
    """Lay groups of one task side by side."""
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    segments: list[int] = []
    branches: list[int] = []
    slots: list[ImageSlot] = []
    for segment, group in enumerate(groups, start=1):
        first, shared = group.examples[0], group.shared
        for branch, example in enumerate(group.examples, start=1):
            begin = 0 if example is first else shared
            for slot in example.slots:
                if slot.start >= begin:
                    slots.append(ImageSlot(slot.start - begin + len(ids), slot.length, slot.image))
            count = len(example.ids) - begin
            ids.extend(example.ids[begin:])
            # the first token of a sample follows nothing, so nothing predicts it
            labels.extend([-100, *example.labels[1:]] if begin == 0 else example.labels[begin:])
            positions.extend(range(begin, len(example.ids)))
            segments.extend([segment] * count)
            branches.extend([0] * (shared - begin) + [branch] * (len(example.ids) - shared))
    samples = sum(len(group.examples) for group in groups)
    names = tuple((group.draw, group.indices) for group in groups)
    return Row(groups[0].task, ids, labels, positions, segments, branches, tuple(slots), samples, names)


def row_images(rows: Sequence[Row]) -> tuple[list[Image], list[int]]:
    """The distinct pictures of a batch, and for each run of slots (row-major) which of them it shows."""
    order: dict[str, int] = {}
    pictures: list[Image] = []
    index = []
    for row in rows:
        for slot in row.slots:
            key = slot.image.key
            if key not in order:
                order[key] = len(pictures)
                pictures.append(slot.image)
            index.append(order[key])
    return pictures, index


def _picture_end(example: Example) -> int:
    """How many first tokens end with the opening picture's `</img>`; 0 where a sample opens with words.

    One token may stand before `<img>`: some decoders' samples begin with one.
    """
    if not example.slots or example.slots[0].start > 2:
        return 0
    return example.slots[0].start + example.slots[0].length + 1


def _shared_prefix(first: Example, other: Example) -> int:
    # a supervised word right behind the picture is predicted from there, so only the first sample may have one
    end = _picture_end(first)
    if not end or end != _picture_end(other) or other.labels[end : end + 1] != [-100]:
        return 0
    same = first.slots[0].image.key == other.slots[0].image.key and first.ids[:end] == other.ids[:end]
    return end if same else 0
