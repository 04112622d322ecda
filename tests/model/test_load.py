"""Loading: what is no checkpoint is said in words that help."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import qwenvl.model.load as module
from qwenvl.model.load import ModelError, load, resolve


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def test_a_checkpoint_loads_for_answering(tiny_folder: Path) -> None:
    loaded = load(tiny_folder)
    assert not loaded.model.training
    assert loaded.model.dtype == torch.float32
    assert loaded.folder == tiny_folder
    assert load(str(tiny_folder), dtype=torch.bfloat16).model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("remove", "said"),
    [("config.json", "no config.json"), ("tokenizer.json", "no tokenizer"), ("model.safetensors", "no weights")],
)
def test_a_missing_file_is_named(copy: Path, remove: str, said: str) -> None:
    (copy / remove).unlink()
    with pytest.raises(ModelError, match=said):
        load(copy)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("config.json", r"config\.json is no JSON"),
        ("tokenizer.json", r"tokenizer\.json is not a tokenizer"),
        ("model.safetensors", r"model\.safetensors is damaged"),
    ],
)
def test_a_broken_file_is_named(copy: Path, broken: str, said: str) -> None:
    (copy / broken).write_bytes(b"{ broken")
    with pytest.raises(ModelError, match=said):
        load(copy)


def test_weights_of_another_size_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"lack .*layers\.2"):
        load(copy)


def test_a_folder_that_holds_the_model_folder_is_recognised(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match="did you mean"):
        load(tiny_folder.parent)


def test_no_folder_and_no_packaged_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"there is no folder .*nothing\. Expected a checkpoint folder"):
        load(tmp_path / "nothing")
    (tmp_path / "quickstart").mkdir()
    with pytest.raises(ModelError, match=r"quikstart/model \(did you mean 'quickstart'\?\)"):
        load(tmp_path / "quikstart" / "model")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file"):
        load(tmp_path / "file")
    monkeypatch.setattr(module, "PACKAGED", tmp_path / "no-models")
    with pytest.raises(ModelError, match="qwenvl quickstart"):
        load("nano")


def test_a_packaged_model_goes_by_its_name(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGED", copy.parent)
    assert resolve("copy") == copy


def test_a_device_that_is_not_there(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match="--device nonsense"):
        load(tiny_folder, device="nonsense")
