"""Checkpoints that are damaged or can not be written, models on demand, and evaluation that changes nothing."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qwenvl.cli import main
from qwenvl.config import EvaluationSpec
from qwenvl.evaluate.during import During
from qwenvl.train import checkpoint
from qwenvl.train.errors import CheckpointError
from qwenvl.train.parallel import Ranks
from qwenvl.train.run import train
from tests.train.helpers import tiny


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process, so that its parts can fail on demand."""
    monkeypatch.setattr("qwenvl.train.run.launch", lambda work, world, *args: work(Ranks(), *args))


def losses(folder: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qwenvl.train.run.launch", lambda work, world, *args: work(Ranks(), *args))
        train(tiny(), out, quiet=True)
    return out


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A run that fails in its `after`-th step, as if it were killed."""
    taken = iter(range(1000))

    def fail(*args: Any) -> None:
        if next(taken) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("qwenvl.train.loop.clip_gradients", _after(fail))
        with pytest.raises(KeyboardInterrupt):
            train(tiny(save_every=2), out, quiet=True)


def _after(first: Any) -> Any:
    from qwenvl.train.shard import clip_gradients

    def both(*args: Any) -> float:
        first()
        return clip_gradients(*args)

    return both


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "progress.json"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    out = tmp_path / "run"
    stopped(out, monkeypatch, after=5)
    saved = checkpoint.complete(out / "checkpoints")
    assert [path.name for path in saved] == ["00-00000002", "00-00000004"]
    damaged = saved[-1] / file
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    train(tiny(save_every=2), out, quiet=True)
    assert losses(out) == losses(whole)
    assert (out / "checkpoints" / ".damaged-00-00000004").is_dir()
    said = capsys.readouterr().out
    assert "00-00000004" in said and "the checkpoint before it is used" in said


def test_none_that_can_be_read_is_an_error_that_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    stopped(out, monkeypatch, after=5)
    for one in checkpoint.complete(out / "checkpoints"):
        (one / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints can be read.*--fresh"):
        train(tiny(save_every=2), out, quiet=True)
    assert len(list((out / "checkpoints").glob(".damaged-*"))) == 2


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = checkpoint.save_file
    calls = iter(range(100))

    def full(*args: Any) -> None:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(*args)

    monkeypatch.setattr(checkpoint, "save_file", full)
    out = tmp_path / "run"
    train(tiny(save_every=2), out)
    said = capsys.readouterr().out
    assert "No space left on device" in said and "The run goes on, and tries again after 2 steps" in said
    assert losses(out) == losses(whole)
    assert not list((out / "checkpoints").glob("*.part"))


def test_so_many_checkpoints_stay_as_the_recipe_says(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(tiny(save_every=1, keep=5), out, quiet=True)
    assert len(checkpoint.complete(out / "checkpoints")) == 5


def test_a_model_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = tmp_path / "run", tmp_path / "model"
    stopped(out, monkeypatch, after=5)
    assert main(["export", str(out), str(model)]) == 0
    assert "stage number 1 after 4 of its steps" in capsys.readouterr().out
    saved = load_file(out / "checkpoints" / "00-00000004" / "model.safetensors")
    found = load_file(model / "model.safetensors")
    assert found.keys() == saved.keys() and all(torch.equal(found[name], saved[name]) for name in saved)
    assert main(["export", str(out), str(model)]) == 2 and "exists already" in capsys.readouterr().err
    assert main(["export", str(tmp_path), str(tmp_path / "x")]) == 2 and "no run" in capsys.readouterr().err


def test_looking_at_the_model_changes_nothing(whole: Path, tmp_path: Path) -> None:
    spec = EvaluationSpec(every=3, during=3, samples=2)
    out = tmp_path / "run"
    recipe = tiny(evaluation={"every": 3, "during": 3, "samples": 2})
    train(recipe, out, quiet=True, evaluate=During(spec, 64))
    assert losses(out) == losses(whole)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    looked = [line for line in lines if "eval/vqa/accuracy" in line]
    assert [(line["stage"], line["step"]) for line in looked] == [
        (stage, step) for stage in ("stage2", "stage3") for step in (3, 6)
    ]
    pictures = sorted(path.relative_to(out / "evaluations") for path in (out / "evaluations").rglob("*.png"))
    assert len(pictures) == 8 and str(pictures[0]).startswith("stage2-000003/0-")
