"""What is measured of a step beside its losses: gradients and rates by part, memory, and use of the hardware (MFU)."""

from __future__ import annotations

import resource
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from qwenvl.config import Stage
from qwenvl.data.loader import Batch
from qwenvl.model.names import part_of
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.flops import StepFlops, Work, work_of
from qwenvl.train.optim import trainable
from qwenvl.train.peaks import peak_here
from qwenvl.train.shard import gradient_norm


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """`grad_norm/<part>`: the norm of each training part's gradients. Of a sharded model every rank must ask."""
    parts: dict[str, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in trainable(model):
        if parameter.grad is not None:
            parts[part_of(name)].append(parameter)
    return {f"grad_norm/{part}": round(float(gradient_norm(parameters)), 5) for part, parameters in parts.items()}


def rates(optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, float]:
    """`rate/<optimizer>` the highest rate of its groups, and `rate_low/…` the lowest where layers differ."""
    found = {}
    for optimizer in optimizers:
        name = type(optimizer).__name__.lower()
        values = [float(group["lr"]) for group in optimizer.param_groups]
        found[f"rate/{name}"] = max(values)
        if min(values) < max(values):
            found[f"rate_low/{name}"] = min(values)
    return found


def memory() -> dict[str, float]:
    """The most that was taken so far, in GB: `memory_gb` of the GPU, or of the process where there is none."""
    if torch.cuda.is_available():
        return {"memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 3)}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)}


class Use:
    """Counts the operations of a stage's steps, for the share of the hardware's peak that they make use of (MFU).

    `peak` in operations a second is that of one rank's device; without one nothing is counted.
    """

    def __init__(self, model: QwenVLForConditionalGeneration, stage: Stage, precision: torch.dtype) -> None:
        device = next(model.parameters()).device
        self.peak = peak_here(precision, device)
        self._flops = StepFlops(model)
        self._isolate, self._words = stage.isolate, stage.objective == "next_token"
        self._patch = int(model.config.vision_config.patch_size)
        self.done = 0.0

    def add(self, batches: Sequence[Batch]) -> None:
        """This rank's micro-batches of a step."""
        if self.peak is None:
            return
        for batch in batches:
            work = work_of(batch, self._isolate, self._patch)
            if not self._words:
                work = Work(0, 0, 0, work.pictures, work.patches)
            self.done += self._flops.of(work).model
