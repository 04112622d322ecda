"""Training operations with hand-written gradients: fewer and larger steps than autograd's own, the same numbers.

At nano size on a CPU a step is bound by passes over memory as much as by matrix products. Autograd fills zeros and adds
where one tensor was cut into several (q, k, v; gate, up); these functions write each gradient once, in its place.
torch.compile joins such steps itself, so it is given the plain forms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional


def turn_tables(angles: Tensor) -> tuple[Tensor, Tensor]:
    """What `split_heads` takes for angles (…, L, D/2): cosines and sines (…, L, D), the sines' first half negated."""
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def _turn(source: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    """Write `source` turned to `out`: channel i with channel i + D/2; the tables are `turn_tables`'."""
    half = source.shape[-1] // 2
    torch.mul(source, cos, out=out)
    out[..., :half].addcmul_(source[..., half:], sin[..., :half])
    out[..., half:].addcmul_(source[..., :half], sin[..., half:])


class _SplitHeads(Function):
    """See `split_heads`."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, cos: Tensor | None, sin: Tensor | None) -> tuple[Tensor, ...]:
        batch, length, width = qkv.shape
        parts = qkv.view(batch, length, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
        if cos is None or sin is None:
            ctx.save_for_backward(None, None)
            return parts.contiguous().unbind(0)
        ctx.save_for_backward(cos, sin)
        out = torch.empty(parts.shape, dtype=qkv.dtype, device=qkv.device)
        _turn(parts[:2], cos, sin, out[:2])
        out[2].copy_(parts[2])
        return out.unbind(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        batch, heads, length, dim = grads[0].shape
        out = torch.empty(batch, length, 3, heads, dim, dtype=grads[0].dtype, device=grads[0].device)
        for index, grad in enumerate(grads):
            place = out[:, :, index].transpose(1, 2)
            if cos is None or index == 2:
                place.copy_(grad)
            else:
                # The inverse of a rotation turns the other way.
                _turn(grad, cos, -sin, place)
        return out.view(batch, length, -1), None, None, None


def split_heads(qkv: Tensor, heads: int, cos: Tensor | None = None, sin: Tensor | None = None) -> tuple[Tensor, ...]:
    """(B, L, 3 · heads · D), q before k before v → three (B, heads, L, D); q and k turned by rotary positions if given.

    `cos`, `sin`: (B or 1, 1, L, D), made by `turn_tables`; channel i turns with channel i + D/2.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _split_heads_plainly(qkv, heads, cos, sin)
    return _SplitHeads.apply(qkv, heads, cos, sin)  # type: ignore[no-any-return, no-untyped-call]


def _split_heads_plainly(qkv: Tensor, heads: int, cos: Tensor | None, sin: Tensor | None) -> tuple[Tensor, ...]:
    """As `split_heads`, by autograd's own steps: half the calls, which is what one new token costs, and views."""
    batch, length, width = qkv.shape
    parts = qkv.view(batch, length, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    if cos is None or sin is None:
        return parts.unbind(0)
    turned = parts[:2]
    turned = torch.addcmul(turned * cos, turned.roll(turned.shape[-1] // 2, -1), sin)
    return turned[0], turned[1], parts[2]


class _Attend(Function):
    """See `attend`."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, block: int) -> Tensor:
        batch, heads, rows, dim = q.shape
        q, k, v = (x.reshape(batch * heads, x.shape[2], dim) for x in (q, k, v))
        out, weights = torch.empty_like(q), []
        for start, end, seen in _blocks(rows, k.shape[1], block):
            part = None if mask is None else mask[..., start:end, :seen]
            weights.append(attention_weights(q[:, start:end], k[:, :seen], part, scaling, batch))
            out[:, start:end] = torch.bmm(weights[-1], v[:, :seen])
        ctx.save_for_backward(q, k, v, *weights)
        ctx.scaling, ctx.block = scaling, block
        return out.view(batch, heads, rows, dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, *weights = ctx.saved_tensors
        batch, heads, rows, dim = grad.shape
        grad = grad.reshape(batch * heads, rows, dim)
        grad_q, grad_k, grad_v = torch.empty_like(q), k, v
        blocks = list(zip(_blocks(rows, k.shape[1], ctx.block), weights, strict=True))
        for (start, end, seen), mixed in reversed(blocks):
            above, queries = grad[:, start:end], q[:, start:end]
            add_v = torch.bmm(mixed.transpose(1, 2), above)
            inner = torch.bmm(above, v[:, :seen].transpose(1, 2))
            torch.ops.aten._softmax_backward_data.out(inner, mixed, -1, mixed.dtype, grad_input=inner)
            grad_q[:, start:end] = torch.bmm(inner, k[:, :seen])
            add_k = torch.bmm(inner.transpose(1, 2), queries)
            if seen == k.shape[1]:
                # The last block sees every column, so it comes first and the others are added.
                grad_k, grad_v = add_k, add_v
            else:
                grad_k[:, :seen] += add_k
                grad_v[:, :seen] += add_v
        shaped = [x.view(batch, heads, -1, dim) for x in (grad_q.mul_(ctx.scaling), grad_k.mul_(ctx.scaling), grad_v)]
        return shaped[0], shaped[1], shaped[2], None, None, None


def _blocks(rows: int, columns: int, block: int) -> list[tuple[int, int, int]]:
    """(first row, end, columns seen) of each block of rows; `block` 0: one block that sees every column."""
    if not block:
        return [(0, rows, columns)]
    return [(start, min(start + block, rows), min(start + block, rows)) for start in range(0, rows, block)]


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None, scaling: float, batch: int) -> Tensor:
    """softmax(scaling · q kᵀ + mask) of (B · H, L, D) and (B · H, S, D); `mask` broadcasts to (B, H, L, S)."""
    total, rows, columns = q.shape[0], q.shape[1], k.shape[1]
    scores = torch.empty(batch, total // batch, rows, columns, dtype=q.dtype, device=q.device)
    if mask is not None:
        # The product is added onto the mask, which saves one pass over the scores.
        scores.copy_(mask[..., :columns])
    flat = scores.view(total, rows, columns)
    flat.baddbmm_(q, k.transpose(1, 2), beta=0 if mask is None else 1, alpha=scaling)
    if flat.dtype == torch.float32 and not torch.is_grad_enabled():
        return torch.softmax(flat, -1, out=flat)
    return flat.softmax(-1, dtype=torch.float32).to(q.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, block: int = 0) -> Tensor:
    """Attention of (B, H, L, D) over (B, H, S, D) by matrix products → (B, H, L, D); `mask` is an additive float.

    With `block`, only for masks that let no row see a later column (L = S): rows are taken by so many, and the columns
    after them are left out.
    """
    if torch.compiler.is_compiling():
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    return _Attend.apply(q, k, v, mask, scaling, block)  # type: ignore[no-any-return, no-untyped-call]


class _SwiGLU(Function):
    """See `swiglu`."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        active = functional.silu(gate)
        ctx.save_for_backward(gate_up, active)
        return active * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gate_up, active = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        out = torch.empty_like(gate_up)
        grad_gate, grad_up = out.chunk(2, dim=-1)
        torch.mul(grad, active, out=grad_up)
        torch.mul(grad, up, out=grad_gate)
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return out


def swiglu(gate_up: Tensor) -> Tensor:
    """(…, 2n), gate before up → silu(gate) · up, (…, n)."""
    if not torch.is_grad_enabled():
        gate, up = gate_up.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)
    if torch.compiler.is_compiling():
        gate, up = gate_up.chunk(2, dim=-1)
        return functional.silu(gate) * up
    return _SwiGLU.apply(gate_up)  # type: ignore[no-any-return, no-untyped-call]


class _RMSNorm(Function):
    """See `rms_norm`."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        inverse = norm.square_().div_(hidden.shape[-1]).add_(eps).rsqrt_()
        unit = hidden * inverse
        ctx.save_for_backward(unit, weight, inverse)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        unit, weight, inverse = ctx.saved_tensors
        width = weight.shape[0]
        product = grad * unit
        grad_weight = product.reshape(-1, width).sum(0) if ctx.needs_input_grad[1] else None
        along = torch.matmul(product, weight).mul_(-1 / width).unsqueeze(-1)
        return torch.mul(grad, weight, out=product).addcmul_(unit, along).mul_(inverse), grad_weight, None


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """hidden / √(mean of squares + eps) · weight over the last axis."""
    by_hand = hidden.dtype == torch.float32 and hidden.device.type == "cpu" and torch.is_grad_enabled()
    if by_hand and not torch.compiler.is_compiling():
        return _RMSNorm.apply(hidden, weight, eps)  # type: ignore[no-any-return, no-untyped-call]
    return functional.rms_norm(hidden, weight.shape, weight, eps)
