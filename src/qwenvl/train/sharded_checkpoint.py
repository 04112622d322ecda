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
import torch.distributed as dist
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
from torch.distributed.checkpoint.state_dict_saver import async_save

from qwenvl.model.lora import has_lora, is_lora
from qwenvl.train.checkpoint import Damaged, Progress, drop_old
from qwenvl.train.errors import CheckpointError
from qwenvl.train.parallel import Ranks
from qwenvl.train.tensor import as_stored, by_kind

PARTS = "parts"
"""The folder of the ranks' parts in a checkpoint."""


class Saver:
    """Writes checkpoints beside the training, one at a time; a context that ends when the last one is written."""

    def __init__(self, folder: Path, ranks: Ranks, kept: int = 2) -> None:
        self._folder, self._ranks, self._kept = folder, ranks, kept
        # the writing threads speak with each other while training does: that needs a line of their own
        self._group = dist.new_group(backend="gloo")
        self._writing: Any = None
        self._failed: OSError | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.wait()
        except CheckpointError:
            if kind is None:
                raise

    def save(self, model: nn.Module, optimizers: list[torch.optim.Optimizer], progress: Progress) -> None:
        """Copy the state and begin to write `<stage>-<step>`; without `optimizers`, the weights alone.

        Waits for the checkpoint before, and raises CheckpointError where that one could not be written.
        """
        failed: CheckpointError | None = None
        try:
            self.wait()
        except CheckpointError as error:
            failed = error
        # rank 0 alone knows of a failure to finish: the others must not begin the next one without it
        if self._ranks.any(failed is not None):
            raise failed or CheckpointError(f"{self._folder}: another rank could not write a checkpoint")
        name = f"{progress.stage:02d}-{progress.step:08d}"
        temporary, final = self._folder / f".{name}.part", self._folder / name
        if self._ranks.first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self._ranks.barrier()
        state: dict[str, Any] = {"model": _learnt(model)}
        if optimizers:
            state["optimizer"] = get_optimizer_state_dict(model, optimizers)
        self._writing = async_save(state, checkpoint_id=temporary / PARTS, process_group=self._group)
        if self._ranks.first:
            # rank 0 writes the index when all others are done, so its end is everyone's
            self._writing.add_done_callback(lambda written: self._name(written, temporary, final, progress))

    def wait(self) -> None:
        """Wait until what was begun is written by this rank. Raises CheckpointError."""
        writing, self._writing = self._writing, None
        failed, self._failed = self._failed, None
        try:
            if writing is not None:
                writing.result()
            if failed is not None:
                raise failed
        except (OSError, RuntimeError, CheckpointException) as error:
            raise CheckpointError(
                f"{self._folder}: a checkpoint could not be written ({error}); the one before it is untouched"
            ) from error

    def _name(self, written: Any, temporary: Path, final: Path, progress: Progress) -> None:
        if written.exception() is not None:
            return  # `wait` says so
        try:
            _finish(temporary, final, progress)
            drop_old(self._folder, self._kept)
        except OSError as error:
            self._failed = error


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
    """Put the weights, or with `optimizers` their state, into what is sharded already. Raises Damaged."""
    try:
        if optimizers:
            held = {"optimizer": get_optimizer_state_dict(model, optimizers)}
            load(held, checkpoint_id=checkpoint / PARTS)
            set_optimizer_state_dict(model, optimizers, optim_state_dict=held["optimizer"])
        else:
            weights = {"model": _learnt(model)}
            load(weights, checkpoint_id=checkpoint / PARTS)
            set_model_state_dict(model, weights["model"], options=StateDictOptions(strict=False))
    except (OSError, CheckpointException, RuntimeError) as error:
        raise Damaged(f"{checkpoint}: not readable ({error})") from None


def load_whole(checkpoint: Path, model: nn.Module, tensor: int) -> None:
    """Put the weights into a model that is not sharded, in a process of its own. Raises Damaged.

    `tensor` ranks shared the decoder's products when it was written.
    """
    weights = {"model": _learnt(model)}
    try:
        load(weights, checkpoint_id=checkpoint / PARTS, no_dist=True)
    except (OSError, CheckpointException, RuntimeError) as error:
        raise Damaged(f"{checkpoint}: not readable ({error})") from None
    whole: dict[str, Any] = {name: by_kind(name, part, tensor) for name, part in weights["model"].items()}
    set_model_state_dict(model, whole, options=StateDictOptions(strict=False))


def _learnt(model: nn.Module) -> dict[str, Any]:
    """What training changes: the low-rank additions where the model has some, which are added to what is read again."""
    state = get_model_state_dict(model)
    return {name: part for name, part in state.items() if is_lora(name)} if has_lora(model) else state


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The whole weights on the CPU of rank 0, tied ones once; nothing on the others. Every rank must call it."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    once = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    if has_lora(model):
        options.ignore_frozen_params = True
    state: dict[str, Any] = get_model_state_dict(model, options=options)
    return as_stored(model, {name: tensor for name, tensor in state.items() if name in once})
