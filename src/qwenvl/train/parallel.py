"""Ranks: processes that train together; gradients, losses and the wish to stop are summed between them.

Every rank walks through the same stream of batches and takes its share of the rows, so the loss does not depend on how
many ranks there are. On a CPU one rank with all threads is the default: `benchmarks/ranks.py` compares it with a rank
per core, which is slower on a quiet machine and bears other work beside it better.
"""

from __future__ import annotations

import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from qwenvl.train import errors
from qwenvl.train.errors import Interrupted, RankError


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world` of them, which `parent` (a process id) started; rank 0 writes and speaks.

    `tensor` neighbours see the same rows: they are one reader of the data.
    """

    rank: int = 0
    world: int = 1
    parent: int | None = None
    tensor: int = 1

    @property
    def reader(self) -> int:
        """Which part of a step's rows this process sees, of `readers`."""
        return self.rank // self.tensor

    @property
    def readers(self) -> int:
        """How many parts a step's rows are split into."""
        return self.world // self.tensor

    @property
    def first(self) -> bool:
        """True for the rank that writes files and shows progress."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The element-wise sum over all readers, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values.div_(self.tensor) if self.tensor > 1 else values

    def any(self, flag: bool) -> bool:
        """Whether it is so on some rank."""
        if self.world == 1:
            return flag
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        found = torch.tensor([float(flag)], device=device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found.item())

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier()

    def sum_numbers(self, parameters: Sequence[nn.Parameter], extra: Sequence[float]) -> list[float]:
        """The sums over all readers of `extra`, where the backward pass has joined the gradients of `parameters`."""
        _fill_gradients(parameters)
        device = parameters[0].device
        return [float(value) for value in self.sum(torch.tensor(extra, device=device))]

    def sum_gradients(self, parameters: Sequence[nn.Parameter], extra: Sequence[float]) -> list[float]:
        """Sum the gradients over all ranks in one message, and `extra` numbers beside them; gives their sums.

        A parameter without a gradient counts as zero: a rank whose rows hold no picture takes part all the same.
        """
        _fill_gradients(parameters)
        if self.world == 1:
            return list(extra)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([g.reshape(-1).float() for g in gradients] + [torch.tensor(extra, device=gradients[0].device)])
        dist.all_reduce(flat)
        begin = 0
        for gradient in gradients:
            gradient.copy_(flat[begin : begin + gradient.numel()].view_as(gradient))
            begin += gradient.numel()
        return [float(value) for value in flat[begin:]]


def _fill_gradients(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def launch(work: Callable[..., None], world: int, *args: Any) -> None:
    """Run `work(ranks, *args)` in `world` fresh processes and wait; Ctrl-C and SIGTERM are handed on as a wish to stop.

    `OMP_NUM_THREADS`, where it is set, says how many threads each takes; otherwise they share the cores. Raises
    RankError when one of them was killed, Interrupted when that was the wish to stop, and what `work` raised otherwise
    (an error of `qwenvl.train.errors`, or RuntimeError).
    """
    with tempfile.TemporaryDirectory(prefix="qwenvl-") as folder:
        context = mp.get_context("spawn")
        failures = context.SimpleQueue()
        before = os.environ.get("OMP_NUM_THREADS")
        wish = int(before) if before and before.isdecimal() else len(os.sched_getaffinity(0)) // world
        threads = max(1, wish)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        processes = [
            context.Process(target=_enter, args=(rank, world, folder, threads, os.getpid(), failures, work, args))
            for rank in range(world)
        ]
        try:
            for process in processes:
                process.start()
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = before
        codes, asked = _wait(processes)
        if asked and -signal.SIGTERM in codes:
            raise Interrupted("stopped outside of training; run the same command again to continue")
        # a rank that was killed leaves the others with a broken connection: what they say is not the cause. An abort
        # (of NCCL's watchdog) comes after another's failure.
        killed = [code for code in codes if code < 0 and code != -signal.SIGABRT]
        if not killed and not failures.empty():
            kind, message = failures.get()
            raise getattr(errors, kind, RuntimeError)(message)
        lost = killed or [code for code in codes if code]
        if lost:
            raise RankError(
                f"a training process ended with code {lost[0]} (killed, or out of memory). Nothing saved is lost: "
                "run the same command again to continue from the last checkpoint"
            )


def _wait(processes: Sequence[Any]) -> tuple[list[int], bool]:
    """Wait for all; once one has failed the others can't go on, so they are ended.

    Gives the exit codes of those that ended by themselves, and whether this process was asked to stop.
    """
    asked = False

    def forward(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        for process in processes:
            if process.is_alive() and process.pid:
                os.kill(process.pid, signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while any(process.is_alive() for process in processes):
            for process in processes:
                process.join(0.2)
            if any(process.exitcode for process in processes):
                for process in processes:
                    process.join(5)
                codes = [process.exitcode for process in processes if process.exitcode is not None]
                for process in processes:
                    process.kill()
                    process.join()
                return codes, asked
        return [process.exitcode for process in processes], asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _enter(
    rank: int, world: int, folder: str, threads: int, parent: int, failures: Any, work: Callable[..., None], args: Any
) -> None:
    # a Ctrl-C in the terminal reaches every process; the parent hands on one SIGTERM, which is the one that counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    try:
        if world > 1:
            store = dist.FileStore(str(Path(folder) / "store"), world)  # type: ignore[attr-defined]
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timedelta(minutes=10))
        work(Ranks(rank, world, parent), *args)
    except Exception as error:
        # the others fail after the first one, because it no longer answers: theirs is not the cause
        if failures.empty():
            known = hasattr(errors, type(error).__name__)
            message = str(error) if known else f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            failures.put((type(error).__name__, message))
        raise SystemExit(1) from None
    finally:
        if world > 1 and dist.is_initialized():
            dist.destroy_process_group()
