"""Whole runs of a tiny recipe: interrupted ones end like uninterrupted ones, ranks agree, own data trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from qwenvl.config import Recipe
from qwenvl.data.sources import DataError
from qwenvl.train import checkpoint
from qwenvl.train.run import train
from qwenvl.typed import ConfigError, to_dict
from tests.train.helpers import tiny


def losses(folder: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"], line["loss"]) for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(tiny(), out, quiet=True)
    return out


def start(recipe: Recipe, out: Path) -> subprocess.Popen[bytes]:
    """The same run in a process of its own."""
    path = out.parent / "tiny.yaml"
    path.write_text(yaml.safe_dump(to_dict(recipe)))
    return subprocess.Popen([sys.executable, "-m", "qwenvl", "train", str(path), "--out", str(out)])


def wait_for(out: Path, process: subprocess.Popen[bytes], lines: int) -> None:
    """Until so many lines of metrics are written."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        path = out / "metrics.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= lines:
            return
        time.sleep(0.005)


@pytest.mark.parametrize(
    "sign", [signal.SIGINT, *(pytest.param(sign, marks=pytest.mark.slow) for sign in (signal.SIGTERM, signal.SIGKILL))]
)
def test_an_interrupted_run_ends_bit_equal(whole: Path, tmp_path: Path, sign: signal.Signals) -> None:
    out = tmp_path / "run"
    process = start(tiny(), out)
    wait_for(out, process, 1)
    os.kill(process.pid, sign)
    process.wait(60)
    assert not (out / "model").exists(), "the run was over before the signal came"
    train(tiny(), out, quiet=True)
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (whole, out))
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)
    # a line's average may begin at the step that a run continued from; its last line of a stage must be there
    assert {entry[:2] for entry in losses(whole)} == {entry[:2] for entry in losses(out)}


def test_two_ranks_give_what_one_gives(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(tiny(ranks=2), out, quiet=True)
    for expected, found in zip(losses(whole), losses(out), strict=True):
        assert expected[:2] == found[:2] and found[2] == pytest.approx(expected[2], abs=1e-4)


def test_a_finished_run_is_not_trained_again_and_another_recipe_is_refused(whole: Path) -> None:
    stamp = (whole / "model" / "model.safetensors").stat().st_mtime_ns
    assert train(tiny(), whole, quiet=True) == whole / "model"
    assert (whole / "model" / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match=r"another recipe \(stages\.\w+\.lr: 0\.\d+ there, 0\.5 now;"):
        stages = tiny().stages
        train(replace(tiny(), stages=(stages[0], replace(stages[1], lr=0.5))), whole, quiet=True)
    # what is logged and kept is no part of what is learnt
    assert train(tiny(log_every=7, save_every=9), whole, quiet=True) == whole / "model"
    train(tiny(), whole, quiet=True)


def test_a_run_that_ended_at_its_data_does_not_hold_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text('{"text": "one"}\n{"text": ""}\n', encoding="utf-8")
    out = tmp_path / "run"
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        train(tiny(seed=1), out, [data], strict=True, quiet=True)
    data.write_text('{"text": "one"}\n', encoding="utf-8")
    train(tiny(), out, [data], strict=True, quiet=True)
    assert (out / "model").is_dir()


def test_a_broken_checkpoint_says_which(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "00-00000002"
    folder.mkdir()
    (folder / "progress.json").write_text("{")
    with pytest.raises(checkpoint.CheckpointError, match=r"progress\.json"):
        checkpoint.read_progress(folder)


def test_own_data_trains_and_a_stage_without_data_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "a.png")
    good = {"image": "a.png", "question": "What color is it?", "answer": "red"}
    rows = [json.dumps(good)] * 8 + ["{broken", json.dumps({**good, "image": "absent.png"})]
    (tmp_path / "my.jsonl").write_text("\n".join(rows))
    recipe = tiny()
    stages = [to_dict(stage) for stage in recipe.stages]
    stages[0]["tasks"] = {"ocr": {}}
    model = train(tiny(stages=stages, corpus=None), tmp_path / "run", [tmp_path / "my.jsonl"])
    assert (model / "model.safetensors").is_file()
    said = capsys.readouterr()
    everything = said.out + said.err
    assert "my.jsonl:9" in everything and "my.jsonl:10" in everything and "2 skipped" in everything
