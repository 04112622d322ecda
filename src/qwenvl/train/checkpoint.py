"""Checkpoints of a run in progress: written beside, then renamed, so that a kill at any moment leaves the last one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from qwenvl.model.lora import has_lora, lora_state
from qwenvl.train.errors import CheckpointError


class Damaged(CheckpointError):
    """A checkpoint whose files are missing or cut: the one before it may be whole."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: finished stages, the step within the current one, and the loader's state there."""

    stage: int
    step: int
    loader: dict[str, Any] | None
    extra: dict[str, Any]


def save(
    folder: Path, model: nn.Module, optimizer: list[dict[str, Any]] | None, progress: Progress, kept: int = 2
) -> Path:
    """Write `folder/<stage>-<step>`; of all checkpoints the last `kept` stay. Raises CheckpointError."""
    name = f"{progress.stage:02d}-{progress.step:08d}"
    temporary, final = folder / f".{name}.part", folder / name
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        tensors = {key: value.contiguous() for key, value in _learnt(model).items()}
        save_file(tensors, temporary / "model.safetensors")
        torch.save({"optimizer": optimizer, "rng": torch.get_rng_state()}, temporary / "optimizer.pt")
        state = {"stage": progress.stage, "step": progress.step, "loader": progress.loader, "extra": progress.extra}
        (temporary / "progress.json").write_text(json.dumps(state), encoding="utf-8")
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors say a full disk in their own way
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"{final}: could not be written ({error}); the checkpoint before it is untouched"
        ) from error
    drop_old(folder, kept)
    return final


def drop_old(folder: Path, kept: int) -> None:
    """Remove all checkpoints in `folder` but the last ones."""
    for old in complete(folder)[:-kept]:
        shutil.rmtree(old, ignore_errors=True)


def set_aside(damaged: Path) -> None:
    """Rename a damaged checkpoint, so that it counts no more and is not lost."""
    target = damaged.with_name(f".damaged-{damaged.name}")
    shutil.rmtree(target, ignore_errors=True)
    damaged.rename(target)


def complete(folder: Path) -> list[Path]:
    """The whole checkpoints in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if (path / "progress.json").is_file() and path.name[0] != ".")


def read_progress(checkpoint: Path) -> Progress:
    """Where the run stood. Raises Damaged."""
    try:
        state = json.loads((checkpoint / "progress.json").read_text(encoding="utf-8"))
        return Progress(state["stage"], state["step"], state["loader"], state["extra"])
    except (OSError, ValueError, KeyError) as error:
        raise Damaged(f"{checkpoint / 'progress.json'}: not readable ({error})") from None


def load(checkpoint: Path, model: nn.Module) -> list[dict[str, Any]] | None:
    """Put the weights into `model` and the random state back; give the optimizer's state.

    Raises Damaged where a file is cut or missing, CheckpointError where the weights are of another model.
    """
    try:
        tensors = load_file(checkpoint / "model.safetensors")
        rest = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    except Exception as error:
        raise Damaged(f"{checkpoint}: not readable ({error})") from None
    wanted = set(_learnt(model))
    missing, unexpected = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if unexpected or missing:
        raise CheckpointError(
            f"{checkpoint}: its weights do not fit the recipe's model (missing {missing[:3]}, "
            f"unknown {unexpected[:3]}): use another output folder, or start over"
        )
    model.load_state_dict(tensors, strict=False)
    torch.set_rng_state(rest["rng"])
    optimizer: list[dict[str, Any]] | None = rest["optimizer"]
    return optimizer


def _learnt(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: the low-rank additions where the model has some, else all weights, tied ones once."""
    if has_lora(model):
        # what they are added to is the recipe's `init`, which is read again
        return lora_state(model)
    seen: set[int] = set()
    result = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        result[name] = tensor
    return result
