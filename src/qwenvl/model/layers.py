"""The small parts that tower, adapter and decoder share: matmul attention, RMSNorm, the start of residual layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from qwenvl.model.kernels import attend, attention_weights, rms_norm

# Rows that attend together, without the columns after them. Smaller blocks leave out more and start more often.
_BLOCK = 64


def matmul_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    lower_triangular: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """softmax(scaling · q kᵀ + mask) v.

    `query` (B, H, L, D); `key`, `value` (B, H, S, D); `attention_mask` None or an additive float that broadcasts to
    (B, H, L, S); `lower_triangular` says that it lets no row see a later column (L = S). Returns the mixed values as
    (B, L, H, D), and None where transformers may want the weights.
    """
    if not dropout:
        block = _BLOCK if lower_triangular and query.shape[2] >= 2 * _BLOCK else 0
        return attend(query, key, value, attention_mask, scaling, block).transpose(1, 2).contiguous(), None
    batch, heads, rows, width = query.shape
    flat = [x.reshape(batch * heads, x.shape[2], width) for x in (query, key, value)]
    weights = attention_weights(flat[0], flat[1], attention_mask, scaling, batch)
    mixed = torch.bmm(functional.dropout(weights, dropout, module.training), flat[2])
    return mixed.view(batch, heads, rows, width).transpose(1, 2).contiguous(), None


# Among transformers' attention functions under its own name: the fastest one for short rows on CPU.
ALL_ATTENTION_FUNCTIONS.register("matmul", matmul_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register("matmul", eager_mask)


class RMSNorm(nn.Module):
    """x / rms(x) · weight, over the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """Any (…, width) → the same shape and type."""
        return rms_norm(hidden, self.weight, self.eps)


def residual_linear(linear: nn.Linear, layers: int) -> nn.Linear:
    """Mark a linear layer as one of the 2 · `layers` whose outputs add up in a residual stream."""
    linear.init_factor = (2 * layers) ** -0.5  # type: ignore[assignment]
    return linear


def init_residual_linear(module: nn.Module, std: float) -> None:
    """Start a marked layer smaller, so that the sum in the stream keeps its size at any depth; leave the others."""
    if isinstance(module, nn.Linear) and hasattr(module, "init_factor"):
        initialization.normal_(module.weight, std=std * float(module.init_factor))  # type: ignore[arg-type]
