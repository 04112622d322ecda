"""Gradient checkpointing of both towers: the same gradients from far fewer kept activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qwenvl.config import LoraSpec
from qwenvl.model import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import build_model
from qwenvl.train.stages import checkpointing, freeze
from tests.train.helpers import tiny


@pytest.fixture
def model(tokenizer: QwenTokenizer) -> QwenVLForConditionalGeneration:
    """The tiny recipe's model, training."""
    torch.manual_seed(0)
    return build_model(tiny().model_spec, tokenizer).train()


@contextmanager
def kept() -> Iterator[Callable[[], int]]:
    """Counts the numbers that autograd keeps for the backward pass, each memory once."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter):
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(sizes.values())


def learn(model: QwenVLForConditionalGeneration) -> tuple[dict[str, Tensor], int]:
    """Gradients by name of a loss over two pictures with some text, and the bytes kept between the passes."""
    config = model.config
    torch.manual_seed(1)
    ids = torch.randint(0, 300, (2, 40))
    ids[:, 1], ids[:, 6], ids[:, 2:6] = config.image_start_id, config.image_end_id, config.image_slot_id
    model.zero_grad()
    with kept() as size:
        loss = model(input_ids=ids, labels=ids, pixel_values=torch.randn(2, 3, 32, 32)).loss
        held = size()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, held


def compare(model: QwenVLForConditionalGeneration) -> tuple[int, int]:
    """Asserts equal gradients with and without; gives the bytes kept."""
    stage = tiny().stages[0]
    checkpointing(model, stage)
    expected, plain = learn(model)
    checkpointing(model, replace(stage, gradient_checkpointing=True))
    found, less = learn(model)
    assert expected.keys() == found.keys() and expected
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
    checkpointing(model, stage)
    assert learn(model)[1] == plain
    return plain, less


@pytest.mark.parametrize("part", ["model.vision_tower.blocks", "model.language_model.layers"])
def test_each_tower_keeps_less_and_learns_the_same(model: QwenVLForConditionalGeneration, part: str) -> None:
    freeze(model, ("vision", "adapter", "decoder"))
    plain, less = compare(model)
    assert less < 0.6 * plain
    # the other tower alone does not account for it
    blocks = model.get_submodule(part)
    checkpointing(model, replace(tiny().stages[0], gradient_checkpointing=True))
    for block in blocks:
        block.gradient_checkpointing = False
    assert learn(model)[1] > less


def test_low_rank_additions_to_frozen_towers(model: QwenVLForConditionalGeneration) -> None:
    pytest.importorskip("peft")
    from qwenvl.model.lora import add_lora

    add_lora(model, LoraSpec(targets=("vision", "decoder"), rank=2, dropout=0.2), "tiny")
    freeze(model, ("vision", "decoder"))
    compare(model)


def test_transformers_own_switch_works(model: QwenVLForConditionalGeneration) -> None:
    freeze(model, ("vision", "adapter", "decoder"))
    expected, plain = learn(model)
    model.gradient_checkpointing_enable()
    found, less = learn(model)
    assert less < 0.6 * plain
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
