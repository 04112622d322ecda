"""A model spread over ranks by torch's FSDP2: each keeps a part of every weight, gradient and optimizer state.

A unit (a block of a tower, the adapter, and all the rest together) is gathered when it computes and let go afterwards
(Zhao et al. 2023, "PyTorch FSDP"). All ranks must gather the same units in the same order: see `with_picture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor

from qwenvl.config import ParallelSpec, Recipe
from qwenvl.data.loader import Batch
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.typed import ConfigError


def check_shardable(recipe: Recipe, world: int) -> None:
    """Raises ConfigError where the recipe's `parallel` does not go with its stages or with `world` ranks."""
    spec = recipe.parallel
    if spec is None:
        return
    shard = world // spec.replicate if spec.shard is None else spec.shard
    if shard < 1 or shard * spec.replicate != world:
        raise ConfigError(
            f"recipe {recipe.name!r}: parallel.shard {shard} × parallel.replicate {spec.replicate} must be the number "
            f"of processes, {world}; start as many with torchrun --nproc-per-node, or leave 'shard' out"
        )
    if recipe.lora is not None:
        raise ConfigError(f"recipe {recipe.name!r}: 'lora' does not go with 'parallel' yet; leave one of them out")
    for stage in recipe.stages:
        where = f"recipe {recipe.name!r}: stage {stage.name!r}"
        if stage.optimizer == "muon":
            raise ConfigError(f"{where}: muon is for whole matrices, and 'parallel' shards them; take adamw")
        if stage.objective != "next_token":
            raise ConfigError(f"{where}: the objective {stage.objective!r} does not go with 'parallel'")
        if stage.rows < world:
            raise ConfigError(f"{where}: {stage.rows} rows are too few for {world} ranks; each needs one at least")


def shard_model(model: QwenVLForConditionalGeneration, spec: ParallelSpec, precision: torch.dtype) -> None:
    """Spread `model` over all ranks, in place. Weights and reductions are float32, compute is in `precision`.

    Every rank must hold the same weights before.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=None if precision == torch.float32 else precision, reduce_dtype=torch.float32
    )
    offload = CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if spec.cpu_offload else OffloadPolicy()
    mesh = _mesh(spec)
    everything: list[nn.Module] = [*units(model), model]
    for unit in everything:
        fully_shard(unit, mesh=mesh, mp_policy=policy, offload_policy=offload)


def units(model: QwenVLForConditionalGeneration) -> list[nn.Module]:
    """What is gathered together, in the order of the forward pass: blocks of the ViT, the adapter, the decoder's."""
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def is_sharded(model: nn.Module) -> bool:
    """True after `shard_model`."""
    return isinstance(model, FSDPModule)


def with_picture(batch: Batch) -> Batch:
    """The batch of a rank whose rows hold no picture, though another's do, with a black one that no text shows.

    Without it the ranks with pictures would wait for ever for this one to gather the ViT with them. No slot takes the
    picture's embeddings, so its gradients are zeros.
    """
    if len(batch.pixels) or not batch.runs:
        return batch
    return replace(batch, pixels=np.zeros((1, *batch.pixels.shape[1:]), batch.pixels.dtype))


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Scale the gradients to a norm of `limit` at most; gives the norm before, that of all ranks' parts."""
    norm: Tensor = nn.utils.clip_grad_norm_(parameters, limit)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _mesh(spec: ParallelSpec) -> DeviceMesh:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    world = torch.distributed.get_world_size()
    if spec.replicate == 1:
        return init_device_mesh(kind, (world,), mesh_dim_names=("shard",))
    sizes = (spec.replicate, world // spec.replicate)
    return init_device_mesh(kind, sizes, mesh_dim_names=("replicate", "shard"))
