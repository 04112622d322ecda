"""Optimizers and schedules: groups with layer-wise decay, AdamW, Muon for hidden matrices, cosine with warm-up."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from qwenvl.config import Stage
from qwenvl.train.adamw_bf16 import AdamWBF16


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised by Newton–Schulz steps (Jordan et al. 2024, "Muon").

    Differs from torch's own in one thing: matrices of one shape are stacked and orthogonalised by batched products,
    which on small models on a CPU is what makes it affordable. The update is scaled by sqrt(max(1, rows / columns)).
    A group's `joined` says how many matrices stand one above the other in each weight (queries, keys and values: 3);
    each is made orthogonal by itself.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "joined": 1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; `closure` is not used."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for parameters in shapes.values():
                self._update(parameters, group)

    def _update(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        gradients = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None, "step takes those that have one"
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            gradients.append(gradient.lerp(state["momentum"], group["momentum"]))
        rows, columns = parameters[0].shape[0] // group["joined"], parameters[0].shape[1]
        updates = orthogonalise(torch.stack(gradients).view(-1, rows, columns)).reshape(len(parameters), -1, columns)
        scale = max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.to(parameter.dtype), alpha=-group["lr"] * scale)


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """(n, rows, columns) → the nearest semi-orthogonal matrices, roughly: singular values of about 0.7 … 1.2.

    Quintic Newton–Schulz with the coefficients 3.4445, −4.7750, 2.0315 of the Muon publication.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-2, -1) if tall else matrices
    if x.is_cuda:
        x = x.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(-2, -1)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.transpose(-2, -1) if tall else x


class Optimizers:
    """The optimizers of a stage as one: rates follow the schedule, state saves and loads together."""

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        self._stage = stage
        self.optimizers = _build(model, stage)

    def step(self, number: int) -> None:
        """Set the rates for step `number` (from 0), update, and clear the gradients."""
        factor = rate(number, self._stage) / self._stage.lr
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                set_rate(group, group["peak"] * factor)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """One state per optimizer."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """What `state_dict` gave."""
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def set_rate(group: dict[str, Any], lr: float) -> None:
    """Set a group's rate; torchao's optimizers hold it in a tensor, which must stay the same one."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def rate(step: int, stage: Stage) -> float:
    """The learning rate at `step`: linear warm-up to `lr`, then a cosine to `min_lr` at the last step."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(1, stage.steps - 1 - stage.warmup)
    return stage.min_lr + (stage.lr - stage.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _build(model: nn.Module, stage: Stage) -> list[torch.optim.Optimizer]:
    adam: dict[tuple[float, float, DeviceMesh | None], list[nn.Parameter]] = defaultdict(list)
    matrices: dict[tuple[float, int], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in trainable(model):
        scale = layer_scale(name, model, stage.layer_decay)
        if stage.optimizer == "muon" and is_hidden_matrix(name, parameter):
            matrices[scale, _joined(name, parameter)].append(parameter)
        else:
            decay = stage.weight_decay if parameter.ndim >= 2 else 0.0
            # one call updates a group at once, which PyTorch does for tensors of one mesh alone
            adam[scale, decay, mesh_of(parameter)].append(parameter)
    adam_groups = [
        {"params": parameters, "lr": stage.lr * scale, "peak": stage.lr * scale, "weight_decay": decay}
        for (scale, decay, _), parameters in adam.items()
    ]
    optimizers: list[torch.optim.Optimizer] = [_adam(stage)(adam_groups, lr=stage.lr, betas=stage.betas, eps=stage.eps)]
    if matrices:
        muon_groups = [
            {"params": parameters, "lr": stage.matrix_lr * scale, "peak": stage.matrix_lr * scale, "joined": joined}
            for (scale, joined), parameters in matrices.items()
        ]
        optimizers.append(Muon(muon_groups, lr=stage.matrix_lr, weight_decay=stage.weight_decay))
    return optimizers


def _adam(stage: Stage) -> Callable[..., torch.optim.Optimizer]:
    if stage.optimizer == "adamw_bf16":
        return AdamWBF16
    if stage.optimizer == "adamw_8bit":
        from torchao.optim import AdamW8bit

        return AdamW8bit  # type: ignore[no-any-return]
    return partial(torch.optim.AdamW, fused=True)


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that are not frozen, each once, by name."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def mesh_of(tensor: torch.Tensor) -> DeviceMesh | None:
    """The mesh that a tensor is spread over; None for a plain one."""
    return tensor.device_mesh if isinstance(tensor, DTensor) else None


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """True for weights between hidden states: not embeddings, the head, positions, queries or the patch convolution."""
    outer = ("embed", "lm_head", "query", "position", "patch")
    return parameter.ndim == 2 and not any(word in name for word in outer)


def _joined(name: str, parameter: nn.Parameter) -> int:
    if "gate_up" in name:
        return 2
    # a foreign decoder's qkv may hold fewer keys and values than queries: then it stays one matrix
    return 3 if "qkv" in name and parameter.shape[0] == 3 * parameter.shape[1] else 1


def layer_scale(name: str, model: nn.Module, decay: float) -> float:
    """The ViT's layer-wise rate factor (paper, table 8).

    decay^(layers − i) for block i counted from 1, the embedding as block 0.
    """
    if decay == 1.0 or "vision_tower" not in name:
        return 1.0
    layers: int = model.config.vision_config.num_hidden_layers  # type: ignore[union-attr, assignment]
    parts = name.split(".")
    block = next((int(part) + 1 for part in parts if part.isdecimal()), None)
    if block is None:
        block = layers + 1 if "post" in name else 0
    return float(decay ** max(0, layers - block))
