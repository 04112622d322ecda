"""From a name or a folder to a model that answers: `load("nano")`, `load("runs/quickstart/model")`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers.utils import logging

from qwenvl.hub import is_hub_name, local_folder, no_folder
from qwenvl.model.convert.checkpoint import open_config
from qwenvl.model.convert.files import ModelError, few
from qwenvl.model.convert.tokenizer_files import VOCABULARY, check_tokenizer, read_tokenizer
from qwenvl.model.lora import base_of, is_lora_folder, load_lora
from qwenvl.model.quantize import is_quantized
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer

__all__ = ["PACKAGED", "Loaded", "ModelError", "load", "quietly", "read_folder", "resolve"]

PACKAGED = Path(__file__).parents[1] / "models"
"""Checkpoints that ship with the project; a folder's name is the model's name."""


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode with its tokenizer, and the folder they came from."""

    model: QwenVLForConditionalGeneration
    tokenizer: QwenTokenizer
    folder: Path


def resolve(name: str | Path, weights: bool = True) -> Path:
    """The folder of a checkpoint, given as a folder, by the name of a packaged model, or by a name on the Hub.

    **A name such as "Qwen/Qwen-VL-Chat", with one slash and no such folder here, is downloaded** from the Hugging Face
    Hub into its cache (`weights=False`: all but the weights); nothing else ever is. Raises ModelError when there is no
    such checkpoint, or it is none of Qwen-VL (config.json, a tokenizer, weights).
    """
    folder = Path(name)
    packaged = sorted(path.parent.name for path in PACKAGED.glob("*/config.json"))
    # A bare word names the packaged model, even where a folder of that name happens to stand in the current one.
    if str(name) in packaged or (str(name) == "nano" and not folder.is_dir()):
        folder = PACKAGED / str(name)
        if not folder.is_dir():
            raise ModelError(
                "the packaged model 'nano' is not in this installation. Train one with `qwenvl quickstart` "
                "and give it as --model runs/quickstart/model"
            )
    elif is_hub_name(name):
        try:
            folder = local_folder(name, weights)
        except OSError as error:
            raise ModelError(str(error)) from error
    if not folder.is_dir():
        known = f"; packaged models: {', '.join(packaged)}" if packaged else ""
        what = f"{name} is a file, not a folder" if folder.exists() else no_folder(name)
        raise ModelError(f"{what}. Expected a checkpoint folder with config.json{known}")
    if is_lora_folder(folder) and not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} is no checkpoint folder: it holds only low-rank additions to a model; `qwenvl merge` makes a "
            "whole model of both"
        )
    open_config(folder)
    wanted = [(("tokenizer.json", VOCABULARY), "tokenizer")] + [(("*.safetensors", "*.bin"), "weights")] * weights
    for kinds, what in wanted:
        if not any(next(folder.glob(kind), None) for kind in kinds):
            raise ModelError(f"{folder} is no whole checkpoint: it has no {what} ({' or '.join(kinds)})")
    return folder


def load(name: str | Path = "nano", device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> Loaded:
    """Load a checkpoint for answering. On a CPU it computes in float32, elsewhere in its own type, unless `dtype` says.

    `name` is as for `resolve`: a name on the Hugging Face Hub is downloaded. A folder of low-rank additions (LoRA) is
    loaded together with the model that it names. Raises ModelError for a folder that is no checkpoint, whose files are
    broken or do not fit each other, and for a device that is not there.
    """
    additions = Path(name) if is_lora_folder(Path(name)) else None
    folder = resolve(base_of(additions) if additions else name)
    # what is quantised works in bfloat16 everywhere
    if dtype is None and not is_quantized(folder) and str(device).startswith("cpu"):
        dtype = torch.float32
    model, tokenizer = read_folder(folder, dtype or "auto")
    if additions:
        load_lora(model, additions)
    try:
        return Loaded(model.to(device).eval(), tokenizer, additions or folder)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"--device {device}: {_first_line(error)}") from error


def read_folder(
    folder: Path, dtype: torch.dtype | Literal["auto"], **options: Any
) -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    """The model and the tokenizer in a folder that `resolve` gave, in the native or the released form; they fit.

    `options` are more of `from_pretrained`'s. Raises ModelError for files that are broken or do not fit each other.
    """
    tokenizer = read_tokenizer(folder)
    try:
        with quietly():
            model, found = QwenVLForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True, **options
            )
    except ModelError:
        raise
    except Exception as error:  # what transformers finds wrong comes in many ways
        raise ModelError(f"{folder} could not be loaded: {type(error).__name__}: {_first_line(error)}") from error
    if found["missing_keys"]:
        raise ModelError(f"{folder}: its weights lack {few(found['missing_keys'])}; they do not fit its config.json")
    check_tokenizer(tokenizer, model.config, folder)
    return model, tokenizer


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars: one for a second of reading or writing weights is noise."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no further message"
