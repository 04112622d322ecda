"""A built corpus as a mixture: a part for each task, of the records that have something for it.

`qwenvl data build` counts in a column for each task how many of its samples a record has, and notes in the manifest
how often each task shall be drawn. So training draws tasks in these proportions, however few records have one, and
reads none in vain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwenvl.data.mixture import Part, Share
from qwenvl.data.shards import ShardReader
from qwenvl.sample import Record, Task


class Having:
    """Those records of a source that `masks` says, for each block an array of bits (numpy.packbits)."""

    def __init__(self, source: ShardReader, masks: Sequence[NDArray[np.uint8]]) -> None:
        self._source, self._masks = source, masks
        self.blocks = []
        """As `qwenvl.data.mixture.Source` has it; the bytes as if all records were alike."""
        for (rows, size), mask in zip(source.blocks, masks, strict=True):
            count = int(np.unpackbits(mask).sum())
            self.blocks.append((count, size * count // max(1, rows)))

    def read_block(self, index: int) -> Sequence[Record]:
        """The chosen records of one block. Raises ShardError."""
        return self._source.read_block(index, np.flatnonzero(np.unpackbits(self._masks[index])))


def parts_of(source: ShardReader, tasks: Mapping[Task, Share]) -> list[Part]:
    """The mixture of a corpus for a stage's tasks; the corpus as one part where it does not say what its records have.

    The tasks' shares are their weights. Where all are 1, which is what a recipe has that says nothing, the corpus's own
    weights are. A task of which the corpus has nothing is left out.
    """
    known = known_tasks(source)
    weights = {task: known[task] for task in tasks if task in known}
    if not weights:
        return [Part(source)]
    if any(share.share != 1 for share in tasks.values()):
        weights = {task: tasks[task].share for task in weights}
    masks: dict[Task, list[NDArray[np.uint8]]] = {task: [] for task in weights}
    for counts in source.numbers([column_of(task) for task in weights]):
        for task in weights:
            masks[task].append(np.packbits(counts[column_of(task)] > 0))
    return [
        Part(Having(source, masks[task]), weight, {task: replace(tasks[task], share=1.0)})
        for task, weight in weights.items()
    ]


def known_tasks(source: ShardReader) -> dict[Task, float]:
    """The tasks that a built corpus has records of, and how often each shall be drawn; empty for other corpora."""
    noted: Mapping[Task, Any] = source.meta.get("tasks") or {}
    return {task: float(about["weight"]) for task, about in noted.items() if about["records"]}


def column_of(task: Task) -> str:
    """The shards' column that counts a record's samples of a task."""
    return f"n_{task}"
