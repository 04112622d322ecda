"""Schedules, layer-wise rates, frozen parts, and Muon against its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import build_model
from qwenvl.train.optim import Muon, Optimizers, layer_scale, orthogonalise, rate
from qwenvl.train.stages import PARTS, freeze, part_of, trainable_counts
from tests.train.helpers import tiny


def test_rate_warms_up_and_falls_to_its_least() -> None:
    stage = replace(tiny().stages[0], steps=100, warmup=10, lr=1.0, min_lr=0.1)
    rates = [rate(step, stage) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert rates[99] == pytest.approx(0.1) and rates[10:] == sorted(rates[10:], reverse=True)


def test_layerwise_decay_is_a_power_of_the_depth(tokenizer: QwenTokenizer) -> None:
    model = build_model(tiny().model_spec, tokenizer)
    scale = {name: layer_scale(name, model, 0.5) for name, _ in model.named_parameters()}
    assert scale["model.vision_tower.patch_embed.weight"] == 0.25
    assert scale["model.vision_tower.blocks.0.fc1.weight"] == 0.5
    assert scale["model.vision_tower.blocks.1.fc1.weight"] == 1.0
    assert scale["model.adapter.query"] == scale["model.language_model.norm.weight"] == 1.0


@pytest.mark.parametrize("shape", [(3, 40, 40), (2, 24, 64), (2, 64, 24)])
def test_orthogonalise_brings_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.max() < 1.3 and values.median() > 0.6


def test_joined_matrices_are_made_orthogonal_one_by_one() -> None:
    torch.manual_seed(0)
    joined = torch.nn.Parameter(torch.zeros(3 * 16, 16))
    apart = [torch.nn.Parameter(torch.zeros(16, 16)) for _ in range(3)]
    joined.grad = torch.randn(48, 16)
    for part, grad in zip(apart, joined.grad.chunk(3), strict=True):
        part.grad = grad.clone()
    Muon([{"params": [joined], "joined": 3}], lr=0.1).step()
    Muon(apart, lr=0.1).step()
    torch.testing.assert_close(joined.detach(), torch.cat([p.detach() for p in apart]))


@pytest.mark.parametrize("trains", [("vision", "adapter"), ("adapter", "decoder"), ("decoder",)])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_is_frozen(tokenizer: QwenTokenizer, trains: tuple[str, ...], optimizer: str) -> None:
    model = build_model(tiny().model_spec, tokenizer)
    freeze(model, trains)  # type: ignore[arg-type]
    stage = replace(tiny().stages[0], trains=trains, optimizer=optimizer, weight_decay=0.1)
    optimizers = Optimizers(model, stage)
    held = {id(p) for o in optimizers.optimizers for group in o.param_groups for p in group["params"]}
    before = {name: value.clone() for name, value in model.named_parameters()}
    ids = torch.randint(0, 300, (2, 12))
    ids[:, 1], ids[:, 6] = tokenizer.img_start_id, tokenizer.img_end_id
    ids[:, 2:6] = tokenizer.image_slot_id
    model(input_ids=ids, labels=ids, pixel_values=torch.randn(2, 3, 32, 32)).loss.backward()
    optimizers.step(3)
    for name, parameter in model.named_parameters():
        if part_of(name) in trains:
            assert id(parameter) in held
        else:
            assert parameter.grad is None and id(parameter) not in held
            assert torch.equal(parameter, before[name])
    counts = trainable_counts(model)
    assert {part for part in PARTS if counts[part]} == set(trains)
    moved = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    assert {part_of(name) for name in moved} == set(trains)
