"""From a name or a folder to a model that answers: `load("nano")`, `load("runs/quickstart/model")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils import logging

from qwenvl.model.lora import base_of, is_lora_folder, load_lora
from qwenvl.model.quantize import is_quantized
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer

PACKAGED = Path(__file__).parents[1] / "models"
"""Checkpoints that ship with the project; a folder's name is the model's name."""


class ModelError(ValueError):
    """A model that can't be loaded; the message says which file is missing and how to get one."""


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode with its tokenizer, and the folder they came from."""

    model: QwenVLForConditionalGeneration
    tokenizer: QwenTokenizer
    folder: Path


def resolve(name: str | Path) -> Path:
    """The folder of a checkpoint, given as a folder or by the name of a packaged model.

    Raises ModelError when there is no such folder, or it is no checkpoint of this project (config.json,
    tokenizer.json, *.safetensors). Nothing is ever fetched from the network.
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
    if not folder.is_dir():
        known = f"; packaged models: {', '.join(packaged)}" if packaged else ""
        what = "is a file" if folder.exists() else "does not exist"
        raise ModelError(f"--model {name}: the folder {what}. Expected a checkpoint folder with config.json{known}")
    if not (folder / "config.json").is_file():
        inner = folder / "model"
        hint = f"; did you mean {inner}?" if (inner / "config.json").is_file() or is_lora_folder(inner) else ""
        if is_lora_folder(folder):
            hint = ", only low-rank additions to a model; `qwenvl merge` makes a whole model of both"
        raise ModelError(f"{folder} is no checkpoint folder: it has no config.json{hint}")
    for kinds, what in ((("tokenizer.json", "qwen.tiktoken"), "tokenizer"), (("*.safetensors", "*.bin"), "weights")):
        if not any(next(folder.glob(kind), None) for kind in kinds):
            raise ModelError(f"{folder} is no whole checkpoint: it has no {what} ({' or '.join(kinds)})")
    return folder


def load(name: str | Path = "nano", device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> Loaded:
    """Load a checkpoint for answering. On a CPU it computes in float32, elsewhere in its own type, unless `dtype` says.

    A folder of low-rank additions (LoRA) is loaded together with the model that it names.
    Raises ModelError for a folder that is no checkpoint, whose files are broken or do not fit each other, and for a
    device that is not there.
    """
    additions = Path(name) if is_lora_folder(Path(name)) else None
    folder = resolve(base_of(additions) if additions else name)
    # what is quantised works in bfloat16 everywhere
    if dtype is None and not is_quantized(folder) and str(device).startswith("cpu"):
        dtype = torch.float32
    try:
        with quietly():
            tokenizer = QwenTokenizer.load(folder)
            model, found = QwenVLForConditionalGeneration.from_pretrained(
                folder, dtype=dtype or "auto", local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # broken files fail in many ways: JSON, safetensors, shapes, keys
        raise ModelError(f"{folder} could not be loaded: {type(error).__name__}: {_first_line(error)}") from error
    if found["missing_keys"]:
        raise ModelError(f"{folder}: its weights lack {_few(found['missing_keys'])}; they do not fit its config.json")
    if tokenizer.vocab_size > model.config.text_config.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, the model only "
            f"{model.config.text_config.vocab_size}: the two are not of the same checkpoint"
        )
    if additions:
        load_lora(model, additions)
    try:
        return Loaded(model.to(device).eval(), tokenizer, additions or folder)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"--device {device}: {_first_line(error)}") from error


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


def _few(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
