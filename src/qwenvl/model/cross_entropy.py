"""The loss of a next token, with hand-written gradients: from logits, or straight from hidden states in chunks.

The logits of 151,936 tokens are the largest tensor of a training step; the second form never holds all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional


class _CrossEntropy(Function):
    """See `cross_entropy`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        rows = torch.arange(logits.shape[0], device=logits.device)
        shifted = logits.float() - logits.amax(-1, keepdim=True).float()
        chosen = shifted[rows, targets]
        total = shifted.exp_().sum(-1)
        ctx.save_for_backward(shifted, total, targets)
        ctx.dtype = logits.dtype
        return total.log() - chosen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        powers, total, targets = ctx.saved_tensors
        rows = torch.arange(powers.shape[0], device=powers.device)
        out = powers * (grad / total)[:, None]
        out[rows, targets] -= grad
        return out.to(ctx.dtype), None


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−log softmax(logits)[target] of each row, in float32: (N, V), (N,) → (N,)."""
    return _CrossEntropy.apply(logits, targets)  # type: ignore[no-any-return, no-untyped-call]


LOGITS = {"cpu": 256 * 151_936, "cuda": 2048 * 151_936}
"""Logits held at once by `linear_cross_entropy`: 256 rows of 151,936. A GPU needs more rows to be busy."""


class _LinearCrossEntropy(Function):
    """See `linear_cross_entropy`: the gradients are made with the losses, while the logits are at hand."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        for_hidden, for_weight = ctx.needs_input_grad[:2]
        losses = torch.empty(hidden.shape[0], device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if for_hidden else None
        # the sum over chunks is float32 in any precision: a sum in bfloat16 would lose what small gradients add
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if for_weight else None
        for start in range(0, hidden.shape[0], chunk):
            part, wanted = hidden[start : start + chunk], targets[start : start + chunk]
            rows = torch.arange(part.shape[0], device=part.device)
            logits = functional.linear(part, weight).float()
            logits -= logits.amax(-1, keepdim=True)
            chosen = logits[rows, wanted]
            total = logits.exp_().sum(-1, keepdim=True)
            losses[start : start + chunk] = total[:, 0].log() - chosen
            if not (for_hidden or for_weight):
                continue
            logits /= total
            logits[rows, wanted] -= 1
            slope = logits.to(weight.dtype)
            if grad_hidden is not None:
                torch.mm(slope, weight, out=grad_hidden[start : start + chunk])
            if grad_weight is not None:
                if weight.dtype == torch.float32:
                    grad_weight.addmm_(slope.t(), part)
                else:
                    grad_weight += slope.t() @ part
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtype = weight.dtype
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(grad).to(ctx.dtype)
        return None if grad_hidden is None else grad_hidden.mul_(grad), grad_weight, None, None


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """`cross_entropy` of hidden (N, width) times weight (V, width) transposed, whose logits are never all held.

    Gives the sum, which has a gradient, and each row's loss (N,), which has none; float32. `chunk` rows are taken at a
    time. Under autocast the products are in its type. The backward pass can run once.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    rows = chunk or max(1, LOGITS.get(kind, LOGITS["cpu"]) // weight.shape[0])
    with torch.autocast(kind, enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, targets, rows)  # type: ignore[no-any-return, no-untyped-call]
