"""The paper's recipes in their own form on a small model, by torchrun; the examples for clusters can be read."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qwenvl.config import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"


@pytest.mark.slow
def test_stage_2_of_the_paper_on_two_ranks(tmp_path: Path) -> None:
    """The recipe with other sizes alone: it starts from a folder, is sharded, checkpointed, and gives a folder."""
    keys = ["init=nano", "precision=float32", "save_every=1"]
    small = {"steps": 2, "image_size": 48, "sequence": 256, "rows": 4, "accumulation": 2, "warmup": 1}
    keys += [f"stages.stage2.{key}={value}" for key, value in small.items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "qwenvl", "train", "recipes/paper/stage2.yaml", *keys]
    command += ["--data", "scenes:train?count=40", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_slurm_example() -> None:
    path = EXAMPLES / "train.sbatch"
    done = subprocess.run(["bash", "-n", path], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert load_recipe(re.search(r"recipes/\S+\.yaml", text)[0])  # type: ignore[index]
    keys = set(re.findall(r"^#SBATCH --([\w-]+)", text, re.MULTILINE))
    assert {"ntasks-per-node", "gpus-per-node", "requeue", "signal"} <= keys


def test_the_skypilot_example() -> None:
    task = yaml.safe_load((EXAMPLES / "train.sky.yaml").read_text())
    overrides = task["envs"]["OVERRIDES"].split()
    stage = load_recipe(task["envs"]["RECIPE"], overrides).stages[0]
    _, gpus = task["resources"]["accelerators"].split(":")
    assert stage.rows % (int(gpus) * task["num_nodes"]) == 0
    assert stage.rows * stage.accumulation == 4096
    for part in ("setup", "run"):
        done = subprocess.run(["bash", "-n"], input=task[part], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 0, done.stderr
