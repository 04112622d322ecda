"""A model and its low-rank additions become one whole folder: weights, configuration, tokenizer, processor."""

from __future__ import annotations

import shutil
from pathlib import Path

from qwenvl.model.load import ModelError, quietly, read_folder, resolve
from qwenvl.model.lora import base_of, is_lora_folder, load_lora, merge_into
from qwenvl.model.processor import QwenVLProcessor
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer


def merge(run: Path, out: Path, base: str | Path | None = None) -> Path:
    """Write the model that a LoRA run made to `out`, which `load` and `from_pretrained` read; gives the base's folder.

    `run` is a run's folder, or the folder of the additions themselves; `base` stands for the model that they name.
    The sums are rounded to the type that the base is saved in. Raises ModelError where there is nothing to merge or
    `out` is in use, LoraError when additions and base do not fit.
    """
    additions = next((folder for folder in (run, run / "model") if is_lora_folder(folder)), None)
    if additions is None:
        raise ModelError(f"{run}: no low-rank additions to merge (adapter_config.json, here or in {run / 'model'})")
    empty_place(out)
    folder = resolve(base if base is not None else base_of(additions))
    model, tokenizer = read_folder(folder, "auto")
    load_lora(model, additions)
    merge_into(model)
    with quietly():
        write_whole(model, tokenizer, out)
    return folder


def empty_place(out: Path) -> None:
    """Raise ModelError unless `out` is free to be written."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ModelError(f"{out} exists and is not empty: choose another folder, or remove it first")


def write_whole(model: QwenVLForConditionalGeneration, tokenizer: QwenTokenizer, out: Path) -> None:
    """Write all that a checkpoint folder holds, beside its place first, so that `out` is never half of one."""
    part = out.parent / f".{out.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    QwenVLProcessor(tokenizer, model.config).save_pretrained(part)
    if out.is_dir():
        out.rmdir()
    part.rename(out)
