"""Spikes, stragglers, stalls; batches that are kept; numbers that go elsewhere."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest

from qwenvl.cli import main
from qwenvl.train.errors import TrainingError
from qwenvl.train.guards import LEAST, SpikeGuard, Watch, stragglers
from qwenvl.train.kept_batch import examples_of
from qwenvl.train.run import train
from qwenvl.typed import ConfigError
from tests.train.helpers import tiny


def test_a_loss_that_jumps_is_a_spike_and_does_not_move_the_measure() -> None:
    rng = random.Random(0)
    guard = SpikeGuard()
    losses = [2.0 - 0.005 * step + rng.gauss(0, 0.05) for step in range(200)]
    assert not any(guard.spikes(loss) for loss in losses)
    before = guard.recent
    assert guard.spikes(5.0) and guard.spikes(4.0) and guard.recent == before
    assert not guard.spikes(1.2), "an ordinary loss"
    again = SpikeGuard(guard.recent)
    assert again.spikes(5.0) and "5 after a median of 1." in again.describe(5.0)


def test_nothing_is_a_spike_before_there_is_a_measure() -> None:
    guard = SpikeGuard()
    assert not any(guard.spikes(loss) for loss in [1.0] * (LEAST - 1) + [50.0])
    assert guard.spikes(51.0)


def test_who_waits_much_longer_for_data_is_named() -> None:
    assert stragglers([0.01, 0.02, 0.6, 0.0]) == [2]
    assert stragglers([0.5, 0.55]) == [] == stragglers([0.9])
    assert stragglers([0.01, 0.5]) == [1]


def test_a_step_that_does_not_end_says_where_it_stands_once(capfd: pytest.CaptureFixture[str]) -> None:
    with Watch(3, seconds=0.2) as watch:
        watch.at("step 7: waiting for data")
        time.sleep(0.7)
        watch.at("step 7: computing")
        time.sleep(0.05)
    assert capfd.readouterr().err == "rank 3: step 7: waiting for data for 0 s\n"


def spiky(policy: str, **changes: object) -> object:
    """A run whose loss jumps in step 37: its rate is far too high for one step, through a schedule of its own."""
    stage = {
        "name": "stage2",
        "trains": ["adapter", "decoder"],
        "tasks": {"vqa": {"questions": 3}},
        "steps": 40,
        "image_size": 32,
        "sequence": 96,
        "rows": 2,
        "isolate": True,
        "lr": 1e-3,
        "warmup": 2,
    }
    return tiny(spikes=policy, stages=[stage], save_every=100, log_every=1, **changes)


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 36's loss counts four times in the guard's eyes."""
    whole = SpikeGuard.spikes
    seen = iter(range(10_000))
    monkeypatch.setattr(SpikeGuard, "spikes", lambda self, loss: whole(self, loss * (4 if next(seen) == 35 else 1)))
    monkeypatch.setattr("qwenvl.train.run.launch", lambda work, world, *args: work(_alone(), *args))


def _alone() -> object:
    from qwenvl.train.parallel import Ranks

    return Ranks()


def test_a_spike_is_kept_for_inspect_and_the_run_goes_on(
    jump: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(spiky("warn"), tmp_path / "run")  # type: ignore[arg-type]
    said = capsys.readouterr().out
    kept = tmp_path / "run" / "spike-stage2-000036-rank0.npz"
    assert "stage2, step 36: the loss is" in said and str(kept) in said
    from qwenvl.text.tokenizer import QwenTokenizer

    examples = examples_of(kept, QwenTokenizer.load(tmp_path / "run" / "tokenizer"))
    assert len(examples) == 2 and all(example.task == "vqa" and example.slots for example in examples)
    assert all(slot.image.width == 32 and slot.length == 4 for example in examples for slot in example.slots)
    assert main(["inspect", str(kept), "--html", str(tmp_path / "batch.html")]) == 0
    assert (tmp_path / "batch.html").read_text().count("<img") >= 2
    assert main(["inspect", str(kept)]) == 0 and "Answer" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 41))
    last = lines[-1]
    assert last["grad_norm/decoder"] > 0 and last["grad_norm/adapter"] > 0 and "grad_norm/vision" not in last
    assert last["rate/adamw"] > 0 and last["memory_gb"] > 0.05 and 0 < last["mfu"] < 1
    whole = (last["grad_norm/decoder"] ** 2 + last["grad_norm/adapter"] ** 2) ** 0.5
    assert last["grad_norm"] == pytest.approx(whole, rel=1e-3)


def test_a_spike_may_cost_the_step_or_end_the_run(jump: None, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the recipe says spikes: stop"):
        train(spiky("stop"), tmp_path / "stop", quiet=True)  # type: ignore[arg-type]
    train(spiky("skip"), tmp_path / "skip", quiet=True)  # type: ignore[arg-type]

    def losses(name: str) -> list[float]:
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    assert losses("skip")[:35] == losses("stop")
    assert not list((tmp_path / "skip").glob("spike-*-rank1*"))


def test_what_is_no_kept_batch_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK")
    assert main(["inspect", str(path)]) == 2 and "--model" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no batch"):
        examples_of(path, None)  # type: ignore[arg-type]
    np.savez(path, ids=np.zeros(3))
    with pytest.raises(ConfigError, match="no batch"):
        examples_of(path, None)  # type: ignore[arg-type]


def test_numbers_go_to_tensorboard_and_on_over_stages(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny(log=["tensorboard"]), tmp_path / "run", quiet=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    written = events.Scalars("loss")
    assert [one.step for one in written] == [2, 4, 6, 8, 10, 12]
    lines = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [one.value for one in written] == pytest.approx(lines)


@pytest.mark.slow
def test_numbers_go_to_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(tiny(log=["wandb"]), tmp_path / "run", quiet=True)
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


def test_a_missing_logger_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ImportError):
        train(tiny(log=["wandb"]), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "corpus").exists()
