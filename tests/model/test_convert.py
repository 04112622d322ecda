"""The released form: tensors and configuration there and back, the 9.6B shapes, and what it cannot say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText

from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.convert.official import (
    is_released,
    native_config,
    released_config,
    released_state_dict,
    reorder_heads,
)
from tests.model.helpers import GOLDEN, OFFICIAL

Make = Callable[..., QwenVLForConditionalGeneration]


def official_config() -> dict[str, Any]:
    return json.loads((OFFICIAL / "config.json").read_text(encoding="utf-8"))


def test_released_there_and_back_bit_by_bit(official: QwenVLForConditionalGeneration, tmp_path: Path) -> None:
    native, back = tmp_path / "native", tmp_path / "back"
    official.save_pretrained(native)
    again = AutoModelForImageTextToText.from_pretrained(native, dtype=torch.float32)
    assert isinstance(again, QwenVLForConditionalGeneration)
    again.save_pretrained(back, form="released")
    ours, reference = load_file(back / "model.safetensors"), load_file(OFFICIAL / "model.safetensors")
    assert ours.keys() == reference.keys()
    assert all(torch.equal(ours[name], reference[name]) for name in reference)
    written, wanted = json.loads((back / "config.json").read_text()), official_config()
    # The two that the published checkpoints give otherwise than this one.
    assert (written.pop("use_flash_attn"), written.pop("tokenizer_class")) == ("auto", "QWenTokenizer")
    del wanted["use_flash_attn"], wanted["tokenizer_class"]
    assert written == wanted


def test_released_folder_through_auto_classes(official: QwenVLForConditionalGeneration) -> None:
    assert isinstance(AutoConfig.from_pretrained(OFFICIAL), QwenVLConfig)
    model = AutoModelForImageTextToText.from_pretrained(OFFICIAL, dtype=torch.float32)
    assert isinstance(model, QwenVLForConditionalGeneration)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), official.state_dict().values(), strict=True)
    )


def test_a_fresh_model_survives_the_released_form(make: Make, tmp_path: Path) -> None:
    # Width 16 has one adapter head in the released form, and its positions are a 16 x 16 table.
    model = make(adapter_heads=1)
    with pytest.raises(ValueError, match="position_grid to 16"):
        model.save_pretrained(tmp_path, form="released")
    config = model.config
    config.vision_config.position_grid = 16
    torch.manual_seed(1)
    model = QwenVLForConditionalGeneration(config)
    model.save_pretrained(tmp_path, form="released")
    assert is_released(json.loads((tmp_path / "config.json").read_text()))
    again = QwenVLForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in again.state_dict().items())


def test_unknown_form_is_refused(official: QwenVLForConditionalGeneration, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form is"):
        official.save_pretrained(tmp_path, form="openclip")  # type: ignore[arg-type]


def test_names_and_shapes_of_the_published_checkpoint() -> None:
    wanted = json.loads((GOLDEN / "qwen_vl_state_dict_shapes.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(QwenVLConfig())
    shapes = {name: list(t.shape) for name, t in released_state_dict(model.state_dict(), model.config).items()}
    assert shapes == wanted
    assert sum(t.numel() for t in model.state_dict().values()) == 9_656_935_168
    sizes = {
        "vision_tower": 1.84e9,
        "adapter": 0.09e9,
    }
    for part, size in sizes.items():
        numbers = sum(p.numel() for p in getattr(model.model, part).parameters())
        assert numbers == pytest.approx(size, rel=0.06)


def test_published_configuration_both_ways() -> None:
    config = QwenVLConfig()
    released = released_config(config)
    assert released["visual"]["mlp_ratio"] == 4.9231
    assert released["intermediate_size"] == 22_016
    assert "n_queries" not in released["visual"]
    again = QwenVLConfig(**native_config(released))
    assert again.vision_config.mlp_width == 8192
    for part in ("vision_config", "text_config"):
        ours, theirs = getattr(config, part).to_dict(), getattr(again, part).to_dict()
        assert {k: v for k, v in ours.items() if k != "dtype"} == {k: v for k, v in theirs.items() if k != "dtype"}


def test_heads_of_the_vision_tower_are_reordered() -> None:
    heads, dim = 2, 3
    rows = torch.arange(3 * heads * dim)
    ours = reorder_heads(rows, heads)
    # The released order is head by head: q0 k0 v0 q1 k1 v1.
    assert ours.view(3, heads, dim)[1, 1].tolist() == rows.view(heads, 3, dim)[1, 1].tolist()
    assert torch.equal(reorder_heads(ours, heads, back=True), rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("visual"), "without a 'visual' block"),
        (lambda c: c.update(kv_channels=32), "kv_channels is 32"),
        (lambda c: c.update(no_bias=False), "no_bias"),
        (lambda c: c["visual"].update(output_dim=128), "output_dim is 128"),
    ],
)
def test_what_is_no_qwen_vl_is_refused(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    config = official_config()
    change(config)
    with pytest.raises(ValueError, match=message):
        native_config(config)
