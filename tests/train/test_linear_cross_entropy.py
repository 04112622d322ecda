"""The loss whose logits are never all held: the plain way's numbers, for both kinds of head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from qwenvl.model.cross_entropy import linear_cross_entropy
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import build_model
from tests.train.helpers import tiny


def numbers(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 16).to(dtype), (0.3 * torch.randn(50, 16)).to(dtype)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(0, 50, (11,))


@pytest.mark.parametrize("chunk", [1, 4, 11, None])
def test_losses_and_gradients_are_the_plain_ones(chunk: int | None) -> None:
    hidden, weight, targets = numbers()
    plain = functional.cross_entropy(functional.linear(hidden, weight), targets, reduction="none")
    expected = torch.autograd.grad(plain.sum() / 7, (hidden, weight))
    total, losses = linear_cross_entropy(hidden, weight, targets, chunk)
    torch.testing.assert_close(losses, plain.detach(), rtol=0, atol=1e-5)
    assert not losses.requires_grad
    found = torch.autograd.grad(total / 7, (hidden, weight))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_bfloat16_sums_chunks_in_float32() -> None:
    hidden, weight, targets = numbers(torch.bfloat16)
    plain = functional.cross_entropy(functional.linear(hidden.double(), weight.double()), targets)
    expected = torch.autograd.grad(plain, (hidden, weight))
    found = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets, 2)[0] / 11, (hidden, weight))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_autocast_says_the_type_and_the_weight_keeps_its_own() -> None:
    hidden, weight, targets = numbers()
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = linear_cross_entropy(hidden, weight, targets, 4)
    total.backward()
    assert weight.grad is not None and weight.grad.dtype == hidden.grad.dtype == total.dtype == torch.float32  # type: ignore[union-attr]
    rough = linear_cross_entropy(hidden.detach().bfloat16(), weight.detach().bfloat16(), targets)[0]
    torch.testing.assert_close(total.detach(), rough)


def test_frozen_inputs_get_no_gradient_and_no_rows_no_loss() -> None:
    hidden, weight, targets = numbers()
    linear_cross_entropy(hidden, weight.detach(), targets)[0].backward()
    assert hidden.grad is not None and weight.grad is None
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, targets)[0].requires_grad
    total, losses = linear_cross_entropy(hidden[:0], weight, targets[:0])
    total.backward()
    assert total.item() == 0 and losses.shape == (0,)
    assert weight.grad is not None and not weight.grad.any()


def test_a_second_backward_pass_is_refused() -> None:
    hidden, weight, targets = numbers()
    total, _ = linear_cross_entropy(hidden, weight, targets)
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        total.backward()


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_learns_as_from_all_its_logits(tied: bool, tokenizer: QwenTokenizer) -> None:
    torch.manual_seed(0)
    spec = tiny().model_spec
    spec = replace(spec, decoder=replace(spec.decoder, tie=tied))
    model = build_model(spec, tokenizer)
    ids = torch.randint(0, 300, (2, 12))
    labels = ids.clone()
    labels[0, :6] = -100
    shifted = functional.pad(labels[:, 1:], (0, 1), value=-100)
    functional.cross_entropy(model(input_ids=ids).logits.flatten(0, 1), shifted.flatten()).backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model(input_ids=ids, labels=labels).loss.backward()
    assert ("lm_head.weight" in expected) is not tied
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=0, atol=1e-5)
