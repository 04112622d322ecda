"""A model sharded over processes of torchrun: the losses and weights of one process, resumed and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from qwenvl.config import ParallelSpec, Recipe
from qwenvl.train.run import train
from qwenvl.train.shard import check_shardable
from qwenvl.typed import ConfigError, to_dict
from tests.train.helpers import tiny

LIMIT = 240


def recipe_of(parallel: ParallelSpec | None, rows: int = 4, accumulation: int = 1, **changes: object) -> Recipe:
    """Two stages: first the decoder is frozen, then everything but the ViT learns. Few rows have a picture."""
    both = tiny(log_every=1, save_every=2, **changes).stages
    tasks = {"vqa": replace(both[0].tasks["vqa"], share=0.6), "text": replace(both[0].tasks["text"], share=0.6)}
    first = replace(both[0], optimizer="adamw", trains=("vision", "adapter"), tasks=tasks, steps=3, eps=1e-3)
    second = replace(both[1], tasks=tasks, steps=5, eps=1e-3)
    stages = tuple(replace(stage, rows=rows, accumulation=accumulation, clip=0.5) for stage in (first, second))
    return replace(tiny(log_every=1, save_every=2), stages=stages, parallel=parallel)


def torchrun(recipe: Recipe, out: Path, world: int) -> subprocess.Popen[str]:
    """Start the command as a user does; the processes share nothing with this one."""
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(to_dict(recipe)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    command += ["-m", "qwenvl", "train", str(file), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run(recipe: Recipe, out: Path, world: int) -> None:
    process = torchrun(recipe, out, world)
    try:
        said, _ = process.communicate(timeout=LIMIT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def assert_same(found: Path, expected: Path, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(losses(found), losses(expected), rtol=0, atol=tolerance)
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, four micro-batches of one row a step."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(recipe_of(None, rows=1, accumulation=4), out, quiet=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    # a row is of one task: with a row a rank, some ranks see pictures and others see none
    assert sum({"loss/vqa", "loss/text"} <= line.keys() for line in lines) > 2
    return out


@pytest.mark.parametrize("spec", [ParallelSpec(), pytest.param(ParallelSpec(tensor=2), marks=pytest.mark.slow)])
def test_four_ranks_are_one_rank_with_accumulation(alone: Path, tmp_path: Path, spec: ParallelSpec) -> None:
    run(recipe_of(spec), tmp_path / "run", 4)
    assert_same(tmp_path / "run", alone)


@pytest.mark.slow
def test_whole_copies_on_two_ranks(alone: Path, tmp_path: Path) -> None:
    run(recipe_of(None, rows=2, accumulation=2), tmp_path / "run", 2)
    assert_same(tmp_path / "run", alone)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the ranks in /proc")
def test_a_killed_rank_and_another_number_of_ranks(alone: Path, tmp_path: Path) -> None:
    """A rank is killed after the second stage's first checkpoint; the rest is done by another number of them."""
    out = tmp_path / "run"
    process = torchrun(recipe_of(ParallelSpec()), out, 2)
    try:
        end = time.monotonic() + LIMIT
        while not (out / "checkpoints" / "01-00000002").is_dir() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        os.kill(ranks_of(process.pid)[-1], signal.SIGKILL)
        assert process.wait(LIMIT) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (out / "model").exists()
    run(recipe_of(ParallelSpec()), out, 1)
    assert_same(out, alone)


def ranks_of(agent: int) -> list[int]:
    """The processes that torchrun started."""
    return [int(pid) for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split()]


def test_a_recipe_that_does_not_fit_the_ranks_is_told() -> None:
    with pytest.raises(ConfigError, match="must be the number of processes, 4"):
        check_shardable(recipe_of(ParallelSpec(shard=3)), 4)
    with pytest.raises(ConfigError, match="too few for 4 ranks"):
        check_shardable(recipe_of(ParallelSpec(), rows=2), 4)
    check_shardable(recipe_of(ParallelSpec(tensor=2), rows=2), 4)
    with pytest.raises(ConfigError, match="does not go with parallel"):
        check_shardable(recipe_of(ParallelSpec(tensor=2, replicate=2)), 4)
    with pytest.raises(ConfigError, match="the number of processes, 3"):
        check_shardable(recipe_of(ParallelSpec(tensor=2)), 3)
    eight = recipe_of(ParallelSpec())
    eight = replace(eight, stages=(replace(eight.stages[0], optimizer="adamw_8bit"),))
    with pytest.raises(ConfigError, match="take adamw_bf16"):
        check_shardable(eight, 4)
    with pytest.raises(ConfigError, match="muon"):
        check_shardable(replace(tiny(), parallel=ParallelSpec()), 2)
    with pytest.raises(ConfigError, match="torchrun"):
        train(recipe_of(ParallelSpec()), Path("never"), quiet=True)
