"""Ranks: what a worker raises is raised by `launch`, a killed one is said with how to go on, sums are sums."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from qwenvl.train.errors import Interrupted, RankError, TrainingError
from qwenvl.train.parallel import Ranks, launch


def not_finite(ranks: Ranks) -> None:
    raise TrainingError(f"rank {ranks.rank} of {ranks.world}: the loss is nan")


def mistake(ranks: Ranks) -> None:
    raise KeyError("absent")


def die(ranks: Ranks) -> None:
    """Rank 1, or the only one, is killed as by the kernel when memory ends; the other waits for it."""
    if ranks.rank == ranks.world - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.barrier()


def interrupt_and_hang(ranks: Ranks) -> None:
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(600)


def add_up(ranks: Ranks, folder: Path) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))]
    if ranks.first:
        parameters[0].grad = torch.ones(2, 3)
    parameters[1].grad = torch.full((4,), float(ranks.rank + 1))
    extra = ranks.sum_gradients(parameters, [0.5, ranks.rank])
    grads = [parameter.grad for parameter in parameters]
    torch.save((grads, extra, torch.get_num_threads()), folder / f"{ranks.rank}.pt")


def test_what_a_worker_raises_is_raised_by_launch() -> None:
    with pytest.raises(TrainingError, match=r"^rank 0 of 1: the loss is nan$"):
        launch(not_finite, 1)


def test_a_mistake_keeps_its_trace() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)KeyError: 'absent'.*test_parallel\.py"):
        launch(mistake, 1)


@pytest.mark.parametrize("world", [1, 2])
def test_a_killed_worker_ends_the_run_with_a_hint(world: int) -> None:
    begin = time.monotonic()
    with pytest.raises(RankError, match="run the same command again"):
        launch(die, world)
    assert time.monotonic() - begin < 120


def test_a_wish_to_stop_before_training_begins() -> None:
    with pytest.raises(Interrupted, match="run the same command again"):
        launch(interrupt_and_hang, 1)


def test_gradients_and_numbers_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launch(add_up, 2, tmp_path)
    assert os.environ["OMP_NUM_THREADS"] == "1"
    for rank in range(2):
        (one, other), extra, threads = torch.load(tmp_path / f"{rank}.pt")
        assert one.equal(torch.ones(2, 3)) and other.equal(torch.full((4,), 3.0))
        assert extra == [1.0, 1.0] and threads == 1
