"""A run's model as a folder for `from_pretrained`: at its end, or on demand from the newest checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from qwenvl.config import Recipe
from qwenvl.model.load import quietly
from qwenvl.model.lora import save_lora
from qwenvl.model.processor import QwenVLProcessor
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train import checkpoint
from qwenvl.train.checkpoint import Progress
from qwenvl.train.errors import CheckpointError
from qwenvl.train.sharded_checkpoint import PARTS, load_whole
from qwenvl.train.start import whole_model
from qwenvl.typed import ConfigError, from_dict, to_dict


def save_model(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    recipe: Recipe,
    folder: Path,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights, configuration, tokenizer and processor as a folder for `from_pretrained`; the recipe last.

    `weights` are the whole ones of a model that is sharded. Of a model with low-rank additions only these are written,
    with the name of the model that they belong to.
    """
    model.eval()
    if recipe.lora is not None:
        save_lora(model, folder, weights)
    else:
        with quietly():
            model.save_pretrained(folder, state_dict=weights)
    QwenVLProcessor(tokenizer, model.config).save_pretrained(folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(to_dict(recipe), sort_keys=False), encoding="utf-8")


def export(run: Path, folder: Path) -> Progress:
    """Write the model of the newest checkpoint of the run in `run` to `folder`; gives where that checkpoint stands.

    The run may be going on meanwhile, on other processes and sharded. Raises ConfigError where `run` is no run or
    `folder` exists, CheckpointError where it has no checkpoint that can be read.
    """
    path = run / "recipe.yaml"
    if not path.is_file():
        raise ConfigError(f"{run}: no run (no recipe.yaml); name the folder that qwenvl train --out wrote")
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; choose another folder for the model")
    recipe = from_dict(Recipe, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    checkpoints = checkpoint.complete(run / "checkpoints")
    if not checkpoints:
        raise CheckpointError(f"{run}: no checkpoint yet; one is written every {recipe.save_every} steps")
    model, tokenizer = whole_model(recipe, run / "tokenizer", torch.float32)
    for last in reversed(checkpoints):
        try:
            progress = checkpoint.read_progress(last)
            if (last / PARTS).is_dir():
                load_whole(last, model, recipe.parallel.tensor if recipe.parallel else 1)
            else:
                checkpoint.load(last, model)
        except checkpoint.Damaged:
            continue
        save_model(model, tokenizer, recipe, folder)
        return progress
    raise CheckpointError(f"{run}: none of its {len(checkpoints)} checkpoints can be read")
