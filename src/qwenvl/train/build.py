"""A recipe's model: from its sizes with random weights, or from a checkpoint; and the precision that pays here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig

from qwenvl.config import LoraSpec, ModelSpec, Recipe, Stage, Trainable
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.load import read_folder, resolve
from qwenvl.model.lora import add_lora
from qwenvl.model.names import HEAD, PARTS, TargetError, chosen_layers, part_of
from qwenvl.model.parts import ForeignDecoder
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.typed import ConfigError


def build_model(spec: ModelSpec, tokenizer: QwenTokenizer) -> QwenVLForConditionalGeneration:
    """A model of the recipe's sizes with random weights (torch's current seed)."""
    config = build_config(spec, tokenizer)
    if not torch.cuda.is_available():
        # of all attention functions this one trains fastest on a CPU
        config._attn_implementation = "matmul"
    model = QwenVLForConditionalGeneration(config)
    # Other engines stop where the checkpoint says, and know nothing of dialogues.
    model.generation_config.eos_token_id = [tokenizer.eos_id, tokenizer.im_end_id]
    return model


def build_config(spec: ModelSpec, tokenizer: QwenTokenizer) -> QwenVLConfig:
    """The recipe's sizes and the tokenizer's ids as the model's configuration.

    Raises ConfigError for sizes that do not fit.
    """
    vision, adapter, decoder = spec.vision, spec.adapter, spec.decoder
    try:
        return QwenVLConfig(
            vision_config={
                "image_size": spec.image_size,
                "patch_size": vision.patch_size,
                "width": vision.width,
                "layers": vision.layers,
                "heads": vision.heads,
                "mlp_width": vision.mlp,
                "position_grid": vision.position_grid,
                "initializer_range": spec.initializer_range,
            },
            text_config={
                "vocab_size": tokenizer.vocab_size,
                "hidden_size": decoder.width,
                "intermediate_size": decoder.mlp,
                "num_hidden_layers": decoder.layers,
                "num_attention_heads": decoder.heads,
                "initializer_range": spec.initializer_range,
                "eos_token_id": tokenizer.eos_id,
                "pad_token_id": tokenizer.eos_id,
            },
            initializer_range=spec.initializer_range,
            num_queries=adapter.queries,
            adapter_heads=adapter.heads,
            adapter_init=adapter.init,
            image_start_id=tokenizer.img_start_id,
            image_end_id=tokenizer.img_end_id,
            image_slot_id=tokenizer.image_slot_id,
            tie_word_embeddings=decoder.tie,
        )
    except ValueError as error:
        raise ConfigError(f"the recipe's model: {error}") from None


def resolve_precision(wish: Literal["auto", "float32", "bfloat16"]) -> torch.dtype:
    """The type for matrix products.

    "auto" takes bfloat16 on a GPU, and on a CPU where it is measured to be 1.5 times as fast.
    """
    if wish != "auto":
        return torch.float32 if wish == "float32" else torch.bfloat16
    if torch.cuda.is_available():
        return torch.bfloat16
    return torch.bfloat16 if _product_time(torch.float32) > 1.5 * _product_time(torch.bfloat16) else torch.float32


def _product_time(dtype: torch.dtype) -> float:
    rows, weight = torch.randn(4096, 128).to(dtype), torch.randn(512, 128).to(dtype)
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        torch.nn.functional.linear(rows, weight)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[5:])


def check_packing(model: QwenVLForConditionalGeneration, stages: Sequence[Stage]) -> None:
    """Try whether a foreign decoder takes the masks of packed rows. Raises ConfigError when it does not."""
    decoder = model.model.language_model
    if not isinstance(decoder, ForeignDecoder):
        return
    kind = decoder.config.model_type
    try:
        apart = decoder.isolates()
    except (ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"init: the decoder {kind} takes no mask of packed rows and can't be trained: {error}"
        ) from None
    wishes = [stage.name for stage in stages if stage.isolate]
    if wishes and not apart:
        raise ConfigError(
            f"{wishes[0]}: the decoder {kind} does not keep packed samples apart, its state runs on through a row: "
            f"set stages.{wishes[0]}.isolate=false"
        )


def start_from(
    name: str | Path,
    lora: LoraSpec | None = None,
    precision: torch.dtype = torch.float32,
    learns: Collection[Trainable] = PARTS,
) -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    """A checkpoint's weights (a folder, or "nano") and its tokenizer, to be trained further.

    What does not train keeps under bfloat16 the type that it was saved in: parts that are not in `learns`, and with
    `lora` all of them, which may be held in 4 bits. What trains is float32. Raises ConfigError when the checkpoint
    can't be read or a target names no layer of it.
    """
    frozen = precision == torch.bfloat16 and (lora is not None or not set(PARTS) <= set(learns))
    try:
        folder = resolve(name)
        _not_quantized(folder)
        options = four_bits() if lora is not None and lora.quantize is not None else {}
        model, tokenizer = read_folder(folder, "auto" if frozen else torch.float32, **options)
        if lora is not None:
            add_lora(model, lora, _portable(name, folder))
        elif frozen:
            for parameter_name, parameter in model.named_parameters():
                if part_of(parameter_name) in learns:
                    parameter.data = parameter.data.float()
        return model, tokenizer
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"init: {name} can't be loaded as a checkpoint: {error}") from None


def check_start(recipe: Recipe) -> None:
    """Say before any work what `start_from` would find wrong; takes no weights into memory.

    Raises ConfigError, and ModuleNotFoundError for an extra that the recipe needs and is not installed.
    """
    load_extras(recipe)
    if recipe.init is None:
        return
    folder = resolve(recipe.init)
    _not_quantized(folder)
    if recipe.lora is None:
        return
    import peft  # noqa: F401

    if recipe.lora.quantize is not None:
        four_bits()
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(QwenVLConfig.from_pretrained(folder))
    try:
        chosen_layers(model, recipe.lora.targets)
    except TargetError as error:
        raise ConfigError(f"lora.targets: {error}") from None


def load_extras(recipe: Recipe) -> None:
    """Import what the recipe's optimizers are from, which is also what lets PyTorch read their saved state."""
    if any(stage.optimizer == "adamw_8bit" for stage in recipe.stages):
        import torchao.optim  # noqa: F401


def four_bits() -> dict[str, Any]:
    """What `from_pretrained` takes to hold the decoder's linear layers in 4 bits (nf4, doubly quantised scales).

    Vision tower, adapter, embeddings and language head stay as they are: they are a small part of a large model, and
    pictures lose most by it. Raises ConfigError where no GPU is, ModuleNotFoundError without bitsandbytes.
    """
    if not torch.cuda.is_available():
        raise ConfigError(
            "lora.quantize: nf4 needs a CUDA GPU, and torch sees none here. Without it the same recipe trains on a "
            "CPU, with the frozen weights as they are: lora.quantize=null"
        )
    import bitsandbytes  # noqa: F401

    device = torch.cuda.current_device()
    return {"quantization_config": nf4_config(), "device_map": {"": device}}


def nf4_config() -> BitsAndBytesConfig:
    """QLoRA's own settings (Dettmers et al. 2023), for the decoder alone."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["model.vision_tower", "model.adapter", HEAD],
    )


def _not_quantized(folder: Path) -> None:
    if QwenVLConfig.get_config_dict(folder)[0].get("quantization_config") is not None:
        raise ConfigError(
            f"init: {folder} is quantised: its whole numbers can't be trained. Start from the model that it was made "
            "of; to hold that one's frozen weights in 4 bits while LoRA trains beside them, set lora.quantize=nf4"
        )


def _portable(name: str | Path, folder: Path) -> str:
    """How a folder of additions names its base: a folder by its full path, all else by the name it was asked by."""
    return str(folder.resolve()) if Path(name).resolve() == folder.resolve() else str(name)
