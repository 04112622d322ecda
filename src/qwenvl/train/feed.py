"""Batches for a stage: made in the step's own process, or ahead of time by workers where a GPU would wait for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from qwenvl.data.loader import Batch, Batches

AHEAD = 8
"""How many batches all workers together make ahead."""

WORKERS = 4
"""The most workers of a rank. Each plans the whole stream, so more of them bring less and less."""


class _Stream(IterableDataset[tuple[Batch, torch.Tensor]]):
    """A worker's share of the batches: of W workers every W-th, from its own number on."""

    def __init__(self, batches: Batches, count: int) -> None:
        self._batches, self._count = batches, count

    def __iter__(self) -> Iterator[tuple[Batch, torch.Tensor]]:
        worker = get_worker_info()
        assert worker is not None
        self._batches.pixels.limit //= worker.num_workers
        mine = range(worker.id, self._count, worker.num_workers)
        for _, batch in zip(mine, self._batches.every(worker.num_workers, worker.id), strict=False):
            # tensors travel in shared memory, arrays through a pipe
            yield replace(batch, pixels=batch.pixels[:0]), torch.from_numpy(batch.pixels)


class Feed:
    """The next `count` batches; iterate it once. `workers` processes make them ahead, none with 0.

    On a CPU a worker would only take a core from the step. The order is one logical stream whatever the number of
    workers, and each batch carries the state that continues right after it, so what was made ahead and not used is
    made again on resume.
    """

    def __init__(self, batches: Batches, count: int, workers: int = 0) -> None:
        self.dropped: dict[str, int] = dict(batches.dropped)
        """Samples that fitted no row, by reason, up to the last batch that was taken."""
        self._stream = _ahead(batches, count, workers) if workers else _here(batches, count)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._stream)
        self.dropped = batch.state["dropped"]
        return batch


def workers_for(world: int) -> int:
    """How many workers pay for one of `world` ranks on this machine: none without a GPU."""
    if not torch.cuda.is_available():
        return 0
    return max(1, min(WORKERS, len(os.sched_getaffinity(0)) // world - 1))


def _here(batches: Batches, count: int) -> Iterator[Batch]:
    for _, batch in zip(range(count), batches, strict=False):
        yield batch


def _ahead(batches: Batches, count: int, workers: int) -> Iterator[Batch]:
    loader = DataLoader(
        _Stream(batches, count),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=max(1, AHEAD // workers),
        collate_fn=_as_is,
    )
    # the DataLoader draws a seed for its workers: the model's random stream must not notice how often it was restarted
    before = torch.random.get_rng_state()
    iterator = iter(loader)
    torch.random.set_rng_state(before)
    return (replace(batch, pixels=pixels.numpy()) for batch, pixels in iterator)


def _as_is(batch: Any) -> Any:
    return batch
