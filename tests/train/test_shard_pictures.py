"""Processes that see different pictures, what keeps them together, and an evaluation that all take part in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qwenvl.config import EvaluationSpec, ParallelSpec
from qwenvl.evaluate.during import During
from qwenvl.train.run import train
from qwenvl.typed import to_dict
from tests.train.test_shard import recipe_of, run

_WITHOUT = """
import sys
import qwenvl.train.loop as loop
from qwenvl.cli.command import main
loop.with_picture = lambda batch: batch
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_without_a_stand_in_picture_the_ranks_miss_each_other(tmp_path: Path) -> None:
    """The counter-proof of test_four_ranks_are_one_rank_with_accumulation, where the same recipe ends in seconds.

    What one rank gathers for the ViT meets what the other gathers for the decoder: it fails, or waits for ever.
    """
    recipe = recipe_of(ParallelSpec(), rows=2, accumulation=2)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(to_dict(recipe)))
    (tmp_path / "without.py").write_text(_WITHOUT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(tmp_path / "without.py"), "train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        assert process.wait(90) != 0
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert (tmp_path / "run" / "metrics.jsonl").is_file() and not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [ParallelSpec(), None], ids=["sharded", "whole"])
def test_an_evaluation_on_two_ranks_is_that_of_one_process(tmp_path: Path, parallel: ParallelSpec | None) -> None:
    recipe = recipe_of(parallel, rows=2, accumulation=2)
    recipe = replace(recipe, evaluation=EvaluationSpec(every=2, during=8, samples=2))
    train(replace(recipe, parallel=None), tmp_path / "1", quiet=True, evaluate=During(recipe.evaluation))
    run(recipe, tmp_path / "2", 2)
    one, two = (held_out(tmp_path / world) for world in "12")
    assert [place for place, _ in two] == [("stage2", 2), ("stage3", 2), ("stage3", 4)]
    assert one == two and "eval/vqa/accuracy" in two[0][1]


def held_out(out: Path) -> list[tuple[tuple[str, int], dict[str, float]]]:
    """Stage and step of each evaluation in a run's log, and its scores."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    found = [(line, {key: value for key, value in line.items() if key.startswith("eval/")}) for line in lines]
    return [((line["stage"], line["step"]), scores) for line, scores in found if scores]
