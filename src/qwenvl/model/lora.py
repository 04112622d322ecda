"""LoRA: low-rank additions to frozen linear layers, through PEFT (Hu et al. 2021); added, saved, loaded and merged.

A folder of additions has PEFT's own form (`adapter_config.json`, `adapter_model.safetensors`), so `PeftModel` reads it
too, with tokenizer and processor beside it. PEFT's additions stand in the model's own layers: nothing wraps the model,
and every name but those of the chosen layers stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from qwenvl.config import LoraSpec
from qwenvl.model.names import chosen_layers

if TYPE_CHECKING:
    from peft import LoraConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

# PEFT's names: of our one set of additions, and what it puts before the model's own names in a file.
_NAME, _PREFIX = "default", "base_model.model."

# What PEFT can also do and this project's folders do not hold.
_PLAIN = {
    "use_dora": False,
    "modules_to_save": None,
    "bias": "none",
    "lora_bias": False,
    "trainable_token_indices": None,
}


class LoraError(ValueError):
    """Additions that can't be read, or do not fit the model; the message says which file."""


def is_lora(name: str) -> bool:
    """Whether the parameter `name` is a low-rank addition."""
    return any(word.startswith("lora_") for word in name.split("."))


def has_lora(model: nn.Module) -> bool:
    """Whether the model has low-rank additions."""
    return any(is_lora(name) for name, _ in model.named_parameters())


def is_lora_folder(folder: Path) -> bool:
    """Whether `folder` holds low-rank additions rather than a whole model."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def add_lora(model: PreTrainedModel, spec: LoraSpec, base: str) -> None:
    """Add B A, with B zero, to the layers that `spec` names; `base` is what the folder says it belongs to.

    A's are random (torch's current seed), so the model gives what it gave. Additions are float32 whatever the layer is.
    Raises TargetError for a name that no layer has, ModuleNotFoundError without PEFT.
    """
    # first: a wrong name is worth saying even where PEFT is missing
    layers = chosen_layers(model, spec.targets)
    from peft import LoraConfig

    _inject(
        model,
        LoraConfig(r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=layers, bias="none"),
        base,
    )


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The additions' tensors by the model's names."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if is_lora(name)}


def save_lora(model: PreTrainedModel, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write the additions alone, in PEFT's form; `weights` are the whole ones of a model that is sharded."""
    folder.mkdir(parents=True, exist_ok=True)
    state = lora_state(model) if weights is None else {name: weights[name] for name in weights if is_lora(name)}
    tensors = {_PREFIX + name.replace(f".{_NAME}.", "."): held for name, held in state.items()}
    save_file({name: held.cpu().contiguous() for name, held in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    model.peft_config[_NAME].save_pretrained(folder)


def base_of(folder: Path) -> str:
    """The name or folder of the model that the additions in `folder` belong to. Raises LoraError."""
    name = _read_config(folder).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise LoraError(f"{folder / CONFIG} does not say which model it belongs to: name it with --base")
    return name


def load_lora(model: PreTrainedModel, folder: Path) -> None:
    """Put the additions in `folder` into their model. Raises LoraError when the two do not fit."""
    found = _read_config(folder)
    extra = [key for key, plain in _PLAIN.items() if found.get(key) not in (plain, None, [])]
    if found.get("peft_type") != "LORA" or extra:
        what = f"{extra[0]} {found[extra[0]]}" if extra else f"peft_type {found.get('peft_type')!r}"
        raise LoraError(f"{folder / CONFIG}: {what} is not read here, plain LoRA is; merge it with PEFT's own tools")
    try:
        tensors = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors has an error type of its own for each kind of damage
        raise LoraError(f"{folder / WEIGHTS}: not readable ({error})") from None
    from peft import LoraConfig

    try:
        _inject(model, LoraConfig.from_pretrained(str(folder)), base_of(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise LoraError(f"{folder / CONFIG}: {error}") from None
    named = {name.removeprefix(_PREFIX).replace(".weight", f".{_NAME}.weight"): held for name, held in tensors.items()}
    own = lora_state(model)
    strange = sorted(set(named) ^ set(own)) or [name for name in own if own[name].shape != named[name].shape]
    if strange:
        raise LoraError(
            f"{folder / WEIGHTS} does not fit the model {base_of(folder)}: {strange[0]} is missing on one side or has "
            "another shape there. Is it the model that was trained? Name it with --base"
        )
    for name, parameter in own.items():
        parameter.copy_(named[name])


def merge_into(model: PreTrainedModel) -> None:
    """Add every B A to its layer's own weight, and take the additions out: a plain model again, with equal outputs."""
    from peft.tuners.lora import LoraLayer

    # a list: the loop changes what it walks over
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    del model.peft_config
    model._hf_peft_config_loaded = False


def _inject(model: PreTrainedModel, config: LoraConfig, base: str) -> None:
    model.add_adapter(config, _NAME)
    # add_adapter writes its own idea of the base; a packaged model's folder is another one on another machine
    model.peft_config[_NAME].base_model_name_or_path = base
    for name, parameter in model.named_parameters():
        if is_lora(name):
            # small, and updated by small steps: bfloat16 would round those away
            parameter.data = parameter.data.float()


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoraError(f"{folder / CONFIG}: not readable ({error})") from None
    if not isinstance(found, dict):
        raise LoraError(f"{folder / CONFIG}: expected a mapping, found {type(found).__name__}")
    return found
