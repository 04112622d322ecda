"""Weights in 8 and 4 bits: near the original's answers, small on disk, loaded again; what can't be is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qwenvl.cli import main
from qwenvl.config import load_recipe
from qwenvl.data.loader import Batches, Settings
from qwenvl.data.mixture import MemoryShards, Part, Share
from qwenvl.data.synth.scenes import scene_record
from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.load import PACKAGED, load
from qwenvl.model.quantize import (
    Int4Linear,
    Int8Linear,
    QuantizeError,
    four_bit,
    quantize,
    unpack_nibbles,
    use_kernels,
    write_quantized,
)
from qwenvl.model.qwenvl import IGNORE
from qwenvl.train.batch import to_tensors
from qwenvl.train.build import check_start
from qwenvl.typed import ConfigError
from tests.model.helpers import small_config

pytest.importorskip("torchao")


def steps(weight: Tensor) -> Tensor:
    """How far apart two values of each group of 32 stand in 4 bits."""
    groups = weight.unflatten(1, (-1, 32))
    return ((groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / 15).expand_as(groups).flatten(1)


def test_four_bits_are_the_nearest_of_sixteen_and_int4_linear_computes_with_them() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 96) + 0.5, torch.randn(48)
    nibbles, scale, zero = four_bit(weight)
    assert nibbles.shape == (48, 48) and scale.shape == zero.shape == (3, 48)
    held = unpack_nibbles(nibbles).float() * scale.float().T.repeat_interleave(32, 1)
    held += zero.float().T.repeat_interleave(32, 1)
    # half a step, and a little for the rounding of scale and zero
    assert ((held - weight).abs() <= 0.55 * steps(weight) + 0.02).all()
    x = torch.randn(2, 5, 96)
    out = Int4Linear(nibbles, scale, zero, bias)(x)
    expected = torch.nn.functional.linear(x.bfloat16().float(), held, bias)
    torch.testing.assert_close(out, expected, atol=0.1, rtol=0.02)


@pytest.mark.parametrize("inputs", [32, 40, 7])
def test_int8_linear_takes_any_width_and_place_in_memory(inputs: int) -> None:
    torch.manual_seed(0)
    # the kernel ends the process on rows that are not aligned
    place = torch.randint(-127, 128, (24 * inputs + 8,), dtype=torch.int8)[8:].view(24, inputs)
    scale = torch.rand(24, 1) + 0.1
    x = torch.randn(3, inputs)
    expected = torch.nn.functional.linear(x.bfloat16().float(), place.float() * scale.bfloat16().float())
    torch.testing.assert_close(Int8Linear(place, scale, None)(x), expected, rtol=0.02, atol=1.0)


def best_tokens(folder: Path | str) -> Tensor:
    """What a model thinks comes next, wherever the grounded captions of 24 scenes are supervised."""
    loaded = load(folder)
    model = loaded.model
    side, slots = model.config.vision_config.image_size, model.config.num_queries
    records = [scene_record(0, index, "val") for index in range(24)]
    settings = Settings({"grounding": Share(1.0, 1)}, side, slots, 256, 6, 0)
    batch = next(iter(Batches([Part(MemoryShards(records))], loaded.tokenizer, settings)))
    tensors = to_tensors(batch, True, torch.device("cpu"))
    with torch.no_grad():
        logits = model(
            input_ids=tensors.input_ids,
            pixel_values=tensors.pixel_values,
            image_index=tensors.image_index,
            attention_mask=tensors.mask,
            position_ids=tensors.position_ids,
        ).logits
    return logits[:, :-1][tensors.labels[:, 1:] != IGNORE].argmax(-1)


@pytest.mark.parametrize(("bits", "vision", "least"), [(8, False, 0.97), (8, True, 0.97), (4, False, 0.9)])
def test_a_quantised_folder_is_small_and_answers_nearly_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bits: int, vision: bool, least: float
) -> None:
    out = tmp_path / "q"
    assert main(["quantize", "nano", str(out), "--bits", str(bits), *["--vision"] * vision]) == 0
    model = load(out).model
    kinds = {
        name: type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, Int8Linear | Int4Linear)
    }
    assert set(kinds.values()) == {f"Int{bits}Linear"}
    parts = {name.split(".")[1] for name in kinds}
    assert parts == {"language_model", "vision_tower"} if vision else parts == {"language_model"}
    assert not any("lm_head" in name or "adapter" in name for name in kinds)
    expected, found = best_tokens("nano"), best_tokens(out)
    assert len(expected) > 500 and (expected == found).float().mean() > least
    # the packaged model has two bytes a number; 4 bits have two more numbers of them for each 32
    saved = (2 - (1 if bits == 8 else 0.5 + 4 / 32)) * sum(
        layer.in_features * layer.out_features
        for layer in model.modules()
        if isinstance(layer, Int8Linear | Int4Linear)
    )
    before, after = ((folder / "model.safetensors").stat().st_size for folder in (PACKAGED / "nano", out))
    # all but the scales of 8 bits and torchao's notes on each tensor
    assert 0.85 * saved < before - after <= saved
    capsys.readouterr()
    assert main(["chat", "--model", str(out), "What color is it?", "--max-new-tokens", "2"]) == 0
    with pytest.raises(ValueError, match="not serializable"):
        model.save_pretrained(tmp_path / "again")


def test_wishes_that_make_no_sense_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", "nano", str(tmp_path / "x"), "--bits", "3"]) == 2
    assert "8 or 4" in capsys.readouterr().err
    odd = QwenVLForConditionalGeneration(small_config())
    with pytest.raises(QuantizeError, match="multiple of 32"):
        quantize(odd, 4)
    with pytest.raises(QuantizeError, match="adapter stays"):
        quantize(odd, 8, ("adapter",))
    out = tmp_path / "q"
    write_quantized("nano", out, 8)
    assert main(["quantize", str(out), str(tmp_path / "y")]) == 2
    assert "already" in capsys.readouterr().err
    assert main(["quantize", "nano", str(out)]) == 2
    assert "not empty" in capsys.readouterr().err
    for recipe in ("finetune", "finetune-lora"):
        with pytest.raises(ConfigError, match="is quantised"):
            check_start(load_recipe(recipe, [f"init={out}"]))


def test_layers_without_a_fitting_shape_stay() -> None:
    config = small_config(text={"hidden_size": 32, "intermediate_size": 24})
    model = QwenVLForConditionalGeneration(config)
    assert quantize(model, 4) == (6, 2)
    assert isinstance(config, QwenVLConfig) and model.model.language_model.layers[0].down_proj.weight.shape == (32, 24)
    use_kernels(model)
    assert type(model.model.language_model.layers[0].down_proj) is torch.nn.Linear


def test_without_torchao_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_quantized("nano", tmp_path / "q", 8)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchao"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torchao", None)
    assert main(["chat", "--model", str(tmp_path / "q"), "Hello"]) == 2
    assert "qwenvl[quantize]" in capsys.readouterr().err
    assert main(["quantize", "nano", str(tmp_path / "z")]) == 2
    assert "qwenvl[quantize]" in capsys.readouterr().err
