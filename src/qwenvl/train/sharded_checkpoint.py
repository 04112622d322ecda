"""Checkpoints of a sharded model: every rank writes its own part (torch.distributed.checkpoint), rank 0 the last word.

The folder gets its name when all parts are whole, so a kill at any moment leaves the checkpoint before. Another number
of ranks reads it too: tensors are found by name and place, not by rank.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from qwenvl.train.checkpoint import Progress, drop_old
from qwenvl.train.errors import CheckpointError
from qwenvl.train.parallel import Ranks

PARTS = "parts"
"""The folder of the ranks' parts in a checkpoint."""


def save_sharded(
    folder: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], progress: Progress, ranks: Ranks
) -> Path:
    """Write `folder/<stage>-<step>` together; without `optimizers`, the weights alone. Raises CheckpointError."""
    name = f"{progress.stage:02d}-{progress.step:08d}"
    temporary, final = folder / f".{name}.part", folder / name
    if ranks.first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    ranks.barrier()
    state: dict[str, Any] = {"model": get_model_state_dict(model)}
    if optimizers:
        state["optimizer"] = get_optimizer_state_dict(model, optimizers)
    try:
        save(state, checkpoint_id=temporary / PARTS)
        if ranks.first:
            _finish(temporary, final, progress)
            drop_old(folder)
    except (OSError, CheckpointException) as error:
        raise CheckpointError(
            f"{final}: could not be written ({error}); the checkpoint before it is untouched"
        ) from error
    ranks.barrier()
    return final


def _finish(temporary: Path, final: Path, progress: Progress) -> None:
    state = {"stage": progress.stage, "step": progress.step, "loader": progress.loader, "extra": progress.extra}
    (temporary / "progress.json").write_text(json.dumps(state), encoding="utf-8")
    for path in temporary.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)


def load_sharded(checkpoint: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    """Put the weights, or with `optimizers` their state, into what is sharded already. Raises CheckpointError."""
    try:
        if optimizers:
            held = {"optimizer": get_optimizer_state_dict(model, optimizers)}
            load(held, checkpoint_id=checkpoint / PARTS)
            set_optimizer_state_dict(model, optimizers, optim_state_dict=held["optimizer"])
        else:
            weights = {"model": get_model_state_dict(model)}
            load(weights, checkpoint_id=checkpoint / PARTS)
            set_model_state_dict(model, weights["model"])
    except (OSError, CheckpointException, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint}: not readable ({error}); remove this folder to use the one before"
        ) from None


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The whole model's weights on the CPU of rank 0, tied ones once; nothing on the others. Every rank must call it."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    once = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    state: dict[str, Any] = get_model_state_dict(model, options=options)
    return {name: tensor for name, tensor in state.items() if name in once}
