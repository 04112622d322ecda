"""Linear layers laid out for oneDNN: the CPU path of decoding, which is bound by reading weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_BATCH = 16
"""The rows that the layout is chosen for: right for one token and for sixteen, and no loss at prefill."""


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of torch, on this machine, has oneDNN's linear layers for `dtype`."""
    ops = torch.ops.mkldnn
    if not (torch.backends.mkldnn.is_available() and hasattr(ops, "_linear_pointwise")):
        return False
    if not hasattr(ops, "_reorder_linear_weight"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(ops._is_mkldnn_bf16_supported()))


class PackedLinear(nn.Module):
    """A linear layer whose weight, which does not train, lies in oneDNN's own blocked layout.

    Its state is that of the `nn.Linear` it stands for, so the model is saved as before. Moved to a device or type that
    has no packed form, it computes as a plain layer.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._packed: Tensor | None = None
        self._plain: Tensor | None = linear.weight.detach()
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())
        self.bias: Tensor | None
        self._pack()

    def _pack(self) -> None:
        if self._plain is not None and self._plain.device.type == "cpu" and can_pack(self._plain.dtype):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._plain.contiguous(), _BATCH)
            self._plain = None

    @property
    def weight(self) -> Tensor:
        """The weight as `nn.Linear` holds it, (out, in): a copy while it is packed."""
        if self._packed is not None:
            return self._packed.to_dense()
        assert self._plain is not None
        return self._plain

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        # oneDNN's layer has no gradient of its own; a plain one has, for what comes before it.
        if self._packed is None or (torch.is_grad_enabled() and hidden.requires_grad):
            return nn.functional.linear(hidden, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(hidden, self._packed, self.bias, "none", [], "")

    def extra_repr(self) -> str:
        """As `nn.Linear` describes itself."""
        how = "packed" if self._packed is not None else "plain"
        return f"in_features={self.in_features}, out_features={self.out_features}, {how}"

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        self._plain, self._packed = fn(self.weight), None
        super()._apply(fn, recurse)
        self._pack()
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.weight
        super()._save_to_state_dict(destination, prefix, keep_vars)


def prepare_for_cpu(model: nn.Module) -> int:
    """Pack the decoder's linear layers and the head in place; returns how many were packed.

    For answering on a CPU, in float32 or bfloat16: the model is put into evaluation mode and its parameters no longer
    ask for gradients. Memory stays as it is, because each weight is freed once its packed form is made. A head that
    shares its weight with the embeddings, layers on another device, and everything on a machine whose torch has no
    oneDNN are left alone (then the result is 0). Instead of `torch.compile`, which packs on its own, not beside it.
    """
    model.eval().requires_grad_(False)
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    shared = getattr(embedding, "weight", None)
    count = 0
    for parent, name in _decoder_linears(model):
        linear = getattr(parent, name)
        if linear.weight is shared or linear.weight.device.type != "cpu" or not can_pack(linear.weight.dtype):
            continue
        setattr(parent, name, PackedLinear(linear))
        count += 1
    return count


def _decoder_linears(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where plain linear layers are, (parent, name), those of the vision tower and the adapter left out.

    They see a picture's hundreds of rows at once, where the layout gains nothing; and layers of other types, such as
    quantised or LoRA ones, have their own way. Not the layers themselves: the list must not keep their weights.
    """
    found = []
    for path, parent in model.named_modules():
        if {"vision_tower", "adapter"} & set(path.split(".")):
            continue
        found += [(parent, name) for name, child in parent.named_children() if type(child) is nn.Linear]
    return found
