"""Where a run stands: the newest checkpoint that can be read, on all ranks the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qwenvl.config import Recipe
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train import checkpoint
from qwenvl.train.build import resolve_precision
from qwenvl.train.checkpoint import Damaged, Progress
from qwenvl.train.errors import CheckpointError
from qwenvl.train.parallel import Ranks
from qwenvl.train.shard import is_sharded
from qwenvl.train.sharded_checkpoint import load_sharded


@dataclass
class State:
    """Where the run stands. Beside it the optimizers' state, or of a sharded model the checkpoint that has it."""

    progress: Progress
    optimizer: list[dict[str, Any]] | None = None
    sharded: Path | None = None


def newest(out: Path) -> Progress | None:
    """Where the run in `out` stands by its newest readable checkpoint; None where there is none."""
    for last in reversed(checkpoint.complete(out / "checkpoints")):
        try:
            return checkpoint.read_progress(last)
        except Damaged:
            continue
    return None


def precision_of(recipe: Recipe, out: Path) -> torch.dtype:
    """The type for matrix products: the one that the run began with, else what the recipe says."""
    before = newest(out)
    if before is not None:
        return getattr(torch, before.extra["precision"])  # type: ignore[no-any-return]
    return resolve_precision(recipe.precision)


def resume(model: QwenVLForConditionalGeneration, precision: torch.dtype, out: Path, ranks: Ranks) -> State:
    """Put the weights of the newest checkpoint into `model`; the beginning where nothing is saved.

    One that is damaged on any rank is said, set aside, and the one before is taken. Raises CheckpointError where there
    are some and none can be read, or they are of another model.
    """
    checkpoints = checkpoint.complete(out / "checkpoints")
    ranks.barrier()
    for last in reversed(checkpoints):
        reason = ""
        try:
            state = _read(model, last)
        except Damaged as error:
            reason = str(error)
        if not ranks.any(bool(reason)):
            return state
        ranks.barrier()  # all have read: the folder may be renamed
        if ranks.first:
            checkpoint.set_aside(last)
            print(f"{reason or f'{last}: not readable on another rank'}; the checkpoint before it is used", flush=True)
    if checkpoints:
        raise CheckpointError(
            f"{out / 'checkpoints'}: none of the {len(checkpoints)} checkpoints can be read. They are set aside there "
            "(.damaged-…): restore one, or start over with --fresh"
        )
    name = str(precision).removeprefix("torch.")
    return State(Progress(0, 0, None, {"elapsed": 0.0, "precision": name, "world": ranks.world}))


def _read(model: QwenVLForConditionalGeneration, last: Path) -> State:
    progress = checkpoint.read_progress(last)
    if not is_sharded(model):
        return State(progress, checkpoint.load(last, model))
    load_sharded(last, model, [])
    return State(progress, sharded=last if progress.step else None)
