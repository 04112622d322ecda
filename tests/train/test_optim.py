"""Schedules, layer-wise rates, frozen parts, and Muon against its definition."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.adamw_bf16 import AdamWBF16, rounded
from qwenvl.train.build import build_model
from qwenvl.train.optim import Muon, Optimizers, _adam, layer_scale, orthogonalise, rate
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


def regress(kind: str, weights: int = 300, steps: int = 150) -> tuple[list[float], torch.optim.Optimizer]:
    """Losses of a regression whose gradients differ by orders of magnitude, as those of a model's parts do."""
    torch.manual_seed(0)
    inputs = torch.randn(256, weights) * torch.logspace(-2, 0, weights)
    wanted = inputs @ torch.randn(weights)
    weight = torch.nn.Parameter(torch.zeros(weights))
    stage = replace(tiny().stages[0], optimizer=kind)  # type: ignore[arg-type]
    optimizer = _adam(stage)([{"params": [weight]}], lr=0.02, betas=(0.9, 0.98), eps=1e-8)
    losses = []
    for _ in range(steps):
        loss = (inputs @ weight - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, optimizer


def test_bfloat16_moments_learn_as_float32_ones() -> None:
    exact, (small, optimizer) = regress("adamw")[0], regress("adamw_bf16")
    assert {value.dtype for state in optimizer.state.values() for key, value in state.items() if key != "step"} == {
        torch.bfloat16
    }
    assert exact[-1] < 0.05 * exact[0]
    np.testing.assert_allclose(small[::10], exact[::10], rtol=0.02, atol=0.005 * exact[0])


def test_one_step_of_bfloat16_moments_is_adamw_s() -> None:
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 12)) for _ in range(2)]
    for kind, weight in zip(("adamw", "adamw_bf16"), weights, strict=True):
        weight.grad = torch.linspace(-1, 1, 12).square() + 0.1
        groups = [{"params": [weight], "weight_decay": 0.1}]
        _adam(replace(tiny().stages[0], optimizer=kind))(groups, lr=0.1, betas=(0.9, 0.98), eps=1e-6).step()  # type: ignore[arg-type]
    torch.testing.assert_close(weights[0], weights[1])


def test_rounding_at_random_is_right_in_the_mean() -> None:
    values = torch.tensor([1.0 + 2**-10, -3.0 - 2**-8, 2.0, 1e-20])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([rounded(values, generator) for _ in range(4000)]).float()
    torch.testing.assert_close(drawn.mean(0), values, rtol=5e-4, atol=0)
    assert drawn[:, 0].unique().tolist() == [1.0, 1.0 + 2**-7]
    assert drawn[:, 2].unique().tolist() == [2.0]


def test_bfloat16_moments_continue_to_the_same_weights() -> None:
    def step(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, number: int) -> None:
        weight.grad = torch.full((7,), 0.1 * number)
        optimizer.step()

    def new(values: torch.Tensor) -> tuple[torch.nn.Parameter, AdamWBF16]:
        weight = torch.nn.Parameter(values.clone())
        return weight, AdamWBF16([weight], lr=0.1, betas=(0.9, 0.98), eps=1e-8)

    weight, optimizer = new(torch.ones(7))
    for number in range(4):
        step(weight, optimizer, number)
    other, continued = new(weight.detach())
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number in range(4, 8):
        step(weight, optimizer, number)
        step(other, continued, number)
    assert torch.equal(weight, other)
    assert continued.state[other]["exp_avg_sq"].dtype == torch.bfloat16


def test_eight_bits_learn_nearly_as_float32_and_continue(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    losses, optimizer = regress("adamw_8bit", weights=4096, steps=60)
    exact, _ = regress("adamw", weights=4096, steps=60)
    assert losses[-1] < 1.1 * exact[-1] < 0.2 * exact[0]
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    weight = optimizer.param_groups[0]["params"][0]
    before = weight.detach().clone()
    other = torch.nn.Parameter(before.clone())
    stage = replace(tiny().stages[0], optimizer="adamw_8bit")
    continued = _adam(stage)([{"params": [other]}], lr=0.02, betas=(0.9, 0.98), eps=1e-8)
    continued.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for parameter, of_it in ((weight, optimizer), (other, continued)):
        parameter.grad = torch.linspace(-1, 1, 4096)
        of_it.step()
    assert torch.equal(weight, other)
    assert not torch.equal(weight, before)
