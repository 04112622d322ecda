"""The curves of a run, from its `metrics.jsonl`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as PILImage

pytest.importorskip("matplotlib")

from qwenvl.cli.command import main
from qwenvl.evaluate.curves import figures, read_metrics, write_curves
from qwenvl.typed import to_dict
from tests.train.helpers import tiny


def lines(**more: float) -> list[dict[str, Any]]:
    return [
        {"stage": stage, "step": step, "elapsed_s": 60 * number + step, "loss": 2 / step, "loss/vqa": 1 / step, **more}
        for number, stage in enumerate(("stage1", "stage2"))
        for step in (1, 2, 3)
    ]


def height(png: bytes) -> int:
    return PILImage.open(io.BytesIO(png)).height


def test_each_number_that_is_there_gets_a_panel() -> None:
    assert figures(lines()).keys() == {"loss", "loss-per-task"}
    one = figures(lines(padding=0.01))["curves"]
    held_out = {"stage": "stage2", "step": 3, "elapsed_s": 70, "eval/vqa/accuracy": 0.5}
    more = {"padding": 0.01, "mfu": 0.3, "memory_gb": 2.0, "data_wait": 0.1, "samples_per_s": 9.0, "rate/adamw": 1e-3}
    every = figures([*lines(**more), held_out])["curves"]
    assert height(every) == pytest.approx(7 * height(one), rel=0.03)


def test_they_lie_in_the_run_s_folder(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert write_curves(tmp_path) == []
    file.write_text("".join(json.dumps(line) + "\n" for line in lines(padding=0.01)) + '{"stage": "st')
    assert len(read_metrics(file)) == 6
    assert [path.name for path in write_curves(tmp_path)] == ["loss.png", "loss-per-task.png", "curves.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    file.write_text(json.dumps(lines()[0]) + "\n")
    assert write_curves(tmp_path) == []


def test_a_run_ends_with_its_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(to_dict(tiny(log_every=1))))
    main(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")])
    told = capsys.readouterr().out
    for name in ("loss.png", "loss-per-task.png", "curves.png"):
        path = tmp_path / "run" / name
        assert path.is_file() and str(path) in told
