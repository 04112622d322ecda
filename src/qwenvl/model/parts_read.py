"""Trained parts out of folders: a decoder with its head and tokenizer, a vision tower; ours or any of transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedConfig

from qwenvl.model.convert.official import is_released
from qwenvl.model.convert.openclip import find_weights, read_openclip
from qwenvl.model.convert.qwen import read_qwen
from qwenvl.model.parts import build_head, plain
from qwenvl.model.pixels import CLIP_MEAN, CLIP_STD
from qwenvl.model.vision import VisionTransformer, resize_positions
from qwenvl.text.foreign import ForeignTokenizer
from qwenvl.text.tokenizer import QwenTokenizer


class InitError(ValueError):
    """Parts that can't be joined; the message names the folder and what to give instead."""


@dataclass(frozen=True)
class Language:
    """A trained decoder, its head and its tokenizer with Qwen-VL's tokens."""

    config: PreTrainedConfig
    decoder: Any
    head: Any
    tokenizer: QwenTokenizer


@dataclass(frozen=True)
class Vision:
    """A trained vision tower, and how it wants its pictures normalised (None: as CLIP)."""

    config: PreTrainedConfig
    tower: Any
    mean: list[float] | None = None
    std: list[float] | None = None


def read_language(folder: Path, dtype: torch.dtype | None = None) -> Language:
    """The decoder in `folder`: a released Qwen, or one that transformers knows. Raises InitError."""
    found = _json(folder, "config.json", "--language")
    kind = found.get("model_type")
    if kind == "qwenvl" or (is_released(found) and "visual" in found):
        raise InitError(f"{folder} is a whole Qwen-VL; --language takes a text model, such as Qwen-7B")
    with _named(folder):
        if not is_released(found):
            return _foreign_language(folder, dtype)
        if not (folder / "qwen.tiktoken").is_file() and not (folder / "tokenizer.json").is_file():
            raise InitError(
                f"{folder} has no qwen.tiktoken: put the vocabulary file of the released Qwen-7B beside its config.json"
            )
        decoder, head = read_qwen(folder, found, dtype or "auto")
        tokenizer = QwenTokenizer.load(folder)
        if tokenizer.vocab_size > decoder.config.vocab_size:
            raise InitError(
                f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, the model only {decoder.config.vocab_size}"
            )
        decoder.config.update({"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.eos_id})
        return Language(decoder.config, decoder, head, tokenizer)


def _foreign_language(folder: Path, dtype: torch.dtype | None) -> Language:
    tokenizer = ForeignTokenizer.extend(folder)
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype or "auto", local_files_only=True, trust_remote_code=False, output_loading_info=True
    )
    if found["missing_keys"]:
        raise InitError(f"{folder}: its weights lack {min(found['missing_keys'])}")
    config = model.config
    text_alone = config.get_text_config() is config and MODEL_MAPPING.get(type(config), None) is type(model.base_model)
    if not text_alone or not _is_linear(model):
        raise InitError(
            f"{folder}: {config.model_type} can't be the decoder: between its last hidden state and its logits stands "
            "more than a linear head with a scale and a cap (a bias, say), or it has other towers beside the text's"
        )
    _grow(model, tokenizer)
    return Language(config, model.base_model, model.get_output_embeddings(), tokenizer)


@torch.no_grad()
def _is_linear(model: Any) -> bool:
    """Whether our head makes the decoder's own logits of its last hidden states: tried, not looked up."""
    ids, theirs = torch.arange(8)[None], model.get_output_embeddings()
    if getattr(theirs, "bias", None) is not None:
        return False
    logits = model.eval()(input_ids=ids, use_cache=False).logits
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    with torch.device("meta"):
        head = build_head(model.config)
    head.weight = theirs.weight
    # the same products in the same order: a cap on small logits changes more than this
    return bool((head(hidden) - logits).abs().max() <= 1e-6 * logits.abs().max())


@torch.no_grad()
def _grow(model: Any, tokenizer: ForeignTokenizer) -> None:
    """Rows for the new tokens, each near the mean of the trained ones: neither loud nor all the same."""
    before = model.get_input_embeddings().weight.shape[0]
    trained = min(before, min(tokenizer.new_ids, default=before))
    if tokenizer.vocab_size > before:
        model.resize_token_embeddings(tokenizer.vocab_size, mean_resizing=False)
    rows = list(tokenizer.new_ids)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for table in (embeddings,) if head is embeddings else (embeddings, head):
        known = table[:trained].float()
        noise = torch.randn(len(rows), known.shape[1], generator=torch.Generator().manual_seed(0))
        table[rows] = (known.mean(0) + 0.1 * known.std(0) * noise).to(table.dtype)


def read_vision(path: Path, image_size: int | None = None) -> Vision:
    """The vision tower at `path`: an OpenCLIP checkpoint, or one that transformers knows. Raises InitError."""
    if not path.exists():
        raise InitError(f"--vision {path} does not exist: give an OpenCLIP checkpoint or a vision tower's folder")
    with _named(path):
        file = find_weights(path)
        if file is None:
            return _foreign_vision(path, image_size)
        config, tensors = read_openclip(file, image_size)
        with torch.device("meta"):
            tower = VisionTransformer(config)
        for name, place in tower.state_dict().items():
            if tensors[name].shape != place.shape:
                raise InitError(f"{file}: {name} has shape {tuple(tensors[name].shape)}; expected {tuple(place.shape)}")
        tower.load_state_dict(tensors, assign=True)
        return Vision(config, tower)


def _foreign_vision(folder: Path, image_size: int | None) -> Vision:
    _json(folder, "config.json", "--vision")
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config = getattr(config, "vision_config", config)
    if not isinstance(getattr(config, "patch_size", None), int):
        raise InitError(f"{folder}: {config.model_type} is no vision transformer with square patches (SigLIP, CLIP, …)")
    tower, found = AutoModel.from_pretrained(
        folder, config=plain(config), local_files_only=True, trust_remote_code=False, output_loading_info=True
    )
    if found["missing_keys"]:
        raise InitError(f"{folder}: its weights lack {min(found['missing_keys'])}")
    config = tower.config
    if not hasattr(config, "image_size"):
        # SigLIP 2's towers of free aspect say the number of patches alone
        config.image_size = config.patch_size * round(config.num_patches**0.5)
    if image_size is not None and image_size != config.image_size:
        tower = _resized(tower, image_size)
    mean, std = _normalisation(folder)
    if (mean, std) == (list(CLIP_MEAN), list(CLIP_STD)):
        mean = std = None
    return Vision(tower.config, tower, mean, std)


@torch.no_grad()
def _resized(tower: Any, image_size: int) -> Any:
    """The same tower for pictures of another side: where positions are a table, it is resized to the new grid."""
    patch, old = tower.config.patch_size, tower.config.image_size // tower.config.patch_size
    if image_size % patch:
        raise InitError(f"--image-size {image_size} is no multiple of the tower's patch, {patch}")
    config, state = tower.config, tower.state_dict()
    config.image_size = image_size
    resized = AutoModel.from_config(config, dtype=tower.dtype)
    for name, place in resized.state_dict().items():
        if place.shape != state[name].shape:
            table = state[name].flatten(0, -2)
            extra = table.shape[0] - old * old
            rows = torch.cat([table[:extra], resize_positions(table[extra:], image_size // patch)])
            state[name] = rows.view(place.shape)
    resized.load_state_dict(state)
    return resized.eval()


def _normalisation(folder: Path) -> tuple[list[float] | None, list[float] | None]:
    """`image_mean` and `image_std` of the tower's image processor; None where its file is not there."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            found = _json(folder, name, "--vision")
            found = found.get("image_processor", found)
            mean, std = found.get("image_mean"), found.get("image_std")
            if isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == 3:
                return [float(v) for v in mean], [float(v) for v in std]
    return None, None


def _json(folder: Path, name: str, option: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise InitError(
            f"{option} {folder}: no {name} there; expected a folder with {name}, weights and what goes by it"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InitError(f"{path} is not readable as JSON: {error}") from None
    if not isinstance(found, dict):
        raise InitError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of reading as InitError with the folder's name: broken files fail in many ways."""
    try:
        yield
    except InitError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no further message").splitlines()[0]
        raise InitError(reason if str(path) in reason else f"{path} could not be read: {reason}") from error
