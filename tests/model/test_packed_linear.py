"""Packed linear layers: the same answers, the same state, no second copy of a weight; and the cache with room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.cache_utils import DynamicCache, DynamicLayer

from qwenvl.model import QwenVLForConditionalGeneration, packed_linear
from qwenvl.model.cache import GrowingLayer, with_room
from qwenvl.model.packed_linear import PackedLinear, can_pack, prepare_for_cpu
from tests.model.helpers import ids_with_pictures

Make = Callable[..., QwenVLForConditionalGeneration]
needs_onednn = pytest.mark.skipif(not can_pack(torch.float32), reason="this torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_answers_are_the_same(make: Make, dtype: torch.dtype) -> None:
    if not can_pack(dtype):
        pytest.skip(f"oneDNN has no {dtype} here")
    model = make().to(dtype)
    rows = torch.tensor([ids_with_pictures(3, "img", 4, 5), ids_with_pictures("img", 9, 8, 7)])
    pixels = torch.randn(2, 3, 32, 32).to(dtype)
    options = {"pixel_values": pixels, "max_new_tokens": 10, "do_sample": False}
    wanted, state = model.generate(rows, **options), {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        logits = model(rows, pixel_values=pixels).logits
    # Four in each of two layers, and the head; those of the tower and the adapter stay.
    assert prepare_for_cpu(model) == 9
    packed = [name for name, module in model.named_modules() if isinstance(module, PackedLinear)]
    assert len(packed) == 9 and all(name.startswith(("model.language_model.layers", "lm_head")) for name in packed)
    assert torch.equal(model.generate(rows, **options), wanted)
    with torch.no_grad():
        tolerance = 1e-4 if dtype == torch.float32 else 0.1
        assert torch.allclose(model(rows, pixel_values=pixels).logits, logits, atol=tolerance)
    assert prepare_for_cpu(model) == 0
    # Saved as before: the layout is this machine's affair.
    again = model.state_dict()
    assert list(again) == list(state) and all(torch.equal(again[name], state[name]) for name in state)


@needs_onednn
def test_packed_models_are_saved_as_others(make: Make, tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path / "plain")
    prepare_for_cpu(model)
    model.save_pretrained(tmp_path / "packed")
    files = [(tmp_path / kind / "model.safetensors").read_bytes() for kind in ("plain", "packed")]
    assert files[0] == files[1]


@needs_onednn
def test_a_packed_weight_is_not_held_twice() -> None:
    linear = nn.Linear(6, 5)
    weight, wanted = linear.weight, linear(torch.ones(6))
    parent = nn.Sequential(linear)
    prepare_for_cpu(parent)
    assert not list(parent.parameters())
    assert parent[0]._plain is None and parent[0]._packed.is_mkldnn
    assert torch.allclose(parent(torch.ones(2, 3, 6)), wanted.expand(2, 3, 5), atol=1e-6)
    assert torch.equal(parent[0].weight, weight) and parent[0].weight.data_ptr() != weight.data_ptr()


@needs_onednn
def test_moving_a_packed_layer() -> None:
    parent = nn.Sequential(nn.Linear(6, 5))
    weight, hidden = parent[0].weight.detach().clone(), torch.randn(3, 6)
    prepare_for_cpu(parent)
    parent.to(torch.float64)
    assert parent[0]._packed is None and "plain" in repr(parent)
    assert torch.equal(parent[0].weight, weight.double())
    parent.to(torch.float32)
    assert parent[0]._packed is not None and "packed" in repr(parent)
    # What comes before a packed layer can still ask for gradients.
    hidden.requires_grad_()
    (gradient,) = torch.autograd.grad(parent(hidden).sum(), hidden)
    assert torch.allclose(gradient, weight.sum(0).expand(3, 6), atol=1e-6)


def test_without_onednn_nothing_changes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = make()
    assert not can_pack(torch.float32)
    assert prepare_for_cpu(model) == 0
    assert type(model.lm_head) is nn.Linear


@needs_onednn
def test_tied_heads_and_other_layers_are_left_alone(make: Make) -> None:
    class Special(nn.Linear):
        pass

    model = make(tie_word_embeddings=True)
    model.model.language_model.layers[0].down_proj.__class__ = Special
    assert prepare_for_cpu(model) == 7
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert not packed_linear.can_pack(torch.float16)


# -- the cache -----------------------------------------------------------------------------------------------------


def test_the_cache_with_room_equals_the_library_s() -> None:
    torch.manual_seed(0)
    ours, theirs = GrowingLayer(), DynamicLayer()

    def add(count: int, rows: int = 2) -> None:
        states = torch.randn(rows, 3, count, 4), torch.randn(rows, 3, count, 4)
        for a, b in zip(ours.update(*states), theirs.update(*states), strict=True):
            assert torch.equal(a, b)
        assert ours.get_seq_length() == theirs.get_seq_length()

    def both(do: Callable[[DynamicLayer], object]) -> None:
        do(ours)
        do(theirs)

    add(5)
    buffers = ours._buffers
    for _ in range(64):
        add(1)
    assert ours._buffers is buffers, "room is used before more is made"
    add(1)
    assert ours._buffers is not buffers
    both(lambda layer: layer.crop(-3))
    add(1)
    both(lambda layer: layer.reorder_cache(torch.tensor([1, 1])))
    add(2)
    both(lambda layer: layer.batch_repeat_interleave(2))
    add(1, 4)
    both(lambda layer: layer.batch_select_indices(torch.tensor([0, 3])))
    add(1)
    both(lambda layer: layer.reset())
    add(70)


def test_a_forked_cache_keeps_its_own_room() -> None:
    layer = GrowingLayer()
    layer.update(torch.ones(1, 1, 4, 2), torch.ones(1, 1, 4, 2))
    other = GrowingLayer()
    other.keys, other.values, other.is_initialized = layer.keys, layer.values, True
    other.dtype, other.device = layer.dtype, layer.device
    layer.update(torch.full((1, 1, 1, 2), 2.0), torch.ones(1, 1, 1, 2))
    other.update(torch.full((1, 1, 1, 2), 3.0), torch.ones(1, 1, 1, 2))
    assert layer.keys[0, 0, 4, 0] == 2 and other.keys[0, 0, 4, 0] == 3


def test_gradients_and_inference_mode_pass_through_the_cache() -> None:
    layer = GrowingLayer()
    first = torch.randn(1, 1, 2, 3, requires_grad=True)
    layer.update(first, first)
    keys, _ = layer.update(torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 3))
    assert torch.equal(torch.autograd.grad(keys.sum(), first)[0], torch.ones_like(first))
    layer = GrowingLayer()
    with torch.inference_mode():
        layer.update(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3))
    assert layer.update(torch.ones(1, 1, 1, 3), torch.ones(1, 1, 1, 3))[0].sum() == 9


def test_only_plain_layers_get_room(make: Make) -> None:
    model = make()
    assert {type(layer) for layer in with_room(DynamicCache(config=model.config)).layers} == {GrowingLayer}
    sliding = DynamicLayer.__subclasses__()[0]
    cache = DynamicCache()
    cache.layers = [sliding.__new__(sliding)]
    assert with_room(cache).layers == cache.layers and type(cache.layers[0]) is sliding
    out = model.generate(torch.tensor([[1, 2]]), max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
    assert {type(layer) for layer in out.past_key_values.layers} == {GrowingLayer}
    assert functional.cosine_similarity(out.past_key_values.layers[0].keys.flatten(), torch.ones(1), 0).isfinite()
