"""Batches for a stage: made in the step's own process, or ahead of time by a worker where a GPU would wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from qwenvl.data.loader import Batch, Batches

PREFETCH = 8


class _Stream(IterableDataset[Batch]):
    def __init__(self, batches: Batches, count: int) -> None:
        self._batches, self._count = batches, count

    def __iter__(self) -> Iterator[Batch]:
        for _, batch in zip(range(self._count), self._batches, strict=False):
            yield batch


def feed(batches: Batches, count: int, ahead: bool) -> Iterator[Batch]:
    """The next `count` batches; `ahead` has one worker process make them `PREFETCH` batches ahead.

    On a CPU the worker would only take a core from the step. One worker, because the order is one logical stream: each
    batch carries the state that continues right after it, so what was made ahead and not used is made again on resume.
    """
    stream = _Stream(batches, count)
    if not ahead:
        return iter(stream)
    loader = DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=PREFETCH, collate_fn=_as_is)
    # the DataLoader draws a seed for its workers: the model's random stream must not notice how often it was restarted
    before = torch.random.get_rng_state()
    iterator = iter(loader)
    torch.random.set_rng_state(before)
    return iterator


def _as_is(batch: Any) -> Any:
    return batch
