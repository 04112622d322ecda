"""A run whose processes torchrun started: one of them joins the others, and leaves them at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from qwenvl.train.parallel import Ranks


def started_by_torchrun() -> bool:
    """True in a process that has its place among others from torchrun, or from what sets the same variables."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


@contextmanager
def joined(tensor: int = 1) -> Iterator[Ranks]:
    """Join the others for as long as the block runs; NCCL on GPUs, gloo for tensors on a CPU.

    `tensor` neighbours see the same rows.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=timedelta(minutes=10))
    try:
        # the agent's end is a wish to stop, as a terminal's is
        yield Ranks(dist.get_rank(), dist.get_world_size(), os.getppid(), tensor)
    finally:
        dist.destroy_process_group()


@contextmanager
def first_alone(ranks: Ranks) -> Iterator[bool]:
    """True for the first rank, which works in the block while the others wait behind it, for a day at most."""
    patient = dist.new_group(backend="gloo", timeout=timedelta(days=1))
    yield ranks.first
    dist.barrier(group=patient)
