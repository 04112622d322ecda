"""A model spread over ranks by torch's FSDP2: each keeps a part of every weight, gradient and optimizer state.

A unit (a block of a tower, the adapter, and all the rest together) is gathered when it computes and let go afterwards
(Zhao et al. 2023, "PyTorch FSDP"). All ranks must gather the same units in the same order: see `with_picture`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
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
from qwenvl.model.language import QwenVLTextModel, TextBlock
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.optim import mesh_of
from qwenvl.train.tensor import TENSOR, split_decoder
from qwenvl.typed import ConfigError


def check_shardable(recipe: Recipe, world: int) -> None:
    """Raises ConfigError where the recipe's `parallel` does not go with its stages or with `world` ranks."""
    spec = recipe.parallel
    if spec is None:
        return
    copies = spec.replicate * spec.tensor
    shard = world // copies if spec.shard is None else spec.shard
    if shard < 1 or shard * copies != world:
        raise ConfigError(
            f"recipe {recipe.name!r}: parallel.shard {shard} × parallel.replicate {spec.replicate} × parallel.tensor "
            f"{spec.tensor} must be the number of processes, {world}; start as many with torchrun --nproc-per-node, or "
            "leave 'shard' out"
        )
    if spec.tensor > 1 and spec.replicate > 1:
        raise ConfigError(f"recipe {recipe.name!r}: parallel.tensor does not go with parallel.replicate; leave one out")
    if spec.tensor > 1 and recipe.lora is not None:
        raise ConfigError(f"recipe {recipe.name!r}: 'lora' does not go with parallel.tensor; leave one of them out")
    if recipe.lora is not None and recipe.lora.quantize is not None:
        raise ConfigError(f"recipe {recipe.name!r}: lora.quantize does not go with 'parallel'; leave one of them out")
    for stage in recipe.stages:
        where = f"recipe {recipe.name!r}: stage {stage.name!r}"
        if stage.optimizer == "muon":
            raise ConfigError(f"{where}: muon is for whole matrices, and 'parallel' shards them; take adamw")
        if stage.optimizer == "adamw_8bit":
            # it trains, but PyTorch's distributed checkpoints do not take torchao's kind of tensor
            raise ConfigError(f"{where}: adamw_8bit's state can't be saved with 'parallel'; take adamw_bf16")
        if stage.objective != "next_token":
            raise ConfigError(f"{where}: the objective {stage.objective!r} does not go with 'parallel'")
        if stage.rows < world // spec.tensor:
            readers = world // spec.tensor
            raise ConfigError(f"{where}: {stage.rows} rows are too few for {readers} ranks; each needs one at least")


def shard_model(model: QwenVLForConditionalGeneration, spec: ParallelSpec, precision: torch.dtype) -> None:
    """Spread `model` over all ranks, in place. Weights and reductions are float32, compute is in `precision`.

    Every rank must hold the same weights before, or none (on the meta device). Raises ConfigError for a decoder that
    can't be split over `spec.tensor` ranks.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=None if precision == torch.float32 else precision, reduce_dtype=torch.float32
    )
    offload = CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if spec.cpu_offload else OffloadPolicy()
    if spec.tensor == 1:
        mesh = of_split = _mesh(spec)
    else:
        _check_split(model, spec.tensor)
        both = _grid({"shard": torch.distributed.get_world_size() // spec.tensor, TENSOR: spec.tensor})
        split_decoder(model, both[TENSOR])
        # flat, so that what is summed over all ranks is summed once, to the same number on each
        of_split, mesh = both["shard"], both._flatten("everyone")
    everything: list[nn.Module] = [*units(model), model]
    for unit in everything:
        # what is not split is spread over all ranks, so that its copies in a group of `tensor` can't drift apart
        mine = of_split if isinstance(unit, TextBlock) else mesh
        fully_shard(unit, mesh=mine, mp_policy=policy, offload_policy=offload)


def _check_split(model: QwenVLForConditionalGeneration, ranks: int) -> None:
    text = model.config.text_config
    if not isinstance(model.model.language_model, QwenVLTextModel):
        raise ConfigError(f"parallel.tensor: the decoder {text.model_type} can't be split; only Qwen-VL's own can")
    for what, size in (("heads", text.num_attention_heads), ("numbers in the MLP", text.intermediate_size)):
        if size % ranks:
            raise ConfigError(f"parallel.tensor: {ranks} ranks can't share the decoder's {size} {what} evenly")


def units(model: QwenVLForConditionalGeneration) -> list[nn.Module]:
    """What is gathered together, in the order of the forward pass: blocks of the ViT, the adapter, the decoder's."""
    names = set(model._no_split_modules or ())
    # a sharded module is of a class of its own, made from the one that has the name
    return [module for module in model.modules() if names & {kind.__name__ for kind in type(module).__mro__}]


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


def gradient_norm(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """The norm of all their gradients, (); of sharded ones the norm of all ranks' parts, for which all ranks ask."""
    # PyTorch makes the norm of a list in one call, for tensors of one mesh alone
    norms = [nn.utils.get_total_norm([p.grad for p in group if p.grad is not None]) for group in _by_mesh(parameters)]
    return torch.stack([n.full_tensor() if isinstance(n, DTensor) else n for n in norms]).norm()


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Scale the gradients to a norm of `limit` at most; gives the norm before."""
    norm = gradient_norm(parameters)
    for group in _by_mesh(parameters):
        nn.utils.clip_grads_with_norm_(group, limit, norm)
    return float(norm)


def _by_mesh(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    meshes: dict[DeviceMesh | None, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        meshes[mesh_of(parameter)].append(parameter)
    return list(meshes.values())


def _mesh(spec: ParallelSpec) -> DeviceMesh:
    world = torch.distributed.get_world_size()
    if spec.replicate == 1:
        return _grid({"shard": world})
    return _grid({"replicate": spec.replicate, "shard": world // spec.replicate})


def _grid(sizes: dict[str, int]) -> DeviceMesh:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    return init_device_mesh(kind, tuple(sizes.values()), mesh_dim_names=tuple(sizes))
