"""The parts: configuration, vision tower, adapter, decoder, and the hand-written gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.adapter import sincos_positions
from qwenvl.model.cross_entropy import cross_entropy
from qwenvl.model.kernels import attend, rms_norm, split_heads, swiglu, turn_tables
from qwenvl.model.vision import resize_positions
from tests.model.helpers import small_config

Make = Callable[..., QwenVLForConditionalGeneration]


# -- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: QwenVLConfig(vision_config={"image_size": 450}), "448"),
        (lambda: QwenVLConfig(vision_config={"width": 100, "heads": 16}), "16 heads"),
        (lambda: QwenVLConfig(num_queries=10), "square"),
        (lambda: QwenVLConfig(adapter_heads=3), "adapter_heads"),
        (lambda: QwenVLConfig(text_config={"hidden_size": 30, "num_attention_heads": 4}), "heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(build: Callable[[], QwenVLConfig], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_configuration_round_trip() -> None:
    config = small_config(adapter_init="local")
    again = QwenVLConfig.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict()
    assert QwenVLConfig().adapter_heads == 32


# -- vision tower --------------------------------------------------------------------------------------------------


def test_patches_are_those_of_a_convolution(make: Make) -> None:
    tower = make().model.vision_tower
    pixels = torch.randn(2, 3, 32, 32)
    tower.blocks = torch.nn.ModuleList()
    tower.norm_pre = torch.nn.Identity()
    wanted = tower.patch_embed(pixels).flatten(2).transpose(1, 2) + tower.position_embedding
    assert torch.allclose(tower(pixels).last_hidden_state, wanted, atol=1e-5)


@torch.no_grad()
def test_other_resolutions(make: Make) -> None:
    model = make()
    for side, patches in ((16, 4), (32, 16), (64, 64)):
        got = model.get_image_features(torch.randn(1, 3, side, side))
        assert got.last_hidden_state.shape == (1, patches, 12)
        assert got.pooler_output.shape == (1, 4, 16)
    with pytest.raises(ValueError, match="multiple of 8"):
        model.get_image_features(torch.randn(1, 3, 30, 30))
    with pytest.raises(ValueError, match="square"):
        model.get_image_features(torch.randn(1, 3, 32, 16))


@pytest.mark.parametrize(("side", "grid"), [(4, 8), (16, 8), (16, 32), (3, 7)])
def test_positions_are_resized_as_torch_does(side: int, grid: int) -> None:
    table = torch.randn(side * side, 5)
    square = table.T.view(1, 5, side, side)
    wanted = functional.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    assert torch.allclose(resize_positions(table, grid), wanted[0].flatten(1).T, atol=1e-5)
    assert resize_positions(table, side) is table


def test_resized_positions_learn(make: Make) -> None:
    tower = make().model.vision_tower
    tower(torch.randn(1, 3, 64, 64)).last_hidden_state.square().sum().backward()
    assert float(tower.position_embedding.grad.abs().sum()) > 0


# -- adapter -------------------------------------------------------------------------------------------------------


def test_positions_of_the_adapter() -> None:
    table = sincos_positions(16, 3).view(3, 3, 16)
    row, column = 2, 1
    wanted = [f(p * 10_000 ** -(i / 4)) for p in (column, row) for f in (math.sin, math.cos) for i in range(4)]
    assert table[row, column].tolist() == pytest.approx(wanted, abs=1e-6)


@torch.no_grad()
def test_positions_are_added_to_keys_and_not_to_values(make: Make) -> None:
    adapter = make().model.adapter
    same = torch.randn(1, 1, 12).expand(1, 16, 12).contiguous()
    before = adapter(same)
    # Equal patches: the mixture of values is the value itself wherever a query looks, so positions cannot matter …
    adapter.positions.copy_(torch.randn_like(adapter.positions))
    assert torch.allclose(adapter(same), before, atol=1e-5)
    # … and with patches that differ, they do.
    other = torch.randn(1, 16, 12)
    before = adapter(other)
    adapter.positions.copy_(sincos_positions(16, 2))
    assert not torch.allclose(adapter(other), before, atol=1e-3)


@torch.no_grad()
def test_adapter_follows_the_formula(make: Make) -> None:
    adapter = make(attention="matmul").model.adapter
    features = torch.randn(2, 16, 12)
    content = adapter.norm_kv(adapter.kv_proj(features))
    query = adapter.q_proj(adapter.norm_q(adapter.query) + adapter.positions).view(4, 2, 8).transpose(0, 1)
    key = adapter.k_proj(content + resize_positions(adapter.positions, 4)).view(2, 16, 2, 8).transpose(1, 2)
    value = adapter.v_proj(content).view(2, 16, 2, 8).transpose(1, 2)
    mixed = ((query @ key.transpose(2, 3)) / 8**0.5).softmax(-1) @ value
    wanted = adapter.proj(adapter.norm_post(adapter.out_proj(mixed.transpose(1, 2).reshape(2, 4, 16))))
    assert torch.allclose(adapter(features), wanted, atol=1e-5)


@torch.no_grad()
def test_local_start_looks_at_its_own_place() -> None:
    config = small_config(adapter_init="local", text={"hidden_size": 64})
    config.num_queries = 16
    adapter = QwenVLForConditionalGeneration(config).model.adapter
    # Content in one patch alone reaches the query that stands there more than any other.
    blank = torch.zeros(16, 16, 12)
    marked = blank.clone()
    marked[range(16), range(16)] = torch.randn(12)
    adapter.out_proj.weight.copy_(torch.eye(64))
    adapter.v_proj.weight.copy_(torch.eye(64))
    adapter.norm_post = torch.nn.Identity()
    adapter.proj = torch.nn.Identity()
    reached = (adapter(marked) - adapter(blank)).norm(dim=-1)
    assert reached.argmax(dim=1).tolist() == list(range(16))


def test_no_projection_where_widths_agree() -> None:
    config = small_config(text={"hidden_size": 12, "num_attention_heads": 2}, adapter_heads=1)
    model = QwenVLForConditionalGeneration(config)
    assert "model.adapter.kv_proj.weight" not in model.state_dict()


# -- decoder past the training length ------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "alpha"), [(64, None), (65, 3.0), (128, 3.0), (129, 7.0), (256, 7.0), (300, 15.0)])
def test_ntk_steps(make: Make, length: int, alpha: float | None) -> None:
    decoder = make().model.language_model
    got = decoder._ntk_alpha(torch.arange(length)[None], None, None)
    assert (got is None and alpha is None) or got.tolist() == [alpha]
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, 50:] = 0
    if alpha is not None:
        assert decoder._ntk_alpha(torch.arange(length)[None], mask, None).tolist() == [alpha, 1.0]


def test_ntk_is_kept_while_decoding(make: Make) -> None:
    decoder = make().model.language_model
    cache = DynamicCache()
    like = torch.zeros(1, 1, 16)
    decoder(inputs_embeds=torch.randn(1, 120, 16), past_key_values=cache)
    late, early = torch.tensor([[200]]), torch.tensor([[10]])
    cos, _, scale = decoder.rotary(late, None, cache, like)
    # The prompt of 120 is between one and two training lengths: a factor of 3, which 201 alone would make 7.
    base = decoder.config.rope_theta * 3 ** (8 / 6)
    assert torch.allclose(cos[0, 0, 0, :4], (200 * base ** -(torch.arange(0, 8, 2) / 8)).cos(), atol=1e-4)
    assert scale.item() == pytest.approx(math.log(201) / math.log(64))
    assert decoder.rotary(early, None, cache, like)[2].item() == 1.0
    # Short rows and training have neither.
    plain = decoder.rotary(early, None, None, like)
    assert plain[2].item() == 1.0
    decoder.train()
    trained, _, none = decoder.rotary(torch.arange(120)[None], None, None, like)
    assert none is None and torch.equal(trained[:, :, 10], plain[0][:, :, 0])


# -- hand-written gradients ----------------------------------------------------------------------------------------


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_gradients_of_the_kernels() -> None:
    torch.manual_seed(0)
    angles = torch.rand(1, 1, 5, 2, dtype=torch.float64)
    check = torch.autograd.gradcheck
    assert check(lambda x: split_heads(x, 2, *turn_tables(angles)), (double(2, 5, 24),))
    assert check(lambda x: split_heads(x, 2), (double(2, 5, 24),))
    assert check(swiglu, (double(3, 8),))
    assert check(lambda x: cross_entropy(x, torch.tensor([1, 0, 4])).double(), (double(3, 5),), atol=1e-2, eps=1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_the_library(masked: bool) -> None:
    torch.manual_seed(0)
    states = [torch.randn(2, 3, 6, 4, requires_grad=True) for _ in range(3)]
    mask = torch.full((6, 6), -1e9).triu(1)[None, None] if masked else None
    weight = torch.randn(2, 3, 6, 4)
    wanted = functional.scaled_dot_product_attention(*states, attn_mask=mask, scale=0.3)
    grads = torch.autograd.grad((wanted * weight).sum(), states)
    got = attend(*states, mask, 0.3)
    ours = torch.autograd.grad((got * weight).sum(), states)
    assert torch.allclose(got, wanted, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, grads, strict=True))


def test_norm_and_cross_entropy_equal_the_library() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(7, 5, requires_grad=True), torch.randn(5, requires_grad=True)
    scale, targets = torch.randn(7, 5), torch.randint(0, 5, (7,))
    pairs = [
        (rms_norm(hidden, weight, 1e-6) * scale, functional.rms_norm(hidden, (5,), weight, 1e-6) * scale),
        (cross_entropy(hidden * weight, targets), functional.cross_entropy(hidden * weight, targets, reduction="none")),
    ]
    for ours, wanted in pairs:
        assert torch.allclose(ours, wanted, atol=1e-6)
        a = torch.autograd.grad(ours.square().sum(), (hidden, weight), retain_graph=True)
        b = torch.autograd.grad(wanted.square().sum(), (hidden, weight), retain_graph=True)
        assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(a, b, strict=True))
