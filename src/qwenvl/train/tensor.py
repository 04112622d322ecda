"""Tensor parallel: neighbouring ranks share the decoder's matrix products (Shoeybi et al. 2019, "Megatron-LM").

Each takes some heads and a part of the MLP, and two sums a block join them. The paper trains stages 2 and 3 so, with 2
ranks (appendix, table 8). A weight that holds queries, keys and values one above the other is laid out anew, so that an
even cut gives each rank its heads of all three; what is written to a folder has the old layout again.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from qwenvl.model.language import QwenVLTextModel
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration

TENSOR = "tensor"
"""The name of the mesh's dimension."""

_PACKED = {"qkv_proj": 3, "gate_up_proj": 2}
"""How many matrices stand one above the other in a decoder layer's weight."""


def split_decoder(model: QwenVLForConditionalGeneration, mesh: DeviceMesh) -> None:
    """Give this rank its part of each decoder block's products, in place; `mesh` is that of the ranks that share them.

    Every rank must hold the same weights before, or none (on the meta device).
    """
    decoder = model.model.language_model
    assert isinstance(decoder, QwenVLTextModel), "check_shardable refuses others"
    ranks = mesh.size()
    for name, parameter in decoder.named_parameters():
        if not parameter.is_meta:
            parameter.data = by_rank(f"model.language_model.{name}", parameter.data, ranks)
    plan: dict[str, ParallelStyle] = {
        "attn.qkv_proj": ColwiseParallel(),
        "attn.o_proj": RowwiseParallel(),
        "gate_up_proj": ColwiseParallel(),
        "down_proj": RowwiseParallel(),
    }
    for block in decoder.layers:
        parallelize_module(block, mesh, plan)
        block.attn.heads //= ranks  # type: ignore[operator, union-attr]


def by_rank(name: str, tensor: Tensor, ranks: int) -> Tensor:
    """A whole parameter as it is laid out for `ranks`: each one's queries, keys and values together."""
    packed = _packed(name)
    return tensor if packed == 1 else tensor.unflatten(0, (packed, ranks, -1)).transpose(0, 1).reshape(tensor.shape)


def by_kind(name: str, tensor: Tensor, ranks: int) -> Tensor:
    """What `by_rank` was given."""
    packed = _packed(name)
    return tensor if packed == 1 else tensor.unflatten(0, (ranks, packed, -1)).transpose(0, 1).reshape(tensor.shape)


def as_stored(model: nn.Module, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The whole weights of a sharded model in the layout of its folder."""
    ranks = tensor_ranks(model)
    return {name: by_kind(name, tensor, ranks) for name, tensor in whole.items()}


def tensor_ranks(model: nn.Module) -> int:
    """How many ranks share the decoder's products; 1 for a model that is not split."""
    meshes = {p.device_mesh for p in model.parameters() if isinstance(p, DTensor)}
    return max((mesh[TENSOR].size() for mesh in meshes if TENSOR in (mesh.mesh_dim_names or ())), default=1)


def _packed(name: str) -> int:
    words = name.split(".")
    return _PACKED.get(words[-2], 1) if "language_model" in words else 1
