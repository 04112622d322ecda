"""Gradient checkpointing of both towers: the same gradients from far fewer kept activations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from qwenvl.config import CheckpointingSpec, Kept, LoraSpec
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


class Watch(TorchDispatchMode):
    """Counts matrix products, and the bytes of what was made under it and still lives."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.products += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return result

    @property
    def kept(self) -> int:
        """Bytes that live now."""
        return sum(size for held, size in self._made.values() if not held.expired())


def learn(model: QwenVLForConditionalGeneration) -> tuple[dict[str, Tensor], int, int]:
    """Gradients by name of a loss over two pictures with some text, the bytes kept between the passes, the products."""
    config = model.config
    torch.manual_seed(1)
    ids = torch.randint(0, 300, (2, 40))
    ids[:, 1], ids[:, 6], ids[:, 2:6] = config.image_start_id, config.image_end_id, config.image_slot_id
    model.zero_grad()
    pixels = torch.randn(2, 3, 32, 32)
    with Watch() as watch:
        loss = model(input_ids=ids, labels=ids, pixel_values=pixels).loss
        held = watch.kept
        loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return gradients, held, watch.products


def keep(model: QwenVLForConditionalGeneration, vision: Kept = "none", decoder: Kept = "none") -> None:
    checkpointing(model, replace(tiny().stages[0], checkpointing=CheckpointingSpec(vision, decoder)))


def compare(model: QwenVLForConditionalGeneration, kind: Kept = "full") -> tuple[int, int]:
    """Asserts equal gradients with and without; gives the bytes kept."""
    keep(model)
    expected, plain, _ = learn(model)
    keep(model, kind, kind)
    found, less, _ = learn(model)
    assert expected.keys() == found.keys() and expected
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
    keep(model)
    assert learn(model)[1] == plain
    return plain, less


def test_each_tower_keeps_less_and_learns_the_same(model: QwenVLForConditionalGeneration) -> None:
    freeze(model, ("vision", "adapter", "decoder"))
    plain, less = compare(model)
    assert less < 0.6 * plain
    # neither tower alone accounts for it
    for towers in (("full", "none"), ("none", "full")):
        keep(model, *towers)
        assert less < learn(model)[1] < plain


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
def test_selective_keeps_the_products_alone(model: QwenVLForConditionalGeneration, attention: str) -> None:
    freeze(model, ("vision", "adapter", "decoder"))
    model.set_attn_implementation(attention)
    plain, some = compare(model, "selective")
    _, _, once = learn(model)
    keep(model, "selective", "selective")
    assert learn(model)[2] == once
    keep(model, "full", "full")
    _, least, twice = learn(model)
    assert least < some < 0.85 * plain
    assert once < twice


def test_low_rank_additions_to_frozen_towers(model: QwenVLForConditionalGeneration) -> None:
    pytest.importorskip("peft")
    from qwenvl.model.lora import add_lora

    add_lora(model, LoraSpec(targets=("vision", "decoder"), rank=2, dropout=0.2), "tiny")
    freeze(model, ("vision", "decoder"))
    compare(model)
    compare(model, "selective")


def test_transformers_own_switch_works(model: QwenVLForConditionalGeneration) -> None:
    freeze(model, ("vision", "adapter", "decoder"))
    expected, plain, _ = learn(model)
    model.gradient_checkpointing_enable()
    found, less, _ = learn(model)
    assert less < 0.6 * plain
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
